"""The values that a mask file holds: grey levels, indices of a palette, colours or alpha."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bgexp.images.color_profile import convert_to_8_bit
from bgexp.images.decode import MAX_MEGAPIXELS, decode_first_frame, translate_errors

IntArray = NDArray[np.integer]

MANY = 64  # a file with more values than this is graded: a label map has fewer
_NEAR_GREY = 32  # by which the channels of a grey picture that was a JPEG once may differ
_LOSSY = ("JPEG", "MPO", "HEIF", "AVIF")


@dataclass(frozen=True)
class Reading:
    """Which of a file's planes hold the mask, where it has several.

    Attributes:
        alpha: The alpha channel of files that have one, not their colours.
        index: The indices of files with a palette, not the luminance of its colours.
        colour: The colours of files in colour, as 0xRRGGBB, not their luminance.
        deep: The numbers of files of 16 bits or more as they are, not scaled to 0 to 255.
    """

    alpha: bool = False
    index: bool = False
    colour: bool = False
    deep: bool = False


PLAIN = Reading()


@dataclass(frozen=True)
class Histogram:
    """How often each value occurs in one plane of a file.

    Attributes:
        counts: Pixels by value; empty where the values are graded.
        low: The least value.
        high: The greatest.
        graded: Whether there are too many values for labels, or they are of a lossy format.
        n_light: Pixels of at least three quarters of white, of 8 bits.
        n_nonzero: Pixels that are not 0.
    """

    counts: dict[int, int]
    low: int
    high: int
    graded: bool
    n_light: int
    n_nonzero: int


@dataclass(frozen=True)
class MaskContent:
    """What one mask file holds, in each way in which it may be read.

    Attributes:
        grey: Luminance, 0 to 255.
        has_alpha: Whether the file has transparency.
        alpha_varies: Whether it is not the same in all pixels.
        index: None without a palette.
        has_coloured_palette: Whether one of its colours in use is not grey.
        colour: None where all pixels are grey, or nearly.
        deep: Numbers as they are; None in files of 8 bits, and where one is no whole number.
        is_deep: Whether the file has 16 bits or more, or floats.
    """

    grey: Histogram
    has_alpha: bool
    alpha_varies: bool
    index: Histogram | None
    has_coloured_palette: bool
    colour: Histogram | None
    deep: Histogram | None
    is_deep: bool


def decode_values(
    data: bytes, reading: Reading, max_megapixels: float = MAX_MEGAPIXELS
) -> IntArray:
    """Return an encoded mask's values as HxW integers, upright, 0 to 255 where not said.

    Raises:
        ImageError: As `decode_image`.
    """
    with translate_errors():
        return _read_plane(decode_first_frame(data, max_megapixels), reading)


def survey_mask(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> MaskContent:
    """Count the values of an encoded mask; raise as `decode_image`."""
    with translate_errors():
        image = decode_first_frame(data, max_megapixels)
        lossy = image.format in _LOSSY

        def count(reading: Reading) -> Histogram:
            return _count_values(_read_plane(image, reading), lossy)

        has_alpha, is_deep = _has_alpha(image), _is_deep(image)
        has_palette = image.mode == "P"
        alpha_varies = has_alpha and len(set(_get_alpha(image).getextrema())) > 1
        spread = 0 if is_deep or image.mode in ("L", "1") else _measure_spread(image)
        colour = count(Reading(colour=True)) if spread and not has_palette else None
        if colour is not None and colour.graded and spread <= _NEAR_GREY:
            colour = None
        return MaskContent(
            grey=count(Reading()),
            has_alpha=has_alpha,
            alpha_varies=alpha_varies,
            index=count(Reading(index=True)) if has_palette else None,
            has_coloured_palette=has_palette and spread > 0,
            colour=colour,
            deep=count(Reading(deep=True)) if is_deep and _is_whole(image) else None,
            is_deep=is_deep,
        )


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))


def _is_whole(image: Image.Image) -> bool:
    numbers = np.asarray(image, np.float64)
    return bool((numbers == np.rint(numbers)).all())


def _has_alpha(image: Image.Image) -> bool:
    return image.has_transparency_data and not _is_deep(image)


def _get_alpha(image: Image.Image) -> Image.Image:
    return image.convert("RGBA").getchannel("A")


def _read_plane(image: Image.Image, reading: Reading) -> IntArray:
    if _is_deep(image):
        if reading.deep:
            return np.nan_to_num(np.asarray(image, np.float64)).astype(np.int64)
        return np.asarray(convert_to_8_bit(image))
    if reading.alpha and _has_alpha(image):
        return np.asarray(_get_alpha(image))
    if reading.index and image.mode == "P":
        return np.asarray(image)
    if reading.colour:
        red, green, blue = np.moveaxis(_convert_to_rgb(image).astype(np.int32), 2, 0)
        return np.asarray(red << 16 | green << 8 | blue)
    # Of a transparent file the colours alone, as they are stored.
    return np.asarray((image.convert("RGBA") if _has_alpha(image) else image).convert("L"))


def _convert_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray((image.convert("RGBA") if _has_alpha(image) else image).convert("RGB"))


def _measure_spread(image: Image.Image) -> int:
    """Return by how much the channels of a pixel differ at most."""
    pixels = _convert_to_rgb(image)
    return int((pixels.max(axis=2) - pixels.min(axis=2)).max())


def _count_values(plane: IntArray, lossy: bool) -> Histogram:
    if plane.dtype == np.uint8:
        numbers = np.bincount(plane.ravel(), minlength=256)
        values = np.flatnonzero(numbers)
        numbers = numbers[values]
    else:
        values, numbers = np.unique(plane, return_counts=True)
    graded = len(values) > MANY or (lossy and values[-1] > 0)
    return Histogram(
        {} if graded else dict(zip(values.tolist(), numbers.tolist(), strict=True)),
        int(values[0]),
        int(values[-1]),
        graded,
        int(numbers[values >= 192].sum()),
        int(numbers[values != 0].sum()),
    )
