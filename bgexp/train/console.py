"""What `bgexp train` prints at its end: weights, what each refinement gives, the next command."""

import json
from pathlib import Path

from bgexp.config.command_line import write_command, write_override
from bgexp.config.stages import UNet
from bgexp.config.train import TrainSettings
from bgexp.detect.weights import read_card


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


def _list_overrides(weights: Path, settings: TrainSettings, card: dict[str, str]) -> list[str]:
    """List the overrides that use the weights, with the refinement that suits them."""
    changed = {k: v for k, v in settings.refine if v != getattr(UNet(), k) and k != "weights"}
    unet = ["refine=unet", *(f"refine.{key}={value}" for key, value in changed.items())]
    if settings.network == "unet":
        return [*unet, write_override("run", "refine.weights", weights)]
    place = write_override("run", "detector.weights", weights)
    detector = [f"detector={settings.detector.name}", place]
    return [*detector, *(unet if card["refine"] == "unet" else [f"refine={card['refine']}"])]
