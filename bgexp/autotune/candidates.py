"""The candidates: backends and precisions of the network, and the sizes of its input."""

from importlib.util import find_spec
from typing import Any

from bgexp.config.detectors import Demo, ObjectDetectorSettings
from bgexp.detect.device import Device, has_bf16

Changes = dict[str, Any]

SIZES = (5 / 6, 2 / 3)  # shares of the configured size
_STRIDE = 32  # pixels; the network pads its input to whole strides
REFERENCE: Changes = {"backend": "torch", "precision": "fp32"}


def list_arithmetics(device: Device) -> list[Changes]:
    """Return the backends and precisions that this machine has, the reference first."""
    candidates = [REFERENCE]
    bf16 = ["bf16"] * has_bf16(device)
    if device.type != "cpu":
        return candidates + [{**REFERENCE, "precision": name} for name in ("fp16", *bf16)]
    candidates += [{**REFERENCE, "precision": name} for name in bf16]
    if find_spec("openvino"):
        names = ["fp32", *bf16, *["int8"] * (find_spec("nncf") is not None)]
        candidates += [{"backend": "openvino", "precision": name} for name in names]
    return candidates


def list_smaller_inputs(detector: ObjectDetectorSettings) -> list[Changes]:
    """Return smaller inputs than the detector's, in whole strides of the network."""
    names = ("image_size",) if isinstance(detector, Demo) else ("min_size", "max_size")
    return [
        {name: _STRIDE * round(share * getattr(detector, name) / _STRIDE) for name in names}
        for share in SIZES
    ]


def apply_changes(detector: ObjectDetectorSettings, changes: Changes) -> ObjectDetectorSettings:
    """Return the detector with other settings."""
    return detector.replace(**changes)
