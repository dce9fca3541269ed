"""The small pictures of a page: cut-outs and panels."""

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bgexp.config.stages import Cutout
from bgexp.images.decode import encode_jpeg, make_thumbnail
from bgexp.images.png import encode_png
from bgexp.pipeline.cutout import cut_out_by_settings

ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]

PANEL = 400  # pixels, the longer side of a small picture
_CUTOUT = Cutout()
_SQUARE = 8  # pixels, of the checkerboard behind what is transparent


def draw_cutout(image: ByteArray, mask: BoolArray, settings: Cutout = _CUTOUT) -> ByteArray:
    """Draw the small picture of a cut-out, HxWx3 uint8 RGB.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        settings: Its background and edge; a checkerboard stands for "transparent".
    """
    small = make_thumbnail(cut_out_by_settings(image, mask, settings)[0], PANEL)
    if small.shape[2] == 3:
        return small
    rows, columns = np.indices(small.shape[:2]) // _SQUARE
    board = np.where((rows + columns) % 2, 204, 255)[..., None]
    alpha = small[..., 3:] / 255
    return np.rint(small[..., :3] * alpha + (1 - alpha) * board).astype(np.uint8)


@dataclass(frozen=True)
class Panel:
    """A picture as a page holds it: a data URI and its size in pixels."""

    title: str
    source: str
    width: int
    height: int
    kind: str = ""
    score: str = ""


def make_panel(title: str, picture: ByteArray, kind: str = "", score: str = "") -> Panel:
    """Embed a picture as a data URI: HxWx3 uint8 as JPEG, HxW uint8 (a mask) as PNG."""
    form, data = (
        ("png", encode_png(picture)) if picture.ndim == 2 else ("jpeg", encode_jpeg(picture))
    )
    source = f"data:image/{form};base64,{base64.b64encode(data).decode()}"
    return Panel(title, source, picture.shape[1], picture.shape[0], kind, score)
