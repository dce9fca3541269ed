"""What a training begins with: the network with its first weights."""

from typing import cast

import torch
from torch import nn
from torchvision.models.detection import MaskRCNN

from bgexp.config.datasets import Coco
from bgexp.config.detectors import Demo, ObjectDetectorSettings
from bgexp.config.train import TrainSettings
from bgexp.datasets.read import Dataset
from bgexp.detect.backbone import freeze_norms, load_imagenet
from bgexp.detect.build import OBJECT, build_model, find_weights, list_class_names
from bgexp.detect.detections import Selection
from bgexp.detect.weights import load_weights, read_state
from bgexp.errors import UserError
from bgexp.pipeline.refine import find_network
from bgexp.pipeline.unet import UNetModel
from bgexp.train.tasks import DetectorTask, Task, UNetTask

# What depends on the number of classes, and edges and colours, for which ImageNet's weights serve.
CLASS_HEADS = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")
EARLY_LAYERS = ("conv1.", "bn1.", "layer1.")


def build_task(settings: TrainSettings, classes: tuple[str, ...], device: torch.device) -> Task:
    """Build the network with its first weights.

    Raises:
        UserError: Weights are missing or of another network.
    """
    if settings.network == "unet":
        return UNetTask(_build_unet(settings), settings.refine, device)
    model = _build_detector(settings, classes)
    freeze_norms(model)
    for name, weight in model.backbone.body.named_parameters():
        if settings.init != "random" and name.startswith(EARLY_LAYERS):
            weight.requires_grad_(False)
    detector = settings.detector  # of any class that is trained
    return DetectorTask(model, Selection(detector.score_threshold, detector.score_fallback), device)


def _build_unet(settings: TrainSettings) -> UNetModel:
    network = UNetModel()
    if settings.init == "weights":
        load_weights(network, find_network(settings.refine))
    if settings.backbone is not None and settings.init != "random":
        _load_backbone(network.body, settings)
    return network


def _build_detector(settings: TrainSettings, classes: tuple[str, ...]) -> MaskRCNN:
    detector = settings.detector
    if isinstance(detector, Demo):
        if classes != OBJECT:
            raise UserError("classes: detector=demo knows one class (got 'dataset'; use object)")
        detector = detector.replace(image_size=settings.loop.image_size)
    model = build_model(detector, len(classes))
    if settings.init == "weights":
        _load_weights(model, detector, classes)
    if settings.backbone is not None and settings.init != "random":
        _load_backbone(cast(nn.Module, model.backbone.body), settings)
    return model


def _load_weights(
    model: MaskRCNN, detector: ObjectDetectorSettings, classes: tuple[str, ...]
) -> None:
    """Load all of a file's weights, or all but the heads where it has other classes."""
    weights, file_classes = find_weights(detector), list_class_names(detector) or OBJECT
    if file_classes == classes:
        load_weights(model, weights)
        return
    file_model = build_model(detector, len(file_classes))
    load_weights(file_model, weights)
    state = {k: v for k, v in file_model.state_dict().items() if not k.startswith(CLASS_HEADS)}
    model.load_state_dict(state, strict=False)


def list_classes(settings: TrainSettings, dataset: Dataset | None) -> tuple[str, ...]:
    """List the classes by id; the background is 0.

    Raises:
        UserError: The dataset has no classes.
    """
    if settings.classes == "object":
        return OBJECT
    if dataset is None or not isinstance(settings.dataset, Coco):
        raise UserError("classes: dataset needs dataset=coco (got 'dataset'; allowed: object)")
    images = [item.annotations for item in dataset.items if item.annotations is not None]
    used = {image.categories.get(a.category_id) for image in images for a in image.annotations}
    names = [name for name in used if name is not None]
    return ("background", *sorted(names))


def _load_backbone(body: nn.Module, settings: TrainSettings) -> None:
    path = settings.backbone
    assert path is not None  # both callers check it
    if not path.is_file():
        raise UserError(f"backbone: no such file: {path}")
    try:
        load_imagenet(body, read_state(path, "backbone"))
    except (KeyError, RuntimeError) as error:
        raise UserError(f"backbone: {path} holds another network's weights") from error
