"""The pictures of the benchmark: sample objects on sample backgrounds, with their exact truth.

A scene follows from its size and seed alone; one seed has the same objects at every size.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from bgexp.config.datasets import Sample
from bgexp.datasets.read import read_dataset
from bgexp.images.decode import decode_mask, load_image, read_bytes
from bgexp.system.atomic import write_whole

OBJECTS = 7  # of a scene where nothing else is said
CELLS = 28  # the side of a mask as the network predicts it
FILL = 0.85  # an object's longer side as a share of its cell
NOISE = 4.0  # of the sensor, in grey levels: without it a picture packs better than a photograph


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture, its truth, and what a detector is made to find in it.

    Attributes:
        file: The picture, a JPEG.
        truth: HxW bool, True = foreground.
        boxes: (N, 4) float32; x1, y1, x2, y2 in pixels: the objects', then jittered copies.
        scores: (N,) float32; descending, above 0.5 for the objects only, all above 0.05.
        masks: (N, 28, 28) float32 in (0, 1); soft, each relative to its box.
    """

    file: Path
    truth: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    masks: np.ndarray

    @property
    def objects(self):
        """Return how many detections lie above the score threshold."""
        return int((self.scores > 0.5).sum())


def make_scene(folder, megapixels, seed, detections=100, objects=OBJECTS):
    """Write the picture into the folder; its sides are as 4 to 3. 100 is torchvision's cap."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    size = height, round(height * 4 / 3)
    rng = np.random.default_rng(seed)
    items = rng.permutation(np.array(read_dataset(Sample(name="sample"), seed=0).items, object))
    picture = _make_background(load_image(items[objects].file), size)
    truth, boxes, masks = np.zeros(size, bool), [], []
    for item, window in zip(items[:objects], _split_cells(size, objects), strict=False):
        object_mask = np.zeros(size, bool)
        object_mask[window] = _paste(item, picture[window])
        truth |= object_mask
        boxes.append(_find_box(object_mask))
        masks.append(_coarsen_mask(object_mask, boxes[-1], rng))
    indices = np.arange(detections) % objects
    # Not on whole pixels: torchvision's paste would round them to either side.
    boxes = _jitter_boxes(np.array(boxes, np.float32)[indices] + 0.25, size, objects, rng)
    picture += rng.normal(0, NOISE, size)[..., None].astype(np.float32)  # last: it takes most
    file = Path(folder) / f"scene-{megapixels:g}mp-{objects}-{seed}.jpg"
    write_jpeg(file, picture.clip(0, 255).astype(np.uint8))
    return Scene(
        file, truth, boxes, _make_scores(detections, objects), np.array(masks, np.float32)[indices]
    )


def save_scene(scene):
    """Write the scene's detections and truth beside its picture, for other processes."""
    arrays = {"truth": scene.truth, "boxes": scene.boxes, "scores": scene.scores}
    np.savez(scene.file.with_suffix(".npz"), **arrays, masks=scene.masks)


def read_scene(file):
    """Read the scene of a picture, as `save_scene` wrote it."""
    with np.load(file.with_suffix(".npz")) as arrays:
        return Scene(file, *(arrays[name] for name in ("truth", "boxes", "scores", "masks")))


def enlarge_sample(folder, megapixels, count):
    """Scale sample photographs to a size, without detections: a seeded choice over categories."""
    for item in read_dataset(Sample(name="sample", subset=count), seed=0).items:
        image, truth = load_image(item.file), decode_mask(read_bytes(item.mask))
        scale = (megapixels * 1e6 / truth.size) ** 0.5
        file = Path(folder) / f"{Path(item.path).stem}-{megapixels:g}mp.jpg"
        write_jpeg(file, cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))
        grown = cv2.resize(truth.astype(np.uint8), None, fx=scale, fy=scale) > 0
        empty = np.zeros(0, np.float32)
        yield Scene(file, grown, empty.reshape(0, 4), empty, empty.reshape(0, CELLS, CELLS))


def write_jpeg(file, image):
    """Write HxWx3 uint8 RGB as a camera would: quality 92."""
    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    write_whole(file, coded.tobytes())


def _make_background(image, size):
    """Make a photograph that covers the picture, far out of focus; HxWx3 float32."""
    height, width = size
    scale = max(height / image.shape[0], width / image.shape[1])
    grown = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    blurred = cv2.GaussianBlur(grown[:height, :width], (0, 0), width / 30)
    return blurred.astype(np.float32)


def _split_cells(size, objects):
    """Split the picture into grid cells, about twice as wide as high; some stay empty."""
    rows = round(((objects + 1) / 2) ** 0.5)
    grid = rows, objects // rows + 1
    rows, columns = (np.linspace(0, n, k + 1).astype(int) for n, k in zip(size, grid, strict=True))
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(top, bottom), slice(left, right)


def _paste(item, cell):
    """Draw the item's object into the middle of a cell of the picture; return its truth."""
    image, mask = load_image(item.file), decode_mask(read_bytes(item.mask))
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    window = np.s_[top : top + height, left : left + width]
    scale = FILL * min(cell.shape[0] / height, cell.shape[1] / width)
    grown = cv2.resize(image[window], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    soft = cv2.resize(mask[window].astype(np.float32), grown.shape[1::-1])
    y, x = ((a - b) // 2 for a, b in zip(cell.shape, soft.shape, strict=False))
    place = np.s_[y : y + soft.shape[0], x : x + soft.shape[1]]
    cell[place] += soft[..., None] * (grown - cell[place])
    truth = np.zeros(cell.shape[:2], bool)
    truth[place] = soft > 0.5
    return truth


def _find_box(mask):
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return left, top, left + width, top + height


def _coarsen_mask(mask, box, rng):
    """Coarsen the mask to a network's output: 28x28 cells, soft, and off by about a cell."""
    left, top, right, bottom = box
    inside = mask[top:bottom, left:right].astype(np.float32)
    cells = cv2.resize(inside, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    error = cv2.resize(rng.normal(0, 0.2, (7, 7)).astype(np.float32), (CELLS, CELLS))
    return np.clip(cv2.GaussianBlur(cells, (0, 0), 1) + error, 0.01, 0.99)


def _jitter_boxes(boxes, size, objects, rng):
    """Jitter the boxes after the objects' own by a tenth of their sides."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    offsets = rng.normal(0, 0.1, boxes.shape) * sides
    offsets[:objects] = 0
    return (boxes + offsets).clip(0, (size[1], size[0]) * 2).astype(np.float32)


def _make_scores(count, objects):
    low = np.linspace(0.49, 0.06, count - objects)
    return np.concatenate([np.linspace(0.99, 0.6, objects), low]).astype(np.float32)
