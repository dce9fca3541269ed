"""Processes that work through tasks side by side; one that dies or hangs costs its task one retry.

Each worker has a pipe of its own and one task at a time: nothing is shared that a killed one could
leave locked, and its task is always known. A worker never outlives its parent.
"""

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import inf
from multiprocessing import (
    connection,
    forkserver,
    get_all_start_methods,
    get_context,
    parent_process,
)
from time import monotonic, sleep
from typing import Any, Generic, Self, TypeVar

from bgexp.errors import UserError
from bgexp.system.signals import StopRequest

T = TypeVar("T")
R = TypeVar("R")

CLOSING_SECONDS = 7.0  # after a signal, for tasks in flight
STARTING_SECONDS = 600.0  # for a worker to be ready, at least: weights may have to be downloaded
_KEPT_BYTES = 2**31 - 1  # largest free memory at the heap's end; an int in malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # as in malloc.h
_TICK = 0.2  # seconds between two checks of clock and signals
# Copies of a server that has imported everything and started no thread: a new one, after a death
# too, is there in moments. Plain fork could copy a lock that another thread holds.
_SERVED = "forkserver" in get_all_start_methods()
CONTEXT: Any = get_context("forkserver" if _SERVED else "spawn")


@dataclass(frozen=True)
class TaskFailure:
    """The result of a task whose worker died, hung or raised, twice."""

    reason: str


def preload(module: str) -> None:
    """Begin to import, for all workers to come, what they need, while this process goes on."""
    if _SERVED:
        forkserver.set_forkserver_preload(["bgexp.system.rare_collection", module])
        forkserver.ensure_running()


def end_preload() -> None:
    """End the workers' server at this process's end: readers of the output would wait for it."""
    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class WorkerPool(Generic[T, R]):
    """Processes that have their function ready for one run of tasks after the other.

    They end with the pool, which is a context.
    """

    def __init__(
        self, start: Callable[[], Callable[[T], R]], n_workers: int, timeout_s: float
    ) -> None:
        """Begin with no process; each is started as there is a task for it.

        Args:
            start: Called once in each worker; returns the function for each task. Picklable.
            n_workers: Number of workers.
            timeout_s: Time limit of a task, after which its worker is killed.
        """
        self._start, self._n_workers, self._timeout_s = start, n_workers, timeout_s
        self._workers: list[_Worker[T, R]] = []
        self._failed_starts = 0  # since one did not fail

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._kill_all()

    def run(self, tasks: Iterable[T], stop: StopRequest) -> Iterator[tuple[T, R | TaskFailure]]:
        """Yield each task with its result, as they are done.

        A task whose worker died, even while it started, is tried once more at the end, with nothing
        else running beside it. After a signal no task is begun; tasks in flight have
        CLOSING_SECONDS.

        Args:
            tasks: Small and picklable; taken only as workers become free.
            stop: Checked between tasks.

        Raises:
            UserError: Workers cannot start: their function raised, or more of them died in a row
                than work at once.
        """
        suspects: list[T] = []
        try:
            for task, result in self._run_pass(tasks, self._n_workers, stop):
                if isinstance(result, TaskFailure):
                    suspects.append(task)
                else:
                    yield task, result
            if suspects:
                self._kill_all()
                yield from self._run_pass(suspects, 1, stop)
        except UserError:
            # A signal to the whole group ends workers that are just starting, and the server that
            # forks them; here it may arrive a moment later.
            sleep(_TICK)
            if stop.exit_code is None:
                raise

    def _run_pass(
        self, tasks: Iterable[T], n_workers: int, stop: StopRequest
    ) -> Iterator[tuple[T, R | TaskFailure]]:
        waiting = iter(tasks)
        give_up = float("inf")
        is_whole = False
        try:
            while True:
                if stop.exit_code is not None:
                    give_up = min(give_up, monotonic() + CLOSING_SECONDS)
                else:
                    yield from self._assign_tasks(waiting, n_workers, stop)
                busy = [worker for worker in self._workers if worker.task]
                if not busy or monotonic() > give_up:
                    is_whole = not busy
                    return
                answering = connection.wait([worker.connection for worker in busy], _TICK)
                for worker in busy:
                    if worker.connection in answering or worker.is_overdue(self._timeout_s):
                        yield from self._take_answer(worker, n_workers)
                self._workers = [worker for worker in self._workers if worker.alive]
        finally:
            if not is_whole:  # some are in the middle of a task that nobody waits for
                self._kill_all()

    def _assign_tasks(
        self, waiting: Iterator[T], n_workers: int, stop: StopRequest
    ) -> Iterator[tuple[T, R | TaskFailure]]:
        """Give every free worker a task; start missing ones, and yield tasks of failed starts."""
        free = [worker for worker in self._workers if not worker.task]
        while stop.exit_code is None and (free or len(self._workers) < n_workers):
            tasks = list(islice(waiting, 1))
            if not tasks:
                return
            if free:
                free.pop().give(tasks[0])
                continue
            try:
                self._workers.append(_Worker(self._start, tasks[0]))
            except (EOFError, OSError) as error:  # the server that forks them died meanwhile
                reason = f"its process could not be started ({error or type(error).__name__})"
                self._count_failed_start(reason, n_workers)
                yield tasks[0], TaskFailure(reason)

    def _take_answer(
        self, worker: "_Worker[T, R]", n_workers: int
    ) -> Iterator[tuple[T, R | TaskFailure]]:
        was_ready = worker.ready
        for task, result in worker.answer(self._timeout_s):
            if not was_ready and isinstance(result, TaskFailure):
                self._count_failed_start(result.reason, n_workers)
            yield task, result
        if worker.ready:
            self._failed_starts = 0

    def _count_failed_start(self, reason: str, n_workers: int) -> None:
        """Raise UserError where starts fail again and again, rather than by what befell one."""
        self._failed_starts += 1
        if self._failed_starts > n_workers:
            raise UserError(f"workers: a worker could not start: {reason}")

    def _kill_all(self) -> None:
        for worker in self._workers:
            worker.kill()
        self._workers = []


def run_tasks(
    tasks: Iterable[T],
    start: Callable[[], Callable[[T], R]],
    n_workers: int,
    timeout_s: float,
    stop: StopRequest,
) -> Iterator[tuple[T, R | TaskFailure]]:
    """Yield each task with its result, by workers of its own, as `WorkerPool.run` does."""
    with WorkerPool(start, n_workers, timeout_s) as pool:
        yield from pool.run(tasks, stop)


def call_in_worker(function: Callable[[], R], stop: StopRequest) -> R:
    """Call a function in a worker, for what it imports: the workers have it, this process has not.

    Args:
        function: Picklable, as its result is.
        stop: Checked while the worker works.

    Raises:
        UserError: It raised, or its worker died.
        Interruption: A signal came.
    """
    results = [result for _, result in run_tasks([None], partial(_begin, function), 1, inf, stop)]
    stop.raise_if_set()
    (result,) = results
    if isinstance(result, TaskFailure):
        raise UserError(f"workers: {result.reason}")
    return result


def _begin(function: Callable[[], R]) -> Callable[[None], R]:
    result = function()
    return lambda _task: result


class _Worker(Generic[T, R]):
    """A process, this end of its pipe, and its current task."""

    def __init__(self, start: Callable[[], Callable[[T], R]], task: T) -> None:
        self.connection, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_run_worker, args=(theirs, start), daemon=True)
        self._process.start()
        theirs.close()
        self.alive, self.ready = True, False
        self.task: tuple[T, ...] = ()
        self.give(task)

    def give(self, task: T) -> None:
        self.task, self._task_start = (task,), monotonic()
        with suppress(OSError):  # it died: that shows where its answer is read
            self.connection.send(task)

    def is_overdue(self, timeout_s: float) -> bool:
        """Whether it has been longer at its task, or at its start, than it may."""
        return monotonic() - self._task_start > self._find_limit(timeout_s)

    def _find_limit(self, timeout_s: float) -> float:
        return timeout_s if self.ready else max(timeout_s, STARTING_SECONDS)

    def answer(self, timeout_s: float) -> Iterator[tuple[T, R | TaskFailure]]:
        """Read its result, or that it is dead; without either, it took too long."""
        moment = "" if self.ready else " while it started"
        if not self.connection.poll():  # else it answered while other results were used
            limit = self._find_limit(timeout_s)
            yield from self.give_up(f"took longer than {limit:g} s{moment}")
            return
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(CLOSING_SECONDS)
            death = describe_death(self._process.exitcode)
            yield from self.give_up(f"its process died{moment} ({death})")
            return
        if not self.ready:
            if isinstance(message, TaskFailure):
                raise UserError(message.reason)
            self.ready, self._task_start = True, monotonic()
            return
        (task,) = self.task
        self.task = ()
        yield task, message

    def give_up(self, reason: str) -> Iterator[tuple[T, R | TaskFailure]]:
        (task,) = self.task
        self.kill()
        yield task, TaskFailure(reason)

    def kill(self) -> None:
        self.alive, self.task = False, ()
        self._process.kill()
        self._process.join()
        self.connection.close()


def describe_death(exit_code: int | None) -> str:
    """Describe a process's exit code in words."""
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}"
    hint = ", perhaps for want of memory" if exit_code == -signal.SIGKILL else ""
    return f"{signal.Signals(-exit_code).name}{hint}"


def _run_worker(pipe: "connection.Connection", start: Callable[[], Callable[[T], R]]) -> None:
    """Run tasks in a worker's process until its pipe closes."""
    follow_parent()
    with suppress(EOFError, ConnectionError):  # the parent is gone, perhaps before it read a result
        _run_tasks(pipe, start)


def _run_tasks(pipe: "connection.Connection", start: Callable[[], Callable[[T], R]]) -> None:
    try:
        function = start()
    except Exception as error:
        pipe.send(TaskFailure(str(error) or type(error).__name__))
        return
    pipe.send(None)
    while True:
        task = pipe.recv()
        try:
            result: R | TaskFailure = function(task)
        except MemoryError:
            result = TaskFailure("its process ran out of memory")
        except Exception as error:
            result = TaskFailure(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        pipe.send(result)


def follow_parent() -> None:
    """Leave signals to the parent and end with it, in a process that serves it.

    A terminal's Ctrl-C, and SIGTERM by `timeout`, Slurm or systemd, go to the whole group.
    """
    _keep_freed_memory()
    ignore_stop_signals()
    threading.Thread(target=_die_with_parent, daemon=True).start()


def ignore_stop_signals(_worker: int = 0) -> None:
    """Ignore Ctrl-C and SIGTERM: the parent decides what becomes of the work at hand."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _keep_freed_memory() -> None:
    """Let glibc use the memory of one image again for the next.

    Otherwise whatever is larger than 32 MB comes from the system each time, in pages of 4 kB whose
    first touch takes several times as long as to write them again.
    """
    with suppress(AttributeError, OSError, TypeError):  # another system, another C library
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
