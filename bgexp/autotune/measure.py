"""Candidates side by side: each image goes through all of them in turn, on one thread."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice, takewhile
from time import monotonic, perf_counter

import numpy as np
from numpy.typing import NDArray

from bgexp.autotune.candidates import Changes, changed
from bgexp.config.autotune import AutotuneSettings
from bgexp.config.stages import Cutout
from bgexp.datasets.load import load_item
from bgexp.datasets.read import Item
from bgexp.detect.build import build_detector, common_network
from bgexp.detect.device import Device, pick_device, use_threads
from bgexp.detect.inference_server import ServerAddress
from bgexp.errors import Interrupted, UserError
from bgexp.images.decode import ImageError, load_image
from bgexp.metrics.overlap import iou
from bgexp.pipeline.remove import RemovalResult, remove_background
from bgexp.system.cores import threads_each
from bgexp.system.progress import progress, tell
from bgexp.system.signals import stopping
from bgexp.system.workers import TaskFailure, preload, run_tasks

SECONDS = 600  # that an image may take
MOST = 10_000  # images that workers get: an end, where each costs its worker's life


@dataclass(frozen=True)
class Measurement:
    """What a candidate takes and gives, over all images.

    Attributes:
        changes: Its settings.
        ms: Median milliseconds an image, on one thread, all stages together.
        times_as_fast: As the reference in the same turns.
        agreement: Mean IoU of its masks with the reference's.
        iou: Mean IoU with the truth; NaN where no image has one.
        loss: The mean IoU that it loses.
        at_worst: The loss and its standard error: on a few images a mean alone says little.
    """

    changes: Changes
    ms: float
    times_as_fast: float
    agreement: float
    iou: float
    loss: float
    at_worst: float


def readable(settings: AutotuneSettings, items: Sequence[Item]) -> list[Item]:
    """Images that can be decoded, spread over the dataset.

    Raises:
        UserError: None can.
    """
    step = max(1, len(items) // settings.images)
    found = []
    for item in items[::step]:
        try:
            load_item(item, settings.dataset.max_megapixels)
        except ImageError as error:
            tell(f"{item.path}: left out: {error}")
            continue
        found.append(item)
        if len(found) == settings.images:
            break
    if not found:
        raise UserError("dataset: none of its images can be decoded")
    return found


def measure(
    settings: AutotuneSettings, items: Sequence[Item], candidates: Sequence[Changes]
) -> list[Measurement]:
    """Measures candidates, of which the first is the reference."""
    use_threads(1)  # as in a batch: one process a core
    device = pick_device(settings.device)
    removers = []
    with progress("networks", len(candidates)) as step:
        for changes in candidates:
            removers.append(_remover(settings, changes, device))
            step(0)
    seconds = np.zeros((len(candidates), len(items)))
    agreement, scores = np.zeros_like(seconds), np.full_like(seconds, np.nan)
    with progress("images", len(items)) as step:
        for column, item in enumerate(items):
            image, truth = load_item(item, settings.dataset.max_megapixels)
            if column == 0:
                for remove in removers:  # warms up
                    remove(image)
            masks = []
            for row, remove in enumerate(removers):
                started = perf_counter()
                masks.append(remove(image).mask)
                seconds[row, column] = perf_counter() - started
                agreement[row, column] = _iou(masks[row], masks[0])
                if truth is not None:
                    scores[row, column] = _iou(masks[row], truth)
            step(0)
    return [
        _measured(changes, seconds[[row, 0]], agreement[row], scores[[row, 0]])
        for row, changes in enumerate(candidates)
    ]


def _remover(
    settings: AutotuneSettings,
    changes: Changes,
    device: Device,
    network: ServerAddress | None = None,
) -> "partial[RemovalResult]":
    detector = build_detector(changed(settings.detector, changes), device, network)
    return partial(
        remove_background,
        detector=detector,
        combine=settings.combine,
        refine=settings.refine,
        cutout=Cutout(),
        seed=settings.seed,
    )


def _iou(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return iou(mask, other) if mask.any() or other.any() else 1.0


def _measured(
    changes: Changes,
    seconds: NDArray[np.float64],
    agreement: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> Measurement:
    """A candidate's numbers; of seconds and scores the reference's are the second row."""
    own, reference = np.median(seconds, axis=1)
    judged = ~np.isnan(scores[0])
    losses = scores[1, judged] - scores[0, judged] if judged.any() else 1 - agreement
    error = losses.std(ddof=1) / len(losses) ** 0.5 if len(losses) > 1 else 0.0
    return Measurement(
        changes,
        ms=float(1000 * own),
        times_as_fast=float(reference / own),
        agreement=float(agreement.mean()),
        iou=float(scores[0, judged].mean()) if judged.any() else float("nan"),
        loss=float(losses.mean()),
        at_worst=float(losses.mean() + error),
    )


def throughput(
    settings: AutotuneSettings, items: Sequence[Item], changes: Changes, processes: int
) -> float:
    """Images a second of processes that share the cores' threads; their start is not counted.

    Raises:
        UserError: An image could not be worked on.
        Interrupted: A signal came.
    """
    preload(__name__)
    wanted = max(8, 4 * processes)
    at_work: set[int] = set()
    began, done = 0.0, 0
    common = common_network(changed(settings.detector, changes), pick_device(settings.device))
    with stopping() as stop, common as network:
        address = network.address if network else None
        start = partial(_worker, settings, changes, threads_each(processes), address)
        tasks = takewhile(lambda _: done < wanted, islice(cycle(items), MOST))
        for item, said in run_tasks(tasks, start, processes, SECONDS, stop):
            if isinstance(said, TaskFailure | str):
                raise UserError(
                    f"{item.path}: {said.reason if isinstance(said, TaskFailure) else said}"
                )
            if len(at_work) == processes:
                done += 1
                ended = monotonic()
            elif len(at_work := at_work | {said}) == processes:  # the last one has started
                began = monotonic()
        if stop.exit_code is not None:
            raise Interrupted(stop.exit_code)
    if not done:
        raise UserError(f"workers: {processes} workers are never at work together")
    return done / (ended - began)


def _worker(
    settings: AutotuneSettings, changes: Changes, threads: int, network: ServerAddress | None
) -> "partial[int | str]":
    use_threads(threads)
    remove = _remover(settings, changes, pick_device(settings.device), network)
    return partial(_answer, remove=remove, limit=settings.dataset.max_megapixels)


def _answer(item: Item, remove: "partial[RemovalResult]", limit: float) -> int | str:
    """Works on an image and tells who did, or what went wrong: raised, it would be tried again."""
    try:
        remove(load_image(item.file, limit))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return os.getpid()
