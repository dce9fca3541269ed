"""The states of Slurm's jobs, from what squeue prints."""

import pytest

from bgexp.system.slurm_queue import QueueWatcher


@pytest.fixture
def watcher():
    watcher = QueueWatcher()
    for job in ("12", "12_0", "12_1", "12_2"):
        watcher.register_job(job)
    watcher.update = lambda: None  # there is no squeue here
    return watcher


def test_states(watcher):
    states = watcher.read_info("12_0|RUNNING|node1\n12_1|FAILED|node2\n7_0|PENDING|\n")
    assert states["12_0"] == {"JobID": "12_0", "State": "RUNNING", "NodeList": "node1"}
    watcher._info_dict.update(states)
    assert not watcher.is_done("12_0")
    assert watcher.get_state("12_1") == "FAILED"
    assert watcher.is_done("12_1")
    assert watcher.is_done("12_2")  # Slurm has forgotten it


def test_nothing_is_asked_when_all_have_ended(watcher):
    assert watcher._make_command()[:2] == ["squeue", "--me"]
    watcher._finished |= watcher._registered
    assert watcher._make_command() is None
