"""What `bgexp train` prints at its end: weights, what each refinement gives, the next command."""

import json
import shlex
from pathlib import Path

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
    print(f"Next:    {shlex.join(['bgexp', 'run', *_list_overrides(weights, settings, card)])}")


def _list_overrides(weights: Path, settings: TrainSettings, card: dict[str, str]) -> list[str]:
    """List the overrides that use the weights, with the refinement that suits them."""
    changed = {k: v for k, v in settings.refine if v != getattr(UNet(), k) and k != "weights"}
    unet = ["refine=unet", *(f"refine.{key}={value}" for key, value in changed.items())]
    if settings.network == "unet":
        return [*unet, f"refine.weights={weights}"]
    detector = [f"detector={settings.detector.name}", f"detector.weights={weights}"]
    return [*detector, *(unet if card["refine"] == "unet" else [f"refine={card['refine']}"])]
