"""The worker pool's own code under seeded schedules, with simulated clock and processes.

Deaths, hangs, late answers and signals come at moments of a virtual clock: minutes of work pass in
a millisecond, and a seed repeats them. `python -m tests.faults.pool_schedules` tries 100,000.
"""

import argparse
import heapq
import itertools
import math
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

from greenlet import GreenletExit, getcurrent, greenlet

from bgexp.errors import UserError
from bgexp.system import workers
from bgexp.system.signals import StopRequest

MISHAPS = (
    "abandoned",
    "death",
    "death after the answer",
    "death in the answer",
    "death of the server",
    "death while it starts",
    "error",
    "error while it starts",
    "hang",
    "hang while it starts",
    "late answer",
    "no memory",
    "signal",
    "signal to the group",
    "slow end",  # the pipe closes seconds before the process is gone
    "slow use of a result",
)
RATES = (0.02, 0.1, 0.3, 0.7)  # of a mishap that happens in a schedule, at each occasion
SHORT = 0.05  # seconds, at most, to start a process
HANDLING = 0.15  # seconds, at most, from a signal to workers to that of the pool's process
STARTING_SECONDS = 30.0  # in place of the pool's own limit
LIMIT, MOST_WAITS = 5_000.0, 50_000  # seconds and waits of a schedule, after which it does not end
TORN = object()  # a message whose sender died in the middle of it


class DeathError(BaseException):
    """The end of a simulated process."""


class ScheduleError(Exception):
    """What the pool must not do."""


class Clock:
    """Virtual time: what is to happen happens while somebody waits."""

    def __init__(self) -> None:
        self.now, self._n_waits = 0.0, 0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def call_in(self, seconds: float, action: Callable[[], object]) -> None:
        """Let something happen later."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), action))

    def wait(self, seconds: float, condition: Callable[[], object] = lambda: False) -> None:
        """Let pass time, or as much of it as a condition needs to hold."""
        end = self.now + seconds
        while not condition():
            if not self._events or self._events[0][0] > end:
                self.now = end
                break
            self.now, _, action = heapq.heappop(self._events)
            action()
        self._n_waits += 1
        if self.now > LIMIT or self._n_waits > MOST_WAITS:
            raise ScheduleError("does not end")


class PipeEnd:
    """One end of a pipe; the other one reads the end of file once nobody holds this one."""

    peer: "PipeEnd"

    def __init__(self) -> None:
        self.n_holders, self.is_closed = 1, False
        self.messages: list[Any] = []
        self.on_send: Callable[[Any], object] = lambda _message: None
        self.on_change: Callable[[], object] = lambda: None

    def poll(self) -> bool:
        return bool(self.messages) or not self.peer.n_holders

    def send(self, message: object) -> None:
        self.on_send(message)
        if not self.peer.n_holders:
            raise BrokenPipeError
        self.peer.messages.append(message)
        self.peer.on_change()

    def recv(self) -> Any:
        if not self.poll():
            raise ScheduleError("reads where nothing may come")
        message = self.messages.pop(0) if self.messages else EOFError()
        if message is TORN:
            raise OSError("got end of file during message")
        if isinstance(message, EOFError):
            raise message
        return message

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.release()

    def release(self) -> None:
        self.n_holders -= 1
        if not self.n_holders:
            self.peer.on_change()


@dataclass
class Attempt:
    """A worker's try of a task, from when it was handed over."""

    task: int
    start: float
    blocked: float  # seconds that the pool had been elsewhere until then
    end: float = math.inf
    answer: object = None


class Process:
    """A worker's process; it runs the pool's own code for workers."""

    def __init__(self, world: "World", target: Callable[..., None], args: tuple[Any, Any]) -> None:
        self._world, self._target = world, target
        self._pipe, self._start = args
        self.exitcode: int | None = None
        self.is_running = self.is_deaf = self.is_ready = False
        self.attempt: Attempt | None = None

    def start(self) -> None:
        world = self._world
        self._pipe.peer.on_send = self._take_task
        if world.happens("death of the server"):
            world.n_failed_starts += 1
            raise world.random.choice([EOFError, ConnectionResetError])
        world.block(world.random.uniform(0, SHORT))
        self._pipe.n_holders += 1
        world.processes.append(self)
        self._body = greenlet(self._run)
        self.is_running = True
        self._resume_in(world.random.uniform(0, SHORT))

    def _take_task(self, task: int) -> None:
        self.attempt = self._world.begin_attempt(task, self)

    def _run(self) -> None:
        getcurrent().process = self
        pipe = SimpleNamespace(send=self._send, recv=self._recv)
        code = 0
        try:
            self._target(pipe, self._start)
        except GreenletExit:
            return
        except DeathError as death:
            (code,) = death.args
        self.die(code)

    def _send(self, message: object) -> None:
        world = self._world
        if not self.is_ready:
            self.is_ready = message is None
            if message is None:
                self.attempt.start, self.attempt.blocked = world.clock.now, world.blocked
            else:
                world.has_start_raised = True
                self.attempt.end = world.clock.now
        elif world.happens("death in the answer"):
            self._pipe.send(TORN)
            raise DeathError(-signal.SIGKILL)
        else:
            self.attempt.end, self.attempt.answer = world.clock.now, message
        self._pipe.send(message)
        if world.happens("death after the answer"):
            raise DeathError(-signal.SIGSEGV)

    def _recv(self) -> Any:
        self._pipe.on_change = lambda: self._resume_in(0)
        while not self._pipe.poll():
            self._world.switch_to_pool()
        self._pipe.on_change = lambda: None
        return self._pipe.recv()

    def work(self, seconds: float) -> None:
        """Let pass time; for ever, too."""
        if seconds < math.inf:
            self._resume_in(seconds)
        self._world.switch_to_pool()

    def _resume_in(self, seconds: float) -> None:
        self._world.clock.call_in(seconds, lambda: self.is_running and self._body.switch())

    def die(self, code: int) -> None:
        """Close the pipe, and be gone, then or later."""
        world = self._world
        self.is_running = False
        self.death, self.blocked = world.clock.now, world.blocked
        if self.attempt and self.attempt.end == math.inf:
            self.attempt.end = world.clock.now
            world.n_failed_starts += not self.is_ready
        self._pipe.release()
        late = world.random.uniform(0, 20) if world.happens("slow end") else 0.0
        world.clock.call_in(late, lambda: self._be_gone(code))

    def _be_gone(self, code: int) -> None:
        if self.exitcode is None:
            self.exitcode = code

    def kill(self) -> None:
        self._world.check_kill(self)
        if self.is_running:
            self.die(-signal.SIGKILL)
            self._body.throw()
        self._be_gone(-signal.SIGKILL)

    def join(self, seconds: float = LIMIT) -> None:
        self._world.block(seconds, lambda: self.exitcode is not None)


class World:
    """One schedule: a pool's work with the mishaps that a seed chooses, and what was noticed."""

    def __init__(self, seed: int, pool: ModuleType) -> None:
        self.random = random.Random(seed)
        self._pool = pool
        self._rates = {m: self.random.choice(RATES) for m in MISHAPS if self.random.random() < 0.2}
        self.n_workers = self.random.randint(1, 4)
        self.timeout_s = self.random.choice([1.0, 3.0, 20.0])
        self.clock = Clock()
        self.blocked = 0.0  # seconds that the pool spent elsewhere than waiting for answers
        self.stop = StopRequest()
        self.processes: list[Process] = []
        self.attempts: dict[int, list[Attempt]] = defaultdict(list)
        self.n_failed_starts, self.has_start_raised = 0, False
        self.mishaps: Counter[str] = Counter()
        self._stop_time, self._blocked_at_stop = math.inf, 0.0
        self._early_kills: list[str] = []

    def happens(self, mishap: str) -> bool:
        """Whether something goes wrong here."""
        happens = self.random.random() < self._rates.get(mishap, 0.0)
        self.mishaps[mishap] += happens
        return happens

    def block(self, seconds: float, condition: Callable[[], object] = lambda: False) -> None:
        """Let pass time in which the pool looks at no answer."""
        start = self.clock.now
        self.clock.wait(seconds, condition)
        self.blocked += self.clock.now - start

    def switch_to_pool(self) -> None:
        """Leave a process, until its next event."""
        getcurrent().parent.switch()

    # What stands in place of the operating system.

    def replace_system(self) -> Any:
        """Let the pool's module have this world's clock and processes."""

        def make_pipe() -> tuple[PipeEnd, PipeEnd]:
            ours, theirs = PipeEnd(), PipeEnd()
            ours.peer, theirs.peer = theirs, ours
            return ours, theirs

        def make_process(target: Callable[..., None], args: Any, daemon: bool) -> Process:
            assert daemon
            return Process(self, target, args)

        def wait(ends: list[PipeEnd], seconds: float) -> list[PipeEnd]:
            self.clock.wait(seconds, lambda: any(end.poll() for end in ends))
            return [end for end in ends if end.poll()]

        def follow_parent() -> None:
            getcurrent().process.is_deaf = True

        return mock.patch.multiple(
            self._pool,
            CONTEXT=SimpleNamespace(Pipe=make_pipe, Process=make_process),
            connection=SimpleNamespace(wait=wait),
            monotonic=lambda: self.clock.now,
            sleep=self.block,
            follow_parent=follow_parent,
            STARTING_SECONDS=STARTING_SECONDS,
        )

    def send_signal(self, to_group: bool) -> None:
        """Let a signal come: to the pool's process, or to its workers as well, a little earlier."""
        if to_group:
            for process in self.processes:
                if process.is_running and not process.is_deaf:
                    process.die(-signal.SIGTERM)
                    process._body.throw()
            self._rates["death of the server"] = 1.0
        self.clock.call_in(self.random.uniform(0, HANDLING), self._set_stop)

    def _set_stop(self) -> None:
        self.stop.exit_code = 143
        if self._stop_time == math.inf:
            self._stop_time, self._blocked_at_stop = self.clock.now, self.blocked

    # What workers do.

    def start_worker(self) -> Callable[[int], str]:
        """Start, in a worker's process."""
        process = getcurrent().process
        process.work(self.random.uniform(0, 2))
        if self.happens("hang while it starts"):
            process.work(math.inf)
        if self.happens("death while it starts"):
            raise DeathError(3)
        if self.happens("error while it starts"):
            raise ValueError("no weights")
        return self.do_task

    def do_task(self, task: int) -> str:
        """Do a task, in a worker's process."""
        process = getcurrent().process
        seconds = self.timeout_s * self.random.uniform(0, 0.9)
        if self.happens("late answer"):  # or nearly
            seconds = self.timeout_s + self.random.uniform(-0.3, 0.5)
        process.work(math.inf if self.happens("hang") else seconds)
        if self.happens("death"):
            raise DeathError(-signal.SIGSEGV)
        if self.happens("error"):
            raise ValueError("a strange image")
        if self.happens("no memory"):
            raise MemoryError
        return f"{task} is done"

    # What must hold meanwhile.

    def begin_attempt(self, task: int, process: Process) -> Attempt:
        """Note that a task is handed to a process."""
        attempts = self.attempts[task]
        others = [p for p in self.processes if p is not process and p.exitcode is None]
        if attempts and others:
            raise ScheduleError("a second try is not alone")
        if len(attempts) > 1:
            raise ScheduleError("a third try")
        attempts.append(Attempt(task, self.clock.now, self.blocked))
        return attempts[-1]

    def check_kill(self, process: Process) -> None:
        """Look at what a process was at when the pool killed it."""
        attempt = process.attempt
        limit = self.timeout_s if process.is_ready else STARTING_SECONDS
        seconds = min(attempt.end, self.clock.now) - attempt.start
        slack = self.blocked - attempt.blocked + self._pool._TICK + SHORT
        if seconds > limit + slack:
            raise ScheduleError(f"a worker had {seconds:.2f} s for its task")
        if attempt.answer is None and not process.is_running and attempt.end == process.death:
            unnoticed = self.clock.now - process.death - (self.blocked - process.blocked)
            if unnoticed > self._pool._TICK + SHORT:
                raise ScheduleError(f"a death is noticed after {unnoticed:.2f} s")
        is_unread = attempt.answer is not None and bool(process._pipe.peer.messages)
        is_at_work = process.is_running and attempt.end == math.inf
        if seconds <= limit and (is_at_work or is_unread):
            self._early_kills.append(f"killed after {seconds:.2f} s of {self.timeout_s:g}")

    def run(self) -> None:
        """Let a pool work through tasks, once or twice, and check what comes of it."""
        for name, to_group in (("signal", False), ("signal to the group", True)):
            if self.happens(name):
                moment = self.random.uniform(0, self.random.choice([0.2, 10]))
                self.clock.call_in(moment, lambda to_group=to_group: self.send_signal(to_group))
        pool = self._pool.WorkerPool(self.start_worker, self.n_workers, self.timeout_s)
        with self.replace_system(), pool:
            for first in range(0, self.random.choice([1000, 2000]), 1000):
                n_tasks = self.random.choice([0, 1, 2, self.random.randint(3, 12)])
                self._check_run(pool, range(first, first + n_tasks))
        if any(process.exitcode is None for process in self.processes):
            raise ScheduleError("a process is left behind")
        if not all(process._pipe.peer.is_closed for process in self.processes):
            raise ScheduleError("a pipe is left open")

    def _check_run(self, pool: Any, tasks: range) -> None:
        self.has_start_raised = False
        before, self._early_kills = self.stop.exit_code, []
        results: dict[int, object] = {}
        is_whole = False
        try:
            is_whole = self._use_results(pool.run(self._give_tasks(tasks), self.stop), results)
        except UserError as error:
            if self.stop.exit_code is not None:
                raise ScheduleError(f"a signal is told as {error}") from None
            if not (self.has_start_raised or self.n_failed_starts > 1):
                raise ScheduleError(f"gives up without need: {error}") from None
        if before is not None and results:
            raise ScheduleError("works after a signal")
        allowed = self._pool.CLOSING_SECONDS + 2 * self._pool._TICK + SHORT
        if self.clock.now - self._stop_time > allowed + self.blocked - self._blocked_at_stop:
            raise ScheduleError("goes on after a signal")
        if is_whole and self.stop.exit_code is None:
            self._check_whole(tasks, results)

    def _check_whole(self, tasks: range, results: dict[int, object]) -> None:
        if results.keys() != set(tasks):
            raise ScheduleError(f"no result of {set(tasks) - results.keys()}")
        if self._early_kills:
            raise ScheduleError(self._early_kills[0])
        if self.has_start_raised:
            raise ScheduleError("a start that raised goes unnoticed")

    def _give_tasks(self, tasks: range) -> Iterator[int]:
        for task in tasks:
            if self.stop.exit_code is not None:
                raise ScheduleError("begins a task after a signal")
            busy = [p for p in self.processes if p.is_running and p.attempt.end == math.inf]
            if len(busy) >= self.n_workers:
                raise ScheduleError("takes a task that no worker is free for")
            yield task

    def _use_results(self, found: Iterator[tuple[int, Any]], results: dict[int, object]) -> bool:
        """Take results; return whether all that there are."""
        for task, result in found:
            if task in results:
                raise ScheduleError(f"a second result of {task}")
            results[task] = result
            self._check_result(task, result)
            if self.happens("slow use of a result"):
                self.block(self.random.uniform(0, 2 * self.timeout_s))
            if self.happens("abandoned"):
                found.close()
                return False
        return True

    def _check_result(self, task: int, result: object) -> None:
        attempts = self.attempts[task]
        if isinstance(result, self._pool.TaskFailure):
            if len(attempts) < 2 and not self.mishaps["death of the server"]:
                raise ScheduleError("failed without a second try")
        elif result != f"{task} is done" or attempts[-1].answer != result:
            raise ScheduleError(f"{result!r} as the result of {task}")


def find_problem(seed: int, pool: ModuleType = workers) -> tuple[str, Counter[str]]:
    """Run one schedule; return what was wrong, or nothing, and which mishaps it had."""
    world = World(seed, pool)
    try:
        world.run()
    except Exception as error:
        return f"seed {seed}: {type(error).__name__}: {error}", world.mishaps
    return "", world.mishaps


def main() -> int:
    """Run schedules; return 1 where one was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first; the next has the next")
    options = parser.parse_args()
    start = monotonic()
    mishaps: Counter[str] = Counter()
    problems = []
    for seed in range(options.seed, options.seed + options.schedules):
        problem, happened = find_problem(seed)
        mishaps += happened
        problems += [problem] if problem else []
    print(*problems[:20], sep="\n", end="\n" * bool(problems))
    print(*(f"{n:,} times {mishap}" for mishap, n in sorted(mishaps.items())), sep=", ")
    seconds = monotonic() - start
    print(f"worker pool: {options.schedules:,} schedules in {seconds:.0f} s: {len(problems):,} bad")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
