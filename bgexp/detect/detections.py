"""What a detector found in one image: the values that pass from detect to combine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Selection:
    """The rule by which detections count.

    Attributes:
        score_threshold: Those whose score is above it (strictly).
        score_fallback: Where there is none, the best one if its score is above this; None: none.
        labels: Of these class ids only; None: of all.
    """

    score_threshold: float
    score_fallback: float | None = None
    labels: frozenset[int] | None = None


@dataclass(frozen=True, eq=False)
class Detections:
    """N detections in one image, in the detector's order (best score first).

    Attributes:
        boxes: (N, 4) float32; x1, y1, x2, y2 in pixels of the original image.
        labels: (N,) int64; the detector's class ids.
        scores: (N,) float32 in [0, 1].
        masks: (N, M, M) uint8; soft masks, 0 to 255 for 0 to 1, each relative to its own box.
            Rounded to 8 bits, so that kernels that differ in the last digits give the same masks.
        height: Of the original image, in pixels.
        width: Of the original image, in pixels.

    Raises:
        ValueError: Where a field has another shape, type or range.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    masks: NDArray[np.uint8]
    height: int
    width: int

    def __post_init__(self) -> None:
        n = len(self.scores)
        side = self.masks.shape[-1] if self.masks.ndim else 0
        _check_array("scores", self.scores, (n,), "(n,) float32")
        _check_array("boxes", self.boxes, (n, 4), "(n, 4) float32")
        _check_array("labels", self.labels, (n,), "(n,) int64")
        _check_array("masks", self.masks, (n, side, side), "(n, m, m) uint8")
        _check_unit_range("scores", self.scores)
        _check_corners(self.boxes)
        if self.height < 1 or self.width < 1:
            raise ValueError(f"height, width: expected at least 1, got {self.height}, {self.width}")

    def __len__(self) -> int:
        return len(self.scores)

    def select(
        self, index: NDArray[np.bool_] | NDArray[np.integer] | Sequence[int] | Sequence[bool]
    ) -> "Detections":
        """Return only the detections that an index array or an (N,) bool array names."""
        rows = np.asarray(index)
        if rows.dtype != np.bool_:
            rows = rows.astype(np.int64)  # an empty list comes as float64
        return replace(
            self,
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            scores=self.scores[rows],
            masks=self.masks[rows],
        )


@dataclass(frozen=True, eq=False)
class SoftMask:
    """One soft mask of a whole image, by a network that does not separate objects.

    Attributes:
        mask: HxW uint8 at the size of the original image, 0 to 255 for 0 to 1.

    Raises:
        ValueError: Where it has another shape or type.
    """

    mask: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.mask.ndim != 2 or self.mask.size == 0 or self.mask.dtype != np.uint8:
            raise ValueError(
                f"mask: expected (h, w) uint8, got {self.mask.shape} {self.mask.dtype}"
            )

    @property
    def height(self) -> int:
        """Return the height of the original image in pixels."""
        return int(self.mask.shape[0])

    @property
    def width(self) -> int:
        """Return the width of the original image in pixels."""
        return int(self.mask.shape[1])


DetectorOutput = Detections | SoftMask


def _check_array(
    name: str, array: NDArray[np.generic], shape: tuple[int, ...], expected: str
) -> None:
    if array.shape != shape or array.dtype.name != expected.rsplit(" ", 1)[1]:
        n = f" with n = {shape[0]}" if name != "scores" else ""
        raise ValueError(f"{name}: expected {expected}{n}, got {array.shape} {array.dtype}")


def _check_unit_range(name: str, array: NDArray[np.float32]) -> None:
    # Written so that NaN fails too.
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(
            f"{name}: expected values in [0, 1], got {array.min():g} to {array.max():g}"
        )


def _check_corners(boxes: NDArray[np.float32]) -> None:
    bad = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, :2] <= boxes[:, 2:]).all(axis=1))
    if bad.any():
        raise ValueError(
            f"boxes: expected finite x1 <= x2 and y1 <= y2, got {boxes[bad][0].tolist()}"
        )
