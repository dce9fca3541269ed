"""Masks as annotations, read back by pycocotools and by what the tools' documents say."""

import json
from urllib.parse import unquote
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools.coco import COCO

from bgexp.errors import UserError
from bgexp.exchange.coco_file import build_coco
from bgexp.exchange.cvat_file import build_cvat, count_runs
from bgexp.exchange.draft import Draft
from bgexp.exchange.label_studio_file import build_tasks, pack_mask
from bgexp.exchange.outlines import LEAST_IOU, trace_polygons
from bgexp.images.decode import decode_mask
from tests.conftest import SAMPLE

SMALL = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))
SAMPLES = sorted((SAMPLE / "masks").rglob("*.png"))


def read_sample(number):
    return decode_mask(SAMPLES[number].read_bytes())


def draw_ring():
    """Draw a disk with holes, a part in one of them, and a speck."""
    mask = np.zeros((90, 120), np.uint8)
    cv2.circle(mask, (60, 45), 40, 1, -1)
    cv2.circle(mask, (50, 45), 12, 0, -1)
    cv2.circle(mask, (50, 45), 5, 1, -1)
    cv2.circle(mask, (80, 40), 7, 0, -1)
    mask[2, 3] = 1
    return mask.astype(np.bool_)


MASKS = {
    "ring": draw_ring(),
    "empty": np.zeros((5, 7), np.bool_),
    "full": np.ones((5, 7), np.bool_),
    "pixel": np.eye(1, 6, 2, dtype=np.bool_),
    "diagonal": np.eye(9, dtype=np.bool_),
    "noise": np.random.default_rng(0).random((40, 50)) < 0.5,
}


def measure_iou(a, b):
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def read_coco(content, tmp_path):
    """Return the mask of each image as pycocotools reads it."""
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(content))
    coco = COCO(str(file))
    masks = {}
    for image in coco.loadImgs(coco.getImgIds()):
        mask = np.zeros((image["height"], image["width"]), np.bool_)
        for annotation in coco.loadAnns(coco.getAnnIds(image["id"])):
            mask |= coco.annToMask(annotation).astype(np.bool_)
        masks[image["file_name"]] = mask
    return masks


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pycocotools with numpy 2
@pytest.mark.parametrize("polygons", [False, True])
def test_coco(tmp_path, polygons):
    masks = MASKS | {f"cat/{n} é.jpg": read_sample(n) for n in range(0, 24, 5)}
    content = build_coco((Draft(*pair) for pair in masks.items()), polygons)
    read = read_coco(content, tmp_path)
    assert list(read) == list(masks)
    for path, mask in masks.items():
        if polygons:
            assert measure_iou(read[path], mask) >= LEAST_IOU
        else:
            np.testing.assert_array_equal(read[path], mask)
    ring = next(a for a in content["annotations"] if a["image_id"] == 1)
    assert ring["bbox"] == [3, 2, 98, 84]
    assert ring["area"] == MASKS["ring"].sum()
    assert len(content["annotations"]) == len(masks) - 1


@given(SMALL)
def test_polygons_of_any_mask(mask):
    content = build_coco([Draft("a", mask)], polygons=True)
    polygons = [polygon for a in content["annotations"] for polygon in a["segmentation"]]
    assert all(len(polygon) >= 6 for polygon in polygons)
    assert trace_polygons(mask) or not mask.any()


def test_polygons_are_simple():
    corners = [len(polygon) for polygon in trace_polygons(read_sample(0))]
    assert max(corners) < 400


# -- CVAT ------------------------------------------------------------------------------------


def read_cvat(data):
    """Return the mask of each image, as https://docs.cvat.ai/docs/other/xml_format says."""
    root = ElementTree.fromstring(data)
    assert root.findtext("version") == "1.1"
    labels = [name.text for name in root.findall("meta/task/labels/label/name")]
    masks = {}
    for image in root.findall("image"):
        size = int(image.get("height")), int(image.get("width"))
        canvas = np.zeros(size, np.bool_)
        for shape in image.findall("mask"):
            assert shape.get("label") in labels
            left, top, width, height = (
                int(shape.get(key)) for key in ("left", "top", "width", "height")
            )
            runs = [int(run) for run in shape.get("rle").split(",")]
            values = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
            canvas[top : top + height, left : left + width] |= values
        masks[image.get("name")] = canvas
    return masks


def test_cvat_masks():
    masks = MASKS | {"cat/<é>&.jpg": read_sample(3)}
    read = read_cvat(build_cvat((Draft(*pair) for pair in masks.items()), polygons=False))
    for path, mask in masks.items():
        np.testing.assert_array_equal(read[path], mask)
    assert list(read) == list(masks)


@pytest.mark.parametrize("name", ["a\x1b[31m.jpg", "\udcff.jpg", "\ufffe.jpg", "\0.jpg"])
def test_names_that_xml_cannot_hold(name):
    drafts = [Draft('new\nline \U0001f986 <&".jpg', np.eye(3, dtype=bool))]
    assert list(read_cvat(build_cvat(drafts, polygons=False))) == [drafts[0].path]
    with pytest.raises(UserError, match=r"^format=cvat: XML cannot hold the name [ -~]+$"):
        build_cvat([*drafts, Draft(name, np.eye(3, dtype=bool))], polygons=False)


def test_cvat_runs_are_those_of_its_document():
    """The document's own example, a mask of 13x15 pixels."""
    runs = [3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5]
    runs += [7, 7, 5, 3]
    window = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(15, 13)
    assert count_runs(window) == runs


def test_cvat_polygons():
    drafts = [Draft("ring", MASKS["ring"]), Draft("empty", MASKS["empty"])]
    root = ElementTree.fromstring(build_cvat(drafts, polygons=True))
    ring, empty = root.findall("image")
    outlines = [
        [tuple(map(int, point.split(","))) for point in shape.get("points").split(";")]
        for shape in ring.findall("polygon")
    ]
    assert outlines == [list(map(tuple, p.tolist())) for p in trace_polygons(MASKS["ring"])]
    assert len(outlines) == 3
    assert len(empty) == 0


# -- Label Studio ----------------------------------------------------------------------------


def unpack(data, height, width):
    """Unpack a brush mask as Label Studio's converter does, after https://thi.ng/rle-pack."""
    bits = "".join(f"{byte:08b}" for byte in data)
    place = 0

    def read(size):
        nonlocal place
        place += size
        return int(bits[place - size : place], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < count:
        is_run = read(1)
        length = read(sizes[read(2)]) + 1
        if is_run:
            values += [read(word)] * length
        else:
            values += [read(word) for _ in range(length)]
    return np.array(values).reshape(height, width, 4)[:, :, 3]


@pytest.mark.parametrize("name", MASKS)
def test_label_studio_brushes(name):
    mask = MASKS[name]
    [task] = build_tasks([Draft("cat/a é#1.jpg", mask)], polygons=False, folder="my pets")
    assert unquote(task["data"]["image"]) == "/data/local-files/?d=my pets/cat/a é#1.jpg"
    [prediction] = task["predictions"]
    if not mask.any():
        assert prediction["result"] == []
        return
    [region] = prediction["result"]
    assert (region["type"], region["value"]["format"]) == ("brushlabels", "rle")
    size = region["original_height"], region["original_width"]
    np.testing.assert_array_equal(unpack(region["value"]["rle"], *size), 255 * mask)


@given(SMALL)
def test_any_mask_can_be_packed(mask):
    np.testing.assert_array_equal(unpack(pack_mask(mask), *mask.shape), 255 * mask)


def test_long_runs_are_packed():
    mask = np.zeros((300, 700), np.bool_)
    mask[100:, :] = True
    np.testing.assert_array_equal(unpack(pack_mask(mask), *mask.shape), 255 * mask)


def test_label_studio_polygons_are_in_percent():
    [task] = build_tasks([Draft("a.jpg", MASKS["ring"])], polygons=True, folder="in")
    regions = task["predictions"][0]["result"]
    traced = trace_polygons(MASKS["ring"])
    assert len({region["id"] for region in regions}) == len(traced) == 3
    for region, polygon in zip(regions, traced, strict=True):
        points = np.array(region["value"]["points"]) * [120, 90] / 100
        np.testing.assert_allclose(points, polygon)
