"""Settings of `bgexp batch`."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BeforeValidator,
    Field,
    InstanceOf,
    PlainSerializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from bgexp.config.analyze import ExifField, Outliers
from bgexp.config.base import (
    Count,
    Percentage,
    Section,
    Share,
    UserPath,
    UserPlace,
    expand_home,
)
from bgexp.config.engines import Engine, Local
from bgexp.config.pipeline import PipelineSettings
from bgexp.config.roles import Reads, Role
from bgexp.system.stores import Address, read_place


class QualityRules(Section):
    """The rules for images of unusual size or shape.

    Attributes:
        enabled: Whether the rules are on.
        outliers: Whose results go to outliers/ in place of regular/.
        exif, metadata: Fields that each image should have, as in `Analyze`.
        huge_megapixels: The mask of a larger image is found on a copy of this size.
        tiny_side: A smaller image is padded to this side in pixels, and so enlarged less.
        elongation: An image whose longer side is more times the shorter one is looked at twice.
    """

    enabled: bool = True
    outliers: Outliers = Outliers()
    exif: tuple[ExifField, ...] = ()
    metadata: Annotated[UserPath | None, Reads.FILE] = None
    huge_megapixels: Annotated[float, Field(gt=0)] = 24.0
    tiny_side: Annotated[int, Field(ge=1)] = 96
    elongation: Annotated[float, Field(ge=1)] = 4.0


class Flags(Section):
    """Thresholds beyond which a result is flagged: shares, numbers of parts, a score."""

    low_coverage: Share = 0.01
    high_coverage: Share = 0.95
    many_parts: Count = 20
    border_contact: Share = 0.25
    low_confidence: Share = 0.8


class KeptMetadata(Section):
    """Metadata that results keep of their originals; `gps` counts only where `exif` is kept."""

    icc: bool = False
    exif: bool = False
    gps: bool = False


def _list_places(value: object) -> object:
    """Make a list of one path, and expand each here: else the key of a wrong one has its number."""
    places = value if isinstance(value, list | tuple) else [value]
    return [read_place(expand_home(place)) for place in places]


def _name_places(places: tuple[Path | Address, ...]) -> str | list[str]:
    return str(places[0]) if len(places) == 1 else [str(place) for place in places]


Places = Annotated[
    tuple[Path | InstanceOf[Address], ...],
    BeforeValidator(_list_places, json_schema_input_type=str | list[str]),
    PlainSerializer(_name_places),
    Field(min_length=1),
]


UNITE = "unite"


_PartText = Annotated[str, Field(pattern=rf"^(\d+/\d+|{UNITE})$")]


class PartShare(NamedTuple):
    """Every n-th part of a batch's plan: `number` of `of`, counted from 1."""

    number: int
    of: int


def _parse_part(value: object) -> object:
    """Parse a share, such as 3/64."""
    if value is None or value == UNITE or isinstance(value, PartShare):
        return value
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", str(value))
    share = PartShare(*map(int, match.groups())) if match else PartShare(0, 0)
    if not 1 <= share.number <= share.of:
        raise PydanticCustomError("part", "allowed: i/n with i from 1 to n, such as 3/64, or unite")
    return share


def _name_part(part: object) -> object:
    return f"{part.number}/{part.of}" if isinstance(part, PartShare) else part


class BatchSettings(PipelineSettings):
    """Settings of `bgexp batch`.

    Attributes:
        input: The folder of images; a file, several files and folders, or a list (.txt) with one a
            line; - for one image from standard input, whose result goes to standard output.
        follow_links: Whether links in the input stand for what they lead to.
        output: The folder of results; may lie in the input, or the input in it. Both may be
            addresses of an object store.
        format: Of the results. PNG and WebP are lossless.
        masks: Whether masks are written too.
        alphas: Whether the soft edge's alphas are written too.
        max_failed: Share of what was to be processed; where more fail, the batch has failed.
        timeout_s: Seconds; an image that takes longer is given up.
        engine: Who does the work.
        part: A share of the plan's parts, to be worked on by this process beside others, such as
            3/64; `unite` closes the batch once all are done; None: the whole batch.
        dry_run: Shows the plan and writes nothing.
        overwrite: Whether results of other settings in the output may be replaced.
        moved_input: Whether the input is the folder that the output was begun with, moved; each
            image counts by its content.
    """

    input: Annotated[Places, Role.LOCATION]
    follow_links: Annotated[bool, Role.LOCATION] = False
    output: Annotated[UserPlace, Role.BOOKKEEPING]
    format: Literal["png", "webp", "jpeg"]
    masks: bool
    alphas: bool = False
    keep: KeptMetadata
    quality: QualityRules
    flags: Flags
    max_megapixels: Annotated[float, Field(gt=0)]
    max_failed: Annotated[Percentage, Role.EXECUTION]
    timeout_s: Annotated[float, Field(gt=0), Role.EXECUTION]
    engine: Annotated[Engine, Role.EXECUTION] = Local()
    part: Annotated[
        Any,
        BeforeValidator(_parse_part, json_schema_input_type=_PartText | None),
        PlainSerializer(_name_part),
        Role.EXECUTION,
    ] = None
    dry_run: Annotated[bool, Role.BOOKKEEPING]
    overwrite: Annotated[bool, Role.BOOKKEEPING]
    moved_input: Annotated[bool, Role.BOOKKEEPING]

    @model_validator(mode="after")
    def _check_alpha(self) -> Self:
        if self.format == "jpeg" and self.cutout.background == "transparent":
            raise PydanticCustomError(
                "whole", "format: a jpeg has no transparency (use png or webp, or another colour)"
            )
        if self.alphas and not self.cutout.has_soft_edge:
            raise PydanticCustomError(
                "whole", "alphas: the edge is hard, and its alpha the mask (use cutout.edge=soft)"
            )
        return self
