"""The two networks that can be trained: their examples, losses and predictions for validation."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Protocol, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torchvision.models.detection import MaskRCNN
from torchvision.ops import masks_to_boxes

from bgexp.config.stages import UNet
from bgexp.detect.detections import Selection
from bgexp.detect.maskrcnn import MaskRCNNDetector
from bgexp.pipeline.combine import combine_detections, select_detections
from bgexp.pipeline.unet import UNetModel, UNetPredictor
from bgexp.pipeline.unet_refiner import find_surroundings, refine_mask_unet
from bgexp.train.degrade import coarsen_masks
from bgexp.train.scene import Scene

Generator = np.random.Generator
BoolArray = NDArray[np.bool_]
Target = dict[str, torch.Tensor]
Example = tuple[torch.Tensor, Target]
ToExample = Callable[[Scene, Generator], Example]

SCORE_THRESHOLDS = (0.5, 0.7, 0.9)
MADE_UP_SHARE = 0.4  # of the coarse masks, where a scene has a detector's own
PADDING = (124, 116, 104)  # ImageNet's mean: zero to the network


class Task(Protocol):
    """A network and what belongs to its training.

    Attributes:
        model: Takes lists of images and targets and returns losses by name.
        to_example: Converts a scene to an image and target for the model.
        judged_by: The name of the predictions that the early stop uses.
        unrefined: The name of those that a refinement gets.
    """

    model: nn.Module
    to_example: ToExample
    judged_by: str
    unrefined: str

    def predict(self, model: nn.Module, scenes: list[Scene]) -> list[dict[str, BoolArray]]:
        """Predict each scene's foreground masks, HxW bool, by the name of the setting."""
        ...

    def get_state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Return the state dict for the file of weights."""
        ...

    def load_state(self, model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        """Load what `get_state` returned."""
        ...


class DetectorTask:
    """A Mask R-CNN that finds objects of one class."""

    def __init__(self, model: MaskRCNN, selection: Selection, device: torch.device) -> None:
        self.model: nn.Module = model
        self.to_example: ToExample = make_detector_example
        self.judged_by = self.unrefined = f"{selection.score_threshold:g}"
        self._selections = {
            f"{score:g}": replace(selection, score_threshold=score)
            for score in sorted({*SCORE_THRESHOLDS, selection.score_threshold})
        }
        scores = [s.score_threshold for s in self._selections.values()]
        fallback = selection.score_fallback
        self._floor = min([*scores, 1.0 if fallback is None else fallback])
        self._device = device

    def predict(self, model: nn.Module, scenes: list[Scene]) -> list[dict[str, BoolArray]]:
        """Predict the union of the instances that count at each score threshold."""
        detector = MaskRCNNDetector(
            cast(MaskRCNN, deepcopy(model)),
            self._device,
            score_floor=self._floor,
            selection=self._selections[self.judged_by],
        )
        outputs = [detector.detect(scene.image) for scene in scenes]
        return [
            {
                name: combine_detections(select_detections(detections, selection)).mask
                for name, selection in self._selections.items()
            }
            for detections in outputs
        ]

    def get_state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Return the whole state dict."""
        return model.state_dict()

    def load_state(self, model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        """Load the whole state dict."""
        model.load_state_dict(dict(state))


class UNetTask:
    """A U-Net that learns to refine a detector's masks."""

    def __init__(self, network: UNetModel, settings: UNet, device: torch.device) -> None:
        self.model: nn.Module = UNetLosses(network)
        self.to_example: ToExample = UNetExample(settings.size, settings.margin)
        self.judged_by, self.unrefined = "refined", "coarse"
        self._settings, self._device = settings.replace(grabcut=False), device

    def predict(self, model: nn.Module, scenes: list[Scene]) -> list[dict[str, BoolArray]]:
        """Return coarse masks, always the same ones, and the network's refined ones."""
        network = deepcopy(cast(UNetLosses, model).network)
        predictor = UNetPredictor(network, self._device)
        predictions = []
        for number, scene in enumerate(scenes):
            coarse = scene.coarse
            if coarse is None or not coarse.any():
                coarse = coarsen_masks(scene.image, scene.masks, np.random.default_rng(number))
            refined = refine_mask_unet(scene.image, coarse, predictor, self._settings)
            predictions.append({"coarse": coarse, "refined": refined.mask})
        return predictions

    def get_state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Return the network's state dict, without its losses."""
        return cast(UNetLosses, model).network.state_dict()

    def load_state(self, model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        """Load the network's state dict."""
        cast(UNetLosses, model).network.load_state_dict(dict(state))


def make_detector_example(scene: Scene, _rng: Generator) -> Example:
    """Return image 3xHxW float32 in [0, 1] and torchvision's target: boxes, labels, masks."""
    masks = torch.from_numpy(scene.masks)
    boxes = masks_to_boxes(masks) + torch.tensor([0.0, 0.0, 1.0, 1.0])  # ends are exclusive
    target = {"boxes": boxes, "labels": torch.from_numpy(scene.labels)}
    return convert_to_tensor(scene.image), target | {"masks": masks.to(torch.uint8)}


@dataclass(frozen=True)
class UNetExample:
    """The conversion of a scene to the surroundings of a coarse mask, `size` x `size`.

    Attributes:
        size: The side of the result in pixels.
        margin: Around the coarse mask's box, as a share of its longer side; 0.4 to 1.6 of it.
    """

    size: int
    margin: float

    def __call__(self, scene: Scene, rng: Generator) -> Example:
        """Return image 3xHxW and target, the coarse and the true mask 1xHxW; float32 in [0, 1].

        Where the scene has void there is also the plane of what is not, "known".
        """
        coarse = scene.coarse
        if coarse is None or not coarse.any() or rng.random() < MADE_UP_SHARE:
            coarse = coarsen_masks(scene.image, scene.masks, rng)
        where = find_surroundings(coarse, self.margin * rng.uniform(0.4, 1.6))
        inner_size = self._draw_inner_size(coarse[where].shape, rng)
        coarse_plane, truth = (
            convert_to_tensor(self._pad(255 * mask[where].astype(np.uint8), inner_size, 0))
            for mask in (coarse, scene.foreground)
        )
        picture = convert_to_tensor(self._pad(scene.image[where], inner_size, PADDING))
        target = {"coarse": coarse_plane, "mask": truth}
        if scene.void is not None:
            known = 255 * (~scene.void[where]).astype(np.uint8)
            target["known"] = convert_to_tensor(self._pad(known, inner_size, 255))
        return picture, target

    def _draw_inner_size(self, shape: tuple[int, ...], rng: Generator) -> tuple[int, int]:
        """Draw width and height: the longer one is `size`, the other between square and true."""
        height, width = shape
        exponent = rng.uniform(0.3, 1)
        shorter = max(8, round(self.size * (min(shape) / max(shape)) ** exponent))
        return (self.size, shorter) if width > height else (shorter, self.size)

    def _pad(
        self, plane: NDArray[np.uint8], inner_size: tuple[int, int], padding: int | tuple[int, ...]
    ) -> NDArray[np.uint8]:
        """Resize a plane and put it in the middle of a square of one colour, HxWxC."""
        resized = np.atleast_3d(cv2.resize(plane, inner_size, interpolation=cv2.INTER_AREA))
        square = np.full((self.size, self.size, resized.shape[2]), padding, np.uint8)
        width, height = inner_size
        y, x = (self.size - height) // 2, (self.size - width) // 2
        square[y : y + height, x : x + width] = resized
        return square


def convert_to_tensor(image: NDArray[np.uint8]) -> torch.Tensor:
    """Convert HxWxC uint8 to CxHxW float32 in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


class UNetLosses(nn.Module):
    """The U-Net's losses: cross entropy that counts more near edges, and the soft IoU.

    Wei et al., "F3Net: Fusion, Feedback and Focus for Salient Object Detection", AAAI 2020.
    """

    def __init__(self, network: UNetModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: list[torch.Tensor], targets: list[Target]) -> Target:
        """Return losses by name; images and targets are those of `UNetExample`."""
        image = torch.stack(images).contiguous(memory_format=torch.channels_last)
        coarse = torch.stack([target["coarse"] for target in targets])
        truth = functional.avg_pool2d(torch.stack([target["mask"] for target in targets]), 2)
        logits = self.network(image, coarse)
        neighbourhood = functional.avg_pool2d(truth, 15, stride=1, padding=7)
        weight = 1 + 5 * (neighbourhood - truth).abs()
        if any("known" in target for target in targets):  # void teaches nothing
            planes = [t.get("known", torch.ones_like(t["mask"])) for t in targets]
            weight = weight * functional.avg_pool2d(torch.stack(planes), 2)
        entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        foreground = logits.sigmoid()
        intersection = (foreground * truth * weight).sum((1, 2, 3))
        union = ((foreground + truth - foreground * truth) * weight).sum((1, 2, 3))
        return {
            "loss_entropy": (weight * entropy).sum() / weight.sum().clamp(min=1e-6),
            "loss_iou": (1 - (intersection + 1) / (union + 1)).mean(),
        }
