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
from typing import BinaryIO, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import (
    ExifTags,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
)
from PIL.JpegImagePlugin import MARKER
from pillow_heif import register_heif_opener
from simplejpeg import decode_jpeg

from bgexp.images import bmff_items, webp_chunks
from bgexp.images.color_profile import convert_to_8_bit, convert_to_rgb, convert_to_srgb
from bgexp.images.jpeg_scans import check_scans, restore_jpeg
from bgexp.images.png import SIGNATURE, encode_png
from bgexp.images.png_chunks import MAX_PROFILE, select_header, select_picture
from bgexp.images.tiff_strips import check_directory, check_strips
from bgexp.images.webp_chunks import decode_still, is_webp, select_complete
from bgexp.system.listing import UNREADABLE
from bgexp.system.stores import Address, StoreError, open_object, read_object

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp"})
SUFFIXES |= {".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif", ".hif"}
MAX_MEGAPIXELS = 200.0
AVIF_MEGAPIXELS = 268  # libavif's limit

_JPEGS = ("JPEG", "MPO")
_APP1 = 0xFFE1  # the marker of a JPEG's EXIF
_MAX_EXIF = 1 << 20  # bytes; a segment has 65,533
_OPENERS = tuple(name for name in FORMATS if name != "MPO")  # an MPO is opened as a JPEG
# Of TIFFs: this Pillow's libtiff may be without them, and just says that it could not decode.
_RARE_COMPRESSIONS = {"tiff_jpeg", "tiff_thunderscan", "tiff_sgilog", "tiff_sgilog24", "webp"}
# The transposition that makes upright, by EXIF orientation, in the order of Image.Transpose.
_UPRIGHT = dict(zip((2, 4, 8, 3, 6, 5, 7), Image.Transpose, strict=True))
# OpenCV's flip that makes upright, by EXIF orientation, from 5 on after a transposition.
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
# Prefixes of reasons where the file itself may be undamaged.
TOO_LARGE, NOT_SUPPORTED = "too large", "not supported"
# What decoders say of them.
_UNSUPPORTED = ("unsupported", "not supported", "cannot handle", "value for samples per pixel")
_TRUNCATED = ("truncated", "end of file", "premature end", "are missing", "ends before")
_lock, _restore = threading.Lock(), ExitStack()
_decoders = 0
register_heif_opener()


ImageSource: TypeAlias = Path | str | NDArray[np.uint8] | Image.Image


class ImageError(Exception):
    """A one-line reason why a file is not a usable image, without the file's name."""

    @property
    def damaged(self) -> bool:
        """Whether the file is damaged, and not just unread or more than this program takes."""
        return not str(self).startswith((TOO_LARGE, NOT_SUPPORTED, UNREADABLE))


def read_bytes(path: Path | str) -> bytes:
    """Return a regular file's bytes or raise ImageError; a FIFO or a device is never opened.

    Of an `Address` the object's bytes are returned.
    """
    try:
        if isinstance(path, Address):
            return read_object(path)[0]
        if not S_ISREG(Path(path).stat().st_mode):
            raise ImageError("not a regular file")
        return Path(path).read_bytes()
    except (OSError, ValueError, MemoryError) as error:
        raise ImageError(f"{UNREADABLE}: {getattr(error, 'strerror', None) or error!r}") from error


def load_image(path: Path | str, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Return `decode_image` of `read_bytes`; raises ImageError as they do."""
    return decode_image(read_bytes(path), max_megapixels)


def read_pixels(image: ImageSource, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Return an image in any form as HxWx3 uint8 RGB, upright, sRGB.

    Args:
        image: A file's path, a Pillow image, or an array that is so already.
        max_megapixels: Of a file.

    Raises:
        ImageError: as `load_image`; a Pillow image that cannot be loaded.
        ValueError: An array of another layout.
    """
    if isinstance(image, str | Path):
        return load_image(image, max_megapixels)
    if isinstance(image, Image.Image):
        with translate_errors():
            return np.array(convert_to_rgb(_rotate_upright(image)))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"expected HxWx3 uint8 RGB, got {image.shape} {image.dtype}")
    return image


def decode_image(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Return the first frame of an encoded image as HxWx3 uint8 RGB, upright, sRGB.

    Grey of 16 bits is divided by 257; integers of 32 bits are clipped to 16 first. Floats are
    in 0 to 1, or in 0 to 255 where one is over 1; NaN is 0.

    Raises:
        ImageError: Not an image of an accepted format, broken, or over the limit of pixels.
    """
    with translate_errors():
        return decode_first_rgb(data, max_megapixels)[0]


def decode_mask(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.bool_]:
    """Return an encoded mask as HxW bool, upright, True = foreground; raise as `decode_image`.

    Foreground is where `decode_soft_mask` is over 127.
    """
    return decode_soft_mask(data, max_megapixels) > 127


def decode_soft_mask(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Return an encoded mask as HxW uint8, upright, 0 to 255; raise as `decode_image`.

    An alpha channel that varies is the mask; else the luminance, whatever the palette or depth.
    Colour profiles are ignored.
    """
    with translate_errors():
        image = convert_to_8_bit(decode_first_frame(data, max_megapixels))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            alpha = image.getchannel("A")
            image = image if len(set(alpha.getextrema())) == 1 else alpha
        return np.asarray(image.convert("L"))


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return HxWx3 RGB uint8 as a small, lossy JPEG to look at; raise as `png.encode_png`."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"expected HxWx3 uint8, got {image.shape} {image.dtype}")
    bgr = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Return an HxW bool mask as 8-bit grey PNG, 255 = foreground; raise as `png.encode_png`."""
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(f"expected HxW bool, got {mask.shape} {mask.dtype}")
    return encode_png(mask.astype(np.uint8) * np.uint8(255))


def make_thumbnail(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return HxW or HxWxC uint8 with its longer side at most `size` pixels; never enlarged."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    if scale >= 1:
        return image.copy()
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, shape, interpolation=cv2.INTER_AREA), np.uint8)


@contextmanager
def open_regular(path: Path | Address, size: int = 0) -> Iterator[BinaryIO]:
    """Open a regular file for reading or raise ImageError; a FIFO or a device is never opened.

    Args:
        path: Its path, or the address of an object.
        size: Of the object, in bytes.

    Raises:
        StoreError: The store of an object does not answer.
    """
    if isinstance(path, Address):
        with open_object(path, size) as file:
            yield file
        return
    try:
        if not S_ISREG(path.stat().st_mode):
            raise ImageError("not a regular file")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise ImageError(f"{UNREADABLE}: {getattr(error, 'strerror', None) or error!r}") from error
    with file:
        yield file


@contextmanager
def translate_errors() -> Iterator[None]:
    """Make whatever Pillow raises an ImageError, and keep it quiet and without its own limit."""
    global _decoders
    with _lock:  # both are global: the first thread in sets them, the last one out restores
        _decoders += 1
        if _decoders == 1:
            _restore.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module="PIL")
            _restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None
            _restore.callback(
                setattr, PngImagePlugin, "MAX_TEXT_CHUNK", PngImagePlugin.MAX_TEXT_CHUNK
            )
            PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE
            short, long, _ = known = MARKER[_APP1]
            _restore.callback(MARKER.__setitem__, _APP1, known)
            MARKER[_APP1] = short, long, _read_app1  # type: ignore[assignment]  # of an inferred type
    try:
        yield
    except (ImageError, MemoryError, StoreError):  # which say nothing about the image
        raise
    except Exception as error:  # Pillow raises nearly every type
        raise ImageError(_describe_error(error)) from error
    finally:
        with _lock:
            _decoders -= 1
            if _decoders == 0:
                _restore.close()


def _read_app1(image: JpegImagePlugin.JpegImageFile, marker: int) -> None:
    """Read a JPEG's segment of EXIF or XMP, unless there was more EXIF than any camera writes.

    Pillow joins the segments one by one, in time that grows with the square of their number.
    """
    is_full = len(image.info.get("exif", b"")) > _MAX_EXIF
    (JpegImagePlugin.Skip if is_full else JpegImagePlugin.APP)(image, marker)


def _describe_error(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:  # Pillow's own have none
        return f"{UNREADABLE}: {error.strerror}"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image of an accepted format ({', '.join(FORMATS)}), or a broken header"
    text = repr(str(error))[1:-1][:200] or type(error).__name__
    if text.isdigit() and isinstance(error.__cause__, KeyError):  # it is in no table of a plugin
        text = f"unknown value {text}"
    lower = text.lower()
    is_unsupported = lower.startswith("unknown") or any(words in lower for words in _UNSUPPORTED)
    if is_unsupported or isinstance(error, NotImplementedError):
        return f"{NOT_SUPPORTED}: {text}"
    is_truncated = any(words in lower for words in _TRUNCATED)
    return f"{'truncated' if is_truncated else 'broken'}: {text}"


def open_image(file: BinaryIO) -> Image.Image:
    """Return an image of an accepted format of which only the header was read.

    Raises:
        Exception: Whatever Pillow raises; inside `translate_errors` it becomes an ImageError.
    """
    if not (start := file.read(16)):
        raise ImageError("empty: no bytes")
    file.seek(0)
    if start.startswith(SIGNATURE):
        file = select_header(file)
    elif is_webp(start):
        file = select_complete(file)
    try:
        return Image.open(file, formats=_OPENERS)
    except UnidentifiedImageError:
        file.seek(0)
        _refuse_large_avif(file.read(4096))
        _raise_reason(file)
        raise


def _raise_reason(file: BinaryIO) -> None:
    """Raise what the format's own plugin says of a file, which Pillow keeps to itself."""
    file.seek(0)
    start = file.read(16)
    for name in _OPENERS:
        open_file, accepts = Image.OPEN[name]
        if accepts and accepts(start):
            if name == "TIFF":
                check_directory(file)
            file.seek(0)
            try:
                open_file(file, "")
            except SyntaxError as error:
                if name == "HEIF" and "not identified" in str(error):
                    raise NotImplementedError("none of its pictures is HEVC or AV1") from error
                raise


def _refuse_large_avif(head: bytes) -> None:
    """Raise for an AVIF over the decoder's own limit, which the decoder calls broken."""
    start = head.find(b"ispe") + 8  # a box of ISO 23008-12: version, width and height follow
    if head[4:12] == b"ftypavif" and start > 8 and len(head) >= start + 8:
        width, height = (int.from_bytes(head[start + n : start + n + 4]) for n in (0, 4))
        if (area := width * height / 1e6) > AVIF_MEGAPIXELS:
            size = f"{width}x{height} = {area:.4g} megapixels"
            raise ImageError(f"{TOO_LARGE}: {size}, an AVIF may have {AVIF_MEGAPIXELS}")


def find_foreign_format(file: BinaryIO) -> str:
    """Return the name of a format that is known but not accepted, such as PSD; else ""."""
    try:
        with translate_errors():
            return str(Image.open(file).format or "")
    except ImageError:
        return ""


def decode_first_rgb(
    data: bytes, limit: float, *, keep_profile: bool = False
) -> tuple[NDArray[np.uint8], bytes]:
    """Return `decode_image`'s pixels and their colour profile; call it inside `translate_errors`.

    The profile is kept only with `keep_profile` and for RGB images: else it is b"", which is sRGB.

    Raises:
        Exception: As `open_image`.
    """
    image = _open_within_limit(data, limit)
    pixels = _decode_jpeg(image, data) if image.format in _JPEGS else _decode_webp(image, data)
    if pixels is None:
        image = _load_upright(image, data)
    profile = image.info.get("icc_profile") or b""
    kept_profile = profile if keep_profile and image.mode == "RGB" else b""
    if kept_profile:
        del image.info["icc_profile"]
    if pixels is None:
        return np.array(convert_to_rgb(image)), kept_profile
    return convert_to_srgb(pixels, b"" if kept_profile else profile), kept_profile


def decode_first_frame(data: bytes, limit: float) -> Image.Image:
    """Decode the first frame, upright, in its own mode; call it inside `translate_errors`.

    Raises:
        Exception: As `open_image`.
    """
    return _load_upright(_open_within_limit(data, limit), data)


def _open_within_limit(data: bytes, limit: float) -> Image.Image:
    image = open_image(BytesIO(data))
    width, height = image.size
    if (area := width * height / 1e6) > limit:
        size = f"{width}x{height} = {area:.4g} megapixels"
        raise ImageError(f"{TOO_LARGE}: {size}, the limit is {limit:g}")
    return image


def _load_upright(image: Image.Image, data: bytes) -> Image.Image:
    width, height = image.size
    image = _reopen_whole(image, data)
    try:
        image.load()  # once: after an error a second try returns partial pixels
    except OSError as error:
        if (compression := image.info.get("compression")) in _RARE_COMPRESSIONS:
            raise NotImplementedError(f"compression {compression}") from error
        raise
    if image.size != (width, height):  # a damaged HEIC: the limit was held against its header
        size = f"{image.width}x{image.height}"
        raise ImageError(f"broken: {width}x{height} by its header, {size} by its pixels")
    return _rotate_upright(image)


def _reopen_whole(image: Image.Image, data: bytes) -> Image.Image:
    """Return an opened image without what its format leaves out or has damaged beside its pixels.

    Raises:
        ValueError: Pixels are missing which its decoder would make up.
    """
    match image.format:
        case "JPEG" | "MPO":
            return Image.open(BytesIO(restore_jpeg(data)), formats=["JPEG"])
        case "PNG":
            return Image.open(select_picture(data), formats=["PNG"])
        case "TIFF" if isinstance(image, TiffImagePlugin.TiffImageFile):
            check_strips(image.tag_v2, data)
        case "WEBP":
            webp_chunks.check_zeros(data)
        case "HEIF" | "AVIF":
            bmff_items.check_zeros(data)
    return image


def _rotate_upright(image: Image.Image) -> Image.Image:
    # Not by exif_transpose(): it writes the EXIF anew and fails on odd values of other tags.
    orientation = read_orientation(image)
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _decode_jpeg(image: Image.Image, data: bytes) -> NDArray[np.uint8] | None:
    """Return an opened JPEG as HxWx3 uint8 RGB, upright, in its own colours; else None.

    The same decoder as Pillow's, without its copies.
    """
    is_grey = image.mode == "L" and not image.info.get("icc_profile")
    if not (image.mode == "RGB" or is_grey):
        return None
    check_scans(data)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    if not _fill(pixels, data, strict=True) and not _fill(pixels, restore_jpeg(data), strict=False):
        return None
    return _turn_upright(pixels, image)


def _decode_webp(image: Image.Image, data: bytes) -> NDArray[np.uint8] | None:
    """Return an opened WebP as `_decode_jpeg` does; None for one that is transparent or moves."""
    if image.format != "WEBP" or image.mode != "RGB" or getattr(image, "is_animated", False):
        return None
    webp_chunks.check_zeros(data)
    pixels = decode_still(data)
    return None if pixels is None else _turn_upright(pixels, image)


def _turn_upright(pixels: NDArray[np.uint8], image: Image.Image) -> NDArray[np.uint8]:
    orientation = read_orientation(image)  # OpenCV turns in a third of Pillow's time
    if orientation > 4:
        pixels = np.asarray(cv2.transpose(pixels), np.uint8)
    if orientation in _FLIPS:
        pixels = np.asarray(cv2.flip(pixels, _FLIPS[orientation]), np.uint8)
    return pixels


def _fill(pixels: NDArray[np.uint8], data: bytes, *, strict: bool) -> bool:
    """Decode a JPEG into an array; return whether it went, where strict without a warning."""
    try:
        return bool(decode_jpeg(data, "RGB", buffer=pixels, strict=strict).shape == pixels.shape)
    except ValueError:
        return False


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation by which an opened image has to be turned, 1 to 8."""
    if image.format == "HEIF":  # libheif turns it
        return 1
    if image.format == "AVIF":  # Pillow has put what the container says into EXIF
        image.info.pop("xmp", None)  # or getexif() would take an orientation from there
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken EXIF
        return 1
    return orientation if orientation in _UPRIGHT else 1
