"""What the values of a dataset's masks mean: object, background or void."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bgexp.images.decode import decode_mask, decode_soft_mask
from bgexp.images.mask_values import PLAIN, Reading, decode_values

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth of an image.

    Attributes:
        foreground: HxW bool, True = foreground; False where void.
        void: HxW bool, True = neither object nor background, left out of every metric; None: none.
        alpha: HxW uint8, how much of the pixel is object; None where the truth is hard.
    """

    foreground: BoolArray
    void: BoolArray | None = None
    alpha: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class MaskRule:
    """The one meaning of the values of all masks of a dataset.

    Attributes:
        meaning: What is foreground: over half of white (as alpha the levels count, too),
            everything but 0, or the listed values.
        foreground: The listed values.
        void: Values that are neither object nor background.
        reading: Which planes of the files hold the values.
        found: The values that the masks hold, in words.
        n_masks: How many masks were looked at.
    """

    meaning: Literal["threshold", "alpha", "nonzero", "values"] = "threshold"
    foreground: tuple[int, ...] = ()
    void: tuple[int, ...] = ()
    reading: Reading = PLAIN
    found: str = field(default="", compare=False)
    n_masks: int = field(default=0, compare=False)

    @property
    def is_usual(self) -> bool:
        """Whether white is the object and black is not, without void."""
        return self == USUAL

    def decode(self, data: bytes) -> Truth:
        """Decode a mask; raise as `decode_image`."""
        if self.is_usual:
            return Truth(decode_mask(data))
        values = decode_values(data, self.reading)
        void = np.isin(values, self.void) if self.void else None
        foreground = self._find_foreground(values)
        alpha = values.astype(np.uint8) if self.meaning == "alpha" else None
        if void is None or not void.any():
            return Truth(foreground, None, alpha)
        return Truth(foreground & ~void, void, alpha)

    def decode_soft(self, data: bytes) -> NDArray[np.uint8]:
        """Decode a mask to HxW uint8, 0 to 255 for 0 to 1: shades stay; raise as `decode_image`."""
        if self.is_usual:
            return decode_soft_mask(data)
        values = decode_values(data, self.reading)
        if self.meaning == "threshold":
            return np.asarray(values.clip(0, 255), np.uint8)
        return np.asarray(self._find_foreground(values) * 255, np.uint8)

    def _find_foreground(self, values: NDArray[np.integer]) -> BoolArray:
        if self.meaning in ("threshold", "alpha"):
            return np.asarray(values > 127)
        if self.meaning == "nonzero":
            return np.asarray(values != 0)
        return np.isin(values, self.foreground)

    def describe(self) -> str:
        """Return the rule as a sentence without a full stop."""
        objects = {
            "threshold": "values over 127 of 255 are the object",
            "alpha": "levels of 0 to 255 are shares of the object, values over 127 are the object",
            "nonzero": "every value but 0 is the object",
            "values": f"{self._name(self.foreground)} is the object",
        }[self.meaning]
        void = f", {self._name(self.void)} is void" if self.void else ""
        alpha = "alpha channel: " if self.reading.alpha else ""
        return f"{alpha}{objects}{void} ({self.found or 'as usual'})"

    def _name(self, values: Sequence[int]) -> str:
        return name_values(values, self.reading)

    def to_document(self) -> dict[str, Any]:
        """Return the rule as the run's summary has it."""
        return asdict(self) | {"is_usual": self.is_usual, "description": self.describe()}


USUAL = MaskRule()


def name_values(values: Sequence[int], reading: Reading) -> str:
    """Return values as they are written in settings, at most eight of them.

    >>> name_values([0, 1, 255], PLAIN)
    '0, 1, 255'
    """
    names = [f"#{value:06x}" if reading.colour else str(value) for value in values]
    names = names if len(names) <= 8 else [*names[:6], "\u2026", names[-1]]
    return ", ".join(names)
