"""The architecture of the shipped detector: a small class-agnostic Mask R-CNN.

MobileNetV2 with an FPN of 128 channels on strides 8, 16 and 32. Stride 4 is left out: a mask has
28x28 cells, so the objects that a cut-out is about gain nothing from it, and it would take half
of the arithmetic.
"""

from pathlib import Path

from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from bgexp.detect.backbone import build_mobilenet_blocks
from bgexp.detect.maskrcnn import set_strides

# The shipped weights; the model card is in the file's metadata and in docs/demo-detector.md.
WEIGHTS = Path(__file__).parent / "demo.safetensors"
WEIGHTS_SHA256 = "77b8b84247eb419b474685d843289808479e05f217d82c39ef453690327ef97f"

CHANNELS = 128
# MobileNetV2's blocks whose outputs feed the FPN, with their channels: strides 8, 16, 32.
BLOCKS = {6: 32, 13: 96, 17: 320}
ANCHOR_SIZES = ((32, 48), (64, 96), (128, 192), (256, 360))
ASPECT_RATIOS = ((0.5, 1.0, 2.0),) * len(ANCHOR_SIZES)


def build_demo_model(image_size: int = 352) -> MaskRCNN:
    """Build the model with random weights; it scales images to a longer side of image_size."""
    levels = [str(number) for number in range(len(BLOCKS))]
    backbone = BackboneWithFPN(
        build_mobilenet_blocks(max(BLOCKS)),
        return_layers=dict(zip(map(str, BLOCKS), levels, strict=True)),
        in_channels_list=list(BLOCKS.values()),
        out_channels=CHANNELS,
        extra_blocks=LastLevelMaxPool(),
    )
    model = MaskRCNN(
        backbone,
        min_size=image_size,
        max_size=image_size,
        rpn_anchor_generator=AnchorGenerator(ANCHOR_SIZES, ASPECT_RATIOS),
        rpn_pre_nms_top_n_train=500,
        rpn_post_nms_top_n_train=300,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_test=150,
        rpn_batch_size_per_image=128,
        box_batch_size_per_image=48,
        box_positive_fraction=0.2,
        box_roi_pool=MultiScaleRoIAlign(levels, output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(CHANNELS * 7 * 7, 256),
        box_predictor=FastRCNNPredictor(256, num_classes=2),
        mask_roi_pool=MultiScaleRoIAlign(levels, output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(CHANNELS, (128, 128, 128), dilation=1),
        mask_predictor=MaskRCNNPredictor(128, 128, num_classes=2),
    )
    return set_strides(model, 3, 5)
