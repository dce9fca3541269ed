"""What `bgexp train` prints at its end: weights, what each refinement gives, the next command."""

import json
from collections.abc import Sequence
from pathlib import Path

from bgexp.config.command_line import write_command, write_override
from bgexp.config.free_text import unquote_free_text
from bgexp.config.stages import UNet
from bgexp.config.train import TrainSettings
from bgexp.detect.weights import read_card
from bgexp.train.command import CHECKPOINT


def show_training(weights: Path, settings: TrainSettings) -> None:
    """Print where the weights are, how refinements did on unseen images, and the next command."""
    card = read_card(weights)
    scores = json.loads(card["refinements"])
    print("Refinements on unseen images, IoU / boundary IoU:")
    for score in scores:
        marker = "   (the best)" if score["name"] == card["refine"] else ""
        print(f"  {score['name']:8} {score['iou']:.3f} / {score['boundary_iou']:.3f}{marker}")
    print(f"Weights: {weights}")
    words = _list_overrides(weights, settings, card)
    print(f"Next:    {write_command('run', words, settings)}")


def show_resumption(
    folder: Path, overrides: Sequence[str], settings: TrainSettings, config_dir: Path | None
) -> None:
    """Print the command that goes on from the checkpoint, if there is one.

    Args:
        folder: Of the training.
        overrides: Those that it was started with.
        settings: What they mean.
        config_dir: Of the configs that they may name.
    """
    if not (folder / CHECKPOINT).exists():
        return
    given_below = ("resume", "hydra.run.dir", "runs_dir", "tracking.uri", "tracking.experiment")
    words = [
        unquote_free_text([TrainSettings], override, sweeps=False)
        for override in overrides
        if override.partition("=")[0].lstrip("+") not in given_below
    ]
    words += ["resume=true", write_override("train", "hydra.run.dir", folder)]
    print(f"Go on:   {write_command('train', words, settings, config_dir)}")


def _list_overrides(weights: Path, settings: TrainSettings, card: dict[str, str]) -> list[str]:
    """List the overrides that use the weights, with the refinement that suits them."""
    changed = {k: v for k, v in settings.refine if v != getattr(UNet(), k) and k != "weights"}
    unet = ["refine=unet", *(f"refine.{key}={value}" for key, value in changed.items())]
    if settings.network == "unet":
        return [*unet, write_override("run", "refine.weights", weights)]
    place = write_override("run", "detector.weights", weights)
    detector = [f"detector={settings.detector.name}", place]
    return [*detector, *(unet if card["refine"] == "unet" else [f"refine={card['refine']}"])]
