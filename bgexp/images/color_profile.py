"""Decoded pixels to 8-bit sRGB, whatever their depth, transparency and ICC profile."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_PROBE = np.mgrid[:256:15, :256:15, :256:15].astype(np.uint8).reshape(3, 18, -1).transpose(1, 2, 0)


def convert_to_8_bit(image: Image.Image) -> Image.Image:
    """Return deep grey (16 or 32 bits, float) as L, anything else as it is."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image, np.float32))
    top = 65535 if image.mode != "F" else 255 if values.max() > 1 else 1
    return Image.fromarray(np.rint(np.clip(values, 0, top) * (255 / top)).astype(np.uint8))


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """Return an image of any mode as RGB, in sRGB, its transparent pixels over white."""
    profile = image.info.get("icc_profile")
    image = convert_to_8_bit(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        # Grey stays grey, so that a grey profile still fits.
        image = white.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB")
    elif image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if profile or image.mode == "LAB":
        image = _convert_to_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def convert_to_srgb(pixels: NDArray[np.uint8], profile: bytes) -> NDArray[np.uint8]:
    """Return HxWx3 RGB in sRGB, as `convert_to_rgb` does; the same array where nothing changes."""
    transform = _build_transform("RGB", profile) if profile else None
    return np.array(_apply_transform(transform, Image.fromarray(pixels))) if transform else pixels


def _convert_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the image in sRGB by its profile; as it is where the profile is sRGB or unusable."""
    transform = _build_transform(image.mode, profile)
    return _apply_transform(transform, image) if transform else image


def _apply_transform(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    try:
        return ImageCms.applyTransform(image, transform) or image
    except Exception:  # PyCMSError, OSError, ValueError
        return image


def _build_transform(mode: str, profile: bytes | None) -> ImageCms.ImageCmsTransform | None:
    """Build the transform to sRGB; None where the profile is sRGB or unusable."""
    try:
        source = BytesIO(profile or b"") if mode != "LAB" else ImageCms.createProfile("LAB")
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, mode, "RGB")
        if mode == "RGB":  # many profiles are sRGB under another name: only their effect tells
            converted = np.asarray(ImageCms.applyTransform(Image.fromarray(_PROBE), transform))
            if np.abs(converted.astype(int) - _PROBE).max() <= 2:
                return None
        return transform
    except Exception:  # PyCMSError, OSError, ValueError
        return None
