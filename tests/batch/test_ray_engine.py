"""A batch by a real Ray that is started for it, and what is told where there is none."""

import subprocess
import sys

import pandas as pd
import pytest

from bgexp.batch.engine import LocalEngine, make_engine
from bgexp.errors import UserError
from bgexp.system.folders import LocalFolder
from tests.batch.conftest import manifest, tree
from tests.batch.test_command_faults import command
from tests.batch.test_parts import MEASURED


@pytest.mark.slow
@pytest.mark.usefixtures("first_batch")
def test_a_cluster_writes_what_this_machine_does(settings, tmp_path):
    output = tmp_path / "by_ray"
    arguments = [f"output={output}", "engine=ray", "engine.max_workers=2"]
    process = subprocess.run(command(settings, *arguments), capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert tree(output) == tree(tmp_path / "out")
    rows = (manifest(folder).drop(columns=MEASURED) for folder in (output, tmp_path / "out"))
    pd.testing.assert_frame_equal(*rows)
    assert "Traceback" not in process.stderr


@pytest.mark.slow
def test_a_cluster_that_is_not_there(settings):
    arguments = command(settings, "engine=ray", "engine.address=127.0.0.1:9")
    process = subprocess.run(arguments, capture_output=True, text=True)
    assert process.returncode == 2
    line = process.stderr.strip().splitlines()[-1]
    assert line.startswith("bgexp: engine.address: no Ray cluster at 127.0.0.1:9: ")
    assert "Traceback" not in process.stderr


def test_without_the_library_the_command_that_installs_it_is_told(settings, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "bgexp.batch.ray_engine", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"^engine: ray is not installed: .*'bgexp\[ray\]'"):
        make_engine(settings("engine=ray"), LocalFolder(tmp_path))


def test_a_share_is_done_here_whatever_the_engine(settings, tmp_path):
    output = LocalFolder(tmp_path)
    assert isinstance(make_engine(settings("engine=ray", "part=1/2"), output), LocalEngine)


def test_at_most_as_many_workers_as_at_least(settings):
    with pytest.raises(UserError, match=r"engine.max_workers: allowed: at least engine.min"):
        settings("engine=ray", "engine.min_workers=3", "engine.max_workers=2")
