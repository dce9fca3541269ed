"""`bgexp train`: the loop with its tracking, validation and checkpoint."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from bgexp import __version__
from bgexp.config import TrainSettings
from bgexp.detect.demo import build_demo_model, load_imagenet_backbone
from bgexp.detect.weights import read_state, save_state
from bgexp.device import pick_device
from bgexp.errors import UserError
from bgexp.tracking import Run, tracked_run
from bgexp.train.composites import Scene, Sources, compose
from bgexp.train.loop import Composites, Trainer, train

SCORE_THRESHOLDS = (0.5, 0.7, 0.9)


def train_detector(settings: TrainSettings, folder: Path) -> Path:
    """Trains the shipped architecture on composites; returns the file of weights.

    The folder keeps the checkpoint; with `resume`, training goes on from it.
    """
    torch.manual_seed(settings.seed)
    sources = Sources.from_folders(settings.dataset.cutouts, settings.dataset.backgrounds)
    unseen = Sources.from_folders(
        settings.dataset.validation_cutouts, settings.dataset.validation_backgrounds
    )
    model = build_demo_model(settings.loop.image_size)
    if settings.backbone is not None:
        load_imagenet_backbone(model, read_state(settings.backbone))
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists() and not settings.resume:
        raise UserError(f"{checkpoint} exists: go on with resume=true, or choose another folder")
    device = pick_device(settings.device)
    trainer = Trainer(model, settings.loop, device)
    scenes = [
        compose(unseen, settings.loop.image_size, np.random.default_rng((settings.seed, 1, n)))
        for n in range(settings.loop.validation_images)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with tracked_run(settings, "train", folder) as run:
        watch = _Watch(run, trainer, scenes, folder)
        dataset = Composites(sources, settings.loop.image_size, settings.seed)
        train(trainer, dataset, checkpoint, watch.on_step, watch.on_validation)
        weights = folder / "weights.safetensors"
        save_state(trainer.average.module.state_dict(), weights, watch.card(settings))
        run.log_file(weights)
    return weights


class _Watch:
    """What is told while training goes on: losses, unseen scenes' scores, pictures."""

    def __init__(self, run: Run, trainer: Trainer, scenes: list[Scene], folder: Path) -> None:
        self.run, self.trainer, self.scenes, self.folder = run, trainer, scenes, folder
        self.scores: dict[str, float] = {}
        self.say: Callable[[str], None] = lambda line: print(line, flush=True)

    def on_step(self, losses: dict[str, float]) -> None:
        step = self.trainer.step
        if step % 10 == 0:
            self.run.log_metrics(losses, step)
        if step % 20 == 0:
            parts = "  ".join(f"{name.removeprefix('loss_')} {v:.4f}" for name, v in losses.items())
            self.say(f"step {step}/{self.trainer.settings.steps}  {parts}")

    def on_validation(self) -> None:
        model = self.trainer.average.module.eval()
        masks = [_foreground(model, scene.image, self.trainer.device) for scene in self.scenes]
        for threshold in SCORE_THRESHOLDS:
            ious = [
                _iou(by_score[threshold], np.any(scene.masks, axis=0))
                for by_score, scene in zip(masks, self.scenes, strict=True)
            ]
            self.scores[f"validation_iou_at_{threshold}"] = float(np.nanmean(ious))
        self.run.log_metrics(self.scores, self.trainer.step)
        self.say(f"step {self.trainer.step}  " + json.dumps(self.scores))
        picture = self.folder / f"validation-{self.trainer.step:06d}.jpg"
        cv2.imwrite(str(picture), _gallery(self.scenes, [m[0.9] for m in masks])[..., ::-1])
        self.run.log_file(picture)
        name = self.folder / "average.safetensors"
        save_state(model.state_dict(), name, {"step": str(self.trainer.step)})

    def card(self, settings: TrainSettings) -> dict[str, str]:
        """The model card that travels inside the file of weights."""
        return {
            "bgexp": __version__,
            "settings": settings.model_dump_json(exclude={"tracking", "runs"}),
            "scores": json.dumps(self.scores),
            "run_id": self.run.run_id,
            "cpus": str(os.cpu_count()),
        }


@torch.inference_mode()
def _foreground(
    model: torch.nn.Module, image: np.ndarray, device: torch.device
) -> dict[float, np.ndarray]:
    """The union of the instances above each score threshold, HxW bool."""
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    found = model([tensor.to(device)])[0]
    return {
        threshold: (found["masks"][found["scores"] > threshold, 0] > 0.5).any(dim=0).cpu().numpy()
        for threshold in SCORE_THRESHOLDS
    }


def _iou(mask: np.ndarray, truth: np.ndarray) -> float:
    union = (mask | truth).sum()
    return float((mask & truth).sum() / union) if union else float("nan")


def _gallery(scenes: list[Scene], masks: list[np.ndarray], columns: int = 8) -> np.ndarray:
    """Pictures above their cut-outs, at most three rows of them."""
    rows = []
    for start in range(0, min(len(scenes), 3 * columns) - columns + 1, columns):
        part = slice(start, start + columns)
        pairs = [
            np.vstack([scene.image, scene.image * mask[..., None]])
            for scene, mask in zip(scenes[part], masks[part], strict=True)
        ]
        rows.append(np.hstack(pairs))
    return np.vstack(rows)[::2, ::2]
