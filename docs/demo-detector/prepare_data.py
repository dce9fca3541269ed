"""Lays out the training data of the shipped detector from the unpacked source packages.

Usage: python docs/demo-detector/prepare_data.py STAMPS EMOJI BACKGROUNDS OUTPUT

STAMPS is the unpacked Debian package tuxpaint-stamps-default (its `usr/share/tuxpaint`), EMOJI
the unpacked npm package @lobehub/fluent-emoji-3d 1.1.0 (its `assets`), BACKGROUNDS the unpacked
Debian packages mate-backgrounds and gnome-backgrounds (their `usr/share/backgrounds`).
The photographs inside the installed scikit-image are added to the backgrounds.

OUTPUT gets `cutouts/{train,validation}/{large,small,rendered}/` and
`backgrounds/{train,validation}/`. The split is by object: an object of one split is in no other,
and the objects and photographs of the shipped sample (split `sample`) are in neither.
"""

import csv
import hashlib
import sys
from pathlib import Path

import skimage
from PIL import Image

HERE = Path(__file__).parent
SKIN_TONES = ("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff")
# Transparent wallpapers, near copies of others, logos, and pictures of something all over.
LEFT_OUT = (
    "Arc-Colors",
    "Waves",
    "Spring",
    "Silk",
    "Elephants_",
    "MATE-Stripes",
    "GreenTraditional",
    "FreshFlower",
    "YellowFlower",
    "pixels-",
)
# The part of a photograph that shows no subject (left, top, right, bottom as shares): as a whole it
# would teach that a sharp flower in front of a blurred garden is background.
FREE_OF_SUBJECT = {
    "Aqua": (0.0, 0.0, 0.5, 1.0),
    "Float-into-MATE": (0.0, 0.0, 0.6, 1.0),
    "Flow": (0.0, 0.0, 0.6, 1.0),
    "Garden": (0.0, 0.0, 0.35, 0.68),
    "LadyBird": (0.27, 0.0, 0.6, 0.33),
    "TwoWings": (0.0, 0.0, 0.34, 1.0),
}
TEXTURES = ("gravel.png", "brick.png", "grass.png", "moon.png", "text.png", "page.png",
            "hubble_deep_field.jpg", "ihc.png")  # fmt: skip
VALIDATION_BACKGROUNDS = ("Dune", "RainDrops", "wood-l", "brick", "Elephants")


def choose_rendered_split(name: str) -> str:
    """Choose the split of a rendered object by the hash of its file name, one sixteenth each."""
    bucket = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 16
    return {0: "validation", 1: "sample"}.get(bucket, "train")


def is_object(name: str) -> bool:
    """Return whether a rendered emoji is an object: no flag, letter or skin-tone variant."""
    code = name.split(".")[0]
    keycap_or_flag = code.startswith(("1f1", "00", "1f3f4")) or code.endswith("20e3")
    return not keycap_or_flag and not any(tone in code for tone in SKIN_TONES)


def write_cutout(source: Path, target: Path) -> None:
    """Write a cut-out as RGBA PNG, cropped to what is not transparent."""
    with Image.open(source) as opened:
        image = opened.convert("RGBA")
    target.parent.mkdir(parents=True, exist_ok=True)
    image.crop(image.getchannel("A").getbbox()).save(target)


def write_background(source: Path, target: Path) -> None:
    """Write the part without a subject as JPEG, its shorter side at most 1080 pixels."""
    with Image.open(source) as opened:
        image = opened.convert("RGB")
    left, top, right, bottom = FREE_OF_SUBJECT.get(source.stem, (0.0, 0.0, 1.0, 1.0))
    width, height = image.size
    image = image.crop(
        (round(left * width), round(top * height), round(right * width), round(bottom * height))
    )
    scale = min(1.0, 1080 / min(image.size))
    target.parent.mkdir(parents=True, exist_ok=True)
    image.resize((round(image.width * scale), round(image.height * scale))).save(target, quality=92)


def main(stamps: Path, emoji: Path, backgrounds: Path, output: Path) -> None:
    """Write the whole layout."""
    with (HERE / "cutouts.csv").open() as rows:
        for row in csv.DictReader(rows):
            if row["split"] != "sample":
                name = row["path"].removeprefix("stamps/").replace("/", "-")
                write_cutout(
                    stamps / row["path"], output / "cutouts" / row["split"] / row["size"] / name
                )
    for path in sorted(emoji.glob("*.webp")):
        split = choose_rendered_split(path.name)
        if is_object(path.name) and split != "sample":
            write_cutout(path, output / "cutouts" / split / "rendered" / f"{path.stem}.png")
    photos = [p for p in sorted(backgrounds.rglob("*")) if p.suffix in {".jpg", ".png", ".webp"}]
    photos += [Path(skimage.__file__).parent / "data" / name for name in TEXTURES]
    for path in photos:
        if not path.name.startswith(LEFT_OUT):
            split = "validation" if path.stem in VALIDATION_BACKGROUNDS else "train"
            write_background(path, output / "backgrounds" / split / f"{path.stem}.jpg")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
