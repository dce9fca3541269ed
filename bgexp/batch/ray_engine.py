"""A batch's parts by the workers of a Ray cluster.

Ray Data deals out parts, never images: a part that is lost with its worker is given to another one,
which goes on from the part's journal. What is done is decided by the journals alone.
"""

import logging
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import islice
from math import inf
from typing import Any, TypeVar, cast

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports to its makers
# Ray gives its workers the least of the cores; beside any other work they would come to a halt.
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what becomes of a part is told here

import ray
import ray.data
from ray.exceptions import RayError, RayTaskError

from bgexp.batch import in_worker
from bgexp.batch.dispatch import PartsWork, open_image_workers
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.config.engines import Ray
from bgexp.errors import HaltedError, UserError, get_last_line
from bgexp.system.progress import show_progress
from bgexp.system.signals import StopRequest
from bgexp.system.workers import TaskFailure, preload

T = TypeVar("T")
R = TypeVar("R")

_PARTS_EACH = 4  # so that the last workers do not wait long for each other
_AHEAD = 4  # tasks for each worker that are given out before the first is done
_CONNECT_S = 10.0  # for the head of a cluster to answer
_TICK = 0.2  # seconds between two looks at whether a signal came


class RayEngine:
    """The workers of a Ray cluster, which this process is connected to until it ends."""

    def __init__(self, engine: Ray) -> None:
        """Connect to the cluster, or start one.

        Raises:
            UserError: There is none at the address, or it has no room for the workers.
        """
        self._engine = engine
        _connect(engine)
        room = _count_room(engine)
        if room < engine.min_workers and engine.max_workers is None:
            raise UserError(
                f"engine.min_workers: the cluster has room for {room} workers of {engine.cpus} "
                f"cores and {engine.gpus:g} GPUs (got {engine.min_workers}; give max_workers where "
                "it adds machines by itself)"
            )
        self._n_workers = max(engine.min_workers, engine.max_workers or room)
        self.least_parts = _PARTS_EACH * self._n_workers

    def call(self, function: Callable[[], R], stop: StopRequest) -> R:
        """Call a function in a worker of the cluster."""
        with _forward_errors():
            call: Any = ray.remote(num_cpus=self._engine.cpus, num_gpus=self._engine.gpus)(_call)
            pending = [call.remote(function)]
            while pending:
                stop.raise_if_set()
                done, pending = ray.wait(pending, timeout=_TICK)
            result: R = ray.get(done[0])
        return result

    def run(
        self, tasks: Iterable[T], start: Callable[[], Callable[[T], R]], stop: StopRequest
    ) -> Iterator[tuple[T, R | TaskFailure]]:
        """Yield each task with its result, as they are done; nothing is kept for the next task."""
        work: Any = ray.remote(num_cpus=1)(_do_task)
        waiting: Iterator[T] = iter(tasks)
        pending: dict[Any, T] = {}
        while stop.exit_code is None:
            for task in islice(waiting, _AHEAD * self._n_workers - len(pending)):
                pending[work.remote(start, task)] = task
            if not pending:
                return
            for reference in ray.wait(list(pending), timeout=_TICK)[0]:
                task = pending.pop(reference)
                try:
                    yield task, ray.get(reference)
                except RayError as error:
                    yield task, TaskFailure(get_last_line(error))

    def work_on_parts(
        self, batch: PlannedBatch, numbers: Sequence[int], stop: StopRequest
    ) -> PartsWork:
        """Process the images of parts.

        Raises:
            HaltedError: No image can be processed any more, or the cluster is gone.
            Interruption: A signal came; what is finished stays in the journals.
        """
        if not numbers:
            return PartsWork(0)
        n_images = batch.folder.plan.n_images
        total = sum(n_images[number] for number in numbers)
        newly_done = failed = 0
        with show_progress("images", total) as step:
            for row in self._walk_rows(batch, numbers, stop):
                if row["error"]:
                    raise HaltedError(row["error"])
                newly_done += row["newly_done"]
                failed += row["failed"]
                step(failed, n_images[row["part"]])
        return PartsWork(newly_done, failed)

    def _walk_rows(
        self, batch: PlannedBatch, numbers: Sequence[int], stop: StopRequest
    ) -> Iterator[dict[str, Any]]:
        """Yield what became of each part, as Ray Data gives it, and look for signals meanwhile."""
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        n_workers = min(self._n_workers, len(numbers))
        rows = ray.data.from_items(
            [{"part": number} for number in numbers], override_num_blocks=len(numbers)
        ).map(
            cast("Any", PartWorker),
            fn_constructor_args=(batch, self._engine.cpus),
            compute=ray.data.ActorPoolStrategy(
                min_size=min(self._engine.min_workers, n_workers),
                max_size=n_workers,
                max_tasks_in_flight_per_actor=2,
            ),
            num_cpus=self._engine.cpus,
            num_gpus=self._engine.gpus,
        )
        results: queue.SimpleQueue[dict[str, Any] | Exception | None] = queue.SimpleQueue()

        def read() -> None:
            try:
                for row in rows.iter_rows():
                    results.put(row)
                results.put(None)
            except Exception as error:
                results.put(error)

        threading.Thread(target=read, daemon=True).start()
        while True:
            stop.raise_if_set()
            with suppress(queue.Empty):
                result = results.get(timeout=_TICK)
                if result is None:
                    return
                if isinstance(result, Exception):
                    raise HaltedError(f"engine: {get_last_line(result)}") from result
                yield result


class PartWorker:
    """A worker of the cluster: it has the networks loaded, and is given one part at a time."""

    def __init__(self, batch: PlannedBatch, cpus: int) -> None:
        preload(in_worker.MODULE)
        self._context = ExitStack()
        batch = replace(batch, settings=batch.settings.replace(workers=cpus))
        self._workers = self._context.enter_context(open_image_workers(batch, cpus))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Process the images of a part; an error that ends the batch is part of the result."""
        try:
            work = self._workers.work_on([row["part"]], StopRequest())
        except UserError as error:
            return {**row, "newly_done": 0, "failed": 0, "error": str(error)}
        return {**row, "newly_done": work.newly_done, "failed": work.failed, "error": ""}


def _connect(engine: Ray) -> None:
    """Connect to the cluster, once in a process."""
    if ray.is_initialized():
        return
    try:
        _try_address(engine.address)
        ray.init(
            address=engine.address or "local",
            include_dashboard=False if engine.address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError, RayError) as error:
        place = engine.address or "this machine"
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"engine.address: no Ray cluster at {place}: {reason}") from error


def _try_address(address: str | None) -> None:
    """Raise OSError where nobody listens: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition("//")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def _count_room(engine: Ray) -> int:
    """Return how many workers the cluster has room for, each on one machine."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    by_cpus = [machine.get("CPU", 0.0) // engine.cpus for machine in resources]
    by_gpus = [
        machine.get("GPU", 0.0) // engine.gpus if engine.gpus else inf for machine in resources
    ]
    return sum(map(int, map(min, by_cpus, by_gpus)))


def _call(function: Callable[[], R]) -> R:
    return function()


def _do_task(start: Callable[[], Callable[[T], R]], task: T) -> R:
    return start()(task)


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
