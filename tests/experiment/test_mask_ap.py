import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as cocomask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bgexp.config.datasets import Coco
from bgexp.datasets.read import read_dataset
from bgexp.detect.detections import Detections
from bgexp.experiment.mask_ap import SUMMARY, MaskAveragePrecision, _encode_runs
from bgexp.pipeline.combine import PastedMask, paste_mask

H, W = 240, 320
CLASSES = ("__background__", "person", "N/A", "dog", "cat", "kite")
NAMES = {3: "person", 1: "dog", 40: "cat", 7: "unseen"}


def box_polygon(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def make_truth(random, number, image):
    """An object of a random kind of mask, category and size, now and then a crowd."""
    left, top = random.uniform(0, W * 0.7), random.uniform(0, H * 0.7)
    right, bottom = left + random.uniform(4, 190), top + random.uniform(4, 190)
    plane = np.zeros((H, W), np.uint8)
    plane[int(top) : int(bottom), int(left) : int(right)] = 1
    runs = cocomask.encode(np.asfortranarray(plane))
    middle = (left + right) / 2
    kinds = [
        [box_polygon(left, top, right, bottom)],
        [box_polygon(left, top, middle - 2, bottom), box_polygon(middle + 2, top, right, bottom)],
        {"size": [H, W], "counts": runs["counts"].decode()},
        {"size": [H, W], "counts": counts_of(plane)},
    ]
    kind = random.integers(4)
    return {
        "id": number,
        "image_id": image,
        "category_id": int(random.choice([1, 3, 40], p=[0.5, 0.3, 0.2])),
        "segmentation": kinds[kind],
        "iscrowd": int(random.random() < 0.15),
        "area": float(plane.sum() * random.uniform(0.7, 1.3)),
        "bbox": [left, top, right - left, bottom - top],
    }


def counts_of(plane):
    flat = np.concatenate([[0], plane.T.ravel()])
    ends = np.flatnonzero(np.diff(flat))
    return np.diff(np.concatenate([[0], ends, [plane.size]])).tolist()


def make_detections(random, truths):
    """Noisy copies of the truths, some twice or of another class, and some of nothing; M = 14."""
    boxes, labels = [], []
    label = {3: 1, 1: 3, 40: 4}
    for annotation in truths:
        left, top, width, height = annotation["bbox"]
        for _ in range(random.integers(3)):
            noise = random.normal(0, 3, 4)
            corners = np.array([left, top, left + width, top + height]) + noise
            boxes.append(
                [*np.minimum(corners[:2], corners[2:]), *np.maximum(corners[:2], corners[2:])]
            )
            labels.append(label[annotation["category_id"]] if random.random() < 0.8 else 5)
    for _ in range(random.integers(4)):
        left, top = random.uniform(-20, W), random.uniform(-20, H)
        boxes.append([left, top, left + random.uniform(0, 80), top + random.uniform(0, 80)])
        labels.append(int(random.choice([1, 3, 4, 5])))
    masks = np.clip(random.normal(220, 60, (len(boxes), 14, 14)), 0, 255).astype(np.uint8)
    scores = np.sort(random.random(len(boxes)).round(2))[::-1]  # some are equal
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        scores=scores.astype(np.float32),
        masks=masks,
        height=H,
        width=W,
    )


def write_annotations(root, annotations, images, categories=NAMES, size=(W, H)):
    rows = [
        {"id": number, "file_name": name, "width": size[0], "height": size[1]}
        for number, name in images.items()
    ]
    content = {
        "images": rows,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
    }
    (root / "truth.json").write_text(json.dumps(content))
    for name in images.values():
        Image.new("L", size).save(root / name)
    return root / "truth.json"


def read_annotations(root, categories=None):
    settings = Coco(
        name="coco", images=root, annotations=root / "truth.json", categories=categories
    )
    return read_dataset(settings, 0)


@pytest.fixture
def case(tmp_path):
    """A file with all there is, and detections by image; image ids are not in the paths' order."""
    random = np.random.default_rng(7)
    images = {
        int(number): f"{place}.png" for place, number in enumerate(random.permutation(30) + 5)
    }
    truths, detections = [], {}
    for number, name in images.items():
        here = [make_truth(random, len(truths) + 1 + n, number) for n in range(random.integers(6))]
        truths += here
        detections[name] = make_detections(random, here)
    kinds = [annotation["segmentation"] for annotation in truths]
    assert {type(kind if isinstance(kind, list) else kind["counts"]) for kind in kinds} == {
        list,
        str,
    }
    assert any(annotation["iscrowd"] for annotation in truths)
    write_annotations(tmp_path, truths, images)
    return tmp_path, images, detections


def compute_ours(data, detections, class_names, threshold=0.5):
    scores = MaskAveragePrecision(data, class_names)
    for item in data.items:
        if item.path in detections:
            scores.add(item, detections[item.path], threshold)
    return scores.compute()


def compute_theirs(file, images, detections, class_names, categories=None):
    """pycocotools on the file and on results with planes of the whole image."""
    coco, rows = COCO(str(file)), []
    ids = {entry["name"]: entry["id"] for entry in coco.dataset["categories"]}
    for number, name in images.items():
        here = detections.get(name)
        for i in range(len(here) if here is not None else 0):
            category = ids.get(CLASSES[here.labels[i]]) if class_names else 3
            if category is None:
                continue
            pasted = paste_mask(here.masks[i], here.boxes[i], (H, W), 0.5)
            plane = np.zeros((H, W), np.uint8, order="F")
            plane[pasted.where] = pasted.window
            row = {"image_id": number, "category_id": category, "score": float(here.scores[i])}
            rows.append(row | {"segmentation": cocomask.encode(plane)})
    evaluation = COCOeval(coco, coco.loadRes(rows), "segm")
    evaluation.params.imgIds = [number for number, name in images.items() if name in detections]
    evaluation.params.useCats = int(class_names is not None)
    if categories is not None:
        evaluation.params.catIds = categories
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats.tolist()


def is_same(result, stats):
    assert tuple(result) == SUMMARY
    assert [-1 if math.isnan(value) else value for value in result.values()] == stats


# -- against pycocotools ---------------------------------------------------------------------


@pytest.mark.parametrize("class_names", [CLASSES, None])
def test_all_twelve_numbers_are_those_of_pycocotools(case, class_names):
    root, images, detections = case
    result = compute_ours(read_annotations(root), detections, class_names)
    is_same(result, compute_theirs(root / "truth.json", images, detections, class_names))
    assert 0.1 < result["ap"] < 0.9
    assert len({round(value, 6) for value in result.values()}) > 8


@pytest.mark.parametrize("class_names", [CLASSES, None])
def test_only_the_images_that_were_added_count(case, class_names):
    root, images, detections = case
    some = dict(list(detections.items())[:9])
    result = compute_ours(read_annotations(root), some, class_names)
    is_same(result, compute_theirs(root / "truth.json", images, some, class_names))
    assert result != compute_ours(read_annotations(root), detections, class_names)


def test_categories_that_do_not_count(case):
    root, images, detections = case
    result = compute_ours(read_annotations(root, ("dog", "cat")), detections, CLASSES)
    is_same(result, compute_theirs(root / "truth.json", images, detections, CLASSES, [1, 40]))


def test_detections_of_classes_that_the_file_lacks_are_left_out(case):
    root, _, detections = case
    data = read_annotations(root)
    kites = {name: output.select(output.labels == 5) for name, output in detections.items()}
    assert sum(map(len, kites.values())) > 10
    nothing = compute_ours(
        data, {name: output.select([]) for name, output in detections.items()}, CLASSES
    )
    assert set(nothing.values()) == {0}
    assert compute_ours(data, kites, CLASSES) == nothing
    assert compute_ours(data, kites, None)["ap50"] > 0


# -- by hand ---------------------------------------------------------------------------------

ONE = pytest.approx(1)  # pycocotools adds a little below the line of every precision


def make_boxes(*rows, height=H, width=W):
    """Full boxes: x1, y1, x2, y2, label, score."""
    rows = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(
        boxes=rows[:, :4],
        labels=rows[:, 4].astype(np.int64),
        scores=rows[:, 5],
        masks=np.full((len(rows), 28, 28), 255, np.uint8),
        height=height,
        width=width,
    )


def square(number, left, top, side, category=1, **extra):
    polygon = box_polygon(left, top, left + side, top + side)
    about = {"id": number, "image_id": 1, "category_id": category, "segmentation": [polygon]}
    return about | extra


def score(tmp_path, truths, detections, class_names=CLASSES, **options):
    write_annotations(tmp_path, truths, {1: "a.png"}, **options)
    return compute_ours(read_annotations(tmp_path), {"a.png": detections}, class_names)


def test_one_object_found(tmp_path):
    """100x100 is COCO's large; the other sizes have no object, so no number."""
    result = score(tmp_path, [square(1, 10, 10, 100)], make_boxes([10, 10, 110, 110, 3, 0.9]))
    undefined = {"ap_small", "ap_medium", "ar_small", "ar_medium"}
    assert {name for name, value in result.items() if math.isnan(value)} == undefined
    assert all(value == ONE for name, value in result.items() if name not in undefined)


def test_a_false_one_of_a_higher_score_halves_precision(tmp_path):
    detections = make_boxes([120, 10, 150, 40, 3, 0.9], [10, 10, 110, 110, 3, 0.8])
    result = score(tmp_path, [square(1, 10, 10, 100)], detections)
    assert result["ap50"] == pytest.approx(0.5)
    assert (result["ar_1"], result["ar_10"]) == (0, ONE)


def test_a_crowd_neither_counts_nor_costs(tmp_path):
    detections = make_boxes([10, 10, 60, 60, 3, 0.9], [100, 10, 140, 50, 3, 0.95])
    truths = [square(1, 10, 10, 50), square(2, 90, 5, 60, iscrowd=1)]
    assert score(tmp_path, truths, detections)["ap50"] == ONE
    assert score(tmp_path, truths[:1], detections)["ap50"] == pytest.approx(0.5)
    assert math.isnan(score(tmp_path, truths[1:], detections)["ap"])


def test_a_class_tells_or_does_not(tmp_path):
    detections = make_boxes([10, 10, 110, 110, 1, 0.9])  # a person, it says
    assert score(tmp_path, [square(1, 10, 10, 100)], detections)["ap50"] == 0
    assert score(tmp_path, [square(1, 10, 10, 100)], detections, None)["ap50"] == ONE


def test_categories_of_one_name_are_one(tmp_path):
    truths = [square(1, 10, 10, 40, 1), square(2, 100, 10, 40, 2)]
    detections = make_boxes([10, 10, 50, 50, 3, 0.9], [100, 10, 140, 50, 3, 0.8])
    result = score(tmp_path, truths, detections, categories={1: "dog", 2: "dog"})
    assert result["ap50"] == ONE


def test_an_annotation_of_id_0_counts(tmp_path):
    """pycocotools on the file itself takes a match with it for none."""
    detections = make_boxes([10, 10, 110, 110, 3, 0.9])
    assert score(tmp_path, [square(0, 10, 10, 100)], detections)["ap50"] == ONE


@pytest.mark.parametrize(("area", "size"), [(None, "large"), (500, "small"), (5000, "medium")])
def test_the_area_is_that_of_the_file_if_it_has_one(tmp_path, area, size):
    truths = [square(1, 10, 10, 100, area=area)]
    result = score(tmp_path, truths, make_boxes([10, 10, 110, 110, 3, 0.9]))
    sizes = {name for name in ("small", "medium", "large") if result[f"ar_{name}"] == ONE}
    assert sizes == {size}


def test_no_images_and_no_annotations(tmp_path):
    write_annotations(tmp_path, [], {1: "a.png"})
    for detections in ({}, {"a.png": make_boxes([10, 10, 60, 60, 3, 0.9])}):
        for class_names in (CLASSES, None):
            result = compute_ours(read_annotations(tmp_path), detections, class_names)
            assert tuple(result) == SUMMARY
            assert all(math.isnan(value) for value in result.values())


def test_an_image_without_annotations_is_refused(tmp_path):
    write_annotations(tmp_path, [square(1, 10, 10, 100)], {1: "a.png"})
    data = read_annotations(tmp_path)
    scores = MaskAveragePrecision(data, None)
    object.__setattr__(data.items[0], "annotations", None)
    with pytest.raises(ValueError, match=r"^no annotations: a.png$"):
        scores.add(data.items[0], make_boxes(), 0.5)


def test_the_mask_threshold_is_used(tmp_path):
    detections = make_boxes([10, 10, 110, 110, 3, 0.9])
    faint = Detections(**{**vars(detections), "masks": np.full((1, 28, 28), 100, np.uint8)})
    write_annotations(tmp_path, [square(1, 10, 10, 100)], {1: "a.png"})
    results = [
        compute_ours(read_annotations(tmp_path), {"a.png": faint}, CLASSES, level)["ap50"]
        for level in (0.3, 0.5)
    ]
    assert results == [ONE, 0]


# -- quiet, repeatable, small ----------------------------------------------------------------


def test_nothing_is_printed_and_a_result_can_be_had_again(case, capfd):
    root, _, detections = case
    data = read_annotations(root)
    scores = MaskAveragePrecision(data, CLASSES)
    for item in data.items[:10]:
        scores.add(item, detections[item.path], 0.5)
    early = scores.compute()
    assert scores.compute() == early
    for item in data.items[10:]:
        scores.add(item, detections[item.path], 0.5)
    assert scores.compute() == compute_ours(data, detections, CLASSES) != early
    assert capfd.readouterr() == ("", "")


def test_memory_is_that_of_a_window(tmp_path):
    """300 detections in 36 megapixels: not even one plane of them is made."""
    side = 6000
    corners = np.random.default_rng(0).uniform(0, 5000, (300, 2))
    detections = make_boxes(
        *[[x, y, x + 300, y + 300, 3, 0.5] for x, y in corners], height=side, width=side
    )
    write_annotations(tmp_path, [square(1, 10, 10, 100)], {1: "a.png"}, size=(side, side))
    data = read_annotations(tmp_path)
    scores = MaskAveragePrecision(data, CLASSES)
    tracemalloc.start()
    try:
        scores.add(data.items[0], detections, 0.5)
        assert tracemalloc.get_traced_memory()[1] < 12e6
    finally:
        tracemalloc.stop()
    assert scores.compute()["ar_100"] == 0


@given(arrays(bool, st.tuples(st.integers(0, 8), st.integers(0, 8))), st.data())
def test_runs_of_a_window_are_those_of_the_plane(window, data):
    rows, columns = window.shape
    size = rows + data.draw(st.integers(1, 5)), columns + data.draw(st.integers(0, 5))
    top = data.draw(st.integers(0, size[0] - rows))
    left = data.draw(st.integers(0, size[1] - columns))
    if size[1] == 0:
        return
    pasted = PastedMask((slice(top, top + rows), slice(left, left + columns)), window)
    plane = np.zeros(size, np.uint8, order="F")
    plane[pasted.where] = window
    assert _encode_runs(pasted, size) == cocomask.encode(plane)
