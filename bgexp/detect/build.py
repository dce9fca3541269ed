"""Images to detections, or to soft masks: one file a family of detectors, one for the cache."""

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
    ObjectDetectorSettings,
    Rembg,
)
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
    shared_network,
)
from bgexp.detect.maskrcnn import MaskRCNNDetector, as_input, as_picture, limits_of
from bgexp.detect.rembg import build_rembg, find_model, load_runtime
from bgexp.detect.resnet50 import N_CLASSES, build_resnet50_model, build_resnet50_v2_model
from bgexp.detect.weights import Weights, downloaded, load_into, local_file, read_classes
from bgexp.errors import UserError
from bgexp.images.decode import load_image
from bgexp.system.provenance import package_versions, source_hash

COCO: dict[str, WeightsEnum] = {
    "maskrcnn_resnet50_fpn": MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
    "maskrcnn_resnet50_fpn_v2": MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
}
# The classes of a detector that knows none.
OBJECT = ("background", "object")
# int8 needs none: only the dense part is in it.
SAMPLE = Path(__file__).parents[1] / "sample"
CALIBRATED_ON_EVERY = 3  # of the sample's images
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# The packages that decode images or compute with them.
PACKAGES = {"torch", "torchvision", "opencv-python", "pillow", "pillow-heif"}
# The sources that make pictures of images and run the network.
LOADER_AND_NETWORK = ("detect", "images/color_profile.py", "images/decode.py")
# What is chosen from the network's output, or where its weights lie, is no part of what it finds.
NOT_NETWORK = {"weights", "model", "score_threshold", "score_fallback", "score_floor", "labels"}


def build_detector(
    settings: DetectorSettings, device: torch.device, network: ServerAddress | None = None
) -> Detector:
    """The configured detector with its verified weights, on the device; rembg's on the processor.

    Args:
        settings: Of the detector.
        device: Where it computes, if there is no network.
        network: Of another process, which is asked in place of one of its own.

    Raises:
        UserError: the weights are missing, damaged or of another model; an unknown label.
    """
    if isinstance(settings, Rembg):
        return build_rembg(find_weights(settings))
    if network is not None:
        return SharedDetector(network, selected(settings))
    return build_maskrcnn(settings, device)


def build_maskrcnn(settings: ObjectDetectorSettings, device: torch.device) -> MaskRCNNDetector:
    """As `build_detector`, of those that find objects."""
    selection = selected(settings)
    weights = find_weights(settings)
    check_device(settings, device)
    model = build_model(settings, len(read_classes(weights.path) or ()) or N_CLASSES)
    load_into(model, weights)
    return MaskRCNNDetector(
        model,
        device,
        score_floor=settings.floor,
        selection=selection,
        dtype=DTYPES.get(settings.precision, torch.float32),
        dense=_openvino(settings, model, weights) if settings.backend == "openvino" else None,
    )


def wants_one_process(device: torch.device) -> bool:
    """Whether one network serves a device better than one for each worker."""
    return device.type != "cpu"


@contextmanager
def common_network(
    settings: DetectorSettings, device: torch.device
) -> Iterator[InferenceServer | None]:
    """The one network of all workers, where the device wants that; rembg's is for processors."""
    if isinstance(settings, Rembg) or not wants_one_process(device):
        yield None
        return
    with shared_network(partial(build_maskrcnn, settings, device)) as network:
        yield network


def check_device(settings: ObjectDetectorSettings, device: torch.device) -> None:
    """Looks whether the device can run the detector's backend and precision.

    Raises:
        UserError: it cannot.
    """
    if settings.backend == "openvino" and device.type != "cpu":
        raise UserError("detector.backend: openvino computes on the processor (give device=cpu)")
    if settings.precision == "fp16" and device.type == "cpu":
        raise UserError("detector.precision: fp16 is for GPUs (allowed here: fp32, bf16)")


def _openvino(settings: ObjectDetectorSettings, model: MaskRCNN, weights: Weights) -> Dense:
    from bgexp.detect.openvino import openvino_dense

    identity = {
        "weights": weights.sha256,
        "settings": settings.model_dump_json(exclude=NOT_NETWORK | {"precision"}),
        "network": source_hash("detect"),
    }

    def calibration() -> Iterator[torch.Tensor]:
        for path in sorted(SAMPLE.glob("images/*/*"))[::CALIBRATED_ON_EVERY]:
            picture = as_picture(load_image(path), limits_of(model.transform))
            yield as_input([picture], model.transform, CPU)

    return openvino_dense(model, settings.precision, identity, calibration)


def cached_detector(
    settings: DetectorSettings,
    device: torch.device,
    weights: Weights,
    cache: DetectionCache | None,
    network: ServerAddress | None = None,
) -> CachedDetector:
    """The configured detector behind a cache.

    The network is built when it is needed, if it is not another process's.
    """
    identity: dict[str, Any] = {
        "architecture": settings.model_dump(mode="json", exclude=NOT_NETWORK),
        "weights": weights.sha256,
        "device": device.type,
        "loader and network": source_hash(*LOADER_AND_NETWORK),
        "versions": runtime_versions(settings)
        | {name: found for name, found in package_versions().items() if name in PACKAGES},
    }
    return CachedDetector(
        lambda: build_detector(settings, device, network),
        cache,
        identity,
        floor=settings.floor,
        selection=Selection(0.0) if isinstance(settings, Rembg) else selected(settings),
    )


def runtime_versions(settings: DetectorSettings) -> dict[str, str]:
    """The versions of the packages that only this detector computes with."""
    if isinstance(settings, Rembg):
        return {"onnxruntime": load_runtime().__version__}
    if settings.backend == "openvino":
        from bgexp.detect.openvino import load_openvino

        return {"openvino": load_openvino().__version__}
    return {}


def build_model(settings: ObjectDetectorSettings, n_classes: int) -> MaskRCNN:
    """The configured architecture with random weights; the background is one of the classes."""
    if isinstance(settings, Demo):
        return build_demo_model(settings.image_size)
    if isinstance(settings, MaskRcnnResnet50Fpn):
        return build_resnet50_model(settings, n_classes)
    return build_resnet50_v2_model(settings, n_classes)


def find_weights(settings: DetectorSettings) -> Weights:
    """The file of weights that the settings mean, verified by its SHA-256 where one is known.

    Raises:
        UserError: there is none, it cannot be had, or it is not the one expected.
    """
    if isinstance(settings, Rembg):
        return find_model(settings)
    if isinstance(settings, Demo):
        if settings.weights is None:
            return local_file(WEIGHTS, "demo", WEIGHTS_SHA256)
        return local_file(settings.weights)
    if settings.weights == "COCO_V1":
        return downloaded(COCO[settings.name].url, "COCO_V1")
    return local_file(settings.weights)


def class_names(settings: DetectorSettings) -> tuple[str, ...] | None:
    """The detector's classes by id; None where it knows no classes, only objects."""
    if isinstance(settings, Demo | Rembg):
        return None
    trained = None if settings.weights == "COCO_V1" else read_classes(Path(settings.weights))
    return None if trained == OBJECT else trained or tuple(COCO[settings.name].meta["categories"])


def selected(settings: ObjectDetectorSettings) -> Selection:
    """Which of its detections count.

    Raises:
        UserError: the detector has no such label.
    """
    return Selection(settings.score_threshold, settings.score_fallback, label_ids(settings))


def label_ids(settings: ObjectDetectorSettings) -> frozenset[int] | None:
    """The class ids that count; None for all.

    Raises:
        UserError: the detector has no such label.
    """
    wanted: Sequence[str | int] | None = settings.labels
    if wanted is None:
        return None
    names = class_names(settings) or OBJECT
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
