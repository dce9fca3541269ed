"""Mask files of all kinds in which public datasets store them."""

from io import BytesIO

import numpy as np
from PIL import Image

VOC = np.array([[i * 67 % 256, i * 131 % 256, i * 29 % 256] for i in range(256)], np.uint8)
VOC[0], VOC[255] = 0, (224, 224, 192)
GREY = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def encode(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def encode_palette(values, palette=VOC):
    image = Image.frombytes("P", values.shape[::-1], values.astype(np.uint8).tobytes())
    image.putpalette(palette.tobytes())
    return encode(image)


def encode_grey(values, kind="PNG", dtype=np.uint8, **options):
    return encode(Image.fromarray(values.astype(dtype)), kind, **options)


def paint(mask, void, inside, outside, between):
    """Return the values of a mask whose void has a value of its own; None: it has not."""
    values = np.where(mask, inside, outside)
    return values if between is None else np.where(void, between, values)


def make_labels(mask):
    """Return 1 to 5 where the mask is, in stripes, else 0."""
    return mask * (1 + np.arange(mask.shape[1]) // 2 % 5)


def make_matte(mask):
    """Return 0 to 255, with soft edges that cross the half where the mask's edge is."""
    padded = np.pad(mask.astype(float), 1, mode="edge")
    rows, columns = mask.shape
    mean = sum(padded[r : r + rows, c : c + columns] for r in range(3) for c in range(3)) / 9
    ramp = np.arange(mask.size).reshape(mask.shape) % 100
    soft = np.where(mask, 255 - ramp * (mean < 1), ramp * (mean > 0))
    return soft.astype(np.uint8)


def encode_rgba(mask, alpha):
    noise = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3), np.uint8)
    return encode(Image.fromarray(np.dstack([noise, alpha.astype(np.uint8)])))


# The name of each kind: a function of mask and void to a file, and whether void can be told.
KINDS = {
    "0/255": (lambda m, _: encode_grey(m * 255), False),
    "0/1": (lambda m, _: encode_grey(m), False),
    "0/1/255": (lambda m, v: encode_grey(paint(m, v, 1, 0, 255)), True),
    "0/128/255": (lambda m, v: encode_grey(paint(m, v, 255, 0, 128)), True),
    "0/127/255": (lambda m, v: encode_grey(paint(m, v, 255, 0, 127)), True),
    "0/200": (lambda m, _: encode_grey(m * 200), False),
    "1 bit": (lambda m, _: encode(Image.fromarray(m)), False),
    "1 bit TIFF": (lambda m, _: encode(Image.fromarray(m), "TIFF"), False),
    "labels": (lambda m, _: encode_grey(make_labels(m)), False),
    "labels, 255": (
        lambda m, v: encode_grey(np.where(v, 255, make_labels(m))),
        True,
    ),
    "trimap": (lambda m, v: encode_grey(paint(m, v, 1, 2, 3)), True),
    "trimap in a grey palette": (
        lambda m, v: encode_palette(paint(m, v, 1, 2, 3), GREY),
        True,
    ),
    "VOC": (lambda m, v: encode_palette(paint(m, v, 15, 0, 255)), True),
    "palette 0/1": (lambda m, _: encode_palette(m), False),
    "palette, white is 0": (lambda m, _: encode_palette(~m, GREY[[255, 0]]), False),
    "VOC colours": (lambda m, v: encode(Image.fromarray(VOC[paint(m, v, 15, 0, 255)])), True),
    "grey RGB": (lambda m, _: encode(Image.fromarray(GREY[m * 255])), False),
    "RGBA": (lambda m, _: encode_rgba(m, m * 255), False),
    "RGBA matte": (lambda m, _: encode_rgba(m, make_matte(m)), False),
    "opaque RGBA": (
        lambda m, _: encode(Image.fromarray(GREY[m * 255]).convert("RGBA")),
        False,
    ),
    "matte": (lambda m, _: encode_grey(make_matte(m)), False),
    "16 bit 0/65535": (lambda m, _: encode_grey(m * 65535, dtype=np.uint16), False),
    "16 bit 0/255": (lambda m, _: encode_grey(m * 255, dtype=np.uint16), False),
    "16 bit 0/1": (lambda m, _: encode_grey(m, dtype=np.uint16), False),
    "16 bit 0/1000": (lambda m, _: encode_grey(m * 1000, dtype=np.uint16), False),
    "16 bit trimap": (lambda m, v: encode_grey(paint(m, v, 1, 2, 3), dtype=np.uint16), True),
    "16 bit matte": (
        lambda m, _: encode_grey(make_matte(m).astype(int) * 256 + 100, dtype=np.uint16),
        False,
    ),
    "float 0/1": (lambda m, _: encode_grey(m, "TIFF", np.float32), False),
    "float matte": (lambda m, _: encode_grey(make_matte(m) / 255, "TIFF", np.float32), False),
}
