"""The training loop: AdamW, warm-up and cosine, EMA, resumable to the same weights."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import MaskRCNN
from torchvision.ops import masks_to_boxes

from bgexp.config import TrainLoop
from bgexp.train.composites import Scene, Sources, compose

Target = dict[str, torch.Tensor]
Batch = tuple[list[torch.Tensor], list[Target]]


class Composites(Dataset[tuple[torch.Tensor, Target]]):
    """Scenes by index; each follows from (seed, index) alone."""

    def __init__(self, sources: Sources, size: int, seed: int) -> None:
        self.sources, self.size, self.seed = sources, size, seed

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        cv2.setNumThreads(1)  # the cores belong to the network
        scene = compose(self.sources, self.size, np.random.default_rng((self.seed, index)))
        return to_tensors(scene)


def to_tensors(scene: Scene) -> tuple[torch.Tensor, Target]:
    """Image 3xHxW float32 in [0, 1] and torchvision's target: boxes, labels, masks."""
    image = torch.from_numpy(scene.image).permute(2, 0, 1).float() / 255
    masks = torch.from_numpy(scene.masks)
    boxes = masks_to_boxes(masks) + torch.tensor([0.0, 0.0, 1.0, 1.0])  # ends are exclusive
    labels = torch.ones(len(masks), dtype=torch.int64)
    return image, {"boxes": boxes, "labels": labels, "masks": masks.to(torch.uint8)}


def collate(samples: list[tuple[torch.Tensor, Target]]) -> Batch:
    """Keeps pictures and targets as lists, as torchvision's detectors take them."""
    return [image for image, _ in samples], [target for _, target in samples]


class Trainer:
    """The model, its average and all that a checkpoint has to hold to go on as if never stopped."""

    def __init__(self, model: MaskRCNN, settings: TrainLoop, device: torch.device) -> None:
        self.settings, self.device, self.step = settings, device, 0
        self.model = model.to(device, memory_format=torch.channels_last)
        ema = get_ema_multi_avg_fn(settings.ema_decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.model, multi_avg_fn=ema)
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def learning_rate(self) -> float:
        """Linear warm-up over the first 4 % of the steps, then half a cosine down to 1 %."""
        warm_up = max(1, round(0.04 * self.settings.steps))
        progress = (self.step - warm_up) / max(1, self.settings.steps - warm_up)
        cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * max(0.0, progress))) / 2
        return self.settings.learning_rate * min((self.step + 1) / warm_up, cosine)

    def update(self, images: list[torch.Tensor], targets: list[Target]) -> dict[str, float]:
        """One step on one batch; returns the losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.model.train()
        images = [image.to(self.device) for image in images]
        targets = [{key: value.to(self.device) for key, value in t.items()} for t in targets]
        losses = self.model(images, targets)
        total = sum(losses.values())
        if not torch.isfinite(total):
            raise FloatingPointError(f"the loss is {total.item()} at step {self.step}")
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def save(self, path: Path) -> None:
        """Writes the checkpoint whole or not at all."""
        temporary = path.with_suffix(".part")
        torch.save(
            {
                "step": self.step,
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "rng": torch.get_rng_state(),
            },
            temporary,
        )
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Goes back to a checkpoint, the random state included."""
        stored: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(stored["model"])
        self.average.load_state_dict(stored["average"])
        self.optimizer.load_state_dict(stored["optimizer"])
        torch.set_rng_state(stored["rng"])
        self.step = stored["step"]


def batches(dataset: Composites, settings: TrainLoop, first_step: int) -> Iterator[Batch]:
    """The batches from first_step on: the same ones whether or not the run was interrupted."""
    indices = range(first_step * settings.batch_size, settings.steps * settings.batch_size)
    # The loader draws a base seed: it must not move the generator that the network samples from.
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(
        dataset,
        sampler=indices,
        batch_size=settings.batch_size,
        num_workers=settings.workers,
        collate_fn=collate,
        generator=generator,
        # A forked worker inherits OpenCV's locked thread pool and waits for ever.
        multiprocessing_context="spawn" if settings.workers else None,
    )
    yield from loader


def train(
    trainer: Trainer,
    dataset: Composites,
    checkpoint: Path,
    on_step: Callable[[dict[str, float]], None],
    on_validation: Callable[[], None],
) -> None:
    """Runs to the last step, from the checkpoint if there is one."""
    torch.manual_seed(dataset.seed)
    if checkpoint.exists():
        trainer.load(checkpoint)
    settings = trainer.settings
    started = time.perf_counter()
    for images, targets in batches(dataset, settings, trainer.step):
        losses = trainer.update(images, targets)
        seconds, started = time.perf_counter() - started, time.perf_counter()
        on_step(losses | {"lr": trainer.learning_rate(), "images_per_s": len(images) / seconds})
        if trainer.step % settings.validate_every == 0 or trainer.step == settings.steps:
            state = torch.get_rng_state()
            on_validation()
            torch.set_rng_state(state)
            trainer.save(checkpoint)
