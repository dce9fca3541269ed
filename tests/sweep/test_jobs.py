"""A real sweep, two thresholds by two refinements on two images, and everything it leaves."""

import io
import json
import re
import shutil
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bgexp.experiment import run as experiment
from bgexp.images.decode import decode_mask, load_image
from bgexp.metrics.performance import METRICS, evaluate_performance
from bgexp.sweep.console import show_results
from bgexp.tracking.run_folder import RunFolder
from tests.pages import leads_outside

pytestmark = pytest.mark.slow
SAMPLE = Path(experiment.__file__).parents[1] / "sample"
GRID = ["detector.score_threshold=0.5,0.9", "refine=none,grabcut"]
CONTRACT = {
    "schema_version": {},
    "command": {},
    "status": {},
    "run_id": {},
    "parent_run_id": {},
    "reused_from": {},
    "identity": {},
    "bgexp": {"version", "source_hash", "git_commit", "git_dirty"},
    "versions": {"python", "torch", "mlflow"},
    "device": {"requested", "used", "name"},
    "weights": {"name", "sha256"},
    "dataset": {"name", "root", "digest", "n_images", "n_with_truth", "n_population"},
    "counts": {"total", "ok", "failed", "skipped"},
    "metrics": set(METRICS),
    "checks": {"coverage", "nothing_found"},
    "categories": {},
    "check_ranks": {"coverage", "confidence"},
    "detections": {"computed", "cached"},
    "timings": {"load", "detect", "combine", "refine", "cutout"},
    "workers": {},
    "images_per_s": {},
    "peak_rss_bytes": {},
}


def run_sweep(run_cli, runs, overrides, *extra):
    """The sweep in this process: exit code, output, its folder, its jobs' summaries."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run_cli("run", "-m", f"runs_dir={runs}", *overrides, *GRID, *extra)
    assert (runs / "sweep").is_dir(), err.getvalue()
    folder = max((runs / "sweep").iterdir())
    jobs = sorted(path.parent for path in folder.glob("*/summary.json"))
    return SimpleNamespace(
        code=code,
        out=out.getvalue(),
        err=err.getvalue(),
        folder=folder,
        jobs=jobs,
        summaries=[RunFolder(job).read_summary() for job in jobs],
    )


@pytest.fixture(scope="module")
def overrides(fast):
    kept = [o for o in fast if not o.startswith(("refine", "detector.score_threshold"))]
    return [*kept, "samples=2", "detector.score_fallback=null"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("sweep") / "runs"


@pytest.fixture(scope="module")
def finished_sweep(run_cli, runs, overrides):
    return run_sweep(run_cli, runs, overrides)


@pytest.fixture(scope="module")
def store(finished_sweep, runs):
    assert finished_sweep.jobs
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")


def test_runs(finished_sweep, store):
    assert finished_sweep.code == 0, finished_sweep.err
    summaries = {summary["run_id"]: summary for summary in finished_sweep.summaries}
    parents = {summary["parent_run_id"] for summary in finished_sweep.summaries}
    assert len(summaries) == 4
    assert len(parents) == 1
    runs = store.search_runs(["1"])
    assert {run.info.run_id for run in runs} == summaries.keys() | parents
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.tags.get("mlflow.parentRunId", None) in (
            parents if run.info.run_id in summaries else {None}
        )
    [parent] = parents
    shared = json.loads((finished_sweep.folder / "sweep.json").read_text())
    assert [job["refine"]["name"] for job in shared.pop("plan")] == ["none", "grabcut"] * 2
    assert shared == {
        "run_id": parent,
        "score_floors": {"demo": 0.5},
        "varied": ["detector.score_threshold", "refine.name"],
    }
    assert {run.info.run_name for run in runs if run.info.run_id != parent} == {
        f"score {score} · {refine} · demo"
        for score in (0.5, 0.9)
        for refine in ("no refinement", "grabcut")
    }
    names = [artifact.path for artifact in store.list_artifacts(parent)]
    assert "jobs.csv" in names
    assert store.get_run(parent).data.tags["bgexp.jobs"] == "4"
    assert "system/cpu_utilization_percentage" in store.get_run(parent).data.metrics


def test_output(finished_sweep):
    # Standard error holds the progress and nothing else.
    assert all(line.startswith("images: ") for line in finished_sweep.err.splitlines())
    assert "Traceback" not in finished_sweep.out
    table = finished_sweep.out[finished_sweep.out.rindex("4 jobs") :]
    assert max(len(line) for line in table[: table.index("Shared")].splitlines()) <= 80
    lines = table.splitlines()
    assert sum("refine=grabcut" in line for line in lines) in (2, 3)  # two jobs, maybe the best
    assert sum("image_size=64" in line for line in lines) == 2  # said once, and in the command
    assert f"Files:   {finished_sweep.folder}" in table
    assert "score_threshold=0.5" in next(line for line in lines if line.startswith("Best by"))
    parent = finished_sweep.summaries[0]["parent_run_id"][:8]
    assert f"Compare: bgexp compare {parent} runs_dir={finished_sweep.folder.parents[1]}" in lines


def test_what_compares_is_what_was_run(capsys, finished_sweep):
    settings = RunFolder(finished_sweep.jobs[0]).read_settings()
    show_results([RunFolder(finished_sweep.jobs[0])], settings)
    run_id = finished_sweep.summaries[0]["run_id"]
    runs_dir = finished_sweep.folder.parents[1]
    suggestion = f"Compare: bgexp compare {run_id[:8]} ANOTHER_RUN runs_dir={runs_dir}"
    assert suggestion in capsys.readouterr().out.splitlines()
    show_results(
        [RunFolder(job) for job in finished_sweep.jobs],
        settings.model_copy(update={"runs_dir": Path("runs")}),
    )
    parent = finished_sweep.summaries[0]["parent_run_id"][:8]
    assert f"Compare: bgexp compare {parent}" in capsys.readouterr().out.splitlines()


def test_summary_contract(finished_sweep):
    for job, summary in zip(finished_sweep.jobs, finished_sweep.summaries, strict=True):
        for key, inner in CONTRACT.items():
            assert set(inner) <= set(summary[key] if inner else ()), (job, key)
        assert summary["status"] == "finished"
        assert summary["counts"] == {"total": 2, "ok": 2, "failed": 0, "skipped": 0}
        assert summary["dataset"]["n_with_truth"] == 2
        assert summary["dataset"]["n_population"] == 24
        assert summary["reused_from"] is None
        for metric in summary["metrics"].values():
            assert set(metric) == {"mean", "median", "p05", "p95", "n_scored", "n_undefined"}
            assert metric["n_scored"] + metric["n_undefined"] == 2
    assert len({summary["identity"] for summary in finished_sweep.summaries}) == 4
    seen = [summary["checks"]["nothing_found"]["mean"] for summary in finished_sweep.summaries]
    assert seen == [0, 0, 1, 1]  # no score of these weights reaches 0.9
    assert finished_sweep.summaries[2]["metrics"]["precision"]["mean"] is None
    assert not list(finished_sweep.folder.rglob(".bgexp-*"))


def test_the_network_ran_once_for_each_image(finished_sweep):
    assert [summary["detections"]["computed"] for summary in finished_sweep.summaries] == [
        2,
        0,
        0,
        0,
    ]
    assert [summary["detections"]["cached"] for summary in finished_sweep.summaries] == [0, 2, 2, 2]
    for job in finished_sweep.jobs:
        assert "score_floor: 0.5" in (job / "config.yaml").read_text()
    network = [
        pd.read_parquet(job / "per_image.parquet")["ms.detect"] for job in finished_sweep.jobs
    ]
    for times in network[1:]:  # what the network took when it ran
        np.testing.assert_array_equal(times, network[0])


def test_the_cache_changes_nothing(run_cli, finished_sweep, tmp_path, overrides):
    plain = run_sweep(run_cli, tmp_path / "runs", overrides, "cache.max_gb=0")
    assert not (tmp_path / "runs" / "cache").exists()
    assert plain.code == 0
    for old, new in zip(finished_sweep.jobs, plain.jobs, strict=True):
        assert RunFolder(new).read_summary()["detections"] == {"computed": 2, "cached": 0}
        assert (new / "masks.zip").read_bytes() == (old / "masks.zip").read_bytes()
    assert [s["identity"] for s in plain.summaries] == [
        s["identity"] for s in finished_sweep.summaries
    ]


def test_tracked_metrics_are_those_of_the_summary(finished_sweep, store):
    for summary in finished_sweep.summaries:
        tracked = store.get_run(summary["run_id"]).data.metrics
        flat_summary = {f"{k}.{n}": v for k, m in summary["metrics"].items() for n, v in m.items()}
        flat_summary |= {
            f"checks.{k}.{n}": v for k, m in summary["checks"].items() for n, v in m.items()
        }
        flat_summary |= {f"counts.{key}": value for key, value in summary["counts"].items()}
        assert "iou.mean" in flat_summary
        for key, value in flat_summary.items():
            assert tracked.get(key) == value, key
        category = next(iter(summary["categories"]))
        expected = summary["categories"][category]["metrics"]["iou"]["mean"]
        assert tracked[f"category.{category}.iou.mean"] == expected


def test_masks_give_the_scores(finished_sweep):
    for job in finished_sweep.jobs:
        rows = pd.read_parquet(job / "per_image.parquet").set_index("path")
        with zipfile.ZipFile(job / "masks.zip") as archive:
            assert archive.testzip() is None
            assert sorted(archive.namelist()) == sorted(f"{path}.png" for path in rows.index)
            for path, row in rows.iterrows():
                mask = decode_mask(archive.read(f"{path}.png"))
                assert mask.shape == load_image(SAMPLE / "images" / path, 200).shape[:2]
                assert mask.shape == (row["height"], row["width"])
                truth = SAMPLE / "masks" / path.rpartition(".")[0]
                scores = evaluate_performance(
                    mask, decode_mask((f := truth.parent / f"{truth.name}.png").read_bytes())
                )
                assert f.is_file()
                for key, value in scores.items():
                    np.testing.assert_allclose(row[key], value, atol=1e-6, err_msg=key)


def test_artifacts_are_stored_once(finished_sweep, runs):
    for job, summary in zip(finished_sweep.jobs, finished_sweep.summaries, strict=True):
        root = runs / "artifacts" / summary["run_id"] / "artifacts"
        files = [path.relative_to(job) for path in job.rglob("*") if path.is_file()]
        assert {"config.yaml", "summary.json", "per_image.parquet", "masks.zip", "log.txt"} <= {
            str(name) for name in files
        }
        assert sum(name.parts[0] == "samples" for name in files) == 2
        for name in files:
            assert (root / name).samefile(job / name), name
        assert (root / "per_image.json").is_file()


def test_pages(finished_sweep, runs):
    page = (finished_sweep.folder / "report.html").read_text()
    parent = finished_sweep.summaries[0]["parent_run_id"]
    tracked = runs / "artifacts" / parent / "artifacts" / "report.html"
    assert tracked.samefile(finished_sweep.folder / "report.html")
    for job in finished_sweep.jobs:
        assert f'href="{job.name}/report.html"' in page
        own = (job / "report.html").read_text()
        assert own.count("data:image/") >= 2 * 3
        assert "<h2" in own
    assert "score_threshold" in page
    for text in (page, own):
        links = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", text)
        assert not [link for link in links if leads_outside(link.removeprefix("data:"))]


def test_what_is_tracked_besides(finished_sweep, store):
    for summary in finished_sweep.summaries:
        run = store.get_run(summary["run_id"])
        assert run.data.params["detector.image_size"] == "64"
        assert run.data.params["refine.name"] in ("none", "grabcut")
        assert run.data.params["combine.mask_threshold"] == "0.5"
        tags = run.data.tags
        assert tags["mlflow.note.content"] == (
            f"2 of 2 images, IoU {summary['metrics']['iou']['mean']:.3f}, "
            f"boundary IoU {summary['metrics']['boundary_iou']['mean']:.3f}, "
            f"{summary['images_per_s']:.2f} images/s"
        )
        assert tags["bgexp.weights_sha256"] == summary["weights"]["sha256"]
        assert tags["bgexp.git_commit"] == str(summary["bgexp"]["git_commit"])
        assert tags["bgexp.device_requested"] == "cpu"
        assert tags["bgexp.device_used"].startswith("CPU")
        assert tags["version.torch"] == summary["versions"]["torch"]
        [data] = run.inputs.dataset_inputs
        assert data.dataset.name == "sample"
        assert summary["dataset"]["digest"].startswith(data.dataset.digest)


def fail_if_called(*_args):
    raise AssertionError("the network ran")


def test_an_identical_sweep_is_reused(run_cli, finished_sweep, runs, overrides, store, monkeypatch):
    monkeypatch.setattr(experiment, "evaluate_dataset", fail_if_called)
    again = run_sweep(
        run_cli, runs, overrides, "device=auto", "max_failed=0.1", "dataset.max_megapixels=200"
    )
    assert again.code == 0, again.out
    assert again.out.count("reused") >= 4
    for old, new, job in zip(finished_sweep.summaries, again.summaries, again.jobs, strict=True):
        changed = {"run_id", "parent_run_id", "reused_from", "files"}
        assert {k: v for k, v in old.items() if k not in changed} == {
            k: v for k, v in new.items() if k not in changed
        }
        assert new["reused_from"] == old["run_id"] != new["run_id"]
        assert new["files"]["per_image.parquet"] == old["files"]["per_image.parquet"]
        run = store.get_run(new["run_id"])
        assert run.info.status == "FINISHED"
        assert run.data.tags["bgexp.reused_from"] == old["run_id"]
        assert run.data.tags["mlflow.parentRunId"] == new["parent_run_id"] != old["parent_run_id"]
        assert run.data.metrics["iou.mean"] == new["metrics"]["iou"]["mean"]
        assert run.data.metrics == pytest.approx(
            {
                k: v
                for k, v in store.get_run(old["run_id"]).data.metrics.items()
                if k[:6] != "system"
            }
            | {k: v for k, v in run.data.metrics.items() if k[:6] == "system"}
        )
        artifact = runs / "artifacts" / new["run_id"] / "artifacts"
        assert json.loads((artifact / "summary.json").read_text())["run_id"] == new["run_id"]
        assert (artifact / "masks.zip").samefile(job / "masks.zip")
        assert (artifact / "per_image.json").is_file()
    # The earlier run's own files still tell of the earlier run.
    assert [
        RunFolder(job).read_summary() for job in finished_sweep.jobs
    ] == finished_sweep.summaries


def test_damaged_results_are_not_taken_over(run_cli, finished_sweep, runs, overrides):
    masks = finished_sweep.jobs[0] / "masks.zip"
    content = masks.read_bytes()
    masks.write_bytes(content[:-100])
    try:
        again = run_sweep(run_cli, runs, overrides)
    finally:
        masks.write_bytes(content)
    assert again.code == 0, again.out
    taken = [summary["reused_from"] for summary in again.summaries]
    assert taken[0] is None
    assert all(taken[1:])
    assert (again.jobs[0] / "masks.zip").read_bytes() == content


def test_force_computes_the_same_anew(run_cli, finished_sweep, runs, overrides):
    again = run_sweep(run_cli, runs, overrides, "force=true")
    assert again.code == 0
    for old, new in zip(finished_sweep.jobs, again.jobs, strict=True):
        assert RunFolder(new).read_summary()["reused_from"] is None
        assert not (new / "masks.zip").samefile(old / "masks.zip")
        assert (new / "masks.zip").read_bytes() == (old / "masks.zip").read_bytes()


def test_a_crash_ends_its_job_only(run_cli, runs, overrides, store, monkeypatch):
    real = experiment.prepare

    def fail_once(settings):
        if settings.detector.score_threshold == 0.9:
            raise ZeroDivisionError("boom\nand more")
        return real(settings)

    monkeypatch.setattr(experiment, "prepare", fail_once)
    crashed = run_sweep(run_cli, runs, overrides, "force=true")
    assert crashed.code == 1
    assert [summary["status"] for summary in crashed.summaries] == ["finished"] * 2 + ["failed"] * 2
    assert crashed.summaries[2]["error"] == "ZeroDivisionError: boom and more"
    assert crashed.out.count("ZeroDivisionError: boom and more") == 2
    assert "Traceback" not in crashed.out + crashed.err
    assert "fail_once" in (crashed.jobs[2] / "error.txt").read_text()
    parent = crashed.summaries[0]["parent_run_id"]
    assert store.get_run(parent).info.status == "FAILED"
    children = store.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert sorted(run.info.status for run in children) == ["FAILED"] * 2 + ["FINISHED"] * 2
    errors = [run.data.tags.get("bgexp.error", "") for run in children]
    assert sum("ZeroDivisionError: boom" in error for error in errors) == 2


def test_masks_of_a_run_are_truth_for_the_same_run(run_cli, finished_sweep, overrides, tmp_path):
    job = finished_sweep.jobs[1]  # refine=grabcut
    with zipfile.ZipFile(job / "masks.zip") as archive:
        names = [name.removesuffix(".png") for name in archive.namelist()]
        archive.extractall(tmp_path / "masks")
    for name in names:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLE / "images" / name, tmp_path / "images" / name)
    place = [f"dataset.images={tmp_path / 'images'}", f"dataset.masks={tmp_path / 'masks'}"]
    code = run_cli(
        "run",
        f"runs_dir={tmp_path / 'runs'}",
        *overrides,
        "dataset=pairs",
        *place,
        "detector.score_threshold=0.5",
        "refine=grabcut",
    )
    assert code == 0
    [folder] = (tmp_path / "runs/run").iterdir()
    summary = RunFolder(folder).read_summary()
    assert summary["metrics"]["iou"]["mean"] == 1
    assert summary["metrics"]["iou"]["n_scored"] == 2
    assert summary["metrics"]["mae"]["mean"] == 0
