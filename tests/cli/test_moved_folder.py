"""Commands on a runs folder that was renamed: nothing is looked for where it was."""

import json
import shutil

import pytest

from bgexp.system.atomic import write_json
from tests.conftest import SAMPLE

pytestmark = pytest.mark.slow


@pytest.fixture
def archive(two_runs, tmp_path):
    """The folder of a sweep under another name; it goes back afterwards."""
    moved = two_runs.rename(tmp_path / "archive 100%")
    yield moved
    moved.rename(two_runs)


def test_runs_of_a_renamed_folder_are_compared_reviewed_and_judged(archive, two_runs, bgexp_cli):
    code, out, err = bgexp_cli("compare", f"runs_dir={archive}")
    assert (code, err) == (0, ""), err
    assert str(two_runs) not in out
    code, out, err = bgexp_cli("review", f"runs_dir={archive}", "n_pairs=2")
    assert code == 0, err
    assert str(archive) in out
    code, out, err = bgexp_cli("promote", f"runs_dir={archive}", "dry_run=true")
    assert code in (0, 1), err
    assert "Traceback" not in err
    assert not two_runs.exists()


def test_a_run_is_promoted_whose_weights_lay_in_the_renamed_folder(
    fast, weights, tmp_path, bgexp_cli, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # the runs folder is given as people give it
    trained = tmp_path / "runs" / "train"
    trained.mkdir(parents=True)
    shutil.copy(weights, trained)
    settings = [word for word in fast if not word.startswith("detector.weights")]
    code, _, err = bgexp_cli("run", *settings, f"detector.weights={trained / weights.name}")
    assert code == 0, err
    [path] = (tmp_path / "runs" / "run").glob("*/summary.json")
    summary = json.loads(path.read_text())
    summary["bgexp"]["git_dirty"] = False  # whatever is being changed here
    write_json(path, summary)
    (tmp_path / "runs").rename(tmp_path / "archive")
    code, out, err = bgexp_cli("promote", "run=last", "runs_dir=archive")
    assert code == 0, err
    assert "is the champion" in out
    (tmp_path / "archive").rename(tmp_path / "again")
    overrides = f"input={SAMPLE / 'images/birds'}", "output=out", "runs_dir=again"
    code, _, err = bgexp_cli("batch", "model=champion", *overrides, "dry_run=true")
    assert code == 0, err
