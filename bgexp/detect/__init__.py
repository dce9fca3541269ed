"""Images to detections: one file a family of detectors, and one for weights."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN, MaskRCNN_ResNet50_FPN_Weights

from bgexp.config import Demo, DetectorSettings
from bgexp.detect.demo import WEIGHTS, WEIGHTS_SHA256, build_demo_model
from bgexp.detect.maskrcnn import MaskRCNNDetector
from bgexp.detect.resnet50 import build_resnet50_model
from bgexp.detect.weights import Weights, downloaded, load_into, local_file
from bgexp.detections import Detections
from bgexp.errors import UserError

COCO = MaskRCNN_ResNet50_FPN_Weights.COCO_V1


class Detector(Protocol):
    """Anything that finds objects in an image; the rest of bgexp knows no more of it."""

    weights_sha256: str
    score_threshold: float
    labels: frozenset[int] | None

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """What is in an image, HxWx3 uint8 RGB."""


def build_detector(settings: DetectorSettings, device: torch.device) -> MaskRCNNDetector:
    """The configured detector with its verified weights, on the device.

    Raises:
        UserError: the weights are missing, damaged or of another model; an unknown label.
    """
    model: MaskRCNN
    if isinstance(settings, Demo):
        model, names = build_demo_model(settings.image_size), ("background", "object")
    else:
        model, names = build_resnet50_model(settings), tuple(COCO.meta["categories"])
    labels = _label_ids(settings.labels, names)
    weights = find_weights(settings)
    load_into(model, weights)
    return MaskRCNNDetector(
        model,
        device,
        weights_sha256=weights.sha256,
        score_threshold=settings.score_threshold,
        labels=labels,
    )


def find_weights(settings: DetectorSettings) -> Weights:
    """The file of weights that the settings mean, verified by its SHA-256 where one is known.

    Raises:
        UserError: there is none, it cannot be had, or it is not the one expected.
    """
    if isinstance(settings, Demo):
        if settings.weights is None:
            return local_file(WEIGHTS, "demo", WEIGHTS_SHA256)
        return local_file(settings.weights)
    if settings.weights == "COCO_V1":
        return downloaded(COCO.url, "COCO_V1")
    return local_file(settings.weights)


def _label_ids(wanted: Sequence[str | int] | None, names: Sequence[str]) -> frozenset[int] | None:
    """Class ids of names or numbers; names are those of the detector's classes."""
    if wanted is None:
        return None
    known = {
        name: number
        for number, name in enumerate(names)
        if name not in ("N/A", "background", "__background__")
    }
    ids = {label if isinstance(label, int) else known.get(label, -1) for label in wanted}
    if not wanted or not ids <= set(known.values()):
        got = ", ".join(map(str, wanted)) or "none"
        raise UserError(f"detector.labels: unknown (got {got}; allowed: {', '.join(known)})")
    return frozenset(ids)
