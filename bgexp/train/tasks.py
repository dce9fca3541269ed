"""The two networks that can be trained: what each learns from, its losses, and how it is judged."""

from collections.abc import Callable
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
from bgexp.pipeline.unet import MaskNetwork, MaskNetworkPredictor
from bgexp.pipeline.unet_refiner import find_surroundings, refine_mask_network
from bgexp.train.degrade import coarsened
from bgexp.train.scene import Scene

Generator = np.random.Generator
BoolArray = NDArray[np.bool_]
Target = dict[str, torch.Tensor]
Example = tuple[torch.Tensor, Target]
ToExample = Callable[[Scene, Generator], Example]

SCORE_THRESHOLDS = (0.5, 0.7, 0.9)


class Task(Protocol):
    """A network and what belongs to its training.

    Attributes:
        model: Takes lists of images and targets and returns its losses by name.
        to_example: A scene to what the model takes.
        judged_by: Which of the predictions the early stop looks at.
    """

    model: nn.Module
    to_example: ToExample
    judged_by: str

    def predictions(self, model: nn.Module, scenes: list[Scene]) -> list[dict[str, BoolArray]]:
        """Each scene's foreground masks, HxW bool, by the name of the setting."""
        ...

    def state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """What goes into the file of weights."""
        ...


class DetectorTask:
    """A Mask R-CNN that finds objects of one class."""

    def __init__(self, model: MaskRCNN, selection: Selection, device: torch.device) -> None:
        self.model: nn.Module = model
        self.to_example: ToExample = detector_example
        self.judged_by = f"{selection.score_threshold:g}"
        self._selections = {
            f"{score:g}": replace(selection, score_threshold=score)
            for score in sorted({*SCORE_THRESHOLDS, selection.score_threshold})
        }
        scores = [one.score_threshold for one in self._selections.values()]
        fallback = selection.score_fallback
        self._floor = min([*scores, 1.0 if fallback is None else fallback])
        self._device = device

    def predictions(self, model: nn.Module, scenes: list[Scene]) -> list[dict[str, BoolArray]]:
        """The union of the instances that count at each score threshold."""
        detector = MaskRCNNDetector(
            cast(MaskRCNN, deepcopy(model)),
            self._device,
            score_floor=self._floor,
            selection=self._selections[self.judged_by],
        )
        found = [detector.detect(scene.image) for scene in scenes]
        return [
            {
                name: combine_detections(select_detections(one, selection)).mask
                for name, selection in self._selections.items()
            }
            for one in found
        ]

    def state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """All of it."""
        return model.state_dict()


class RefinerTask:
    """A mask network that learns to mend what a detector gives."""

    def __init__(self, network: MaskNetwork, size: int, device: torch.device) -> None:
        self.model: nn.Module = MaskLosses(network)
        self.to_example: ToExample = RefinerExample(size)
        self.judged_by = "refined"
        self._size, self._device = size, device

    def predictions(self, model: nn.Module, scenes: list[Scene]) -> list[dict[str, BoolArray]]:
        """Coarse masks, always the same ones, and what the network makes of them."""
        network = deepcopy(cast(MaskLosses, model).network)
        predictor = MaskNetworkPredictor(network, self._device)
        settings = UNet(size=self._size, grabcut=False)
        found = []
        for number, scene in enumerate(scenes):
            coarse = coarsened(scene.masks, np.random.default_rng(number))
            refined = refine_mask_network(scene.image, coarse, predictor, settings)
            found.append({"coarse": coarse, "refined": refined.mask})
        return found

    def state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """The network without its losses."""
        return cast(MaskLosses, model).network.state_dict()


def detector_example(scene: Scene, _rng: Generator) -> Example:
    """Image 3xHxW float32 in [0, 1] and torchvision's target: boxes, labels, masks."""
    masks = torch.from_numpy(scene.masks)
    boxes = masks_to_boxes(masks) + torch.tensor([0.0, 0.0, 1.0, 1.0])  # ends are exclusive
    target = {"boxes": boxes, "labels": torch.from_numpy(scene.labels)}
    return to_tensor(scene.image), target | {"masks": masks.to(torch.uint8)}


@dataclass(frozen=True)
class RefinerExample:
    """A scene to the surroundings of a coarse mask, `size` x `size`."""

    size: int

    def __call__(self, scene: Scene, rng: Generator) -> Example:
        """Image 3xHxW; target: the coarse mask and the true one, 1xHxW; float32 in [0, 1]."""
        coarse = coarsened(scene.masks, rng)
        where = find_surroundings(coarse, rng.uniform(0.1, 0.4))
        found, truth = (
            to_tensor(self._seen(255 * mask[where].astype(np.uint8)))
            for mask in (coarse, scene.foreground)
        )
        return to_tensor(self._seen(scene.image[where])), {"coarse": found, "mask": truth}

    def _seen(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        size = (self.size, self.size)
        seen = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
        return np.atleast_3d(np.asarray(seen, np.uint8))


def to_tensor(image: NDArray[np.uint8]) -> torch.Tensor:
    """HxWxC uint8 to CxHxW float32 in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


class MaskLosses(nn.Module):
    """The mask network's losses: cross entropy that counts more near edges, and the soft IoU.

    Wei et al., "F3Net: Fusion, Feedback and Focus for Salient Object Detection", AAAI 2020.
    """

    def __init__(self, network: MaskNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: list[torch.Tensor], targets: list[Target]) -> Target:
        """Losses by name; images and targets as `RefinerExample` gives them."""
        image = torch.stack(images).contiguous(memory_format=torch.channels_last)
        coarse = torch.stack([target["coarse"] for target in targets])
        truth = functional.avg_pool2d(torch.stack([target["mask"] for target in targets]), 2)
        logits = self.network(image, coarse)
        near = functional.avg_pool2d(truth, 15, stride=1, padding=7)
        weight = 1 + 5 * (near - truth).abs()
        entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        share = logits.sigmoid()
        both = (share * truth * weight).sum((1, 2, 3))
        either = ((share + truth - share * truth) * weight).sum((1, 2, 3))
        return {
            "loss_entropy": (weight * entropy).sum() / weight.sum(),
            "loss_iou": (1 - (both + 1) / (either + 1)).mean(),
        }
