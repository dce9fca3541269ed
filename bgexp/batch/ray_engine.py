"""A batch's parts by the workers of a Ray cluster.

Ray Data deals out parts, never images: a part that is lost with its worker is given to another one,
which goes on from the part's journal. What is done is decided by the journals alone.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, TypeVar, cast

from bgexp.batch import in_worker
from bgexp.batch.dispatch import PartsWork, open_image_workers
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.config.engines import Ray
from bgexp.errors import HaltedError, UserError, get_last_line
from bgexp.system.progress import show_progress
from bgexp.system.ray_cluster import RayCluster
from bgexp.system.signals import StopRequest
from bgexp.system.workers import TaskFailure, preload

import ray.data  # isort: skip  # after the cluster's module, which says how Ray behaves

T = TypeVar("T")
R = TypeVar("R")

_PARTS_EACH = 4  # so that the last workers do not wait long for each other
_TICK = 0.2  # seconds between two looks at whether a signal came


class RayEngine(RayCluster):
    """The workers of a Ray cluster, which take a batch's parts."""

    def __init__(self, engine: Ray) -> None:
        """Connect to the cluster, or start one, as `RayCluster` does."""
        super().__init__(**engine.model_dump(exclude={"name"}))
        self._engine = engine
        self.least_parts = _PARTS_EACH * self.n_workers

    def run(
        self, tasks: Iterable[T], start: Callable[[], Callable[[T], R]], stop: StopRequest
    ) -> Iterator[tuple[T, R | TaskFailure]]:
        """Yield each task with its result, by a worker for each core: they need no network."""
        return RayCluster(self._engine.address, cpus=1, gpus=0.0).run(tasks, start, stop)

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
        n_workers = min(self.n_workers, len(numbers))
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
