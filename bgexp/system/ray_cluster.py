"""The workers of a Ray cluster: to call them, and to deal out tasks among them."""

import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from math import inf
from tempfile import TemporaryFile
from typing import Any, Generic, TypeVar

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports to its makers
# Ray gives its workers the least of the cores; beside any other work they would come to a halt.
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what becomes of a task is told here

import ray
from ray.exceptions import RayError, RayTaskError

from bgexp.errors import HaltedError, UserError, get_last_line
from bgexp.system.signals import StopRequest
from bgexp.system.workers import TaskFailure

T = TypeVar("T")
R = TypeVar("R")

_CONNECT_S = 10.0  # for the head of a cluster to answer
_STARTS = 3  # workers in a row that may die while they start
_TICK = 0.2  # seconds between two looks at whether a signal came


class RayCluster:
    """The workers of a Ray cluster, which this process is connected to until it ends.

    Attributes:
        n_workers: How many there are, or may be where the cluster adds machines by itself.
    """

    def __init__(
        self,
        address: str | None,
        cpus: int,
        gpus: float,
        min_workers: int = 1,
        max_workers: int | None = None,
    ) -> None:
        """Connect to the cluster, or start one.

        Args:
            address: Of its head; `auto` for the one that runs here; None: it is started here.
            cpus: Cores of each worker.
            gpus: GPUs of each worker.
            min_workers: How many it has room for at least.
            max_workers: How many are asked for, whether or not it has room for them now.

        Raises:
            UserError: There is none at the address, or it has no room for the workers.
        """
        _connect(address)
        self._cpus, self._gpus = cpus, gpus
        room = self._count_room()
        if room < min_workers and max_workers is None:
            raise UserError(
                f"engine.min_workers: the cluster has room for {room} workers of {cpus} "
                f"cores and {gpus:g} GPUs (got {min_workers}; give max_workers where "
                "it adds machines by itself)"
            )
        self.n_workers = max(min_workers, max_workers or room)

    def call(self, function: Callable[[], R], stop: StopRequest) -> R:
        """Call a function in a worker.

        Raises:
            UserError: It raised one.
            HaltedError: It failed otherwise, or the cluster is gone.
            Interruption: A signal came.
        """
        with _forward_errors():
            call: Any = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus)(_call)
            pending = [call.remote(function)]
            while pending:
                stop.raise_if_set()
                done, pending = ray.wait(pending, timeout=_TICK)
            result: R = ray.get(done[0])
        return result

    def run(
        self, tasks: Iterable[T], start: Callable[[], Callable[[T], R]], stop: StopRequest
    ) -> Iterator[tuple[T, R | TaskFailure]]:
        """Yield each task with its result, as `run_tasks` does, by workers that last until the end.

        A task whose worker died, alone or with its machine, is given to another one, once.

        Raises:
            UserError: A worker could not start.
            HaltedError: The cluster is gone.
        """
        pool: _Pool[T, R] = _Pool(tasks, lambda: self._start_worker(start), self.n_workers)
        try:
            while stop.exit_code is None and pool.give_out():
                with _forward_errors():
                    answers = pool.wait()
                for answer in answers:
                    yield from pool.take(answer)
        finally:
            pool.kill_all()

    def _start_worker(self, start: Callable[[], Callable[[T], R]]) -> Any:  # noqa: ANN401
        make: Any = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus)(_Worker)
        return make.remote(start)

    def _count_room(self) -> int:
        """Return how many workers there is room for, each on one machine."""
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        by_cpus = [machine.get("CPU", 0.0) // self._cpus for machine in machines]
        by_gpus = [
            machine.get("GPU", 0.0) // self._gpus if self._gpus else inf for machine in machines
        ]
        return sum(map(int, map(min, by_cpus, by_gpus)))


class _Worker(Generic[T, R]):
    """A worker of the cluster: it has its function ready for one task after the other."""

    def __init__(self, start: Callable[[], Callable[[T], R]]) -> None:
        self._start = start

    def begin(self) -> str:
        """Return why it cannot begin; "" where it can."""
        try:
            self._function = self._start()
        except Exception as error:
            return str(error) or type(error).__name__
        return ""

    def work(self, task: T) -> R | TaskFailure:
        try:
            return self._function(task)
        except Exception as error:
            return TaskFailure(f"{type(error).__name__}: {get_last_line(error)}")


class _Pool(Generic[T, R]):
    """Workers with at most one task each, and the tasks that wait for one."""

    def __init__(self, tasks: Iterable[T], start_worker: Callable[[], Any], n_workers: int) -> None:
        self._tasks, self._retries = iter(tasks), deque[T]()
        self._start_worker = start_worker
        self._starting: dict[Any, Any] = {}  # by its answer, each worker
        self._busy: dict[Any, tuple[Any, T, bool]] = {}  # the same, its task, and whether again
        self._free: list[Any] = []
        self._n_deaths = 0  # in a row, of workers that were starting
        for _ in range(n_workers):
            self._add_worker()

    def give_out(self) -> bool:
        """Give each free worker a task; return whether there is anything to wait for."""
        while self._free:
            task, again = list(islice(self._tasks, 1)), False
            if not task and self._retries:
                task, again = [self._retries.popleft()], True
            if not task:
                return bool(self._busy)
            worker = self._free.pop()
            self._busy[worker.work.remote(task[0])] = worker, task[0], again
        return True

    def wait(self) -> list[Any]:
        """Return what is answered within a moment."""
        answers = [*self._busy, *self._starting]
        answered: list[Any] = ray.wait(answers, num_returns=len(answers), timeout=_TICK)[0]
        return answered

    def take(self, answer: Any) -> Iterator[tuple[T, R | TaskFailure]]:  # noqa: ANN401
        """Take a worker's answer: that it is ready, a task's result, or that it died."""
        if answer in self._starting:
            self._take_ready(answer)
            return
        worker, task, again = self._busy.pop(answer)
        try:
            result = ray.get(answer)
        except RayError as error:
            self._add_worker()
            if again:
                yield task, TaskFailure(f"its process died ({get_last_line(error)})")
            else:
                self._retries.append(task)
        else:
            self._free.append(worker)
            yield task, result

    def kill_all(self) -> None:
        busy = [worker for worker, *_ in self._busy.values()]
        for worker in (*self._starting.values(), *busy, *self._free):
            with suppress(RayError):
                ray.kill(worker)

    def _take_ready(self, answer: Any) -> None:  # noqa: ANN401
        worker = self._starting.pop(answer)
        try:
            reason = ray.get(answer)
        except RayError as error:
            self._n_deaths += 1
            if self._n_deaths == _STARTS:
                raise HaltedError(
                    f"engine: workers die as they start: {get_last_line(error)}"
                ) from error
            self._add_worker()
            return
        if reason:
            raise UserError(reason)
        self._n_deaths = 0
        self._free.append(worker)

    def _add_worker(self) -> None:
        worker = self._start_worker()
        self._starting[worker.begin.remote()] = worker


def _connect(address: str | None) -> None:
    """Connect to the cluster, once in a process."""
    if ray.is_initialized():
        return
    said: list[str] = []
    try:
        _try_address(address)
        with _collect_stderr(said) if address else nullcontext():
            ray.init(
                address=address or "local",
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (OSError, RuntimeError, ValueError, RayError) as error:
        if any("InvalidAuthToken" in line for line in said):
            raise UserError(
                f"engine.address: the Ray cluster at {address} wants another token, or one at all: "
                "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN where ~/.ray/auth_token is not its own"
            ) from error
        reason = " ".join(str(error).split())[:200]
        place = address or "this machine"
        raise UserError(f"engine.address: no Ray cluster at {place}: {reason}") from error
    sys.stderr.writelines(said)


@contextmanager
def _collect_stderr(said: list[str]) -> Iterator[None]:
    """Add to a list what is written to the standard error, also by Ray's own threads."""
    sys.stderr.flush()
    kept = os.dup(2)
    with TemporaryFile("w+", errors="replace") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said += file


def _try_address(address: str | None) -> None:
    """Raise OSError where nobody listens: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition("//")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def _call(function: Callable[[], R]) -> R:
    return function()


@contextmanager
def _forward_errors() -> Iterator[None]:
    """Raise a user's error of a worker as it was, and any other as a halt."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise HaltedError(f"engine: {get_last_line(error)}") from error
    except RayError as error:
        raise HaltedError(f"engine: {get_last_line(error)}") from error
