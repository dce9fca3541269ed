"""Draws droplets in channels under a microscope, with a COCO file of their outlines.

Usage: python docs/forty-pairs/draw_droplets.py OUTPUT

OUTPUT/train has 31 pictures of 5 films, OUTPUT/validation 41 of 7 others, 640x480 pixels, 3 to 100
droplets each. Each has images/ and annotations.json, which `dataset=coco` takes, and masks/.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.images.decode import encode_mask
from bgexp.images.png import encode_png
from bgexp.system.atomic import write_whole

Generator = np.random.Generator
Floats = NDArray[np.float32]
Disc = tuple[float, float, float, float]  # centre, radius, and the longer radius as a multiple

WIDTH, HEIGHT, FEWEST, MOST = 640, 480, 3, 100
CORNERS = 36  # of a droplet's outline


@dataclass(frozen=True)
class Film:
    """What the pictures of one film share: its light, its liquids, its channels.

    Attributes:
        light: The background's colour, RGB of 0 to 255.
        tint: What a droplet adds to it.
        rim: What its dark rim adds.
        shine: What the bright spot inside adds.
        radius: Of a droplet, in pixels.
        spread: Of the radius, as a share of it.
        angle: Of the channels, in degrees.
        n_channels: How many there are.
        blur: Of the lens, in pixels.
        noise: Of the sensor.
    """

    light: Floats
    tint: Floats
    rim: float
    shine: float
    radius: float
    spread: float
    angle: float
    n_channels: int
    blur: float
    noise: float


def draw_film(rng: Generator) -> Film:
    """Draw the properties of a film."""
    return Film(
        light=(rng.uniform(90, 210) + rng.normal(0, 12, 3)).astype(np.float32),
        tint=(rng.normal(0, 18) + rng.normal(0, 12, 3)).astype(np.float32),
        rim=rng.uniform(-90, -25),
        shine=rng.uniform(5, 60),
        radius=rng.uniform(9, 28),
        spread=rng.uniform(0.02, 0.35),
        angle=rng.choice([0, 90, rng.uniform(-40, 40)]),
        n_channels=int(rng.integers(1, 5)),
        blur=rng.uniform(0.6, 1.6),
        noise=rng.uniform(2, 7),
    )


def draw_picture(film: Film, rng: Generator) -> tuple[NDArray[np.uint8], list[NDArray[np.int32]]]:
    """Draw a picture, HxWx3 uint8 RGB, and the outlines of its droplets, Nx2 int32 each."""
    canvas = np.full((HEIGHT, WIDTH, 3), film.light, np.float32)
    y, x = np.mgrid[-0.5 : 0.5 : HEIGHT * 1j, -0.5 : 0.5 : WIDTH * 1j].astype(np.float32)
    canvas *= (1 - rng.uniform(0.1, 0.5) * (x * x + y * y))[..., None]
    _add_dirt(canvas, rng)
    along = np.array([np.cos(np.deg2rad(film.angle)), np.sin(np.deg2rad(film.angle))])
    discs = _place_discs(canvas, film, along, rng)
    outlines = [_draw_droplet(canvas, film, disc, along, rng) for disc in discs]
    canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), film.blur), np.float32)
    canvas += rng.normal(0, film.noise, canvas.shape[:2])[..., None]
    return np.clip(canvas, 0, 255).astype(np.uint8), outlines


def _add_dirt(canvas: Floats, rng: Generator) -> None:
    """Add specks and fibres: small things that are no droplets."""
    for _ in range(rng.integers(3, 25)):
        centre = int(rng.uniform(0, WIDTH)), int(rng.uniform(0, HEIGHT))
        tone = float(rng.uniform(-60, 20))
        plane = np.zeros(canvas.shape[:2], np.float32)
        if rng.random() < 0.7:
            cv2.circle(plane, centre, int(rng.integers(1, 5)), tone, cv2.FILLED, cv2.LINE_AA)
        else:
            end = centre[0] + int(rng.normal(0, 50)), centre[1] + int(rng.normal(0, 50))
            cv2.line(plane, centre, end, tone, 1, cv2.LINE_AA)
        canvas += plane[..., None]


def _place_discs(
    canvas: Floats, film: Film, along: NDArray[np.float64], rng: Generator
) -> list[Disc]:
    """Place droplets in the channels, whose walls are drawn, without overlaps."""
    across, middle = np.array([-along[1], along[0]]), np.array([WIDTH, HEIGHT]) / 2
    half = film.radius * rng.uniform(1.2, 3)
    wanted, discs = int(rng.integers(FEWEST, MOST + 1)), list[Disc]()
    gap = 2 * half + rng.uniform(10, 60)
    offsets = (np.arange(film.n_channels) - (film.n_channels - 1) / 2) * gap
    for offset in offsets:
        for side in (-half, half):
            start = middle + across * (offset + side)
            ends = [tuple(int(v) for v in start + along * d) for d in (-800, 800)]
            plane = np.zeros(canvas.shape[:2], np.float32)
            cv2.line(plane, ends[0], ends[1], float(film.rim * 0.8), 3, cv2.LINE_AA)
            canvas += plane[..., None]
    for _ in range(60 * wanted):
        radius = film.radius * float(np.clip(rng.normal(1, film.spread), 0.4, 1.8))
        room = max(0.0, half - radius - 2)
        shift = rng.choice(offsets) + rng.uniform(-room, room)
        x, y = middle + along * rng.uniform(-420, 420) + across * shift
        inside = radius < x < WIDTH - radius and radius < y < HEIGHT - radius
        if inside and all(np.hypot(x - a, y - b) > radius * 1.1 + r * f for a, b, r, f in discs):
            discs.append((float(x), float(y), radius, rng.uniform(1, 1.1)))
        if len(discs) == wanted:
            break
    return discs


def _draw_droplet(
    canvas: Floats, film: Film, disc: Disc, along: NDArray[np.float64], rng: Generator
) -> NDArray[np.int32]:
    """Draw a translucent droplet on the canvas; return its outline."""
    x, y, radius, stretch = disc
    across = np.array([-along[1], along[0]])
    turns = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)[:, None]
    ring = radius * (stretch * np.cos(turns) * along + np.sin(turns) * across) + (x, y)
    outline = np.round(ring).astype(np.int32)
    body = np.zeros(canvas.shape[:2], np.float32)
    cv2.fillPoly(body, [outline], 1.0, cv2.LINE_AA)
    rim = np.zeros_like(body)
    cv2.polylines(rim, [outline], isClosed=True, color=1.0, thickness=max(2, round(radius / 6)))
    shine = np.zeros_like(body)
    spot = int(x - radius * 0.3), int(y - radius * 0.3)
    cv2.circle(shine, spot, max(1, round(radius / 3.5)), 1.0, cv2.FILLED, cv2.LINE_AA)
    canvas += body[..., None] * film.tint * rng.uniform(0.7, 1.3)
    canvas += (body * rim * film.rim + shine * film.shine)[..., None]
    return outline


def write_set(folder: Path, n_pictures: int, n_films: int, rng: Generator) -> None:
    """Write pictures, masks and annotations of some films."""
    films = [draw_film(rng) for _ in range(n_films)]
    images, annotations = [], list[dict[str, object]]()
    for number in range(n_pictures):
        film = number % n_films
        picture, outlines = draw_picture(films[film], rng)
        name, mask = f"film{film}-{number:02}.png", np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.fillPoly(mask, outlines, 1)
        write_whole(folder / "images" / name, encode_png(picture))
        write_whole(folder / "masks" / name, encode_mask(mask > 0))
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        annotations += [
            {
                "id": len(annotations) + extra,
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": [outline.ravel().tolist()],
            }
            for extra, outline in enumerate(outlines)
        ]
    categories = [{"id": 1, "name": "droplet"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_whole(folder / "annotations.json", json.dumps(content).encode())


def main(output: Path) -> None:
    """Write both sets."""
    for split in ("train", "validation"):
        for kind in ("images", "masks"):
            (output / split / kind).mkdir(parents=True, exist_ok=True)
    write_set(output / "train", 31, 5, np.random.default_rng((7, 0)))
    write_set(output / "validation", 41, 7, np.random.default_rng((7, 1)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
