"""Candidates side by side: each image goes through all of them in turn, on one thread."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice, takewhile
from time import monotonic, perf_counter

import numpy as np
from numpy.typing import NDArray

from bgexp.autotune.candidates import Changes, apply_changes
from bgexp.config.autotune import AutotuneSettings
from bgexp.config.stages import Cutout
from bgexp.datasets.load import load_item
from bgexp.datasets.mask_rule import Truth
from bgexp.datasets.read import Item
from bgexp.detect.build import build_detector, share_network
from bgexp.detect.device import Device, pick_device, use_threads
from bgexp.detect.inference_server import ServerAddress
from bgexp.errors import UserError
from bgexp.images.decode import ImageError, load_image
from bgexp.metrics.overlap import iou
from bgexp.pipeline.remove import RemovalResult, remove_background
from bgexp.system.cores import count_threads_each
from bgexp.system.progress import show_progress, tell
from bgexp.system.signals import catch_stop_signals
from bgexp.system.workers import TaskFailure, preload, run_tasks

SECONDS = 600  # time limit of one image
MOST = 10_000  # images in all, so that it ends even where each kills its worker


@dataclass(frozen=True)
class Measurement:
    """The time and the masks of a candidate, over all images.

    Attributes:
        changes: The settings in which it differs from the detector's.
        ms: Median milliseconds per image, on one thread, all stages together.
        times_as_fast: Speed relative to the reference on the same images.
        agreement: Mean IoU of its masks with the reference's.
        iou: Mean IoU with the truth; NaN where no image has one.
        loss: Mean loss of IoU against the reference; without truth 1 - agreement.
        at_worst: Loss plus its standard error: on a few images a mean alone says little.
    """

    changes: Changes
    ms: float
    times_as_fast: float
    agreement: float
    iou: float
    loss: float
    at_worst: float


def select_decodable(settings: AutotuneSettings, items: Sequence[Item]) -> list[Item]:
    """Return images that can be decoded, spread over the dataset.

    Raises:
        UserError: None can be decoded.
    """
    step = max(1, len(items) // settings.images)
    decodable = []
    for item in items[::step]:
        try:
            load_item(item, settings.dataset.max_megapixels)
        except ImageError as error:
            tell(f"{item.path}: left out: {error}")
            continue
        decodable.append(item)
        if len(decodable) == settings.images:
            break
    if not decodable:
        raise UserError("dataset: none of its images can be decoded")
    return decodable


def load_truths(
    settings: AutotuneSettings, items: Sequence[Item]
) -> Iterator[tuple[NDArray[np.uint8], Truth]]:
    """Yield the images that have a truth, HxWx3 uint8 RGB, with it."""
    for item in items:
        image, truth = load_item(item, settings.dataset.max_megapixels)
        if truth is not None:
            yield image, truth


def measure(
    settings: AutotuneSettings, items: Sequence[Item], candidates: Sequence[Changes]
) -> list[Measurement]:
    """Measure candidates, of which the first is the reference."""
    use_threads(1)  # as in a batch: one process per core
    device = pick_device(settings.device)
    removers = []
    with show_progress("networks", len(candidates)) as step:
        for changes in candidates:
            removers.append(_make_remover(settings, changes, device))
            step(0)
    seconds = np.zeros((len(candidates), len(items)))
    agreement, scores = np.zeros_like(seconds), np.full_like(seconds, np.nan)
    with show_progress("images", len(items)) as step:
        for column, item in enumerate(items):
            image, truth = load_item(item, settings.dataset.max_megapixels)
            if column == 0:
                for remove in removers:  # the first call of a network is slow
                    remove(image)
            masks = []
            for row, remove in enumerate(removers):
                start = perf_counter()
                masks.append(remove(image).mask)
                seconds[row, column] = perf_counter() - start
                agreement[row, column] = _compare_masks(masks[row], masks[0])
                if truth is not None:
                    scores[row, column] = _compare_masks(masks[row], truth.foreground, truth.void)
            step(0)
    return [
        _summarize_candidate(changes, seconds[[row, 0]], agreement[row], scores[[row, 0]])
        for row, changes in enumerate(candidates)
    ]


def _make_remover(
    settings: AutotuneSettings,
    changes: Changes,
    device: Device,
    network: ServerAddress | None = None,
) -> "partial[RemovalResult]":
    detector = build_detector(apply_changes(settings.detector, changes), device, network)
    return partial(
        remove_background,
        detector=detector,
        combine=settings.combine,
        refine=settings.refine,
        cutout=Cutout(),
        seed=settings.seed,
    )


def _compare_masks(
    mask: NDArray[np.bool_], reference: NDArray[np.bool_], void: NDArray[np.bool_] | None = None
) -> float:
    score = iou(mask, reference, void)
    return 1.0 if math.isnan(score) else score  # both empty


def _summarize_candidate(
    changes: Changes,
    seconds: NDArray[np.float64],
    agreement: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> Measurement:
    """Return a candidate's numbers; row 1 of seconds and scores is the reference's."""
    candidate, reference = np.median(seconds, axis=1)
    has_truth = ~np.isnan(scores[0])
    losses = scores[1, has_truth] - scores[0, has_truth] if has_truth.any() else 1 - agreement
    error = losses.std(ddof=1) / len(losses) ** 0.5 if len(losses) > 1 else 0.0
    return Measurement(
        changes,
        ms=float(1000 * candidate),
        times_as_fast=float(reference / candidate),
        agreement=float(agreement.mean()),
        iou=float(scores[0, has_truth].mean()) if has_truth.any() else float("nan"),
        loss=float(losses.mean()),
        at_worst=float(losses.mean() + error),
    )


def measure_throughput(
    settings: AutotuneSettings, items: Sequence[Item], changes: Changes, n_workers: int
) -> float:
    """Return images per second of processes that share the cores; without their start.

    Raises:
        UserError: An image could not be processed.
        Interrupted: A signal came.
    """
    preload(__name__)
    target = max(8, 4 * n_workers)
    pids: set[int] = set()
    begin, processed = 0.0, 0
    shared_network = share_network(
        apply_changes(settings.detector, changes), pick_device(settings.device)
    )
    with catch_stop_signals() as stop, shared_network as network:
        address = network.address if network else None
        start = partial(_make_worker, settings, changes, count_threads_each(n_workers), address)
        tasks = takewhile(lambda _: processed < target, islice(cycle(items), MOST))
        for item, answer in run_tasks(tasks, start, n_workers, SECONDS, stop):
            if isinstance(answer, TaskFailure | str):
                raise UserError(
                    f"{item.path}: {answer.reason if isinstance(answer, TaskFailure) else answer}"
                )
            if len(pids) == n_workers:
                processed += 1
                end = monotonic()
            elif len(pids := pids | {answer}) == n_workers:  # the last one has started
                begin = monotonic()
        stop.raise_if_set()
    if not processed:
        raise UserError(f"workers: {n_workers} workers are never at work together")
    return processed / (end - begin)


def _make_worker(
    settings: AutotuneSettings, changes: Changes, threads: int, network: ServerAddress | None
) -> "partial[int | str]":
    use_threads(threads)
    remove = _make_remover(settings, changes, pick_device(settings.device), network)
    return partial(_process_image, remove=remove, limit=settings.dataset.max_megapixels)


def _process_image(item: Item, remove: "partial[RemovalResult]", limit: float) -> int | str:
    """Return the process's id, or what went wrong: a raised error would be tried again."""
    try:
        remove(load_image(item.file, limit))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return os.getpid()
