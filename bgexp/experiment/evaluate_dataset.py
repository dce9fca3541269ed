"""All images of a dataset, shared among processes: to rows in their order, masks and pictures."""

import logging
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import parent_process
from typing import NamedTuple

from bgexp.config.engines import Ray
from bgexp.config.run import RunSettings
from bgexp.datasets.read import Item
from bgexp.detect.build import share_network
from bgexp.detect.detections import Detections
from bgexp.detect.detector import FileDetectors
from bgexp.detect.device import Device, pick_device, use_threads
from bgexp.detect.inference_server import ServerAddress
from bgexp.detect.masks import ToolMasks
from bgexp.detect.weights import Weights
from bgexp.errors import Interruption
from bgexp.experiment.evaluate_image import evaluate_image, fail_row, make_row
from bgexp.experiment.prepare import RunInputs, build_run_detector
from bgexp.experiment.results import ImageResult
from bgexp.experiment.tracked_table import TABLE_IMAGES, Pair, shrink_pair
from bgexp.images.decode import encode_mask
from bgexp.images.png import encode_png
from bgexp.system.cores import count_own_cores, count_threads_each
from bgexp.system.hashing import hash_bytes
from bgexp.system.peak_memory import read_peak_memory, reset_peak_memory
from bgexp.system.progress import show_progress
from bgexp.system.signals import StopRequest
from bgexp.system.workers import TaskFailure, preload, run_tasks
from bgexp.tracking.mask_archive import MaskArchive
from bgexp.tracking.run_folder import RunFolder

Watcher = Callable[[Item, Detections], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """An image, and whether its pictures are wanted."""

    item: Item
    with_pictures: bool


@dataclass(frozen=True, eq=False)
class ImageEvaluation:
    """The results of an image, small enough to come from another process.

    Attributes:
        row: Scores, or the reason of a failure.
        mask: A PNG; b"" where the image failed.
        alpha: A PNG; b"" where the image failed or its edge is hard.
        pair: Cut-out and mask as small pictures, where they are wanted.
        detections: Those that count, where the detector finds any.
        memory: The peak of the process's memory for this image, in bytes; 0 where it died.
    """

    row: ImageResult
    mask: bytes = b""
    alpha: bytes = b""
    pair: Pair | None = None
    detections: Detections | None = None
    memory: int = 0


class Archives(NamedTuple):
    """Where masks and alphas are kept; alphas only where the edge is soft."""

    masks: MaskArchive
    alphas: MaskArchive | None


@dataclass
class DatasetEvaluation:
    """The results of all images.

    Attributes:
        workers: The number of processes.
        rows: One for each image, in the dataset's order.
        pairs: Small pictures of the first ones, by path.
        memory: The largest peak of a process's memory, in bytes.
        stopped: The interruption, where there was one: rows are missing then.
    """

    workers: int
    rows: list[ImageResult] = field(default_factory=list)
    pairs: dict[str, Pair] = field(default_factory=dict)
    memory: int = 0
    stopped: Interruption | None = None


def evaluate_dataset(inputs: RunInputs, folder: RunFolder, watch: Watcher) -> DatasetEvaluation:
    """Evaluate every image to a row and a saved mask; `watch` gets its detections."""
    items = inputs.dataset.items
    tasks = [Task(item, number < TABLE_IMAGES) for number, item in enumerate(items)]
    n_workers = count_workers(inputs.settings, len(items))
    evaluation = DatasetEvaluation(inputs.cluster.n_workers if inputs.cluster else n_workers)
    waiting: dict[str, ImageEvaluation] = {}
    is_soft = inputs.settings.cutout.has_soft_edge
    with (
        folder.create_masks() as masks,
        folder.create_alphas() if is_soft else nullcontext() as alphas,
    ):
        archives = Archives(masks, alphas)
        try:
            results = _evaluate_images(inputs, tasks, evaluation.workers)
            with closing(results), show_progress("images", len(tasks)) as step:
                failed = 0
                for result in results:
                    waiting[result.row.path] = result
                    while waiting and items[len(evaluation.rows)].path in waiting:
                        item = items[len(evaluation.rows)]
                        _keep_result(item, waiting.pop(item.path), evaluation, archives, watch)
                    failed += result.row.status == "failed"
                    step(failed)
        except Interruption as signal:
            evaluation.stopped = signal
            for item in [item for item in items if item.path in waiting]:  # before their turn
                _keep_result(item, waiting.pop(item.path), evaluation, archives, watch)
    n_failed = sum(row.status == "failed" for row in evaluation.rows)
    log.info("%d of %d images, %d failed", len(evaluation.rows), len(items), n_failed)
    return evaluation


def _keep_result(
    item: Item,
    result: ImageEvaluation,
    evaluation: DatasetEvaluation,
    archives: Archives,
    watch: Watcher,
) -> None:
    if result.mask:
        archives.masks.add(item.path, result.mask)
    else:
        log.warning("%s: %s", item.path, result.row.reason)
    if archives.alphas is not None and result.alpha:
        archives.alphas.add(item.path, result.alpha)
    if result.pair is not None:
        evaluation.pairs[item.path] = result.pair
    if result.detections is not None:
        watch(item, result.detections)
    evaluation.rows.append(result.row)
    evaluation.memory = max(evaluation.memory, result.memory)


def count_workers(settings: RunSettings, images: int) -> int:
    """Return how many processes of this machine evaluate so many images.

    One in a job that has a process of its own beside others (hydra/launcher=joblib): that has its
    share of the cores as threads.
    """
    if parent_process() is not None:
        return 1
    return max(1, min(settings.workers or count_own_cores(), images))


def _evaluate_images(
    inputs: RunInputs, tasks: Sequence[Task], workers: int
) -> Generator[ImageEvaluation, None, None]:
    """Yield each image's evaluation, in the order in which they end."""
    settings, source = inputs.settings, inputs.masks or inputs.weights
    if inputs.cluster and isinstance(settings.engine, Ray):
        start = partial(_start_worker, settings, source, settings.engine.cpus, None)
        yield from _take_results(inputs.cluster.run(tasks, start, StopRequest()))
    elif workers == 1:
        for task in tasks:
            yield _evaluate_task(task, inputs.detector, settings)
    else:
        preload(__name__)  # the command line has done so where it starts the jobs itself
        with share_network(settings.detector, Device(inputs.device["used"])) as network:
            address = network.address if network else None
            start = partial(_start_worker, settings, source, count_threads_each(workers), address)
            yield from _take_results(run_tasks(tasks, start, workers, math.inf, StopRequest()))


def _take_results(
    results: Iterable[tuple[Task, ImageEvaluation | TaskFailure]],
) -> Iterator[ImageEvaluation]:
    for task, result in results:
        if isinstance(result, TaskFailure):
            yield ImageEvaluation(fail_row(make_row(task.item), result.reason))
        else:
            yield result


def _start_worker(
    settings: RunSettings,
    source: Weights | ToolMasks,
    threads: int,
    network: ServerAddress | None,
) -> Callable[[Task], ImageEvaluation]:
    """Return the function that a worker calls with each image."""
    use_threads(threads)
    detector = build_run_detector(settings, pick_device(settings.device), source, network)
    return partial(_evaluate_task, detector=detector, settings=settings)


def _evaluate_task(task: Task, detector: FileDetectors, settings: RunSettings) -> ImageEvaluation:
    reset_peak_memory()
    row, removed = evaluate_image(task.item, detector, settings)
    if removed is None:
        return ImageEvaluation(row, memory=read_peak_memory())
    mask = encode_mask(removed.mask)
    alpha = b"" if removed.alpha is None else encode_png(removed.alpha)
    alpha_sha256 = hash_bytes(alpha) if alpha else ""
    return ImageEvaluation(
        replace(row, mask_sha256=hash_bytes(mask), alpha_sha256=alpha_sha256),
        mask,
        alpha,
        shrink_pair(removed) if task.with_pictures else None,
        removed.detector_output if isinstance(removed.detector_output, Detections) else None,
        read_peak_memory(),
    )
