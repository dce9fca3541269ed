"""Where images come from, and their truth."""

import re
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
)
from pydantic_core import PydanticCustomError

from bgexp.config.base import Positive, Section, UserPlace
from bgexp.config.roles import Reads, Role

Values = tuple[int | str, ...]


def _is_list_of_values(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        (isinstance(part, int) and not isinstance(part, bool) and part >= 0)
        or (isinstance(part, str) and re.fullmatch("#[0-9a-fA-F]{6}", part))
        for part in value
    )


def _check_mask_values(value: object) -> object:
    if value in ("auto", "threshold", "nonzero", "alpha") or (value and _is_list_of_values(value)):
        return value
    allowed = 'auto, threshold, nonzero, alpha, or a list of values such as [1,2] or ["#800000"]'
    raise PydanticCustomError("value", "allowed: {allowed}", {"allowed": allowed})


MaskValues = Annotated[
    Literal["auto", "threshold", "nonzero", "alpha"] | Values, BeforeValidator(_check_mask_values)
]


def _check_ignore_values(value: object) -> object:
    if value is None or _is_list_of_values(value):
        return value
    allowed = 'null, or a list of values such as [255] or ["#e0e0c0"]'
    raise PydanticCustomError("value", "allowed: {allowed}", {"allowed": allowed})


class Folder(Section):
    """Images in a folder, categories by sub-folder, no truth."""

    name: Literal["folder"]
    root: Annotated[UserPlace, Role.LOCATION, Reads.FOLDER]
    follow_links: Annotated[bool, Role.LOCATION] = False
    subset: Positive | None = None
    max_megapixels: Annotated[float, Field(gt=0)] = 200


class Pairs(Section):
    """Images and their masks, found by the same path: same stem, or full name plus `.png`.

    Attributes:
        mask_values: Which values are the object: over half of white, all but 0, or those listed;
            auto: decided once, by what all masks hold; alpha: over half of white, and the level
            says how much of the pixel is object, for the scores of soft edges.
        ignore_values: Values that are neither object nor background; null: with auto decided too,
            else none.
    """

    name: Literal["pairs"]
    images: Annotated[UserPlace, Role.LOCATION, Reads.FOLDER]
    masks: Annotated[UserPlace, Role.LOCATION, Reads.FOLDER]
    follow_links: Annotated[bool, Role.LOCATION] = False
    mask_values: MaskValues = "auto"
    ignore_values: Annotated[Values | None, BeforeValidator(_check_ignore_values)] = None
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
    images: Annotated[UserPlace, Role.LOCATION, Reads.FOLDER]
    annotations: Annotated[UserPlace, Role.LOCATION, Reads.FILE]
    categories: tuple[str | int, ...] | None = None
    subset: Positive | None = None
    max_megapixels: Annotated[float, Field(gt=0)] = 200


Dataset = Annotated[Folder | Pairs | Sample | Coco, Field(discriminator="name")]
