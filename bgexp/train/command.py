"""`bgexp train`: the loop with its tracking, validation, checkpoint and file of weights."""

import json
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from numpy.typing import NDArray

from bgexp import __version__
from bgexp.config.check import flatten_settings
from bgexp.config.roles import Role, dump_without
from bgexp.config.train import TrainSettings
from bgexp.datasets.mask_rule import Truth
from bgexp.datasets.read import Dataset
from bgexp.detect.build import build_detector
from bgexp.detect.device import get_device_name, pick_device
from bgexp.detect.weights import read_card, read_state, save_state
from bgexp.errors import UserError
from bgexp.experiment.check_truths import warn_of_truths
from bgexp.images.decode import encode_jpeg
from bgexp.metrics.overlap import boundary_iou, iou
from bgexp.system.atomic import TEMPORARY, make_folder, write_whole
from bgexp.system.listing import describe_passed_over
from bgexp.system.progress import tell
from bgexp.system.provenance import describe_bgexp
from bgexp.tracking.active_run import Run, open_run
from bgexp.train.initial_weights import build_task, list_classes
from bgexp.train.loop import Examples, Trainer, train
from bgexp.train.refinements import RefinementScore, choose_refinement, score_refinements
from bgexp.train.split import TrainingData, read_data, read_images
from bgexp.train.tasks import Task

CHECKPOINT, BEST, WEIGHTS = "checkpoint.pt", "best.safetensors", "weights.safetensors"


def train_network(settings: TrainSettings, folder: Path) -> Path:
    """Train one of the two networks; return the file of weights.

    Its card says which refinement suits them ("refine"), and what each gives ("refinements"). The
    folder holds the checkpoint; with `resume`, training goes on from it.

    Raises:
        UserError: Something needed is missing, or a loss or gradient is not finite.
    """
    fabric = _build_fabric(settings)
    fabric.launch()
    folder = Path(fabric.broadcast(str(folder)))
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists() and not settings.resume:
        raise UserError(f"{checkpoint} exists: go on with resume=true, or choose another folder")
    torch.manual_seed(settings.seed)
    dataset = read_images(settings)
    if dataset is not None and dataset.passed_over and fabric.is_global_zero:
        passed_over = describe_passed_over(dict(dataset.passed_over), "dataset.follow_links")
        tell(f"Passed over: {passed_over}")
    classes = list_classes(settings, dataset)
    task = build_task(settings, classes, fabric.device)
    data = read_data(settings, dataset, classes)
    if fabric.is_global_zero:
        _warn_of_truths(settings, data, fabric.device)
    make_folder(folder)
    if fabric.is_global_zero:
        for part in folder.glob(TEMPORARY):  # of a checkpoint, of a killed run
            part.unlink()
    trainer = Trainer(task.model, settings.loop, fabric)
    examples = Examples(data.scenes, task.to_example, settings.loop.image_size, settings.seed)
    with _track_run(settings, fabric, folder) as run:
        _log_setup(run, settings, data.datasets, fabric)
        log = _TrainingLog(run, trainer, task, data, folder, classes)
        try:
            train(trainer, examples, checkpoint, log.on_step, log.on_validation, log.on_best)
        except FloatingPointError as error:
            last_checkpoint = checkpoint if checkpoint.exists() else "none yet"
            raise UserError(
                f"training stopped: {error}; last good checkpoint: {last_checkpoint}. "
                f"Try a smaller loop.learning_rate (got {settings.loop.learning_rate:g})"
            ) from error
        if fabric.is_global_zero:
            log.finish(settings)
    return folder / WEIGHTS


def _warn_of_truths(settings: TrainSettings, data: TrainingData, device: torch.device) -> None:
    """Hold the truths against the masks of a detector that learned from others, if there is one."""
    if settings.network == "detector" and settings.init != "weights":
        return
    for dataset, scenes in data.truths:
        pictures = [(scene.image, Truth(scene.foreground, scene.void)) for scene in scenes]
        with suppress(UserError):  # the U-Net is trained without one
            warn_of_truths(dataset, pictures, build_detector(settings.detector, device))


def _build_fabric(settings: TrainSettings) -> Fabric:
    device = pick_device(settings.device)
    precision = settings.precision
    if precision == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16-mixed" if has_bf16 else "32-true"
    arithmetic = Precision() if precision == "32-true" else _MixedPrecision(precision, device.type)
    with warnings.catch_warnings():  # on a machine of a cluster it advises to start by `srun`
        warnings.filterwarnings("ignore", "The `srun` command is available")
        return Fabric(accelerator=device.type, devices=settings.devices, plugins=arithmetic)


class _MixedPrecision(MixedPrecision):
    """Mixed precision with the targets left alone: Fabric would round boxes with the pictures."""

    def convert_input(self, data: Any) -> Any:  # noqa: ANN401
        """Return the data unchanged; autocast picks the arithmetic of each layer."""
        return data


@contextmanager
def _track_run(settings: TrainSettings, fabric: Fabric, folder: Path) -> Iterator[Run | None]:
    """Start the tracked run, in the first process only."""
    if not fabric.is_global_zero:
        yield None
        return
    with open_run(settings, "train", f"train {settings.network}", folder) as run:
        yield run


def _log_setup(
    run: Run | None, settings: TrainSettings, datasets: Sequence[Dataset], fabric: Fabric
) -> None:
    if run is None:
        return
    run.log_params(flatten_settings(settings))
    device_tags = {"bgexp.device_used": get_device_name(fabric.device)}
    run.set_tags(
        {f"bgexp.{key}": str(value) for key, value in describe_bgexp().items()} | device_tags
    )
    rules = [data.mask_rule.describe() for data in datasets if data.mask_rule.found]
    if rules:
        run.log_params({"dataset.masks_read_as": "; ".join(dict.fromkeys(rules))})
    for dataset in datasets:
        run.log_dataset(dataset.name, dataset.digest, str(dataset.root), len(dataset.items))


class _TrainingLog:
    """The log of a training: losses, scores of unseen scenes, and pictures."""

    def __init__(
        self,
        run: Run | None,
        trainer: Trainer,
        task: Task,
        data: TrainingData,
        folder: Path,
        classes: tuple[str, ...],
    ) -> None:
        self.run, self.trainer, self.task, self.folder = run, trainer, task, folder
        self.scenes, self.classes = data.validation, classes
        self.scores: dict[str, float] = {}
        self.sums: dict[str, float] = {}
        self.since, self.n_steps = time.monotonic(), 0

    def on_step(self, values: dict[str, float]) -> None:
        """Log means over ten steps to the run, and a line to the terminal every twenty."""
        step, steps = self.trainer.step, self.trainer.settings.steps
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.n_steps += 1
        if self.run is None or (step % 10 and step < steps):
            return
        means = {name: value / self.n_steps for name, value in self.sums.items()}
        self.sums, self.n_steps = {}, 0
        self.run.log_metrics(means, step)
        if step % 20 == 0 or step == steps:
            loss = sum(value for name, value in means.items() if name.startswith("loss_"))
            speed = means["images_per_s"]
            left = (steps - step) * self.trainer.settings.batch_size / max(speed, 1e-9) / 60
            print(
                f"step {step}/{steps}  loss {loss:.3f}  {speed:.1f} images/s  "
                f"at most {left:.0f} min left",
                flush=True,
            )

    def on_validation(self) -> float:
        """Log scores of the average on unseen scenes; return the one that the early stop uses."""
        average = self.trainer.average.module.eval()
        predictions = self.task.predict(average, self.scenes)
        for name in predictions[0]:
            pairs = [(p[name], s) for p, s in zip(predictions, self.scenes, strict=True)]
            for metric, score in (("iou", iou), ("boundary_iou", boundary_iou)):
                values = [score(m, s.foreground, s.void) for m, s in pairs if s.foreground.any()]
                self.scores[f"validation_{metric}/{name}"] = float(np.mean(values))
        if self.run is not None:
            self.run.log_metrics(self.scores, self.trainer.step)
            picture = self.folder / f"validation-{self.trainer.step:06d}.jpg"
            masks = [prediction[self.task.judged_by] for prediction in predictions]
            sheet = _draw_contact_sheet([s.image for s in self.scenes], masks)
            write_whole(picture, encode_jpeg(sheet))
            self.run.log_file(picture)
        judged_score = self.scores[f"validation_iou/{self.task.judged_by}"]
        scores_text = "  ".join(
            f"{k.removeprefix('validation_')} {v:.3f}" for k, v in self.scores.items()
        )
        print(f"step {self.trainer.step}  unseen images: {scores_text}", flush=True)
        return judged_score

    def on_best(self) -> None:
        """Save the average's weights."""
        card = {"step": str(self.trainer.step), "scores": json.dumps(self.scores)}
        save_state(self.task.get_state(self.trainer.average.module), self.folder / BEST, card)

    def finish(self, settings: TrainSettings) -> None:
        """Write the best weights with the model card that travels inside the file."""
        assert self.run is not None
        weights, state = self.folder / WEIGHTS, read_state(self.folder / BEST)
        scores = self._score_refinements(settings, state)
        self.run.log_metrics(
            {
                f"refined_{metric}/{score.name}": getattr(score, metric)
                for score in scores
                for metric in ("iou", "boundary_iou")
            }
        )
        refine = choose_refinement(scores)
        self.run.set_tags({"bgexp.refine": refine})
        card = {
            "bgexp": __version__,
            "model": settings.network,
            "classes": json.dumps(self.classes),
            "settings": json.dumps(dump_without(settings, Role.BOOKKEEPING, Role.LOCATION)),
            **read_card(self.folder / BEST),  # step and scores of the weights that were best
            "steps": str(self.trainer.step),
            "run_id": self.run.run_id,
            "cpus": str(os.cpu_count()),
            "refinements": json.dumps([asdict(score) for score in scores]),
            "refine": refine,
        }
        save_state(state, weights, card)
        self.run.log_file(weights)

    def _score_refinements(
        self, settings: TrainSettings, state: dict[str, torch.Tensor]
    ) -> list[RefinementScore]:
        """Score each refinement of the best weights' masks of the unseen scenes."""
        average = self.trainer.average.module.eval()
        self.task.load_state(average, state)
        masks = [p[self.task.unrefined] for p in self.task.predict(average, self.scenes)]
        is_unet = settings.network == "unet"
        unet = settings.refine.replace(weights=self.folder / BEST) if is_unet else settings.refine
        return score_refinements(self.scenes, masks, unet)


def _draw_contact_sheet(
    images: list[NDArray[np.uint8]], masks: list[NDArray[np.bool_]], columns: int = 8, rows: int = 3
) -> NDArray[np.uint8]:
    """Draw pictures above their cut-outs, HxWx3 uint8."""
    cells = []
    for image, mask in list(zip(images, masks, strict=True))[: columns * rows]:
        cells.append(np.vstack([_draw_cell(image), _draw_cell(image * mask[..., None])]))
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[n : n + columns]) for n in range(0, len(cells), columns)])


def _draw_cell(image: NDArray[np.uint8], side: int = 176) -> NDArray[np.uint8]:
    """Draw the picture in the middle of a black square."""
    scale = side / max(image.shape)
    height, width = (max(1, round(n * scale)) for n in image.shape[:2])
    cell = np.zeros((side, side, 3), np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    cell[y : y + height, x : x + width] = small
    return cell
