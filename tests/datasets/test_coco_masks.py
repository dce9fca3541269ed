import json
import resource
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as cocomask
from pycocotools.coco import COCO

from bgexp.datasets.coco import Annotation, CocoImage
from bgexp.datasets.coco_masks import decode_truth, encode_masks, encode_runs
from bgexp.images.decode import ImageError

H, W = 40, 50
MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def make_image(*segmentations, height=H, width=W):
    annotations = tuple(
        Annotation(number, 1, 1, json.dumps(segmentation).encode())
        for number, segmentation in enumerate(segmentations, 1)
    )
    return CocoImage(1, height, width, annotations, {1: "thing"})


def decode(*segmentations, height=H, width=W):
    return decode_truth(make_image(*segmentations, height=height, width=width), (height, width))


def count_runs(mask):
    """Return the runs of a mask down its columns, from False, by plain counting."""
    counts, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def compress(mask):
    runs = cocomask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode()}


def list_runs(mask):
    return {"size": list(mask.shape), "counts": count_runs(mask)}


# -- what is foreground ----------------------------------------------------------------------


def test_a_polygon_by_hand():
    """Take corners between pixels: 1, 1 to 4, 3 covers columns 1 to 3 of rows 1 and 2."""
    mask = decode([[1, 1, 4, 1, 4, 3, 1, 3]], height=4, width=6)
    assert mask.dtype == bool
    assert mask.flags.c_contiguous
    assert np.argwhere(mask).tolist() == [[1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3]]


def test_runs_by_hand():
    """Run down the columns of 2x3: one off, two on, three off. As text: 48 + 1, 2, 3."""
    expected = [[False, True, False], [True, False, False]]
    for counts in ([1, 2, 3], "123", [1, 2, 3, 0], [0, 0, 1, 1, 0, 1, 3]):
        assert decode({"size": [2, 3], "counts": counts}, height=2, width=3).tolist() == expected


@given(MASKS)
def test_runs_of_both_kinds_give_the_mask_back(mask):
    height, width = mask.shape
    for runs in (compress(mask), list_runs(mask)):
        assert np.array_equal(decode(runs, height=height, width=width), mask)


@given(st.lists(arrays(bool, (7, 9)), min_size=1, max_size=4), st.data())
def test_the_truth_is_the_union(masks, data):
    kinds = [data.draw(st.sampled_from([compress, list_runs])) for _ in masks]
    runs = [kind(mask) for kind, mask in zip(kinds, masks, strict=True)]
    assert np.array_equal(decode(*runs, height=7, width=9), np.any(masks, axis=0))


def test_runs_of_no_length_are_as_if_they_were_not_there():
    """Insert empty runs, at which pycocotools itself would stop and lose the rest."""
    mask = np.random.default_rng(0).random((9, 7)) > 0.5
    empty_mask = np.zeros((9, 7), bool)
    counts = [part for count in count_runs(mask) for part in (count, 0, 0)]
    runs = {"size": [9, 7], "counts": counts}
    assert np.array_equal(decode(runs, list_runs(empty_mask), height=9, width=7), mask)


def test_large_runs_as_text():
    mask = np.zeros((3000, 4000), bool)
    mask[100:2900, 50:3900] = np.random.default_rng(0).random((2800, 3850)) > 0.001
    assert np.array_equal(decode(compress(mask), height=3000, width=4000), mask)


POLYGON = st.lists(st.floats(-20, 70), min_size=6, max_size=24).filter(
    lambda polygon: len(polygon) % 2 == 0
)


@given(st.lists(POLYGON, min_size=1, max_size=3))
def test_polygons_are_those_of_pycocotools(polygons):
    coco = COCO()
    coco.imgs = {1: {"height": H, "width": W}}
    runs = coco.annToRLE({"image_id": 1, "segmentation": polygons})
    (ours,) = encode_masks(make_image(polygons), (H, W))
    assert ours == runs
    assert decode(polygons).sum() == cocomask.area(runs)


def test_without_annotations_nothing_is_foreground():
    assert not decode().any()
    assert decode().shape == (H, W)


@given(MASKS, st.lists(st.integers(0, 150)))
def test_changes_that_are_named_twice_are_none(mask, twice):
    height, width = mask.shape
    changes = np.cumsum(count_runs(mask))  # the last is the end
    positions = np.sort(np.concatenate([changes, twice, twice]).astype(np.int64))
    assert encode_runs(positions, (height, width)) == cocomask.encode(
        np.asfortranarray(mask, np.uint8)
    )


# -- what makes no sense ---------------------------------------------------------------------

FAR = "a polygon further out or longer than 2,000,000 pixels"
NO_POLYGON = "a polygon that is no list of three or more x, y"
NO_SUM = "runs that do not add up to the image"
NO_TEXT = "runs in no text of COCO's"
NO_MASK = "no mask"
ANOTHER = "runs of another size than the image"


def make_runs(counts, size=(H, W)):
    return {"size": list(size), "counts": counts}


BAD = [
    (None, NO_MASK),
    ([], NO_MASK),
    ("polygon", NO_MASK),
    (5, NO_MASK),
    ([[]], NO_POLYGON),
    ([[1, 2, 3, 4]], NO_POLYGON),  # pycocotools takes it for a box
    ([[1, 2, 3, 4, 5]], NO_POLYGON),
    ([[1, 2, 3, 4, 5, 6, 7]], NO_POLYGON),
    ([[1, 2, 3, 4, 5, "x"]], NO_POLYGON),
    ([[1, 2, 3, 4, 5, {}]], NO_POLYGON),
    ([[[1, 2]] * 6], NO_POLYGON),
    ([1, 2, 3, 4, 5, 6], NO_POLYGON),
    ([[1, 1, 4, 1, 4, 3], [1]], NO_POLYGON),
    ([[1, 2, 3, 4, 5, None]], FAR),
    ([[1, 2, 3, 4, 5, float("nan")]], FAR),
    ([[1, 2, 3, 4, 5, float("inf")]], FAR),
    ([[1, 2, 3, 4, 5, 1e300]], FAR),
    ([[1, 2, 3, 4, 5, 10**400]], NO_POLYGON),
    ([[1e9, 1e9, 1e9, 1e9, 1e9, 1e9]], FAR),
    ([[0, 0, 1e6, 1e6] * 9], FAR),
    ({}, ANOTHER),
    (make_runs([H * W], (W, H)), ANOTHER),
    (make_runs([10**18], (10**9, 10**9)), ANOTHER),
    ({"size": "40x50", "counts": [H * W]}, ANOTHER),
    ({"size": [H, W]}, NO_SUM),
    (make_runs(None), NO_SUM),
    (make_runs([]), NO_SUM),
    (make_runs([H * W - 1]), NO_SUM),
    (make_runs([H * W, 1]), NO_SUM),
    (make_runs([-5, H * W + 5]), NO_SUM),
    (make_runs([-5, 5, H * W]), NO_SUM),
    (make_runs([H * W + 2**32]), NO_SUM),  # where 32 or 64 bits wrap these would fit
    (make_runs([*[2**62] * 4, H * W]), NO_SUM),
    (make_runs([2**63, 2**63 + H * W]), NO_SUM),
    (make_runs([10**30]), NO_SUM),
    (make_runs([float(H * W)]), NO_SUM),
    (make_runs([[H * W]]), NO_SUM),
    (make_runs([True] * H * W), NO_SUM),
    (make_runs(["2000"]), NO_SUM),
    (make_runs({}), NO_SUM),
    (make_runs(""), NO_SUM),
    (make_runs("123"), NO_SUM),
    (make_runs("@"), NO_SUM),  # minus 16
    (make_runs("o"), "runs that end within a number"),
    (make_runs("12o"), "runs that end within a number"),
    (make_runs("o" * 10**6), NO_TEXT),
    (make_runs("1 2"), NO_TEXT),
    (make_runs("12é"), NO_TEXT),
    (make_runs("12\0"), NO_TEXT),
    (make_runs("~~~"), NO_TEXT),
]


@pytest.mark.parametrize(("segmentation", "reason"), BAD)
def test_masks_that_make_no_sense(segmentation, reason):
    good = [[1, 1, 4, 1, 4, 3, 1, 3]]
    with pytest.raises(ImageError) as caught:
        decode(good, segmentation)
    assert str(caught.value) == f"its annotation 2: {reason}"


def test_ragged_runs_are_one_line():
    with pytest.raises(ImageError, match=r"^its annotation 1: .{9,200}$"):
        decode(make_runs([[1], [2, 3]]))


def test_absurd_masks_take_neither_time_nor_memory():
    """Refuse a polygon that would take pycocotools 40 GB, and runs that would take 1 EB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    for absurd in (
        [[0, 0, 4e8, 0, 4e8, 4e8, 0, 4e8]],
        make_runs([10**18], (10**9, 10**9)),
        make_runs("o9" * 9),
    ):
        with pytest.raises(ImageError):
            decode(absurd)
    huge = make_image(make_runs([10**18], (10**9, 10**9)), height=10**9, width=10**9)
    with pytest.raises(
        ImageError, match=r"^its annotations are of 1000000000x1000000000 pixels, t"
    ):
        decode_truth(huge, (H, W))
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=12,
)
RUNS = st.fixed_dictionaries(
    {"size": st.just([5, 4]), "counts": JSON | st.text("0123@PQo", max_size=8)}
)


@given(JSON | RUNS)
def test_whatever_stands_for_a_mask_there_is_a_mask_or_a_reason(segmentation):
    try:
        outcome = decode(segmentation, height=5, width=4)
    except ImageError as error:
        outcome = str(error)
    assert outcome.isprintable() if isinstance(outcome, str) else outcome.shape == (5, 4)


def test_annotations_of_another_size():
    expected = "its annotations are of 50x40 pixels, the upright image 40x50"
    with pytest.raises(ImageError, match=f"^{expected}$"):
        decode_truth(make_image(), (W, H))
