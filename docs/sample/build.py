"""Build the sample data set that ships inside bgexp.

Reads ``scenes.json`` (what each picture is made of, and whose work that is) and ``polygons.json``
(outlines drawn by hand on the real photographs, in pixels of the original picture), and writes
``images/<category>/``, ``masks/<category>/`` and ``LICENSES.md``.  The same source folders give the
same pictures.  LICENSES.md names the packages that hold the source files; the source folders are
skimage/data of scikit-image, tuxpaint/stamps, backgrounds/mate and the assets of fluent-emoji-3d.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

Spec = dict[str, Any]
Floats = NDArray[np.float32]
HERE = Path(__file__).parent
ROTATIONS = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}  # by EXIF orientation
EXIF_ORIENTATION = 0x0112
QUALITY = 90
SEED = 2024
STEREO_SHIFT = 6  # pixels between the two frames of an MPO file


def find(roots: Sequence[Path], name: str) -> Path:
    """Return the first existing ``root/name``."""
    for root in roots:
        if (root / name).is_file():
            return root / name
    raise SystemExit(f"build: {name} is in none of the source folders")


def draw_polygons(outlines: list[Any], crop: Sequence[float], size: tuple[int, int]) -> Image.Image:
    """Draw add and cut polygons, in order, as a binary mask of the crop at the given size."""
    fine = 8
    sx, sy = size[0] * fine / (crop[2] - crop[0]), size[1] * fine / (crop[3] - crop[1])
    canvas = Image.new("L", (size[0] * fine, size[1] * fine))
    draw = ImageDraw.Draw(canvas)
    for operation, flat in outlines:
        points = zip(flat[::2], flat[1::2], strict=True)
        scaled = [((x - crop[0]) * sx, (y - crop[1]) * sy) for x, y in points]
        draw.polygon(scaled, fill=255 if operation == "add" else 0)
    return canvas.resize(size, Image.Resampling.BOX).point(lambda value: 255 * (value >= 128))


def crop_photograph(spec: Spec, roots: Sequence[Path]) -> tuple[Image.Image, Image.Image]:
    """Return a real photograph, cropped and scaled, with its hand-drawn mask."""
    photo = Image.open(find(roots, spec["photo"]))
    crop, scale = spec.get("crop", [0, 0, *photo.size]), spec.get("scale", 1.0)
    size = (round((crop[2] - crop[0]) * scale), round((crop[3] - crop[1]) * scale))
    outlines = json.loads((HERE / "polygons.json").read_text(encoding="utf-8"))[spec["outline"]]
    return photo.crop(crop).resize(size, Image.Resampling.LANCZOS), draw_polygons(
        outlines, crop, size
    )


def colourise(grey: Floats, tint: Sequence[Sequence[float]]) -> Floats:
    """Map grey levels 0-255 to the colours between a dark and a light one."""
    dark, light = np.float32(tint[0]), np.float32(tint[1])
    return dark + (light - dark) * (grey[..., None] / 255)


def make_picture_plane(spec: Spec, size: tuple[int, int], roots: Sequence[Path]) -> Floats:
    """Return a turned, cropped, blurred and tinted photograph that fills the frame."""
    photo = Image.open(find(roots, spec["file"])).rotate(spec.get("angle", 0))
    left, top, right, bottom = spec.get("crop", [0, 0, 1, 1])  # fractions of the photograph
    box = (left * photo.width, top * photo.height, right * photo.width, bottom * photo.height)
    photo = photo.convert("L" if "tint" in spec else "RGB")
    photo = ImageOps.fit(photo.crop(box), size, Image.Resampling.LANCZOS)
    plane = np.asarray(photo.filter(ImageFilter.GaussianBlur(spec.get("blur", 1.5))), np.float32)
    plane = colourise(plane, spec["tint"]) if "tint" in spec else plane
    return plane * np.float32(spec.get("gain", [1, 1, 1]))


def make_floor_plane(
    spec: Spec, size: tuple[int, int], roots: Sequence[Path]
) -> tuple[Floats, Floats]:
    """Return a texture laid on the ground in perspective, and how opaque it is."""
    width, height = size[0] * 2, size[1] * 2
    texture = np.asarray(Image.open(find(roots, spec["file"])).convert("L"), np.float32)
    horizon = spec["horizon"] * height
    nearness = np.clip((np.arange(height, dtype=np.float32) - horizon) / (height - horizon), 0, 1)
    depth = 1 / (nearness + 0.45)
    zoom = np.float32(spec.get("zoom", 1.0) / 2)
    u = (np.arange(width, dtype=np.float32) - width / 2)[None, :] * depth[:, None] * zoom
    v = np.broadcast_to((depth * height * zoom)[:, None], u.shape)
    u, v = u % texture.shape[1], v % texture.shape[0]
    ground = cv2.remap(texture, u, v, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)
    ground = cv2.GaussianBlur(ground, (0, 0), spec.get("blur", 1.0) * 2)
    ground = cv2.resize(ground, size, interpolation=cv2.INTER_AREA)
    rows = np.arange(size[1], dtype=np.float32)[:, None, None]
    return colourise(ground, spec["tint"]), np.clip((rows - horizon / 2) / 5 + 0.5, 0, 1)


def load_cutout(item: Spec, roots: Sequence[Path]) -> tuple[Floats, Floats]:
    """Return the colours and the alpha of one cut-out object at its final size."""
    stamp = Image.open(find(roots, item["file"])).convert("RGBA")
    stamp = ImageOps.mirror(stamp) if item.get("flip") else stamp
    scale = item.get("scale", 1.0)
    stamp = ImageOps.scale(stamp, scale, Image.Resampling.BICUBIC)
    stamp = stamp.rotate(item.get("angle", 0), Image.Resampling.BICUBIC, expand=True)
    stamp = stamp.crop(stamp.getchannel("A").getbbox())
    pixels = np.asarray(stamp, np.float32)
    alpha = cv2.copyMakeBorder(pixels[..., 3] / 255, 2, 2, 2, 2, cv2.BORDER_CONSTANT)
    alpha = np.clip((cv2.GaussianBlur(alpha, (0, 0), 0.8) - 0.3) / 0.55, 0, 1)
    colour = cv2.copyMakeBorder(pixels[..., :3], 2, 2, 2, 2, cv2.BORDER_REPLICATE)
    return colour * np.float32(item.get("gain", [1, 1, 1])), alpha


def place_layer(layer: Floats, left: int, top: int, size: tuple[int, int]) -> Floats:
    """Return the layer on an empty frame, with what lies outside the frame cut off."""
    shift = np.float32([[1, 0, left], [0, 1, top]])
    return cv2.warpAffine(layer, shift, size, flags=cv2.INTER_NEAREST)


def cast_shadow(alpha: Floats, left: int, base: int, size: tuple[int, int]) -> Floats:
    """Return how dark the shadow is: tight where the object stands, wide and faint around it."""
    height, width = alpha.shape
    shade = np.zeros(size[::-1], np.float32)
    for part, flat, blur, strength in ((0.14, 0.05, 3.0, 0.6), (1.0, 0.17, 9.0, 0.45)):
        low = np.ascontiguousarray(alpha[height - round(height * part) :])
        low = cv2.resize(low, (width, max(4, round(height * flat))), interpolation=cv2.INTER_AREA)
        frame = place_layer(low, left, base - round(low.shape[0] * 0.75), size)
        shade = np.maximum(shade, strength * cv2.GaussianBlur(frame, (0, 0), blur))
    return shade


def make_composite(spec: Spec, roots: Sequence[Path]) -> tuple[Image.Image, Image.Image]:
    """Return cut-out objects set into a background, and the mask of what is seen of them."""
    size = (spec["size"][0], spec["size"][1])
    frame = make_picture_plane(spec["back"], size, roots)
    if "floor" in spec:
        ground, opacity = make_floor_plane(spec["floor"], size, roots)
        frame = frame + (ground - frame) * opacity
    truth = np.zeros(size[::-1], np.float32)
    for item in spec["objects"]:
        colour, alpha = load_cutout(item, roots)
        base = round(item["at"][1] * size[1])
        left, top = round(item["at"][0] * size[0] - alpha.shape[1] / 2), base - alpha.shape[0]
        if item.get("shadow", True):
            frame *= 1 - cast_shadow(alpha, left, base, size)[..., None]
        cover = place_layer(alpha, left, top, size)
        frame += (place_layer(colour, left, top, size) - frame) * cover[..., None]
        truth = np.maximum(truth, cover)
    frame = cv2.GaussianBlur(frame, (0, 0), 0.5)
    noise = np.random.default_rng(SEED).normal(0, 2.2, frame.shape)
    picture = Image.fromarray(np.clip(frame + noise, 0, 255).astype(np.uint8))
    return picture, Image.fromarray(np.where(truth > 0.5, 255, 0).astype(np.uint8))


def save(picture: Image.Image, path: Path, spec: Spec) -> None:
    """Write the picture in the format of its file name, as MPO or rotated if so specified."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if spec.get("mpo"):
        second = picture.crop((STEREO_SHIFT, 0, *picture.size)).resize(picture.size)
        picture.save(path, "MPO", save_all=True, append_images=[second], quality=QUALITY)
    elif "orientation" in spec:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = spec["orientation"]
        picture.transpose(ROTATIONS[spec["orientation"]]).save(path, quality=QUALITY, exif=exif)
    else:
        picture.save(path, quality=QUALITY, optimize=True)


def list_sources(spec: Spec) -> list[str]:
    """List the source files of a picture, each once."""
    if "photo" in spec:
        return [spec["photo"]]
    layers = [*spec["objects"], spec["back"], *([spec["floor"]] if "floor" in spec else [])]
    return list(dict.fromkeys(layer["file"] for layer in layers))


def main() -> None:
    """Build every picture named in scenes.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write, such as bgexp/sample")
    parser.add_argument("roots", type=Path, nargs="+", help="folders that hold the source files")
    options = parser.parse_args()
    book = json.loads((HERE / "scenes.json").read_text(encoding="utf-8"))
    rows = []
    for name, spec in sorted(book["scenes"].items()):
        make = crop_photograph if "photo" in spec else make_composite
        picture, mask = make(spec, options.roots)
        save(picture, options.out / "images" / name, spec)
        target = (options.out / "masks" / name).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        mask.save(target, optimize=True)
        credits = [book["credits"][source] for source in list_sources(spec)]
        cells = ["<br>".join(column) for column in zip(*credits, strict=True)]
        rows.append(f"| `{name}` | {' | '.join(cells)} | {spec['changes']} |\n")
    (options.out / "LICENSES.md").write_text("".join([*book["licences"], *rows]), encoding="utf-8")


if __name__ == "__main__":
    main()
