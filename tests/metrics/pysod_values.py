"""Pairs of mask and truth made from a seed, and what PySODMetrics says of some of them.

The tests take their pairs from here. PySODMetrics does not install beside bgexp, so its values are
kept in pysod_values.json, which this script writes when it is run where PySODMetrics is:

    uv venv --python 3.11 apart
    uv pip install --python apart/bin/python pysodmetrics==1.6.2 'numpy<2.3.5' 'scikit-image<0.26'
    apart/bin/python tests/metrics/pysod_values.py
"""

import hashlib
import json
import math
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np

SEED = 20260
N_STORED = 24  # random pairs whose values are kept, besides large and degenerate ones
SHAPES = [
    (16, 16),
    (12, 31),
    (40, 24),
    (29, 41),
    (7, 5),
    (3, 3),
    (45, 18),
    (1, 13),
    (11, 1),
    (2, 9),
]
VALUES = Path(__file__).with_suffix(".json")


def discs(shape, drawn, shift=(0, 0, 0)):
    """Union of discs, each a row, a column and a radius, all moved and grown alike."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return sum(
        (rows - r - shift[0]) ** 2 + (columns - c - shift[1]) ** 2 <= max(radius + shift[2], 0) ** 2
        for r, c, radius in drawn
    ).astype(bool)


def random_pair(number, shape=None):
    """Noise of some density in every third pair, else blobs, half of them with flaws in the mask.

    Only integers and uniform numbers are drawn, whose streams numpy keeps from version to version.
    """
    rng = np.random.default_rng([SEED, number])
    shape = shape or SHAPES[number % len(SHAPES)]
    if number % 3 == 0:
        density = rng.random(2)
        return rng.random(shape) < density[0], rng.random(shape) < density[1]
    drawn = rng.integers(0, (*shape, 2 + min(shape) // 2), (rng.integers(1, 4), 3))
    mask = discs(shape, drawn, rng.integers(-2, 3, 3))
    return mask ^ (rng.random(shape) < 0.05) if number % 2 else mask, discs(shape, drawn)


def random_pairs(n):
    """The first n random pairs by name."""
    return {f"random {number}": random_pair(number) for number in range(n)}


def degenerate_pairs():
    """What a metric may trip over, by name: (mask, truth)."""
    empty, full = np.zeros((12, 17), bool), np.ones((12, 17), bool)
    rows, columns = np.indices(empty.shape)
    blob = discs(empty.shape, [(5, 8, 4)])
    pixel, neighbour, corner = ((rows == r) & (columns == c) for r, c in ((4, 6), (4, 7), (11, 16)))
    row, column, board = rows == 3, columns == 5, (rows + columns) % 2 == 0
    ring = discs(empty.shape, [(5, 8, 5)]) & ~discs(empty.shape, [(5, 8, 3)])
    left, top, edge = columns < 8, rows < 6, (rows % 11 == 0) | (columns % 16 == 0)
    wide = np.zeros((240, 320), bool)
    dot = wide.copy()
    dot[120, 160] = True
    return {
        "both empty": (empty, empty),
        "truth empty": (blob, empty),
        "truth empty, mask full": (full, empty),
        "truth empty, mask one pixel": (pixel, empty),
        "mask empty": (empty, blob),
        "mask empty, truth full": (empty, full),
        "mask empty, truth at the edge": (empty, edge),
        "mask empty, truth one pixel": (empty, pixel),
        "both full": (full, full),
        "truth full": (blob, full),
        "truth full, mask one pixel": (pixel, full),
        "mask full": (full, blob),
        "mask full, truth one pixel": (full, pixel),
        "perfect": (blob, blob),
        "inverse": (~blob, blob),
        "inverse of a half": (~left, left),
        "disjoint": (discs(empty.shape, [(1, 1, 2)]), discs(empty.shape, [(9, 13, 2)])),
        "one pixel, perfect": (pixel, pixel),
        "one pixel, beside": (neighbour, pixel),
        "one pixel in the last corner": (blob, corner),
        "one pixel of many, perfect": (dot, dot),
        "all but one pixel": (~pixel, ~neighbour),
        "one row": (row, np.roll(row, 1, axis=0)),
        "one column": (column, np.roll(column, 1, axis=1)),
        "row against column": (row, column),
        "last row": (blob, rows == 11),
        "last column": (blob, columns == 16),
        "first row": (top, rows == 0),
        "halves": (left, top),
        "touching the border": (columns < 6, columns < 4),
        "frame": (edge, ~edge),
        "ring against its hull": (discs(empty.shape, [(5, 8, 5)]), ring),
        "ring lost inside": (ring, discs(empty.shape, [(5, 8, 5)])),
        "checkerboards": (board, ~board),
        "checkerboard, perfect": (board, board),
        "checkerboard against a blob": (board, blob),
        "blob against a checkerboard": (blob, board),
        "corners": (corner, (rows % 11 == 0) & (columns % 16 == 0)),
        "1xN": (columns[:1] < 5, columns[:1] < 9),
        "1xN, ends": (columns[:1] == 16, columns[:1] == 0),
        "Nx1": (rows[:, :1] > 4, rows[:, :1] > 7),
        "Nx1, one pixel": (rows[:, :1] == 4, rows[:, :1] == 11),
        "two pixels": (np.array([[True, False]]), np.array([[True, False]])),
        "a single pixel, hit": (np.ones((1, 1), bool), np.ones((1, 1), bool)),
        "a single pixel, lost": (np.zeros((1, 1), bool), np.ones((1, 1), bool)),
        "a single pixel, extra": (np.ones((1, 1), bool), np.zeros((1, 1), bool)),
        "a single pixel, empty": (np.zeros((1, 1), bool), np.zeros((1, 1), bool)),
    }


def stored_pairs():
    """The pairs whose values are kept."""
    large = {f"large {number}": random_pair(number, (240, 320)) for number in range(6)}
    return degenerate_pairs() | random_pairs(N_STORED) | large


def digest(mask, truth):
    """Tells that a pair is the one that was measured."""
    pixels = np.packbits([mask, truth]).tobytes()
    return hashlib.sha256(repr(mask.shape).encode() + pixels).hexdigest()[:16]


def measure(mask, truth):
    """PySODMetrics' values for a pair, NaN as None; its curve of E starts at the threshold 255."""
    import py_sod_metrics as sod

    handlers = {
        "iou": sod.IOUHandler,
        "dice": sod.DICEHandler,
        "precision": sod.PrecisionHandler,
        "foreground_recall": sod.RecallHandler,
    }
    counted = sod.FmeasureV2({k: h(False, False, with_binary=True) for k, h in handlers.items()})
    judges = [sod.MAE(), sod.Smeasure(), sod.WeightedFmeasure(), sod.Emeasure(), counted]
    for judge in judges:
        judge.step(mask.astype(float), truth, normalize=False)
    mae, s, f, e, ratios = (judge.get_results() for judge in judges)
    curve = e["em"]["curve"]
    values = {key: ratios[key]["binary"] for key in handlers} | {
        "mae": mae["mae"],
        "s_measure": s["sm"],
        "e_measure": curve[0],
        "e_adaptive": e["em"]["adp"],
        "e_mean": curve.mean(),
        "e_max": curve.max(),
        "weighted_f": f["wfm"],
    }
    return {key: None if math.isnan(value) else float(value) for key, value in values.items()}


def main():
    """Writes the file of values."""
    warnings.simplefilter("ignore")  # its mean of an empty quadrant
    versions = {name: metadata.version(name) for name in ("pysodmetrics", "numpy", "scipy")}
    values = {
        name: {"digest": digest(*pair)} | measure(*pair) for name, pair in stored_pairs().items()
    }
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(v)}" for name, v in values.items())
    VALUES.write_text(f'{{"versions": {json.dumps(versions)}, "pairs": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    main()
