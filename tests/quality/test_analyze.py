import json

import pandas as pd
import pytest

from bgexp.config.analyze import AnalyzeSettings
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.errors import UserError
from bgexp.quality.analyze import analyze_dataset
from bgexp.system.workers import preload
from tests.quality.replica import FIELDS, SMALL, make_replica

FIGURES = (
    "images",
    "categories",
    "corrupt",
    "missing_values",
    "size_outliers",
    "dimension_outliers",
    "exact_duplicates",
    "near_duplicates",
)


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replica")
    return folder, make_replica(folder, SMALL)


def settings(folder, runs, *overrides):
    arguments = [f"dataset.root={folder / 'images'}", f"runs_dir={runs}", "workers=2", *overrides]
    return check_settings(
        AnalyzeSettings, resolve_config(compose_config("analyze", arguments, None))
    )


@pytest.fixture(scope="module")
def analysis(replica, tmp_path_factory):
    preload("bgexp.quality.inspection")
    runs = tmp_path_factory.mktemp("runs")
    expected = ",".join(f"{name}:{getattr(SMALL, name)}" for name in FIGURES)
    metadata = f"metadata={replica[0] / 'metadata.csv'}"
    changes = settings(replica[0], runs, metadata, f"expected={{{expected}}}")
    return analyze_dataset(changes, runs / "analyze/first")


def find_planted(flaws, kind):
    return {path for path, flaw in flaws.items() if flaw["kind"] == kind}


def test_the_counts_are_those_planted(analysis):
    counts = analysis.summary["findings"]
    assert {name: counts[name] for name in FIGURES} == {
        name: getattr(SMALL, name) for name in FIGURES
    }
    assert counts["files"] == SMALL.images + 2
    assert counts["wrong_extension"] == SMALL.wrong_extension
    assert analysis.summary["formats"]["MPO"] == SMALL.mpo + SMALL.exact_duplicates
    assert all(
        figure["explanation"].startswith("as found")
        for figure in analysis.summary["reconciliation"]
    )


def test_how_the_metadata_were_read_is_kept(analysis, replica):
    expected = {
        "file": str(replica[0] / "metadata.csv"),
        "read_as": "UTF-8, columns divided by commas",
    }
    assert analysis.summary["dataset"]["metadata"] == expected
    page = (analysis.folder / "report.html").read_text()
    assert "metadata.csv" in page
    assert "read as UTF-8, columns divided by commas" in page


def test_what_was_planted_is_found_where_it_was_planted(analysis, replica):
    rows, flaws = analysis.rows.set_index("path"), replica[1]
    assert set(rows.index[rows["size_outlier"]]) == find_planted(flaws, "size_outlier")
    assert set(rows.index[rows["dimension_outlier"]]) == find_planted(flaws, "dimension_outlier")
    assert set(rows.index[rows["corrupt"]]) == find_planted(flaws, "corrupt")
    assert set(rows.index[rows["extension_agrees"].eq(False)]) == find_planted(
        flaws, "wrong_extension"
    )
    for kind in ("exact_duplicate", "near_duplicate"):
        pairs = rows[f"{kind}_of"][rows[f"{kind}_of"] != ""]
        assert {frozenset(pair) for pair in pairs.items()} == {
            frozenset((path, flaws[path]["of"])) for path in find_planted(flaws, kind)
        }
    assert rows["reason"][rows["corrupt"]].str.startswith("corrupt: ").all()
    assert (rows["sha256"] != "").all()


def test_every_file_has_a_row_with_its_values(analysis, replica):
    rows = analysis.rows.set_index("path")
    row = rows.loc[next(path for path in rows.index if path not in replica[1] and "/" in path)]
    assert (row["format"], row["mode"], row["bits"], row["decodes"]) == ("MPO", "RGB", 8, True)
    assert row["frames"] == 2
    assert row["bytes"] == (replica[0] / "images" / row.name).stat().st_size
    assert row["megapixels"] == pytest.approx(row["width"] * row["height"] / 1e6)
    assert 0 < row["brightness"] < 255
    assert {f"metadata.{name}" for name in FIELDS} <= set(rows)
    assert rows.loc["Thumbs.db", "kind"] == "other"
    assert rows.loc["Thumbs.db", "n_missing"] == 0


def test_what_it_leaves_behind(analysis):
    folder = analysis.folder
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["findings"] == analysis.summary["findings"]
    assert summary["command"] == "analyze"
    assert len(pd.read_parquet(folder / "quality.parquet")) == SMALL.images + 2
    assert len(pd.read_csv(folder / "quality.csv")) == SMALL.images + 2
    page = (folder / "report.html").read_text()
    assert "<b>bold</b>" not in page
    assert "Expected and found" in page


def test_it_is_tracked_like_every_run(analysis):
    from bgexp.tracking.store import open_store

    runs = analysis.folder.parents[1]
    client, experiment = open_store(settings(runs, runs))
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["findings.images"] == SMALL.images
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"summary.json", "quality.parquet", "quality.csv", "report.html"} <= names


def test_a_batch_sorts_out_the_same_outliers(replica, tmp_path):
    from bgexp.batch.drafts import draft_file
    from bgexp.batch.plan import plan_files
    from bgexp.quality.header import read_header
    from bgexp.system.listing import list_all_files

    root = replica[0] / "images"
    overrides = ["detector.labels=null", f"input={root}", f"output={tmp_path}"]
    batch = check_settings(BatchSettings, resolve_config(compose_config("batch", overrides, None)))
    drafts = [draft_file(file, read_header(file), batch.quality) for file in list_all_files(root)]
    planned = list(plan_files(drafts, batch))
    outliers = {planned_file.path for planned_file in planned if planned_file.kind == "outlier"}
    flaws = replica[1]
    planted = find_planted(flaws, "size_outlier") | find_planted(flaws, "dimension_outlier")
    # Of some damaged files only the decoder sees that they are; they will be skipped.
    assert outliers - find_planted(flaws, "corrupt") == planted
    assert all(
        planned_file.output.startswith("outliers/")
        for planned_file in planned
        if planned_file.kind == "outlier"
    )


def test_the_users_mistakes(tmp_path):
    with pytest.raises(UserError, match=r"^dataset.root: .*: No such file or directory$"):
        analyze_dataset(settings(tmp_path / "nowhere", tmp_path), tmp_path / "a")
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=r"is empty$"):
        analyze_dataset(settings(tmp_path, tmp_path), tmp_path / "a")
    (tmp_path / "images/a.txt").touch()
    table = tmp_path / "m.csv"
    table.write_text("file,title\na,b\n")
    with pytest.raises(UserError, match=r"no column `path` \(there are: file, title\)$"):
        analyze_dataset(settings(tmp_path, tmp_path, f"metadata={table}"), tmp_path / "a")
