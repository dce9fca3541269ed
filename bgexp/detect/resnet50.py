"""Torchvision's two Mask R-CNNs with ResNet-50 and FPN, in the norm of their weights."""

from functools import partial

from torch import nn
from torchvision.models import resnet50
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops import FrozenBatchNorm2d

from bgexp.config.detectors import MaskRcnnResnet50Fpn, MaskRcnnResnet50FpnV2
from bgexp.detect.maskrcnn import set_strides

LEVELS = 2, 5  # strides 4 to 32
N_CLASSES = 91  # COCO's ids reach 90; 0 is the background
NORMS = {"frozen_batch_norm": FrozenBatchNorm2d, "batch_norm": nn.BatchNorm2d}


def build_resnet50_model(settings: MaskRcnnResnet50Fpn, n_classes: int = N_CLASSES) -> MaskRCNN:
    """Build the model with random weights.

    Torchvision's own builder picks norm type and epsilon by whether it is given its own weights;
    here they are settings, since a file with the same names loads into either and scores otherwise.
    """
    norm = partial(NORMS[settings.norm], eps=settings.norm_eps)
    backbone = _resnet_fpn_extractor(resnet50(weights=None, norm_layer=norm), trainable_layers=5)
    model = MaskRCNN(
        backbone,
        num_classes=n_classes,
        min_size=settings.min_size,
        max_size=settings.max_size,
        box_detections_per_img=settings.detections_per_image,
    )
    return set_strides(model, *LEVELS)


def build_resnet50_v2_model(
    settings: MaskRcnnResnet50FpnV2, n_classes: int = N_CLASSES
) -> MaskRCNN:
    """Build version 2 with random weights: norms also in FPN and heads, a deeper box head.

    Li et al., "Benchmarking Detection Transfer Learning with Vision Transformers", 2021.
    """
    model = maskrcnn_resnet50_fpn_v2(
        weights=None,
        weights_backbone=None,
        num_classes=n_classes,
        min_size=settings.min_size,
        max_size=settings.max_size,
        box_detections_per_img=settings.detections_per_image,
    )
    return set_strides(model, *LEVELS)
