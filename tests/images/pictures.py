"""Pictures as files, for the tests of decoding."""

import io

import numpy as np
from PIL import Image

from bgexp.images.decode import ImageError

NOISE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
SMOOTH = np.stack(np.meshgrid(*[np.linspace(40, 220, 24)] * 2), -1).astype(np.uint8)
SMOOTH = np.concatenate([SMOOTH, SMOOTH[::-1, :, :1]], axis=2)


def encode(pixels, format="PNG", mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image = image.convert(mode) if mode else image
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def encode_mpo():
    return encode(SMOOTH, "MPO", save_all=True, append_images=[Image.new("RGB", (24, 24), "lime")])


def encode_gif():
    frames = [Image.fromarray(SMOOTH).quantize(32), Image.new("P", (24, 24))]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


EXACT = {  # as near to lossless as each format comes; HEIF and AVIF round to YCbCr
    "WEBP": {"lossless": True, "exact": True},
    "HEIF": {"quality": -1, "chroma": 444},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


def measure_difference(image, expected):
    return int(np.abs(image.astype(int) - np.asarray(expected).astype(int)).max())


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def encode_turned(format, orientation, pixels=NOISE):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif = exif.tobytes() if format == "HEIF" else exif  # pillow_heif looks into bytes only
    return encode(pixels, format, exif=exif, **EXACT.get(format, {}))


WHOLE = {
    "jpeg": encode(SMOOTH, "JPEG"),
    "progressive": encode(SMOOTH, "JPEG", progressive=True),
    "mpo": encode_mpo(),
    "png": encode(SMOOTH),
    "webp": encode(SMOOTH, "WEBP"),
    "webp lossless": encode(SMOOTH, "WEBP", lossless=True),
    "tiff": encode(SMOOTH, "TIFF"),
    "tiff lzw": encode(SMOOTH, "TIFF", compression="tiff_lzw"),
    "gif": encode_gif(),
    "bmp": encode(SMOOTH, "BMP"),
    "heic": encode_turned("HEIF", 6, SMOOTH),
    "avif": encode_turned("AVIF", 6, SMOOTH),
}


def decode_or_reason(decode, data, **options):
    """Return the array, or the reason why there is none; any other exception is a failed test."""
    try:
        return decode(data, **options)
    except ImageError as error:
        return str(error)
