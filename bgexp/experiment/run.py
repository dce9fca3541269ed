"""One tracked experiment: a dataset through the pipeline to results."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from bgexp.config.check import flatten_settings
from bgexp.config.detectors import SoftMaskSettings
from bgexp.config.run import RunSettings
from bgexp.datasets.read import Dataset, Item
from bgexp.detect.build import list_class_names
from bgexp.detect.detections import Detections
from bgexp.errors import UserError
from bgexp.experiment.aggregate import (
    average_threshold_scores,
    check_ranks,
    compare_refinement,
    compute_images_per_s,
    count_detections,
    count_statuses,
    summarize,
    summarize_categories,
    summarize_timings,
)
from bgexp.experiment.artifacts import draw_run
from bgexp.experiment.evaluate_dataset import DatasetEvaluation, evaluate_dataset
from bgexp.experiment.mask_ap import MaskAveragePrecision
from bgexp.experiment.prepare import RunInputs, prepare
from bgexp.experiment.results import ImageResult, RunSummary, run_status, tabulate_rows
from bgexp.experiment.tracked_table import build_picture_table
from bgexp.experiment.truth_fits import summarize_truth
from bgexp.system.atomic import make_folder
from bgexp.system.peak_memory import read_peak_memory
from bgexp.system.provenance import describe_bgexp, find_package_versions
from bgexp.tracking.active_run import Run, open_run
from bgexp.tracking.past_runs import find_finished
from bgexp.tracking.run_folder import PAGE, RunFolder
from bgexp.tracking.run_names import name_run

log = logging.getLogger(__name__)


def run_experiment(
    settings: RunSettings,
    folder: RunFolder,
    parent_run_id: str | None = None,
    varied: Sequence[str] = (),
) -> RunSummary:
    """Run one experiment, or take over the results of an identical finished one.

    The folder gets its settings, summary, rows, masks, samples and page, which the tracking store
    shows as artifacts.

    Args:
        settings: The settings of the run.
        folder: The folder for its files.
        parent_run_id: The id of its sweep, if any.
        varied: Keys in which it differs from the sweep's other jobs; its name begins with them.
    """
    folder.write_settings(settings)
    name = name_run(settings, varied)
    with open_run(settings, "run", name, folder.path, parent_run_id) as run:
        inputs = prepare(settings)
        _log_setup(run, inputs)
        earlier = None if settings.force else find_finished(settings, inputs.identity)
        if earlier is not None:
            return _reuse_results(run, inputs, folder, *earlier)
        return _compute_results(run, inputs, folder)


def _log_setup(run: Run, inputs: RunInputs) -> None:
    settings, state = inputs.settings, describe_bgexp()
    run.log_params(flatten_settings(settings))
    run.set_tags(
        {f"bgexp.{key}": str(value) for key, value in state.items()}
        | {f"version.{name}": version for name, version in find_package_versions().items()}
        | {
            "bgexp.identity": inputs.identity,
            "bgexp.weights_sha256": inputs.weights.sha256,
            "bgexp.device_requested": settings.device,
            "bgexp.device_used": inputs.device["name"],
        }
    )
    if inputs.masks is not None:
        run.log_params({"detector.masks_read_as": inputs.masks.rule.describe()})
        log.info("masks: %s", inputs.masks.describe())
    data = inputs.dataset
    if data.name == "pairs":
        run.log_params({"dataset.masks_read_as": data.mask_rule.describe()})
    run.log_dataset(data.name, data.digest, str(data.root), len(data.items))


def _reuse_results(
    run: Run, inputs: RunInputs, folder: RunFolder, run_id: str, source: RunFolder
) -> RunSummary:
    log.info("the same as finished run %s: its results are taken (force=true computes)", run_id)
    run.copy_artifacts(run_id)
    summary = RunSummary(**source.read_summary())
    summary = replace(
        summary,
        run_id=run.run_id,
        parent_run_id=run.parent_run_id,
        reused_from=run_id,
        status=run_status(summary.counts, inputs.settings.max_failed),
    )
    began = datetime.now().astimezone()
    for path in (p for p in source.path.rglob("*") if p.is_file()):
        target = folder.path / path.relative_to(source.path)
        if not target.exists():
            make_folder(target.parent)
            target.hardlink_to(path)
    run.set_tags({"bgexp.reused_from": run_id})
    _draw_page(folder, summary, inputs, began)
    _record(run, summary, folder)
    return summary


def _compute_results(run: Run, inputs: RunInputs, folder: RunFolder) -> RunSummary:
    began = datetime.now().astimezone()
    precision = _make_mask_scorer(inputs)

    def watch(item: Item, detections: Detections) -> None:
        if precision is not None:
            precision.add(item, detections, inputs.settings.combine.mask_threshold)

    evaluation = evaluate_dataset(inputs, folder, watch)
    mask_ap = {} if precision is None or evaluation.stopped is not None else precision.compute()
    summary = _build_summary(run, inputs, evaluation, mask_ap)
    folder.write_rows(tabulate_rows(evaluation.rows))
    if evaluation.stopped is None:
        _draw_page(folder, summary, inputs, began)
    _record(run, summary, folder)  # before the table: the store may be away
    if evaluation.stopped is not None:
        raise evaluation.stopped
    run.log_table(build_picture_table(evaluation.rows, evaluation.pairs), "per_image.json")
    return summary


def _make_mask_scorer(inputs: RunInputs) -> MaskAveragePrecision | None:
    """Return the scorer of single objects, where truth and detector tell them apart."""
    settings = inputs.settings
    if settings.dataset.name != "coco" or isinstance(settings.detector, SoftMaskSettings):
        return None
    return MaskAveragePrecision(inputs.dataset, list_class_names(settings.detector))


def _build_summary(
    run: Run, inputs: RunInputs, evaluation: DatasetEvaluation, mask_ap: dict[str, float]
) -> RunSummary:
    settings, dataset, rows = inputs.settings, inputs.dataset, evaluation.rows
    counts = count_statuses(rows, len(dataset.items))
    return RunSummary(
        status="interrupted" if evaluation.stopped else run_status(counts, settings.max_failed),
        run_id=run.run_id,
        parent_run_id=run.parent_run_id,
        identity=inputs.identity,
        device=inputs.device,
        weights=_describe_weights(inputs),
        dataset={
            "name": dataset.name,
            "root": str(dataset.root),
            "digest": dataset.digest,
            "n_images": len(dataset.items),
            "n_with_truth": dataset.n_with_truth,
            "n_population": dataset.n_population,
            "passed_over": dict(dataset.passed_over),
            **_describe_truth(dataset, rows),
        },
        counts=counts,
        metrics=summarize(rows, "metrics"),
        checks=summarize(rows, "checks"),
        categories=summarize_categories(rows),
        refinement=compare_refinement(rows),
        check_ranks=check_ranks(rows),
        threshold_curve=average_threshold_scores(rows),
        mask_ap=mask_ap,
        detections=count_detections(rows),
        timings=summarize_timings(rows),
        workers=evaluation.workers,
        images_per_s=compute_images_per_s(rows, evaluation.workers),
        peak_rss_bytes=max(read_peak_memory(), evaluation.memory),
        error=str(evaluation.stopped or ""),
    )


def _describe_truth(dataset: Dataset, rows: Sequence[ImageResult]) -> dict[str, Any]:
    """Return how a user's own masks were read, and whether they fit; {} for the sample."""
    masks = {"masks": dataset.mask_rule.to_document()} if dataset.name == "pairs" else {}
    truth = {"truth": summarize_truth(rows)} if dataset.name in ("pairs", "coco") else {}
    return masks | truth


def _describe_weights(inputs: RunInputs) -> dict[str, str]:
    weights = {"name": inputs.weights.name, "sha256": inputs.weights.sha256}
    if inputs.refiner is not None:
        weights["refiner_sha256"] = inputs.refiner.sha256
    return weights


def _draw_page(folder: RunFolder, summary: RunSummary, inputs: RunInputs, began: datetime) -> None:
    """Draw the page; if that fails, log it: numbers that took hours are kept."""
    try:
        draw_run(folder, summary.to_document(), inputs.dataset, inputs.settings, began)
    except Exception as error:
        is_known = isinstance(error, UserError | OSError)  # such as a full disk
        log.warning("no %s: %s: %s", PAGE, type(error).__name__, error, exc_info=not is_known)


def _record(run: Run, summary: RunSummary, folder: RunFolder) -> None:
    """Write the summary, the last of the folder's files: where it is, all else is. Log them."""
    folder.write_summary(summary.to_document())
    run.log_metrics(summary.to_metrics())
    run.set_tags({"mlflow.note.content": _describe_summary(summary)})
    run.log_folder(folder.path)
    run.failed = summary.status == "failed"


def _describe_summary(summary: RunSummary) -> str:
    """Describe the run in a line, which MLflow shows as its description."""
    scores = [
        f"{name} {summary.metrics[key]['mean']:.3f}"
        for key, name in (("iou", "IoU"), ("boundary_iou", "boundary IoU"))
        if key in summary.metrics
    ]
    images = f"{summary.counts['ok']} of {summary.counts['total']} images"
    return ", ".join([images, *scores, f"{summary.images_per_s:.2f} images/s"])
