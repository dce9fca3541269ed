import os
import platform
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from bgexp.errors import Interruption, UserError
from bgexp.system import workers
from bgexp.system.signals import StopRequest
from bgexp.system.workers import TaskFailure, WorkerPool, call_in_worker, run_tasks

SECONDS = 60.0  # more than any task here takes
MANY = 64 * 2**20  # bytes; glibc by itself returns as many at once


# What workers start with; they are pickled, so they stand at the top level.


def make_square():
    return square


def square(number):
    return number * number


def make_behave(folder):
    return partial(behave, folder=folder)


def behave(task, folder):
    """Do what the task says; leave a file for each call."""
    name, action = task
    count = len(list(folder.glob(f"{name}-*"))) + 1
    (folder / f"{name}-{count}-{os.getpid()}").touch()
    if action == "die" or (action == "die once" and count == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "signal":  # as `timeout` sends it to the whole group
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    if action == "hang":
        time.sleep(600)
    if action == "no memory":
        raise MemoryError
    if action == "wait":
        time.sleep(0.5)
    return f"{name} done"


def make_count_faults():
    return count_faults


def count_faults(times):
    """Count pages that this process touches first, for the last of several large arrays."""
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        b"x" * MANY
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return faults


def fail_start():
    raise ValueError("detector.weights: no such file: x")


def die_at_start():
    os._exit(3)


def make_after_deaths(folder, deaths):
    """Start a worker that dies in each of its first starts."""
    number = len(list(folder.iterdir())) + 1
    (folder / f"{number}-{os.getpid()}").touch()
    if number <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return square


def test_signals_are_the_parents(tmp_path):
    tasks = [("a", "signal"), ("b", "signal")]
    results = collect_results(tasks, partial(make_behave, tmp_path))
    assert results == {("a", "signal"): "a done", ("b", "signal"): "b done"}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_worker_that_a_signal_ends_before_it_begins_is_no_mistake_of_the_user():
    stop = StopRequest()
    tasks = iter([1])

    def begin():
        yield next(tasks)
        stop.exit_code = 143

    assert collect_results(begin(), die_at_start, n_workers=2, stop=stop) == {}


def collect_results(tasks, start, n_workers=2, timeout_s=SECONDS, stop=None):
    return dict(run_tasks(tasks, start, n_workers, timeout_s, stop or StopRequest()))


def test_every_task_has_its_result():
    assert collect_results(range(20), make_square) == {n: n * n for n in range(20)}


def test_no_tasks_start_no_worker():
    assert collect_results([], die_at_start) == {}


def test_tasks_are_taken_only_as_workers_become_free():
    numbers = []

    def tasks():
        for number in range(50):
            numbers.append(number)
            yield number

    results = run_tasks(tasks(), make_square, 2, SECONDS, StopRequest())
    next(results)
    assert len(numbers) <= 4
    results.close()


def test_a_worker_that_dies_costs_its_task_one_retry(tmp_path):
    tasks = [("a", ""), ("b", "die once"), ("c", ""), ("d", "")]
    results = collect_results(tasks, partial(make_behave, tmp_path))
    assert results == {(name, action): f"{name} done" for name, action in tasks}
    assert sorted(path.name[:3] for path in tmp_path.iterdir()) == [
        "a-1",
        "b-1",
        "b-2",
        "c-1",
        "d-1",
    ]


def test_one_that_dies_twice_is_lost_and_the_others_are_done(tmp_path):
    tasks = [("a", "die"), ("b", ""), ("c", "")]
    results = collect_results(tasks, partial(make_behave, tmp_path))
    assert results[tasks[0]] == TaskFailure(
        "its process died (SIGKILL, perhaps for want of memory)"
    )
    assert results[tasks[1]] == "b done"
    assert results[tasks[2]] == "c done"
    # The second try was alone, after all others.
    newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert newest.name.startswith("a-2")


def test_one_that_hangs_is_given_up(tmp_path):
    results = collect_results(
        [("a", "hang"), ("b", "")], partial(make_behave, tmp_path), timeout_s=1.0
    )
    assert results[("a", "hang")] == TaskFailure("took longer than 1 s")
    assert results[("b", "")] == "b done"


def test_want_of_memory_is_tried_again_alone(tmp_path):
    results = collect_results([("a", "no memory")], partial(make_behave, tmp_path))
    assert results[("a", "no memory")] == TaskFailure("its process ran out of memory")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_start_that_fails_is_told():
    with pytest.raises(UserError, match=r"^detector.weights: no such file: x$"):
        collect_results([1], fail_start)


def test_a_start_that_dies_is_told():
    with pytest.raises(UserError, match=r"^workers: a worker could not start: .*exit code 3"):
        collect_results([1], die_at_start)


def test_a_worker_that_dies_while_it_starts_costs_its_task_one_retry(tmp_path):
    start = partial(make_after_deaths, tmp_path, 1)
    assert collect_results(range(4), start, n_workers=1) == {n: n * n for n in range(4)}
    assert len(list(tmp_path.iterdir())) == 3  # the retry has a worker of its own


def test_a_task_whose_worker_dies_twice_while_it_starts_is_lost_and_the_others_are_done(
    monkeypatch,
):
    deaths = iter([True, False, True])
    begin = workers._Worker.__init__

    def begin_and_die(worker, start, task):
        begin(worker, start, task)
        if next(deaths, False):
            worker._process.kill()

    monkeypatch.setattr(workers._Worker, "__init__", begin_and_die)
    results = collect_results(range(3), make_square, n_workers=1)
    reason = "its process died while it started (SIGKILL, perhaps for want of memory)"
    assert results == {0: TaskFailure(reason), 1: 1, 2: 4}


def test_workers_that_never_start_end_the_work_after_few_of_them(tmp_path):
    with pytest.raises(UserError, match=r"^workers: a worker could not start: .*SIGKILL"):
        collect_results(range(1000), partial(make_after_deaths, tmp_path, 1000))
    assert len(list(tmp_path.iterdir())) <= 4


def test_the_death_of_the_server_that_forks_workers_costs_one_retry(monkeypatch):
    deaths = iter([True])
    begin = workers._Worker.__init__

    def kill_server_and_begin(worker, start, task):
        if next(deaths, False):
            raise EOFError  # as it comes of a server that dies while it forks
        begin(worker, start, task)

    monkeypatch.setattr(workers._Worker, "__init__", kill_server_and_begin)
    assert collect_results(range(3), make_square) == {0: 0, 1: 1, 2: 4}


def test_after_a_signal_what_is_in_flight_is_finished_and_no_more_begun(tmp_path):
    stop = StopRequest()
    finished_tasks = []
    tasks = [(str(n), "wait") for n in range(20)]
    for task, _ in run_tasks(tasks, partial(make_behave, tmp_path), 2, SECONDS, stop):
        finished_tasks.append(task)
        stop.exit_code = 130
    assert 1 <= len(finished_tasks) <= 3
    assert len(list(tmp_path.iterdir())) == len(finished_tasks)


def test_no_worker_outlives_its_parent(tmp_path):
    script = (
        "from functools import partial; from pathlib import Path\n"
        "from tests.system.test_workers import make_behave\n"
        "from bgexp.system.signals import StopRequest\n"
        "from bgexp.system.workers import run_tasks\n"
        "if __name__ == '__main__':\n"
        f"    start = partial(make_behave, Path({str(tmp_path)!r}))\n"
        "    list(run_tasks([('a', 'hang'), ('b', 'hang')], start, 2, 600, StopRequest()))\n"
    )
    file = tmp_path.parent / "parent.py"
    file.write_text(script)
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, str(file)], env={**os.environ, "PYTHONPATH": str(root)}
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(path.name.rpartition("-")[2]) for path in tmp_path.iterdir()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    gone = [not psutil.pid_exists(pid) or _ends(pid) for pid in pids]
    assert gone == [True, True]


def _ends(pid):
    try:
        process = psutil.Process(pid)
        process.wait(20)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to")
@pytest.mark.parametrize("n_tasks", [1, 2])
def test_a_worker_whose_parent_is_gone_just_ends(n_tasks):
    """Gone before it read a result: the worker's next look is no end of file, but a reset."""
    ours, theirs = workers.CONTEXT.Pipe()
    process = workers.CONTEXT.Process(target=workers._run_worker, args=(theirs, make_square))
    process.start()
    theirs.close()
    assert ours.recv() is None
    for _ in range(n_tasks):
        ours.send(0)
    assert ours.poll(30)
    ours.close()
    process.join(30)
    assert process.exitcode == 0


def test_a_workers_memory_serves_again():
    """Expect that a worker does not ask the system again for memory that it has freed."""
    ((_, once),) = run_tasks([1], make_count_faults, 1, SECONDS, StopRequest())
    ((_, faults),) = run_tasks([3], make_count_faults, 1, SECONDS, StopRequest())
    pages = MANY // resource.getpagesize()
    assert once >= pages // 2
    assert faults <= pages // 100


def test_what_a_worker_is_asked_for_comes_back():
    assert call_in_worker(os.getpid, StopRequest()) != os.getpid()
    with pytest.raises(UserError, match=r"detector\.weights: no such file: x"):
        call_in_worker(fail_start, StopRequest())
    with pytest.raises(UserError, match="exit code 3"):
        call_in_worker(die_at_start, StopRequest())
    with pytest.raises(Interruption):
        call_in_worker(os.getpid, StopRequest(130))


def test_the_server_ends_with_the_program():
    script = (
        "from multiprocessing import forkserver; import psutil\n"
        "from bgexp.system.workers import end_preload, preload\n"
        "preload('bgexp.errors'); end_preload()\n"
        "server = psutil.Process(forkserver._forkserver._forkserver_pid)\n"
        "print(server.wait(30))\n"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert process.stdout.strip().endswith("9"), process.stderr  # SIGKILL


def test_imports_of_a_program_and_its_workers_are_seldom_interrupted(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import gc, os, sys\n"
        "from bgexp.cli.main import program\n"
        "from bgexp.system.signals import StopRequest\n"
        "from bgexp.system.workers import call_in_worker, preload\n"
        "if __name__ == '__main__':\n"
        "    preload('bgexp.errors')\n"
        "    worker = call_in_worker(gc.get_threshold, StopRequest())\n"
        "    sys.argv = ['bgexp', '--version']\n"
        "    program()\n"
        "    print(worker[0], gc.get_threshold()[0])\n"
    )
    process = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert process.stdout.splitlines()[1:] == ["20000 20000"], process.stderr


def test_a_pool_keeps_its_workers_from_run_to_run(tmp_path):
    stop = StopRequest()
    with WorkerPool(partial(make_behave, tmp_path), 2, SECONDS) as pool:
        for run in range(3):
            names = [f"{run}{n}" for n in range(4)]
            results = dict(pool.run([(name, "wait") for name in names], stop))
            assert results == {(name, "wait"): f"{name} done" for name in names}
    processes = {path.name.rpartition("-")[2] for path in tmp_path.iterdir()}
    assert len(processes) == 2
    assert not any(psutil.pid_exists(int(process)) for process in processes)


def test_a_pool_goes_on_after_a_death_and_after_a_run_that_was_left(tmp_path):
    stop = StopRequest()
    with WorkerPool(partial(make_behave, tmp_path), 2, SECONDS) as pool:
        results = dict(pool.run([("a", "die"), ("b", "wait")], stop))
        assert results["b", "wait"] == "b done"
        assert isinstance(results["a", "die"], TaskFailure)
        for _ in pool.run([("c", "wait"), ("d", "hang")], stop):
            break
        assert dict(pool.run([("e", "wait")], stop)) == {("e", "wait"): "e done"}
