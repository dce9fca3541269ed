"""A replica of a flawed dataset, from a seed: python -m tests.quality.replica FOLDER.

4,431 small images in 413 categories, JPEG and MPO, with exactly so many flaws of each kind, as a
report of the first real dataset counted them. `PLANTED` says what an analysis has to find.
"""

import csv
import json
import sys
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SEED = 4431
SIDES = (96, 128)  # pixels, of an ordinary image
FIELDS = ("title", "photographer", "licence")  # columns of metadata.csv


@dataclass(frozen=True)
class PlantedFlaws:
    """The number of flaws of each kind in a replica; `images` counts the corrupt ones too."""

    images: int = 4431
    categories: int = 413
    corrupt: int = 23
    missing_values: int = 5416
    size_outliers: int = 45
    dimension_outliers: int = 16
    exact_duplicates: int = 12
    near_duplicates: int = 9
    wrong_extension: int = 7
    mpo: int = 900


PLANTED = PlantedFlaws()
# As many as a quick test needs.
SMALL = replace(
    PLANTED,
    images=260,
    categories=20,
    corrupt=11,
    missing_values=310,
    size_outliers=5,
    dimension_outliers=4,
    exact_duplicates=3,
    near_duplicates=2,
    wrong_extension=2,
    mpo=50,
)


def make_replica(folder, planted=PLANTED, seed=SEED):
    """Write images/, metadata.csv and planted.json; return the flaws by path."""
    rng = np.random.default_rng(seed)
    names = _make_names(planted, rng)
    flaws = _assign_flaws(names, planted, rng)
    images = folder / "images"
    for number, name in enumerate(names):
        path = images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_encode_image(number, flaws.get(name), images, number < planted.mpo))
    _write_metadata(folder / "metadata.csv", names, planted, rng)
    (images / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")  # what such folders hold besides
    (images / "readme.txt").write_text("photographs\n")
    (folder / "planted.json").write_text(json.dumps(flaws, indent=1))
    return flaws


def _make_names(planted, rng):
    """Return paths of all images: each category has at least one, the first names are odd."""
    categories = [f"{number:03d}.category {number}" for number in range(planted.categories)]
    categories[1], categories[2] = "002.Überraschung & Co", "003.<b>bold</b>"
    extra = rng.integers(0, planted.categories, planted.images - planted.categories)
    positions = [*range(planted.categories), *extra.tolist()]
    odd = [
        "-dash.jpg",
        "a'b\"c.jpg",
        "=1+1.jpg",
        "naïve.jpg",
        "two  spaces.jpg",
        "x" * 200 + ".jpg",
    ]
    return [
        f"{categories[position]}/{odd[number] if number < len(odd) else f'image_{number:05d}.jpg'}"
        for number, position in enumerate(positions)
    ]


def _assign_flaws(names, planted, rng):
    """Choose which image has which flaw; none has two."""
    kinds = [
        *(["dimension_outlier"] * planted.dimension_outliers),
        *(["size_outlier"] * planted.size_outliers),
        *(["corrupt"] * planted.corrupt),
        *(["exact_duplicate"] * planted.exact_duplicates),
        *(["near_duplicate"] * planted.near_duplicates),
        *(["wrong_extension"] * planted.wrong_extension),
    ]
    numbers = planted.mpo + rng.permutation(len(names) - planted.mpo)[: len(kinds)]
    flaws = {}
    for order, (number, kind) in enumerate(zip(numbers.tolist(), kinds, strict=True)):
        flaw = {"kind": kind, "variant": order}
        if kind.endswith("duplicate"):
            # An ordinary MPO, each used once.
            flaw["of"] = names[10 + order % (planted.mpo - 10)]
        flaws[names[number]] = flaw
    return flaws


def _encode_image(number, flaw, images, mpo):
    kind = flaw["kind"] if flaw else ""
    if kind == "exact_duplicate":
        return (images / flaw["of"]).read_bytes()
    if kind == "near_duplicate":
        with Image.open(images / flaw["of"]) as original:
            return _encode_jpeg(np.asarray(original.convert("RGB")), quality=60)
    if kind == "dimension_outlier":
        sides = [(500, 60), (60, 500), (300, 300), (12, 12)][flaw["variant"] % 4]
        # Plain, or blocks of noise: ordinary in bytes.
        return _encode_sized(number, sides)
    if kind == "size_outlier":
        width, height = _choose_size(number)
        noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        return _encode_jpeg(noise, quality=100) + bytes(60_000)
    data = _encode_jpeg(_draw_picture(number, *_choose_size(number)), mpo=mpo)
    if kind == "corrupt":
        return _damage(data, flaw["variant"])
    if kind == "wrong_extension":
        file = BytesIO()
        Image.fromarray(_draw_picture(number, *_choose_size(number))).quantize(64).save(file, "png")
        return file.getvalue()
    return data


def _choose_size(number):
    rng = np.random.default_rng([SEED, number])
    longer = int(rng.integers(*SIDES))
    shorter = int(longer * rng.uniform(0.7, 0.95))
    return (longer, shorter) if rng.random() < 0.7 else (shorter, longer)


def _draw_picture(number, width, height):
    """Draw a scene unlike any other: smooth noise of random colours with a bright shape."""
    rng = np.random.default_rng([SEED, 1, number])
    grid = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    picture = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    middle = rng.integers(0.3 * min(width, height), 0.7 * min(width, height), 2).tolist()
    color = rng.integers(0, 256, 3).tolist()
    cv2.circle(picture, middle, int(0.25 * min(width, height)), color, cv2.FILLED)
    return picture


def _encode_sized(number, sides):
    """Encode a JPEG of odd sides with as many bytes as an ordinary one."""
    width, height = sides
    picture = _draw_picture(number, width, height)
    size = len(_encode_jpeg(_draw_picture(number, 112, 96)))
    quality = 90 if min(sides) < 20 else 20
    data = _encode_jpeg(picture, quality=quality)
    return data + bytes(max(0, size - len(data)))  # what follows the end of a JPEG is ignored


def _encode_jpeg(picture, quality=85, mpo=False):
    file = BytesIO()
    image = Image.fromarray(picture)
    if mpo:
        second = image.resize((32, 24))
        image.save(file, "mpo", quality=quality, save_all=True, append_images=[second])
    else:
        image.save(file, "jpeg", quality=quality)
    return file.getvalue()


def _damage(data, variant):
    kinds = [
        lambda: b"",
        lambda: data[: len(data) // 2],
        lambda: data[:20],
        lambda: b"\0" * len(data),
        lambda: b"<html><body>404</body></html>",
        lambda: b"\x89PNG\r\n\x1a\n" + data[8:],
        lambda: data[2:],
    ]
    return kinds[variant % len(kinds)]()


def _write_metadata(path, names, planted, rng):
    """Write a row per image; `missing_values` cells are empty, or their row is left out."""
    empty = set(rng.permutation(len(names) * len(FIELDS))[: planted.missing_values].tolist())
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *FIELDS])
        for number, name in enumerate(names):
            cells = [
                "" if number * len(FIELDS) + column in empty else f"{field} {number}"
                for column, field in enumerate(FIELDS)
            ]
            if any(cells):
                writer.writerow([name, *cells])


if __name__ == "__main__":
    make_replica(Path(sys.argv[1]))
