"""Commands on a runs folder that was renamed: nothing is looked for where it was."""

import pytest

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
