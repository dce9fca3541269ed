"""What is tried: how the network computes, and at which size it sees the images."""

from importlib.util import find_spec
from typing import Any

from bgexp.config.detectors import Demo, ObjectDetectorSettings
from bgexp.detect.device import Device, has_bf16

Changes = dict[str, Any]

SIZES = (5 / 6, 2 / 3)  # of the configured input
_STRIDE = 32
REFERENCE: Changes = {"backend": "torch", "precision": "fp32"}


def arithmetics(device: Device) -> list[Changes]:
    """The backends and precisions that this machine has, the reference first."""
    found = [REFERENCE]
    short = ["bf16"] * has_bf16(device)
    if device.type != "cpu":
        return found + [{**REFERENCE, "precision": name} for name in ("fp16", *short)]
    found += [{**REFERENCE, "precision": name} for name in short]
    if find_spec("openvino"):
        names = ["fp32", *short, *["int8"] * (find_spec("nncf") is not None)]
        found += [{"backend": "openvino", "precision": name} for name in names]
    return found


def smaller(detector: ObjectDetectorSettings) -> list[Changes]:
    """Smaller inputs than the detector's, in whole strides of the network."""
    names = ("image_size",) if isinstance(detector, Demo) else ("min_size", "max_size")
    return [
        {name: _STRIDE * round(share * getattr(detector, name) / _STRIDE) for name in names}
        for share in SIZES
    ]


def changed(detector: ObjectDetectorSettings, changes: Changes) -> ObjectDetectorSettings:
    """The detector with other settings."""
    return detector.model_copy(update=changes)
