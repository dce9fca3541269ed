"""Subjects of photographs pasted over other photographs, whose own subject becomes background.

They teach that a thing is not what the picture is about because it is there: the subject is what
is larger and nearer to the middle.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from bgexp.train.augment import Photographs
from bgexp.train.composites import (
    VISIBLE,
    apply_camera,
    cast_shadow,
    light_layer,
    paste_layer,
    place_cutout,
    shift_colours,
)
from bgexp.train.scene import Scene

Floats = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Generator = np.random.Generator

PAIRS, PLACES = 5, 6  # of photographs, and in each pair of them, that are tried
DISTRACTOR = 0.7  # of the subject's area: the most that is left of the other photograph's subject
BELOW = 0.04  # of the picture: how far a subject that its photograph cuts reaches below the frame


class PastedSubjects:
    """Photographs with masks that are cut out and pasted over each other.

    Attributes:
        sets: The sets of photographs.
        shares: How often each set is drawn from; they add up to 1.
    """

    def __init__(self, sets: Sequence[Photographs], weights: Sequence[float]) -> None:
        self.sets, self.shares = tuple(sets), np.array(weights) / sum(weights)

    def draw(self, size: int, rng: Generator) -> Scene:
        """Draw a subject over another photograph; where none suits, a photograph as it is."""
        for _ in range(PAIRS):
            front, behind = (self._pick(rng).draw_unchanged(2 * size, rng) for _ in range(2))
            if front is behind or not _is_whole(front.foreground):
                continue
            for _ in range(PLACES):
                layer = _place_subject(front, size, rng)
                picture, distractor = _move_aside(behind, size, rng)
                if _is_subject(layer[..., 3] > VISIBLE, distractor):
                    return _compose(picture, layer, rng)
        return self._pick(rng).draw(size, rng)

    def _pick(self, rng: Generator) -> Photographs:
        return self.sets[rng.choice(len(self.sets), p=self.shares)]


def _is_whole(mask: Mask) -> bool:
    """Check that there is a subject, and that its photograph cuts it at the bottom at most."""
    return bool(mask.any() and not (mask[0].any() or mask[:, 0].any() or mask[:, -1].any()))


def _move_aside(scene: Scene, size: int, rng: Generator) -> tuple[Image, Mask]:
    """Scale and shift a photograph in a frame of size x size pixels; return it with its subject.

    It is continued by its mirror image. Both are smaller and further out than in the photograph.
    """
    height, width = scene.image.shape[:2]
    scale = size / min(height, width) * rng.uniform(0.5, 1.1)
    shift = size / 2 * (1 + rng.uniform(-0.8, 0.8, 2)) - scale * np.array([width, height]) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    if rng.random() < 0.5:  # mirrored
        matrix[0] = -scale, 0, size - shift[0]

    def move(plane: Image, interpolation: int) -> Image:
        moved = cv2.warpAffine(
            plane, matrix, (size, size), flags=interpolation, borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(moved, np.uint8)

    image = shift_colours(move(scene.image, cv2.INTER_LINEAR), rng, hue=6)
    if rng.random() < 0.4:  # out of focus, as what stands behind often is
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 4)), np.uint8)
    return image, move(scene.foreground.astype(np.uint8), cv2.INTER_NEAREST) > 0


def _place_subject(scene: Scene, size: int, rng: Generator) -> Floats:
    """Cut out the subject and place it near the middle: HxWx4 float32, colour times alpha."""
    x, y, width, height = cv2.boundingRect(scene.foreground.view(np.uint8))
    # A pixel less on all sides: the outline of a mask by hand has some of the old background.
    alpha = cv2.erode(scene.foreground.astype(np.uint8) * 255, np.ones((3, 3), np.uint8))
    alpha = cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.5, 1.2))
    where = slice(y, y + height), slice(x, x + width)
    colours = shift_colours(np.ascontiguousarray(scene.image[where]), rng, hue=6)
    cutout = np.dstack([colours, alpha[where]])
    cutout = np.ascontiguousarray(cutout[:, ::-1] if rng.random() < 0.5 else cutout)
    span = rng.uniform(0.6, 1.15)
    centre = np.clip(rng.normal(0.5, 0.12, 2), 0.2, 0.8)
    if scene.foreground[-1].any():
        centre[1] = 1 + BELOW - span * height / max(width, height) / 2
    return place_cutout(cutout, size, span, rng, centre)


def _is_subject(mask: Mask, distractor: Mask) -> bool:
    """Check that an object is larger and nearer to the middle than what it leaves of another."""
    left = distractor & ~mask
    if not mask.any() or left.sum() > DISTRACTOR * mask.sum():
        return False
    return not left.any() or _measure_offset(mask) < _measure_offset(left)


def _measure_offset(mask: Mask) -> float:
    """Measure how far the centre of a mask is from the picture's, in pixels."""
    offset = np.argwhere(mask).mean(axis=0) - (np.array(mask.shape) - 1) / 2
    return float(np.hypot(*offset))


def _compose(picture: Image, layer: Floats, rng: Generator) -> Scene:
    canvas = picture.astype(np.float32)
    light_layer(layer, canvas, rng)
    if rng.random() < 0.35:
        cast_shadow(canvas, layer[..., 3], rng)
    paste_layer(canvas, layer)
    mask = layer[..., 3] > VISIBLE
    return Scene(apply_camera(canvas, rng), mask[None], np.ones(1, np.int64))
