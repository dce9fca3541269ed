"""The training loop: AdamW, warm-up and cosine, EMA, early stop, resumable to the same weights."""

import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from bgexp.config.train import TrainLoop
from bgexp.errors import UserError
from bgexp.system.atomic import open_whole
from bgexp.system.progress import tell
from bgexp.system.state_files import open_regular
from bgexp.system.workers import ignore_stop_signals
from bgexp.train.scene import Scenes
from bgexp.train.tasks import Example, Target, ToExample

Batch = tuple[list[torch.Tensor], list[Target]]

_BYTES_PER_PIXEL = 24  # three float32, and a byte for each object's mask


class Examples(Dataset[Example]):
    """Scenes by index, ready for the network; each follows from (seed, index) alone."""

    def __init__(self, scenes: Scenes, to_example: ToExample, size: int, seed: int) -> None:
        self.scenes, self.to_example, self.size, self.seed = scenes, to_example, size, seed

    def __getitem__(self, index: int) -> Example:
        cv2.setNumThreads(1)  # the cores belong to the network
        rng = np.random.default_rng((self.seed, index))
        return self.to_example(self.scenes.draw(self.size, rng), rng)


class Trainer:
    """The model, its average and all that a checkpoint needs to resume as if never stopped.

    Attributes:
        step: Steps done.
        best: The best validation score so far.
        stale: How many validations in a row did not reach it.
    """

    def __init__(self, model: nn.Module, settings: TrainLoop, fabric: Fabric) -> None:
        self.settings, self.fabric = settings, fabric
        self.step, self.best, self.stale = 0, -math.inf, 0
        optimizer = torch.optim.AdamW(
            _group_parameters(model, settings.backbone_share),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.model, self.optimizer = fabric.setup(
            model.to(memory_format=torch.channels_last), optimizer
        )
        self.average = AveragedModel(self.model.module, multi_avg_fn=self._lerp, use_buffers=True)

    def _lerp(self, averages: Any, weights: Any, count: Any) -> None:  # noqa: ANN401
        """Average weights; a young average follows quickly, so that short runs count in full."""
        decay = min(self.settings.ema_decay, (1 + int(count)) / (10 + int(count)))
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, 1 - decay)
            else:  # a norm's count of batches
                average.copy_(weight)

    def compute_learning_rate(self) -> float:
        """Return the rate: linear warm-up over 4 % of the steps, then half a cosine down to 1 %."""
        warm_up = max(1, round(0.04 * self.settings.steps))
        progress = (self.step - warm_up) / max(1, self.settings.steps - warm_up)
        cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * max(0.0, progress))) / 2
        return self.settings.learning_rate * min((self.step + 1) / warm_up, cosine)

    def update(self, images: list[torch.Tensor], targets: list[Target]) -> dict[str, float]:
        """Take one step on one batch; return the losses.

        Raises:
            FloatingPointError: Loss or gradient are not finite; the weights are as before.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * self.compute_learning_rate()
        self.model.train()
        images, targets = self.fabric.to_device((images, targets))
        losses = self.model(images, targets)
        total = sum(losses.values())
        if not torch.isfinite(total):
            raise FloatingPointError(f"the loss is {total.item()} at step {self.step}")
        self.optimizer.zero_grad()
        self.fabric.backward(total)
        norm = self.fabric.clip_gradients(
            self.model, self.optimizer, max_norm=5.0, error_if_nonfinite=False
        )
        # With 16-mixed a step without a finite gradient is left out, and the scale lowered.
        if self.fabric.device.type == "cpu" and norm is not None and not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient is {norm.item()} at step {self.step}")
        self.optimizer.step()
        self.average.update_parameters(self.model.module)
        self.step += 1
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def check_sound(self) -> None:
        """Refuse weights that would spoil a checkpoint.

        Raises:
            FloatingPointError: One of them is not finite, or too large for the fp16 of the file.
        """
        largest = torch.finfo(torch.float16).max
        for name, weight in self.model.module.named_parameters():
            if not bool((weight.abs() <= largest).all()):
                raise FloatingPointError(f"{name} has grown beyond bounds at step {self.step}")

    def judge(self, score: float) -> bool:
        """Record a validation score; return whether it is the best so far."""
        better = score > self.best
        self.best, self.stale = (score, 0) if better else (self.best, self.stale + 1)
        return better

    @property
    def done(self) -> bool:
        """Return whether all steps are done, or the score did not improve for too long."""
        patience = self.settings.patience
        return self.step >= self.settings.steps or (patience is not None and self.stale >= patience)

    def save(self, path: Path) -> None:
        """Write the checkpoint atomically."""
        state = {
            "step": self.step,
            "best": self.best,
            "stale": self.stale,
            "model": self.model.module.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
        }
        with open_whole(path) as file:
            torch.save(state, file)

    def load(self, path: Path) -> None:
        """Restore a checkpoint, the random state included.

        Raises:
            UserError: It is damaged, or of another network.
        """
        try:
            with open_regular(path) as file:
                state = torch.load(file, map_location="cpu", weights_only=True)
            self.model.module.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["rng"])
            self.step, self.stale = int(state["step"]), int(state["stale"])
            self.best = float(state["best"])
        except Exception as error:  # on odd bytes the unpickler raises any type
            reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
            raise UserError(
                f"{path} is no checkpoint of this training ({reason}): delete it, or choose "
                "another folder"
            ) from error


def _group_parameters(model: nn.Module, backbone_share: float) -> list[dict[str, Any]]:
    """Group the parameters that are trained, the backbone and the rest, by share of the rate."""
    backbone: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, weight in model.named_parameters():
        if "body." in name and not backbone_share:
            weight.requires_grad_(False)
        elif weight.requires_grad:
            (backbone if "body." in name else rest).append(weight)
    groups = [{"params": backbone, "share": backbone_share}, {"params": rest, "share": 1.0}]
    return [group for group in groups if group["params"]]


def load_batches(
    examples: Examples, settings: TrainLoop, fabric: Fabric, first_step: int
) -> Iterator[Batch]:
    """Load the batches from a step on: the same ones whether or not the run was interrupted."""
    global_batch = settings.batch_size * fabric.world_size
    workers = _count_loaders(settings)
    loader = DataLoader(
        examples,
        sampler=range(first_step * global_batch, settings.steps * global_batch),
        batch_size=settings.batch_size,
        num_workers=workers,
        worker_init_fn=ignore_stop_signals,
        collate_fn=_collate_examples,
        # The loader draws a base seed: not from the generator that the network samples from.
        generator=torch.Generator().manual_seed(0),
        # A forked worker would inherit OpenCV's locked thread pool and wait for ever.
        multiprocessing_context="spawn" if workers else None,
    )
    prepared: Any = fabric.setup_dataloaders(loader, move_to_device=False)
    yield from prepared


def _count_loaders(settings: TrainLoop, shared_memory: Path = Path("/dev/shm")) -> int:
    """Count the processes that make pictures: none where shared memory cannot hold their batches.

    A loader that finds it full dies; containers often have 64 MB of it.
    """
    if not settings.workers or not shared_memory.is_dir():
        return settings.workers
    waiting = 2 * settings.workers + 1  # batches: two for each loader, and the one in use
    needed = waiting * settings.batch_size * settings.image_size**2 * _BYTES_PER_PIXEL
    free = shutil.disk_usage(shared_memory).free
    if free >= needed:
        return settings.workers
    tell(
        f"loop.workers: {shared_memory} has {free / 1e6:.0f} MB free and pictures need "
        f"{needed / 1e6:.0f}: they are made in this process, which takes longer"
    )
    return 0


def _collate_examples(examples: list[Example]) -> Batch:
    return [image for image, _ in examples], [target for _, target in examples]


def train(
    trainer: Trainer,
    examples: Examples,
    checkpoint: Path,
    on_step: Callable[[dict[str, float]], None],
    on_validation: Callable[[], float],
    on_best: Callable[[], None],
) -> None:
    """Train to the last step or the early stop, from the checkpoint if there is one.

    Args:
        trainer: The model and its optimizer.
        examples: The training examples.
        checkpoint: The file that is written after each validation.
        on_step: Takes the losses, learning rate and images/s of a step.
        on_validation: Returns the score of the average so far.
        on_best: Saves the average's weights.
    """
    fabric, settings = trainer.fabric, trainer.settings
    torch.manual_seed(examples.seed + fabric.global_rank)
    if checkpoint.exists():
        trainer.load(checkpoint)
    if trainer.done:
        return
    started = time.perf_counter()
    for images, targets in load_batches(examples, settings, fabric, trainer.step):
        losses = trainer.update(images, targets)
        seconds, started = time.perf_counter() - started, time.perf_counter()
        speed = len(images) * fabric.world_size / seconds
        on_step(losses | {"lr": trainer.compute_learning_rate(), "images_per_s": speed})
        if trainer.step % settings.validate_every and trainer.step < settings.steps:
            continue
        trainer.check_sound()
        state = torch.get_rng_state()
        score = on_validation() if fabric.is_global_zero else 0.0
        torch.set_rng_state(state)
        better = trainer.judge(fabric.broadcast(score))
        if fabric.is_global_zero:
            if better:
                on_best()
            trainer.save(checkpoint)
        fabric.barrier()
        if trainer.done:
            return
