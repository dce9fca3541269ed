"""The page on which people compare two results blindly: nothing on it says whose they are."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgexp.images.decode import encode_jpeg, make_thumbnail
from bgexp.images.png import encode_png
from bgexp.report import overview
from bgexp.report.render import render_page

SIDE = 1200  # pixels, the longer side of a picture: enough to look closer on a usual screen


@dataclass(frozen=True)
class PairPicture:
    """A pair as data for the page; the browser cuts the picture out by the masks.

    Attributes:
        original: Data URI of a JPEG.
        left, right: Of a PNG whose alpha channel is the mask.
        width, height: Of all three, in pixels.
    """

    original: str
    left: str
    right: str
    width: int
    height: int


def make_exhibit(
    image: NDArray[np.uint8], left: NDArray[np.bool_], right: NDArray[np.bool_]
) -> PairPicture:
    """Make a pair's exhibit at the size of the page.

    Args:
        image: HxWx3 uint8 RGB.
        left: HxW bool, True = foreground.
        right: HxW bool, the other result's mask.
    """
    small = make_thumbnail(image, SIDE)
    height, width = small.shape[:2]
    original = _make_uri("jpeg", encode_jpeg(small))
    return PairPicture(original, _encode_alpha(left), _encode_alpha(right), width, height)


def _encode_alpha(mask: NDArray[np.bool_]) -> str:
    alpha = make_thumbnail(mask.astype(np.uint8) * np.uint8(255), SIDE)
    return _make_uri("png", encode_png(np.dstack([np.zeros((*alpha.shape, 3), np.uint8), alpha])))


def _make_uri(form: str, data: bytes) -> str:
    return f"data:image/{form};base64,{base64.b64encode(data).decode()}"


def render_review(review: str, exhibits: Sequence[PairPicture], state: Mapping[str, Any]) -> bytes:
    """Render the page of a review, one HTML file that loads nothing from elsewhere.

    Args:
        review: Its id, under which the browser stores votes and by which they are assigned to it.
        exhibits: In the order in which they are judged; numbered from 1 in the exported file.
        state: As returned by `describe_bgexp`.
    """
    return render_page(
        "review.html",
        kind="bgexp review",
        title="Which one is better?",
        banners=[],
        facts=[],
        places=[],
        links={},
        footer=overview.format_footer({"bgexp": state}),
        review=review,
        exhibits=exhibits,
    )
