"""Colour profiles by hand, for the tests of decoding."""

import struct

import numpy as np


def make_icc(space, tags, pcs=b"XYZ ", device=b"mntr"):
    """Make a version 2 profile: 128 bytes of header, a table of tags, their data."""
    table, body, offset = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    white = struct.pack(">3i", *[round(v * 65536) for v in (0.9642, 1, 0.8249)])
    head = struct.pack(">II4s4s4s4s", offset + len(body), 0, b"\x02\x10\0\0", device, space, pcs)
    head += bytes(12) + b"acsp" + bytes(28) + white
    return head.ljust(128, b"\0") + table + body


def make_xyz(*values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *[round(v * 65536) for v in values])


def make_curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


# Columns: red, green, blue in XYZ, adapted to D50. From Adobe's specification of Adobe RGB (1998)
# and from Lindbloom's table for sRGB.
ADOBE = [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
SRGB = [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]


def matrix_profile(columns, tone):
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    tags = {
        name: make_xyz(*column) for name, column in zip(names, np.transpose(columns), strict=True)
    }
    return make_icc(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tone))


def adobe_rgb():
    return matrix_profile(ADOBE, make_curve(563 / 256))


def sampled_srgb_curve():
    levels = np.linspace(0, 1, 1024)
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    samples = np.rint(linear * 65535).astype(">u2").tobytes()
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + samples
