"""Composites: cut-outs pasted on backgrounds, with the exact truth of each object.

Each composite follows from (seed, index) alone, so any worker, order or restart gives the same
pictures. Clutter, blurred objects and polygons of foreign texture belong to the background: they
teach the detector what is not the subject.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from bgexp.errors import UserError
from bgexp.train.scene import Scene

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Generator = np.random.Generator

# How often an object comes from a folder of cut-outs of this name; other folders weigh 0.3.
FOLDER_SHARES = {"large": 0.45, "small": 0.25, "rendered": 0.30}
SHAPE_SHARE = 0.08  # how often an object is invented: blobs, rings, things with legs
VISIBLE = 0.5  # alpha above this is object
MIN_VISIBLE_PIXELS = 64


@dataclass(frozen=True)
class CompositeSources:
    """Cut-outs (RGBA files) by folder, and backgrounds (RGB files)."""

    cutouts: dict[str, tuple[Path, ...]]
    backgrounds: tuple[Path, ...]

    @classmethod
    def from_folders(cls, cutouts: Path, backgrounds: Path) -> "CompositeSources":
        """Find the files; a folder of cut-outs may hold sub-folders, each a pool of its own."""
        pools: dict[str, tuple[Path, ...]] = {}
        for path in sorted(cutouts.rglob("*.png")):
            pools[path.parent.name] = (*pools.get(path.parent.name, ()), path)
        photos = tuple(sorted(p for p in backgrounds.rglob("*") if p.suffix in {".jpg", ".png"}))
        if not pools:
            raise UserError(f"dataset.cutouts: no .png cut-outs under {cutouts}")
        if not photos:
            raise UserError(f"dataset.backgrounds: no .jpg or .png pictures under {backgrounds}")
        return cls(pools, photos)

    def draw(self, size: int, rng: Generator) -> Scene:
        """Draw a random composite of size x size pixels."""
        return compose(self, size, rng)

    def draw_many(self, count: int, size: int, seed: int) -> list[Scene]:
        """Draw the composites of a seed that validation sees."""
        return [self.draw(size, np.random.default_rng((seed, 1, n))) for n in range(count)]

    def pick(self, rng: Generator) -> Image:
        """Pick a random cut-out, HxWx4 uint8 RGBA."""
        names = list(self.cutouts)
        weights = np.array([FOLDER_SHARES.get(name, 0.3) for name in names])
        pool = self.cutouts[names[rng.choice(len(names), p=weights / weights.sum())]]
        path = pool[rng.integers(len(pool))]
        cutout = _read(path)
        if cutout.shape[2] != 4:
            raise UserError(f"{path}: a cut-out needs an alpha channel")
        return cutout


@lru_cache(maxsize=4096)
def _read(path: Path) -> Image:
    """Read a file as RGB or RGBA uint8. These are the trainer's own prepared files."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3:
        raise UserError(f"{path}: not a colour picture that can be read")
    code = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(image, code), np.uint8)


def compose(sources: CompositeSources, size: int, rng: Generator) -> Scene:
    """Compose one scene of size x size pixels: background, clutter, objects, camera."""
    canvas = _make_background(sources, size, rng).astype(np.float32)
    _add_clutter(canvas, sources, rng)
    alphas: list[Floats] = []
    draw = _draw_grid if rng.random() < 0.07 else _draw_objects
    for layer in draw(sources, size, rng):
        light_layer(layer, canvas, rng)
        if rng.random() < 0.35:
            cast_shadow(canvas, layer[..., 3], rng)
        paste_layer(canvas, layer)
        alphas = [earlier * (1 - layer[..., 3]) for earlier in alphas] + [layer[..., 3]]
    visible = [alpha > VISIBLE for alpha in alphas]
    masks = [mask for mask in visible if mask.sum() >= MIN_VISIBLE_PIXELS]
    stacked = np.stack(masks) if masks else np.zeros((0, size, size), bool)
    labels = np.ones(len(stacked), np.int64)
    return Scene(apply_camera(canvas, rng), stacked, labels)


def _draw_objects(sources: CompositeSources, size: int, rng: Generator) -> Iterator[Floats]:
    """Draw up to three objects, mostly one, as `place_cutout` returns them."""
    count = rng.choice([0, 1, 2, 3], p=[0.05, 0.58, 0.23, 0.14])
    for number in range(count):
        yield place_cutout(_make_object(sources, rng), size, _draw_span(number, count, rng), rng)


def _draw_grid(sources: CompositeSources, size: int, rng: Generator) -> Iterator[Floats]:
    """Draw one object several times, in loose rows: a tray of coins, a shelf of bottles."""
    cutout, columns, rows = _make_object(sources, rng), rng.integers(2, 6), rng.integers(1, 5)
    span = rng.uniform(0.6, 0.95) / columns
    for place in np.argwhere(rng.random((columns, rows)) < 0.9):
        centre = (place + 0.5 + rng.normal(0, 0.05, 2)) / (columns, rows)
        yield place_cutout(cutout, size, span * rng.uniform(0.8, 1.1), rng, centre)


def _draw_span(number: int, count: int, rng: Generator) -> float:
    """Draw the object's longer side as a share of the picture: a lone subject is mostly large."""
    if count == 1:
        low, high = [(0.3, 1.1), (1.1, 1.6), (0.12, 0.3)][rng.choice(3, p=[0.84, 0.1, 0.06])]
        return float(rng.uniform(low, high))
    return float(rng.uniform(0.3, 0.8) if number == 0 else rng.uniform(0.15, 0.6))


# -- background ------------------------------------------------------------------------------


def _make_background(sources: CompositeSources, size: int, rng: Generator) -> Image:
    kind = rng.random()
    if kind < 0.12:
        picture = _make_gradient(size, rng)
    elif kind < 0.18:
        picture = _make_texture(size, rng)
    else:
        picture = _crop_background(sources, size, rng)
        if kind < 0.4:  # two scenes meet: a floor and a wall, a table and a room
            floor, is_floor = _crop_background(sources, size, rng), _make_horizon(size, rng)
            picture = np.where(is_floor[..., None], floor, picture)
    picture = shift_colours(picture, rng, hue=90 if rng.random() < 0.15 else 15)
    if rng.random() < 0.45:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 6)), np.uint8)
    return picture


def _crop_background(sources: CompositeSources, size: int, rng: Generator) -> Image:
    picture = _read(sources.backgrounds[rng.integers(len(sources.backgrounds))])[..., :3]
    side = max(1, int(min(picture.shape[:2]) * rng.uniform(0.2, 1.0)))
    y = rng.integers(picture.shape[0] - side + 1)
    x = rng.integers(picture.shape[1] - side + 1)
    crop = cv2.resize(
        picture[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA
    )
    crop = np.rot90(crop, int(rng.integers(4))) if rng.random() < 0.3 else crop
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def _make_gradient(size: int, rng: Generator) -> Image:
    ends = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.5:  # a studio: one light grey or white, hardly changing
        ends = np.full((2, 3), rng.uniform(150, 255)) + rng.uniform(-15, 15, (2, 1))
    y, x = np.mgrid[0:size, 0:size] / size
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.clip(0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), 0, 1)[..., None]
    noise = rng.normal(0, rng.uniform(0, 4), (size, size, 1))
    picture = np.clip(ends[0] * (1 - ramp) + ends[1] * ramp + noise, 0, 255)
    return np.asarray(picture, np.uint8)


def _make_texture(size: int, rng: Generator) -> Image:
    """Make a texture of two colours: noise of several scales, as of stone, cloth or foliage."""
    ends = rng.uniform(0, 255, (2, 3))
    height = np.zeros((size, size), np.float32)
    roughness = rng.uniform(0.4, 0.9)
    for octave in range(2, 8):
        grid = rng.normal(0, 1, (2**octave, 2**octave)).astype(np.float32)
        height += roughness**octave * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    share = 1 / (1 + np.exp(-height / height.std() * rng.uniform(0.5, 3)))
    return np.asarray(ends[0] + share[..., None] * (ends[1] - ends[0]), np.uint8)


def _make_horizon(size: int, rng: Generator) -> Mask:
    y, x = np.mgrid[0:size, 0:size] / size
    return np.asarray(y > rng.uniform(0.3, 0.8) + rng.uniform(-0.15, 0.15) * (x - 0.5))


def _add_clutter(canvas: Floats, sources: CompositeSources, rng: Generator) -> None:
    """Add things that are not the subject: straight-edged shapes, and objects out of focus."""
    size = canvas.shape[0]
    if rng.random() < 0.3:
        for _ in range(rng.integers(1, 6)):
            shape = np.zeros((size, size), np.uint8)
            cv2.fillPoly(shape, [_draw_polygon(size, rng)], 255)
            texture = shift_colours(_crop_background(sources, size, rng), rng, hue=40)
            canvas[shape > 0] = texture[shape > 0]
    if rng.random() < 0.25:
        _add_lines(canvas, sources, rng)
    if rng.random() < 0.25:
        for _ in range(rng.integers(1, 4)):
            layer = place_cutout(_make_object(sources, rng), size, rng.uniform(0.15, 0.7), rng)
            paste_layer(
                canvas, np.asarray(cv2.GaussianBlur(layer, (0, 0), rng.uniform(4, 9)), np.float32)
            )
    if rng.random() < 0.3:
        canvas[:] = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 3))


def _add_lines(canvas: Floats, sources: CompositeSources, rng: Generator) -> None:
    """Add stalks, wires and joints: many thin lines nearly in parallel, of one texture."""
    size = canvas.shape[0]
    lines, angle = np.zeros((size, size), np.uint8), rng.uniform(0, np.pi)
    for _ in range(rng.integers(3, 25)):
        turn, half = angle + rng.normal(0, 0.1), size * rng.uniform(0.1, 0.9)
        along = half * np.array([np.cos(turn), np.sin(turn)])
        middle = rng.uniform(0, size, 2)
        (x1, y1), (x2, y2) = (middle - along).astype(int), (middle + along).astype(int)
        cv2.line(lines, (x1, y1), (x2, y2), 255, int(rng.integers(1, 7)), cv2.LINE_AA)
    share = (lines / np.float32(255))[..., None]
    canvas *= 1 - share
    canvas += share * shift_colours(_crop_background(sources, size, rng), rng, hue=40)


def _draw_polygon(size: int, rng: Generator) -> npt.NDArray[np.int32]:
    """Draw a rotated rectangle, often long and thin (a pole, a plank), often cut by the frame."""
    centre, angle = rng.uniform(0, size, 2), rng.choice([0, 0, 90, rng.uniform(0, 180)])
    sides = size * rng.uniform(0.03, 0.5, 2)
    return np.asarray(cv2.boxPoints((tuple(centre), tuple(sides), float(angle))), np.int32)


# -- objects ---------------------------------------------------------------------------------


def _make_object(sources: CompositeSources, rng: Generator) -> Image:
    """Make an object to paste: a varied cut-out or an invented shape, HxWx4 uint8 RGBA."""
    if rng.random() < SHAPE_SHARE:
        return _make_shape(sources, rng)
    return _vary(sources.pick(rng), sources, rng)


def _make_shape(sources: CompositeSources, rng: Generator, side: int = 320) -> Image:
    """Invent a shape with thin parts or a hole: it teaches edges, not kinds of objects."""
    alpha = np.zeros((side, side), np.uint8)
    kind = rng.choice(["blob", "ring", "legs"])
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius = np.ones(90) + sum(
        rng.normal(0, 0.45 / n) * np.cos(n * angles + rng.uniform(0, 7)) for n in range(2, 7)
    )
    radius = np.clip(radius / radius.max(), 0.12, 1) * side * (0.25 if kind == "legs" else 0.45)
    ring = radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    cv2.fillPoly(alpha, [np.asarray(ring + side / 2, np.int32)], 255)
    if kind == "ring":
        hole = ring * rng.uniform(0.3, 0.85) + side / 2 + rng.normal(0, 0.03 * side, 2)
        cv2.fillPoly(alpha, [np.asarray(hole, np.int32)], 0)
    if kind == "legs":
        for end in rng.uniform(0.05, 0.95, (rng.integers(2, 7), 2)) * side:
            tip = int(end[0]), int(end[1])
            cv2.line(alpha, (side // 2,) * 2, tip, 255, int(rng.integers(4, 18)), cv2.LINE_AA)
    if rng.random() < 0.5:
        colours = shift_colours(_crop_background(sources, side, rng), rng, hue=90)
    else:
        colours = _make_texture(side, rng) if rng.random() < 0.5 else _make_gradient(side, rng)
    x, y, width, height = cv2.boundingRect(alpha)
    return np.dstack([colours, alpha])[y : y + height, x : x + width].copy()


def light_layer(layer: Floats, canvas: Floats, rng: Generator) -> None:
    """Light a layer from one side, and shift its colours to the background's: for faint edges."""
    size = layer.shape[0]
    if rng.random() < 0.4:
        y, x = np.mgrid[-0.5 : 0.5 : size * 1j, -0.5 : 0.5 : size * 1j].astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        ramp = 1 + rng.uniform(0.2, 0.8) * (x * np.cos(angle) + y * np.sin(angle))
        layer[..., :3] *= ramp[..., None].astype(np.float32)
    if rng.random() < 0.25:
        alpha = layer[..., 3:]
        background_color = (canvas * alpha).sum((0, 1)) / max(float(alpha.sum()), 1)
        share = np.float32(rng.uniform(0.2, 0.6))
        object_color = layer[..., :3].sum((0, 1)) / max(float(alpha.sum()), 1)
        layer[..., :3] += share * alpha * (background_color - object_color).astype(np.float32)


def _vary(cutout: Image, sources: CompositeSources, rng: Generator) -> Image:
    """Vary colour and side; sometimes texture, so that shape and edge count, not the object."""
    colours = shift_colours(cutout[..., :3], rng, hue=90 if rng.random() < 0.2 else 8)
    if rng.random() < 0.12:
        texture = cv2.resize(_crop_background(sources, 256, rng), cutout.shape[1::-1])
        colours = np.asarray(cv2.addWeighted(colours, 0.4, texture, 0.6, 0), np.uint8)
    varied = np.dstack([colours, cutout[..., 3]])
    return np.ascontiguousarray(varied[:, ::-1] if rng.random() < 0.5 else varied)


def place_cutout(
    cutout: Image,
    size: int,
    span: float,
    rng: Generator,
    centre: npt.NDArray[np.float64] | None = None,
) -> Floats:
    """Rotate, scale and move the cut-out into an empty picture: HxWx4 float32, colour times alpha.

    The centre, x and y as shares of the picture, is by default near the middle.
    Colour is premultiplied so that resampling never mixes in what lies under the transparent part.
    """
    height, width = cutout.shape[:2]
    scale = size * span / max(height, width)
    angle = rng.normal(0, 12) if rng.random() < 0.85 else rng.uniform(-180, 180)
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale), np.float64)
    matrix[0] *= rng.uniform(0.8, 1.25)
    middle = matrix @ (width / 2, height / 2, 1)
    if centre is None:
        centre = np.clip(rng.normal(0.5, 0.12 if span > 0.75 else 0.25, 2), 0.05, 0.95)
    matrix[:, 2] += centre * size - middle
    alpha = cutout[..., 3:].astype(np.float32) / 255
    layer: Floats = np.dstack([cutout[..., :3] * alpha, alpha])
    if scale < 0.7:  # warpAffine has no area filter: shrink with one first
        small = (max(1, round(width * scale * 1.2)), max(1, round(height * scale * 1.2)))
        layer = np.asarray(cv2.resize(layer, small, interpolation=cv2.INTER_AREA), np.float32)
        matrix[:, :2] @= np.diag([width / small[0], height / small[1]])
    return np.asarray(cv2.warpAffine(layer, matrix, (size, size)), np.float32)


def paste_layer(canvas: Floats, layer: Floats) -> None:
    """Paste a layer, HxWx4 of premultiplied colour and alpha, on the canvas, HxWx3, in place."""
    canvas *= 1 - layer[..., 3:]
    canvas += layer[..., :3]


def cast_shadow(canvas: Floats, alpha: Floats, rng: Generator) -> None:
    """Darken the canvas in place below and beside an object of this alpha, HxW of 0 to 1."""
    size = canvas.shape[0]
    shift = np.array([[1, 0, rng.normal(0, 0.04) * size], [0, 1, rng.uniform(0, 0.06) * size]])
    shadow = cv2.GaussianBlur(
        cv2.warpAffine(alpha, shift, (size, size)), (0, 0), rng.uniform(0.01, 0.04) * size
    )
    canvas *= 1 - rng.uniform(0.2, 0.6) * shadow[..., None]


# -- colour and camera -----------------------------------------------------------------------


def shift_colours(image: Image, rng: Generator, hue: float) -> Image:
    """Change colours, HxWx3 uint8 RGB; hue: the largest shift, 180 is the whole circle."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int16)
    hsv[..., 0] = (hsv[..., 0] + round(rng.uniform(-hue, hue))) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.5, 1.3), 0, 255)
    hsv[..., 2] = np.clip(hsv[..., 2] * rng.uniform(0.65, 1.25) + rng.uniform(-15, 15), 0, 255)
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def apply_camera(canvas: Floats, rng: Generator) -> Image:
    """Apply a camera's effects to the whole picture: focus, tint, sensor noise, JPEG."""
    if rng.random() < 0.35:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.4, 1.2)), np.float32)
    tint = rng.uniform(0.9, 1.1, 3) * rng.uniform(0.8, 1.15)
    noise = rng.normal(0, rng.uniform(0, 6), canvas.shape[:2])[..., None]
    picture = np.clip(canvas * tint + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.06:
        picture = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 98))]
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR))
