"""Where images come from, and their truth."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
)

from bgexp.config.base import Positive, Section
from bgexp.config.roles import Role


class Folder(Section):
    """Images in a folder, categories by sub-folder, no truth."""

    name: Literal["folder"]
    root: Annotated[Path, Role.LOCATION]
    subset: Positive | None = None
    max_megapixels: Annotated[float, Field(gt=0)] = 200


class Pairs(Section):
    """Images and their masks, found by the same path: same stem, or full name plus `.png`."""

    name: Literal["pairs"]
    images: Annotated[Path, Role.LOCATION]
    masks: Annotated[Path, Role.LOCATION]
    subset: Positive | None = None
    max_megapixels: Annotated[float, Field(gt=0)] = 200


class Sample(Section):
    """The 24 images with masks inside the package."""

    name: Literal["sample"]
    subset: Positive | None = None
    max_megapixels: Annotated[float, Field(gt=0)] = 200


class Coco(Section):
    """Images with a COCO annotation file, by the names in it.

    Attributes:
        categories: Names or ids of those in the file that count as foreground; null: all.
    """

    name: Literal["coco"]
    images: Annotated[Path, Role.LOCATION]
    annotations: Annotated[Path, Role.LOCATION]
    categories: tuple[str | int, ...] | None = None
    subset: Positive | None = None
    max_megapixels: Annotated[float, Field(gt=0)] = 200


Dataset = Annotated[Folder | Pairs | Sample | Coco, Field(discriminator="name")]
