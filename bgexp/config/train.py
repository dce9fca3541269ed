"""Settings of `bgexp train`."""

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from bgexp.config.base import Common, Count, Positive, Section, UserPath
from bgexp.config.datasets import Coco, Pairs
from bgexp.config.detectors import ObjectDetectorSettings
from bgexp.config.roles import Reads, Role
from bgexp.config.stages import UNet


class _CompositeFolders(Section):
    """Folders of RGBA cut-outs and of backgrounds, split by object into training and validation."""

    cutouts: Annotated[UserPath, Role.LOCATION, Reads.FOLDER]
    backgrounds: Annotated[UserPath, Role.LOCATION, Reads.FOLDER]
    validation_cutouts: Annotated[UserPath, Role.LOCATION, Reads.FOLDER]
    validation_backgrounds: Annotated[UserPath, Role.LOCATION, Reads.FOLDER]


class Composites(_CompositeFolders):
    """Composites alone."""

    name: Literal["composites"]


class RealSet(Section):
    """A folder of photographs with `train` and `validation`, each with `images` and `masks`.

    Attributes:
        coarse: A folder with `train` and `validation`, each with a detector's masks of the images,
            which network=unet learns to refine; null: they are made from the true masks.
        weight: How often it is drawn from, relative to the other sets.
    """

    root: Annotated[UserPath, Role.LOCATION, Reads.FOLDER]
    coarse: Annotated[UserPath | None, Role.LOCATION, Reads.FOLDER] = None
    weight: Annotated[float, Field(gt=0)] = 1
    max_megapixels: Annotated[float, Field(gt=0)] = 200


class Mixture(_CompositeFolders):
    """Composites, and photographs with masks.

    Attributes:
        real_share: How many of the pictures are photographs.
        pasted_share: How many are subjects of photographs pasted over other photographs.
        real: Sets of photographs by name.
    """

    name: Literal["mixed"]
    real_share: Annotated[float, Field(gt=0, lt=1)]
    pasted_share: Annotated[float, Field(ge=0, lt=1)]
    real: dict[str, RealSet]

    @model_validator(mode="after")
    def _check_real(self) -> Self:
        if not self.real:
            message = "dataset.real: a set is needed (give dataset.real.NAME.root=DIR)"
            raise PydanticCustomError("whole", message)
        if self.real_share + self.pasted_share > 1:
            message = "dataset.pasted_share: it adds up to more than 1 with dataset.real_share"
            raise PydanticCustomError("whole", message)
        return self


class TrainLoop(Section):
    """The length and the pace of a training.

    Attributes:
        steps: The maximum number of steps.
        batch_size: Pictures a step, on each device.
        image_size: The longer side of the pictures, in pixels.
        learning_rate: After the warm-up, before the cosine.
        backbone_share: The backbone's share of the learning rate; 0: it stays as it is. What
            ImageNet taught of real photographs has to survive composites.
        weight_decay: AdamW's.
        ema_decay: Of the moving average of the weights, which is what is kept.
        validate_every: Steps between two validations; a checkpoint is written after each.
        validation_images: The maximum number of unseen pictures.
        validation_share: Of the images of `pairs` and `coco`, kept out of training.
        patience: Training ends after so many validations without a better one; null: never.
        workers: Processes that make the pictures; 0: none beside the training.
    """

    steps: Positive
    batch_size: Positive
    image_size: Annotated[int, Field(ge=64)]
    learning_rate: Annotated[float, Field(gt=0)]
    backbone_share: Annotated[float, Field(ge=0, le=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    validate_every: Positive
    validation_images: Positive
    validation_share: Annotated[float, Field(gt=0, lt=1)]
    patience: Positive | None
    workers: Count


class TrainSettings(Common):
    """Settings of `bgexp train`.

    Attributes:
        network: Which network learns: the detector, or the one of `refine=unet`.
        init: From the weights that `detector.weights` or `refine.weights` name, from an ImageNet
            backbone, or from random ones.
        backbone: The file of ImageNet weights for init=backbone; with init=weights it takes the
            place of the backbone that they hold.
        classes: "object": all that is annotated is one class. "dataset": by COCO's categories.
        precision: What the arithmetic is in; auto: bf16-mixed on a GPU that has it, else 32-true.
        devices: How many GPUs.
    """

    dataset: Annotated[Pairs | Coco | Composites | Mixture, Field(discriminator="name")]
    detector: ObjectDetectorSettings
    refine: UNet
    loop: TrainLoop
    network: Literal["detector", "unet"]
    init: Literal["weights", "backbone", "random"]
    backbone: Annotated[UserPath | None, Role.LOCATION, Reads.FILE]
    classes: Literal["object", "dataset"]
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"]
    devices: Positive
    resume: bool

    @model_validator(mode="after")
    def _check_backbone(self) -> Self:
        if self.init == "backbone" and self.backbone is None:
            raise PydanticCustomError("whole", "backbone: init=backbone needs a file here")
        return self
