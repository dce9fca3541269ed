"""A part of the worker pool's schedules, and that they find faults planted in its code."""

import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from bgexp.system import workers
from tests.faults.pool_schedules import MISHAPS, find_problem

SOURCE = Path(workers.__file__).read_text()
PLANTED = {  # a fault: its code, what stands in its place, and how it is noticed
    "a retry is forgotten": ("            if suspects:\n", "            if False:\n", "no result"),
    "the first failure counts": ("suspects.append(task)", "yield task, result", "second try"),
    "retries are not alone": (
        "                self._kill_all()\n                yield from self._run_pass(suspects, 1",
        "                yield from self._run_pass(suspects, 1",
        "not alone",
    ),
    "a late answer counts, too": (
        "        self.kill()\n        yield task",
        "        yield task",
        "does not end",
    ),
    "an answer counts twice": (
        "        yield task, message\n",
        "        yield task, message\n        yield task, message\n",
        "second result",
    ),
    "a hang is waited for": (
        "or worker.is_overdue(self._timeout_s)",
        "",
        "s for its task",
    ),
    "a hang at the start is waited for": (
        "else max(timeout_s, STARTING_SECONDS)",
        "else float('inf')",
        "s for its task",
    ),
    "an answer that came while results were used is thrown away": (
        "not self.connection.poll()",
        "self.is_overdue(timeout_s)",
        "killed after",
    ),
    "a signal is not heard": (
        "give_up = min(give_up, monotonic() + CLOSING_SECONDS)",
        "pass",
        "after a signal",
    ),
    "a signal to all is the user's mistake": (
        "            if stop.exit_code is None:\n                raise\n",
        "            raise\n",
        "a signal is told as",
    ),
    "this end holds the other one open": ("        theirs.close()\n", "", "a death is noticed"),
    "workers are left behind": (
        "            if not is_whole:",
        "            if False:",
        "gives up without need",
    ),
}


def load_pool(old: str, new: str) -> ModuleType:
    """Load the pool's module with a fault planted in it."""
    assert SOURCE.count(old) == 1, old
    module = ModuleType("bgexp.system.planted_workers")
    exec(compile(SOURCE.replace(old, new), "planted_workers.py", "exec"), module.__dict__)
    return module


def test_each_schedule_ends_and_each_task_has_exactly_one_result():
    happened = Counter()
    for seed in range(500):
        problem, mishaps = find_problem(seed)
        assert not problem
        happened += mishaps
    assert set(happened) == set(MISHAPS)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name):
    old, new, notice = PLANTED[name]
    pool = load_pool(old, new)
    problems = (find_problem(seed, pool)[0] for seed in range(1000))
    found = next(filter(None, problems), "")
    assert re.search(notice, found)
