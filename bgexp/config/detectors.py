"""Which network finds the objects."""

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from bgexp.config.base import NameOrPath, Positive, Section, Share, UserPlace
from bgexp.config.datasets import MaskValues
from bgexp.config.roles import Reads, Role

PRECISIONS = {"torch": ("fp32", "bf16", "fp16"), "openvino": ("fp32", "bf16", "int8")}


class _Detector(Section):
    """Settings of every detector.

    Attributes:
        score_threshold: A detection counts where its score is above it (strictly).
        score_fallback: Where nothing is above the threshold, the best counts if it is above this;
            null: nothing does.
        score_floor: The network keeps what is above it, for other thresholds to come; null: the
            lowest threshold or fallback of the sweep, or the run's own.
        labels: Names or ids of the classes that count; null: all.
        backend: The program that runs backbone, FPN and RPN; openvino is for processors.
        precision: Of the network's arithmetic. Only fp32 finds exactly what the weights mean;
            fp16 is for GPUs, int8 for openvino.
    """

    score_threshold: Annotated[Share, Role.SELECTION]
    score_fallback: Annotated[Share | None, Role.SELECTION] = None
    score_floor: Annotated[Share | None, Role.BOOKKEEPING] = None
    labels: Annotated[tuple[str | int, ...] | None, Role.SELECTION]
    backend: Literal["torch", "openvino"] = "torch"
    precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32"

    @model_validator(mode="after")
    def _check_floor(self) -> Self:
        if self.floor > self.lowest_score:
            raise PydanticCustomError(
                "score_floor",
                "score_floor: {floor} is above score_threshold or score_fallback ({lowest})",
                {"floor": self.floor, "lowest": self.lowest_score},
            )
        return self

    @model_validator(mode="after")
    def _check_precision(self) -> Self:
        allowed = PRECISIONS[self.backend]
        if self.precision not in allowed:
            raise PydanticCustomError(
                "whole",
                "detector.precision: {backend} has no {precision} (allowed: {allowed})",
                {
                    "backend": self.backend,
                    "precision": self.precision,
                    "allowed": ", ".join(allowed),
                },
            )
        return self

    @property
    def floor(self) -> float:
        """The score floor as it is used."""
        return self.lowest_score if self.score_floor is None else self.score_floor

    @property
    def lowest_score(self) -> float:
        """What is not above it never counts."""
        fallback = self.score_fallback
        return min(self.score_threshold, 1.0 if fallback is None else fallback)


class Demo(_Detector):
    """The shipped class-agnostic Mask R-CNN; weights null: the shipped file."""

    name: Literal["demo"]
    weights: Annotated[UserPlace | None, Role.LOCATION, Reads.FILE]
    image_size: Annotated[int, Field(ge=64, le=4096)]


class _CocoDetector(_Detector):
    """Torchvision's models; weights: COCO_V1 or a .pth or .safetensors file of a state dict."""

    weights: Annotated[NameOrPath, Role.LOCATION]
    min_size: Annotated[int, Field(ge=64, le=4096)]
    max_size: Annotated[int, Field(ge=64, le=8192)]
    detections_per_image: Positive


class MaskRcnnResnet50Fpn(_CocoDetector):
    """The first version; its weights were trained with frozen norms."""

    name: Literal["maskrcnn_resnet50_fpn"]
    norm: Literal["frozen_batch_norm", "batch_norm"]
    norm_eps: Annotated[float, Field(ge=0)]


class MaskRcnnResnet50FpnV2(_CocoDetector):
    """The second version: better and slower."""

    name: Literal["maskrcnn_resnet50_fpn_v2"]


class SoftMaskSettings(Section):
    """Settings of what gives one soft mask of an image: no scores, and no single objects."""

    @property
    def floor(self) -> float:
        """A soft mask has no scores: nothing of it is left out."""
        return 0.0


class Rembg(SoftMaskSettings):
    """A network of the U2-Net family, run as rembg runs it: a soft mask and no single objects.

    Attributes:
        model: u2netp, u2net, u2net_human_seg or silueta, looked for where rembg keeps it; or a
            local .onnx file of that family.
    """

    name: Literal["rembg"]
    model: Annotated[NameOrPath, Role.LOCATION]


class Masks(SoftMaskSettings):
    """The masks or cut-outs of any tool in place of a network: found as `dataset=pairs` finds them.

    Attributes:
        path: A folder, a zip file, or the folder of a run, whose masks.zip is meant.
        mask_values: As in `Pairs`.
    """

    name: Literal["masks"]
    path: Annotated[UserPlace, Role.LOCATION]
    mask_values: MaskValues = "auto"


ObjectDetectorSettings = Annotated[
    Demo | MaskRcnnResnet50Fpn | MaskRcnnResnet50FpnV2, Field(discriminator="name")
]
DetectorSettings = Annotated[
    Demo | MaskRcnnResnet50Fpn | MaskRcnnResnet50FpnV2 | Rembg, Field(discriminator="name")
]
# A run has a dataset, whose images masks can belong to.
RunDetectorSettings = Annotated[
    Demo | MaskRcnnResnet50Fpn | MaskRcnnResnet50FpnV2 | Rembg | Masks, Field(discriminator="name")
]


def check_instances(detector: Section, instances: str) -> None:
    """Refuse settings that take a soft mask apart into instances."""
    if isinstance(detector, Rembg | Masks) and instances != "all":
        raise PydanticCustomError(
            "whole",
            "combine.instances: {instances} needs single objects, and detector={name} finds none "
            "(allowed: all)",
            {"instances": instances, "name": detector.name},
        )
