"""The wheel, away from the checkout: configs and sample come from inside it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bgexp.tracking.run_folder import RunFolder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


def call(*command, cwd, **variables):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the unpacked wheel."""
    place = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "uv", "build", "--wheel", "--out-dir", place, ROOT, cwd=place)
    [wheel] = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


def test_nothing_but_the_package_is_in_it(installed):
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"bgexp"}
    inside = {p.relative_to(ROOT / "conf") for p in (ROOT / "conf").rglob("*.yaml")}
    assert inside == {
        p.relative_to(installed / "bgexp/conf") for p in (installed / "bgexp/conf").rglob("*.yaml")
    }
    assert (installed / "bgexp/sample/LICENSES.md").is_file()


def test_the_front_door_of_the_wheel(installed, tmp_path):
    photograph = installed / "bgexp/sample/images/animals/cat.jpg"
    code = (
        "import bgexp; from pathlib import Path\n"
        f"result = bgexp.remove_background({str(photograph)!r}, device='cpu')\n"
        "result.save('cat.png'); assert result.mask.any(); assert result.cutout.any()\n"
        "assert bgexp.load_settings('run', ['refine=grabcut']).refine.name == 'grabcut'\n"
        "print(Path(bgexp.__file__).parent)"
    )
    place = call(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert place.strip() == str(installed / "bgexp")
    assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]
    assert (installed / "bgexp/py.typed").is_file()


def test_runs_from_the_wheel(installed, fast, tmp_path):
    def wheel(*arguments):
        command = [sys.executable, "-m", "bgexp.cli.main", *arguments]
        return call(*command, cwd=tmp_path, PYTHONPATH=str(installed))

    # A config that only the installed copy has shows which copy is read.
    (installed / "bgexp/conf/experiment/marker.yaml").write_text("# @package _global_\nseed: 77\n")
    assert "seed: 77" in wheel("run", "--cfg", "job", "experiment=marker")
    wheel("run", *fast, "experiment=marker")
    [folder] = (tmp_path / "runs/run").iterdir()
    summary = RunFolder(folder).read_summary()
    assert summary["dataset"]["root"] == str((installed / "bgexp/sample/images").resolve())
    assert summary["bgexp"]["git_commit"] is None
    assert summary["counts"]["ok"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
