"""Images to detections, or to soft masks: one file a family of detectors, one for the cache."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torchvision.models import WeightsEnum
from torchvision.models.detection import (
    MaskRCNN,
    MaskRCNN_ResNet50_FPN_V2_Weights,
    MaskRCNN_ResNet50_FPN_Weights,
)

from bgexp.config.detectors import (
    Demo,
    DetectorSettings,
    MaskRcnnResnet50Fpn,
    Masks,
    ObjectDetectorSettings,
    Rembg,
    RunDetectorSettings,
    SoftMaskSettings,
)
from bgexp.config.roles import NOT_RESULT, Role, dump_without
from bgexp.detect import placement
from bgexp.detect.cache import CachedDetector, DetectionCache
from bgexp.detect.demo import WEIGHTS, WEIGHTS_SHA256, build_demo_model
from bgexp.detect.dense import Dense
from bgexp.detect.detections import Selection
from bgexp.detect.detector import Detector
from bgexp.detect.device import CPU
from bgexp.detect.inference_server import (
    InferenceServer,
    ServerAddress,
    SharedDetector,
    start_server,
)
from bgexp.detect.maskrcnn import MaskRCNNDetector, make_batch, make_picture, read_limits
from bgexp.detect.rembg import build_rembg, find_model, load_runtime
from bgexp.detect.resnet50 import N_CLASSES, build_resnet50_model, build_resnet50_v2_model
from bgexp.detect.weights import (
    Weights,
    download_weights,
    find_file,
    load_weights,
    locate_weights,
    read_classes,
)
from bgexp.errors import UserError
from bgexp.images.decode import load_image
from bgexp.system.provenance import find_package_versions, hash_sources

COCO: dict[str, WeightsEnum] = {
    "maskrcnn_resnet50_fpn": MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
    "maskrcnn_resnet50_fpn_v2": MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
}
# The classes of a detector that knows none.
OBJECT = ("background", "object")
# The images that int8 is calibrated on; masks are not needed, since only the dense part is int8.
SAMPLE = Path(__file__).parents[1] / "sample"
CALIBRATION_STEP = 3  # every third image of the sample
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# The packages that decode images or compute with them.
PACKAGES = {"torch", "torchvision", "opencv-python", "pillow", "pillow-heif"}
# The sources that scale images to pictures and run the network.
LOADER_AND_NETWORK = (
    "detect",
    *(f"images/{name}.py" for name in ("color_profile", "decode", "jpeg_scans", "png_chunks")),
    *("images/tiff_strips.py", "images/webp_chunks.py"),
)
# Of settings that choose from the network's output or say where its weights lie.
NOT_NETWORK = (Role.SELECTION, *NOT_RESULT)


def build_detector(
    settings: DetectorSettings, device: torch.device, address: ServerAddress | None = None
) -> Detector:
    """Build the configured detector with its verified weights on the device; rembg's on the CPU.

    Args:
        settings: The detector's settings.
        device: Where it computes, if there is no inference server.
        address: Of the inference server that computes in its place; None: it has its own network.

    Raises:
        UserError: the weights are missing, damaged or of another model; an unknown label.
    """
    if isinstance(settings, Rembg):
        return build_rembg(find_weights(settings))
    if address is not None:
        return SharedDetector(address, build_selection(settings))
    return build_maskrcnn(settings, device)


def build_maskrcnn(settings: ObjectDetectorSettings, device: torch.device) -> MaskRCNNDetector:
    """Build a detector of objects, as `build_detector` does."""
    selection = build_selection(settings)
    weights = find_weights(settings)
    check_device(settings, device)
    model = build_model(settings, len(read_classes(weights.path) or ()) or N_CLASSES)
    load_weights(model, weights)
    return MaskRCNNDetector(
        model,
        device,
        score_floor=settings.floor,
        selection=selection,
        dtype=DTYPES.get(settings.precision, torch.float32),
        dense=_build_openvino(settings, model, weights) if settings.backend == "openvino" else None,
    )


@contextmanager
def share_network(
    settings: RunDetectorSettings, device: torch.device
) -> Iterator[InferenceServer | None]:
    """Start the workers' inference server where the device wants one; rembg runs on CPUs only."""
    if isinstance(settings, SoftMaskSettings) or not placement.wants_one_process(device.type):
        yield None
        return
    with start_server(partial(build_maskrcnn, settings, device)) as server:
        yield server


def check_device(settings: ObjectDetectorSettings, device: torch.device) -> None:
    """Check that the device can run the detector's backend and precision.

    Raises:
        UserError: it cannot.
    """
    if settings.backend == "openvino" and device.type != "cpu":
        raise UserError("detector.backend: openvino computes on the processor (give device=cpu)")
    if settings.precision == "fp16" and device.type == "cpu":
        raise UserError("detector.precision: fp16 is for GPUs (allowed here: fp32, bf16)")


def _build_openvino(settings: ObjectDetectorSettings, model: MaskRCNN, weights: Weights) -> Dense:
    from bgexp.detect.openvino import build_openvino_dense

    identity = {
        "weights": weights.sha256,
        "settings": json.dumps(dump_without(settings, *NOT_NETWORK) | {"precision": None}),
        "network": hash_sources("detect"),
    }

    def read_pictures() -> Iterator[torch.Tensor]:
        for path in sorted(SAMPLE.glob("images/*/*"))[::CALIBRATION_STEP]:
            picture = make_picture(load_image(path), read_limits(model.transform))
            yield make_batch([picture], model.transform, CPU)

    return build_openvino_dense(model, settings.precision, identity, read_pictures)


def build_cached_detector(
    settings: DetectorSettings,
    device: torch.device,
    weights: Weights,
    cache: DetectionCache | None,
    address: ServerAddress | None = None,
) -> CachedDetector:
    """Build the configured detector behind a cache.

    The network is built when it is needed, or asked at the address of an inference server.
    """
    identity: dict[str, Any] = {
        "architecture": dump_without(settings, *NOT_NETWORK),
        "weights": weights.sha256,
        "device": device.type,
        "loader and network": hash_sources(*LOADER_AND_NETWORK),
        "versions": find_runtime_versions(settings)
        | {name: version for name, version in find_package_versions().items() if name in PACKAGES},
    }
    return CachedDetector(
        lambda: build_detector(settings, device, address),
        cache,
        identity,
        floor=settings.floor,
        selection=Selection(0.0)
        if isinstance(settings, SoftMaskSettings)
        else build_selection(settings),
    )


def find_runtime_versions(settings: RunDetectorSettings) -> dict[str, str]:
    """Return the versions of the packages that only this detector computes with."""
    if isinstance(settings, Masks):
        return {}
    if isinstance(settings, Rembg):
        return {"onnxruntime": load_runtime().__version__}
    if settings.backend == "openvino":
        from bgexp.detect.openvino import load_openvino

        return {"openvino": load_openvino().__version__}
    return {}


def build_model(settings: ObjectDetectorSettings, n_classes: int) -> MaskRCNN:
    """Build the configured architecture with random weights; the background counts as a class."""
    if isinstance(settings, Demo):
        return build_demo_model(settings.image_size)
    if isinstance(settings, MaskRcnnResnet50Fpn):
        return build_resnet50_model(settings, n_classes)
    return build_resnet50_v2_model(settings, n_classes)


def find_weights(settings: DetectorSettings) -> Weights:
    """Find the file of weights that the settings name, verified by its SHA-256 where one is known.

    Raises:
        UserError: it is missing and cannot be downloaded, or it is not the one expected.
    """
    if isinstance(settings, Rembg):
        return find_model(settings)
    if isinstance(settings, Demo):
        if settings.weights is None:
            return locate_weights(WEIGHTS, "demo", WEIGHTS_SHA256)
        return locate_weights(settings.weights)
    if settings.weights == "COCO_V1":
        return download_weights(COCO[settings.name].url, "COCO_V1")
    return locate_weights(settings.weights)


def list_class_names(settings: RunDetectorSettings) -> tuple[str, ...] | None:
    """Return the detector's class names by id; None where it knows no classes, only objects."""
    if isinstance(settings, Demo | SoftMaskSettings):
        return None
    names = None if settings.weights == "COCO_V1" else read_classes(find_file(settings.weights))
    return None if names == OBJECT else names or tuple(COCO[settings.name].meta["categories"])


def build_selection(settings: ObjectDetectorSettings) -> Selection:
    """Build the selection of the detections that count.

    Raises:
        UserError: the detector has no such label.
    """
    return Selection(settings.score_threshold, settings.score_fallback, find_label_ids(settings))


def find_label_ids(settings: ObjectDetectorSettings) -> frozenset[int] | None:
    """Return the class ids that count; None for all.

    Raises:
        UserError: the detector has no such label.
    """
    labels: Sequence[str | int] | None = settings.labels
    if labels is None:
        return None
    names = list_class_names(settings) or OBJECT
    ids_by_name = {
        name: number
        for number, name in enumerate(names)
        if name not in ("N/A", "background", "__background__")
    }
    ids = {label if isinstance(label, int) else ids_by_name.get(label, -1) for label in labels}
    if not labels or not ids <= set(ids_by_name.values()):
        given_labels = ", ".join(map(str, labels)) or "none"
        raise UserError(
            f"detector.labels: unknown (got {given_labels}; allowed: {', '.join(ids_by_name)})"
        )
    return frozenset(ids)
