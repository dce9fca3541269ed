"""Tasks dealt out among workers of a real Ray: each has one result, whoever dies."""

import os
from functools import partial

import pytest

from bgexp.errors import HaltedError, UserError
from bgexp.system.signals import StopRequest
from bgexp.system.workers import TaskFailure

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    from bgexp.system.ray_cluster import RayCluster

    yield RayCluster(None, cpus=1, gpus=0.0, max_workers=2)
    ray.shutdown()


def start(place):
    return partial(double, place)


def double(place, number):
    """Double a number; 3 dies at its first try, 5 at each, 7 raises."""
    seen = place / str(number)
    if number == 5 or (number == 3 and not seen.exists()):
        seen.touch()
        os._exit(1)
    if number == 7:
        raise ValueError("seven")
    return 2 * number


def test_each_task_has_one_result(cluster, tmp_path):
    results = dict(cluster.run(range(10), partial(start, tmp_path), StopRequest()))
    failed = {task for task, result in results.items() if isinstance(result, TaskFailure)}
    assert failed == {5, 7}
    assert results[5].reason.startswith("its process died")
    assert results[7] == TaskFailure("ValueError: seven")
    assert {task: result for task, result in results.items() if task not in failed} == {
        number: 2 * number for number in range(10) if number not in failed
    }


def test_without_tasks_there_is_no_result(cluster, tmp_path):
    assert list(cluster.run([], partial(start, tmp_path), StopRequest())) == []


def test_after_a_signal_no_task_is_begun(cluster, tmp_path):
    stop = StopRequest()
    stop.exit_code = 143
    assert list(cluster.run(range(10), partial(start, tmp_path), stop)) == []


def refuse():
    raise UserError("detector.labels: no such class")


def test_a_worker_that_cannot_start_says_why(cluster):
    with pytest.raises(UserError, match=r"^detector\.labels: no such class$"):
        list(cluster.run([1], refuse, StopRequest()))


def test_workers_that_die_as_they_start_end_the_work(cluster):
    with pytest.raises(HaltedError, match=r"^engine: workers die as they start: "):
        list(cluster.run([1], partial(os._exit, 1), StopRequest()))


def test_a_call_raises_what_its_function_does(cluster):
    assert cluster.call(partial(sum, [1, 2]), StopRequest()) == 3
    with pytest.raises(UserError, match=r"^detector\.labels: no such class$"):
        cluster.call(refuse, StopRequest())
