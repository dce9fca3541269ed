"""Random weights whose predictions are replaced: every layer works, and what is found is known."""

from contextlib import contextmanager
from unittest.mock import patch

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import WeightsEnum
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads

from bgexp.detect.resnet50 import build_resnet50_model
from bgexp.detect.weights import save_state

LABEL = 1
# Environment of a steered batch: the folder of its scenes, and what its box head has to see.
SCENES, PROPOSALS = "BGEXP_BENCH_SCENES", "BGEXP_BENCH_PROPOSALS"
SCENE = "BGEXP_BENCH_SCENE"  # the picture that a shared network's photographs are copies of


def write_random_weights(path, settings):
    """Write torchvision's initial weights of Mask R-CNN, from a fixed seed."""
    torch.manual_seed(0)
    state = build_resnet50_model(settings).state_dict()
    for name in state:  # as training leaves them: else the sixteen blocks' sums grow without end
        if name.endswith("bn3.weight"):
            state[name] = torch.full_like(state[name], 0.2)
    save_state(state, path, {})


@contextmanager
def published_weights(path):
    """Let torchvision load these weights wherever it would download its own."""
    state = load_file(path)
    with patch.object(WeightsEnum, "get_state_dict", lambda *_, **__: state):
        yield


class Control:
    """What the network is made to find, and how much work it did in the last picture.

    Attributes:
        scene: The scene whose detections come out, in each picture of a batch.
        pictures: How many the last batch had.
        proposals: Regions of one that the box head saw.
        mask_boxes: Boxes of one that the mask head saw.
    """

    scene = None
    pictures = proposals = mask_boxes = 0

    def make_output(self, heads, image_shape, device):
        """Make boxes in the network's pixels, scores and labels, above the network's threshold."""
        height, width = self.scene.truth.shape
        scale = torch.tensor([image_shape[1] / width, image_shape[0] / height] * 2)
        scores = torch.from_numpy(self.scene.scores)
        is_above = scores > heads.score_thresh
        boxes = torch.from_numpy(self.scene.boxes)[is_above] * scale
        output = boxes, scores[is_above], torch.full((len(boxes),), LABEL)
        return [tensor.to(device) for tensor in output]


@contextmanager
def controlled_predictions():
    """Let every Mask R-CNN of torchvision find what `scene` of the yielded control holds.

    Backbone, FPN, RPN with its suppression, box head and mask head run as ever; only the box
    head's choice and the mask head's last values are replaced.
    """
    control = Control()
    choose = RoIHeads.postprocess_detections

    def postprocess(heads, class_logits, box_regression, proposals, image_shapes):
        choose(heads, class_logits, box_regression, proposals, image_shapes)
        control.pictures, control.proposals = len(proposals), len(proposals[0])
        outputs = (control.make_output(heads, shape, class_logits.device) for shape in image_shapes)
        return [list(tensors) for tensors in zip(*outputs, strict=True)]

    def predict(predictor, x):
        logits = nn.Sequential.forward(predictor, x)
        control.mask_boxes = len(logits) // control.pictures
        masks = torch.from_numpy(control.scene.masks[: control.mask_boxes]).logit()
        logits[:, LABEL] = masks.repeat(control.pictures, 1, 1).to(logits)
        return logits

    with (
        patch.object(RoIHeads, "postprocess_detections", postprocess),
        patch.object(MaskRCNNPredictor, "forward", predict),
    ):
        yield control
