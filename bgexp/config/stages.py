"""What follows detection, a section a stage."""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
)

from bgexp.config.base import NameOrPath, Section, Share, UserPlace
from bgexp.config.color import BLUR, is_picture, parse_color
from bgexp.config.roles import Reads, Role


class Combine(Section):
    """The rule by which detections become one mask.

    Attributes:
        mask_threshold: A pixel is foreground where the soft mask is above it (strictly).
        instances: "all" unites every detection. "largest" takes the one whose pasted mask has
            most pixels. "central" takes the one whose box centre is nearest to the image centre
            in pixels, whatever its size or score. A tie goes to the first.
        fill_holes: The largest hole that is filled, as a share of the image area; 0 fills none.
            A hole is all that a part encloses (its islands too), never what touches the border.
        min_area: Parts that, holes included, are smaller than this share of the image area are
            removed; 0 removes none.
    """

    mask_threshold: Share = 0.5
    instances: Literal["all", "largest", "central"] = "all"
    fill_holes: Share = 0.0
    min_area: Share = 0.0


class NoRefinement(Section):
    """No refinement: the mask stays as the detector made it."""

    name: Literal["none"] = "none"


class GrabCut(Section):
    """Settings of the refinement by GrabCut.

    Attributes:
        iterations: Times that colours are learned and the edge is cut.
        band: Pixels this near to the mask's edge are uncertain; a share of the longer side of
            the mask's bounding box, and not of the picture, as a detector's error grows with its
            box and not with the scene around it.
        size: GrabCut works on the mask's surroundings with at most this longer side in pixels.
        max_change: A result that changes more pixels than this share of the mask is refused.
    """

    name: Literal["grabcut"] = "grabcut"
    iterations: Annotated[int, Field(ge=1, le=50)] = 1
    band: Share = 0.06
    size: Annotated[int, Field(ge=16, le=8192)] = 192
    max_change: Annotated[float, Field(ge=0)] = 0.5


class GuidedFilter(Section):
    """Settings of the refinement by a guided filter.

    Attributes:
        iterations: Passes of the filter.
        radius: Of the filter's window, and of the band around the mask's edge that it may change;
            a share of the longer side of the mask's bounding box.
        size: It is fitted to the mask's surroundings with at most this longer side in pixels.
    """

    name: Literal["guided"] = "guided"
    iterations: Annotated[int, Field(ge=1, le=50)] = 3
    radius: Share = 0.05
    size: Annotated[int, Field(ge=16, le=8192)] = 128


class UNet(Section):
    """Settings of the refinement by the U-Net.

    Attributes:
        weights: null: the shipped file; or a .safetensors file that bgexp train wrote.
        size: It sees the mask's surroundings with this longer side in pixels.
        threshold: A pixel is foreground where the network's share is above it (strictly).
        reach: Nothing becomes foreground further than this from the coarse mask; a share of the
            longer side of its bounding box.
        margin: How much of the image around that box the network sees, as a share of the same side.
        grabcut: Whether GrabCut goes after it: a sixth of the time, and finer edges.
    """

    name: Literal["unet"] = "unet"
    weights: Annotated[UserPlace | None, Role.LOCATION, Reads.FILE] = None
    size: Annotated[int, Field(ge=64, le=2048)] = 384
    threshold: Share = 0.5
    reach: Share = 0.3
    margin: Annotated[float, Field(ge=0, le=10)] = 0.4
    grabcut: bool = True


Refine = Annotated[NoRefinement | GrabCut | GuidedFilter | UNet, Field(discriminator="name")]


def _check_background(text: str) -> str:
    if text != BLUR and not is_picture(text):
        parse_color(text)
    return text


class Cutout(Section):
    """What lies behind the foreground, and how much of it stays.

    Attributes:
        background: black, white, transparent or #rrggbb; "blur" for the image's own, blurred; or
            the path of a picture, which is enlarged or shrunk to fill the image.
        edge: hard: a pixel is kept or not. soft: those along the edge are kept in part, in the
            object's own colours. auto: hard on black, soft on anything else.
        crop: The result is cropped to the foreground with a margin of this share of its longer
            side; null: it has the image's size.
    """

    background: Annotated[NameOrPath, AfterValidator(_check_background)] = "black"
    edge: Literal["auto", "hard", "soft"] = "auto"
    crop: Share | None = None

    @property
    def has_soft_edge(self) -> bool:
        """Whether pixels along the edge are kept in part."""
        is_black = self.background in ("black", "#000000")
        return self.edge == "soft" or (self.edge == "auto" and not is_black)
