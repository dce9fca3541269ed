"""Image files to arrays and back: the only module that decodes or encodes them.

A decoded image is complete: a damaged file is an `ImageError`, never pixels made up. Of several
frames the first counts. Transparent pixels lie over white, as viewers show them. A colour profile
or EXIF that cannot be read is ignored.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from stat import S_ISREG

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp"})
SUFFIXES |= {".tif", ".tiff", ".bmp", ".gif"}
MAX_MEGAPIXELS = 200.0

_OPENERS = tuple(name for name in FORMATS if name != "MPO")  # an MPO is opened as a JPEG
# From the EXIF orientation to the way upright; the keys are in the order of Image.Transpose.
_UPRIGHT = dict(zip((2, 4, 8, 3, 6, 5, 7), Image.Transpose, strict=True))
_PROBE = np.mgrid[:256:15, :256:15, :256:15].astype(np.uint8).reshape(3, 18, -1).transpose(1, 2, 0)
_lock, _restore = threading.Lock(), ExitStack()
_decoders = 0


class ImageError(Exception):
    """Why a file is not a usable image: a reason of one line, without the file's name."""


def read_bytes(path: Path | str) -> bytes:
    """Return a regular file's bytes or raise ImageError; a FIFO or a device is never opened."""
    try:
        if not S_ISREG(Path(path).stat().st_mode):
            raise ImageError("not a regular file")
        return Path(path).read_bytes()
    except (OSError, ValueError, MemoryError) as error:
        raise ImageError(f"unreadable: {getattr(error, 'strerror', None) or error!r}") from error


def load_image(path: Path | str, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Return `decode_image` of `read_bytes`; raises ImageError as they do."""
    return decode_image(read_bytes(path), max_megapixels)


def decode_image(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Return the first frame of an encoded image as HxWx3 uint8 RGB, upright, sRGB.

    Grey of 16 bits is divided by 257; integers of 32 bits are clipped to 16 first. Floats are
    in 0 to 1, or in 0 to 255 where one is over 1; NaN is 0.

    Raises:
        ImageError: not an image of an accepted format, broken, or over the limit of pixels.
    """
    with _decoding():
        return np.array(_to_rgb(_load(data, max_megapixels)))


def decode_mask(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.bool_]:
    """Return an encoded mask as HxW bool, upright, True = foreground; raise as `decode_image`.

    An alpha channel that varies is the mask; else foreground is where the luminance is over 127
    of 255, whatever the palette or depth. Colour profiles are ignored.
    """
    with _decoding():
        image = _to_8_bit(_load(data, max_megapixels))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            alpha = image.getchannel("A")
            image = image if len(set(alpha.getextrema())) == 1 else alpha
        return np.asarray(image.convert("L")) > 127


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return HxWx3 RGB, HxWx4 RGBA or HxW grey uint8 as PNG: lossless, the same bytes each time.

    Raises:
        ValueError: another shape or dtype, or no pixels.
    """
    channels = image.shape[2:]
    good = image.dtype == np.uint8 and image.ndim > 1 and channels in [(), (3,), (4,)]
    if not good or image.size == 0:
        raise ValueError(f"expected HxW, HxWx3 or HxWx4 uint8, got {image.shape} {image.dtype}")
    if channels:
        code = cv2.COLOR_RGB2BGR if channels == (3,) else cv2.COLOR_RGBA2BGRA
        image = np.asarray(cv2.cvtColor(image, code), np.uint8)
    # With OpenCV's own settings: as small as Pillow's and 8 times as fast; other settings lose.
    return cv2.imencode(".png", image)[1].tobytes()


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Return an HxW bool mask as 8-bit grey PNG, 255 = foreground; raise as `encode_png`."""
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(f"expected HxW bool, got {mask.shape} {mask.dtype}")
    return encode_png(mask.astype(np.uint8) * np.uint8(255))


def thumbnail(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return HxW or HxWxC uint8 with its longer side at most `size` pixels; never enlarged."""
    small = Image.fromarray(image)
    small.thumbnail((size, size), Image.Resampling.BOX, reducing_gap=None)
    return np.array(small)


@contextmanager
def _decoding() -> Iterator[None]:
    """Make whatever Pillow raises an ImageError, and keep it quiet and without its own limit."""
    global _decoders
    with _lock:  # both are global: of threads at work the first in sets, the last out restores
        _decoders += 1
        if _decoders == 1:
            _restore.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module="PIL")
            _restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # the type says nothing: Pillow raises nearly every one
        raise ImageError(_reason(error)) from error
    finally:
        with _lock:
            _decoders -= 1
            if _decoders == 0:
                _restore.close()


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image of an accepted format ({', '.join(FORMATS)}), or a broken header"
    text = repr(str(error))[1:-1][:200] or type(error).__name__
    return f"{'truncated' if 'truncated' in text.lower() else 'broken'}: {text}"


def _load(data: bytes, limit: float) -> Image.Image:
    """Return the first frame, complete and upright, in its own mode."""
    if not data:
        raise ImageError("empty: no bytes")
    image = Image.open(BytesIO(data), formats=_OPENERS)
    width, height = image.size
    if (area := width * height / 1e6) > limit:
        size = f"{width}x{height} = {area:.4g} megapixels"
        raise ImageError(f"too large: {size}, the limit is {limit:g}")
    image.load()  # once: after an error a second try returns partial pixels
    if image.format == "PNG":  # load() ignores the checksums of the pixel data
        Image.open(BytesIO(data), formats=["PNG"]).verify()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken EXIF
        return image
    # Not by exif_transpose(): it writes the EXIF anew and fails on odd values of other tags.
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Return deep grey (16 or 32 bits, float) as L, anything else as it is."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image, np.float32))
    top = 65535 if image.mode != "F" else 255 if values.max() > 1 else 1
    return Image.fromarray(np.rint(np.clip(values, 0, top) * (255 / top)).astype(np.uint8))


def _to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    image = _to_8_bit(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        # Grey stays grey, so that a grey profile still fits.
        image = white.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB")
    elif image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if profile or image.mode == "LAB":
        image = _to_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the image in sRGB by its profile; as it is where the profile is sRGB or unusable."""
    try:
        source = BytesIO(profile or b"") if image.mode != "LAB" else ImageCms.createProfile("LAB")
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, image.mode, "RGB")
        if image.mode == "RGB":  # many profiles are sRGB by some name: what counts is what they do
            probed = np.asarray(ImageCms.applyTransform(Image.fromarray(_PROBE), transform))
            if np.abs(probed.astype(int) - _PROBE).max() <= 2:
                return image
        return ImageCms.applyTransform(image, transform) or image
    except Exception:  # PyCMSError, OSError, ValueError
        return image
