import tracemalloc
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label
from torchvision.models.detection.roi_heads import paste_masks_in_image

from bgexp.config.stages import Combine
from bgexp.detect.detections import Detections, Selection, SoftMask
from bgexp.metrics.thresholds import THRESHOLDS
from bgexp.pipeline.combine import (
    combine_detections,
    combine_output,
    count_exceeded_thresholds,
    paste_mask,
    select_detections,
)


def make_detections(boxes, *, masks=None, scores=None, labels=None, size=(20, 30)):
    """Make detections, by default with full soft masks."""
    n = len(boxes)
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(n, 4),
        labels=np.array([1] * n if labels is None else labels, np.int64),
        scores=np.array([0.9] * n if scores is None else scores, np.float32),
        masks=np.full((n, 4, 4), 255, np.uint8) if masks is None else masks,
        height=size[0],
        width=size[1],
    )


def random_detections(seed, n, size, cells=28):
    """Make boxes of up to half the picture, inside it, with smooth masks."""
    rng = np.random.default_rng(seed)
    scale = np.array([size[1], size[0]])
    centre = rng.uniform(0.1, 0.9, (n, 2)) * scale
    half = rng.uniform(0.01, 0.25, (n, 2)) * scale
    boxes = np.clip(np.hstack([centre - half, centre + half]), 0, np.tile(scale, 2))
    soft = [cv2.resize(rng.random((5, 5), np.float32), (cells, cells)) for _ in range(n)]
    return make_detections(
        boxes,
        masks=np.rint(255 * np.array(soft)).astype(np.uint8).reshape(n, cells, cells),
        scores=rng.random(n, np.float32),
        labels=rng.integers(1, 4, n),
        size=size,
    )


def paste_full_size(pasted, size):
    mask = np.zeros(size, np.bool_)
    mask[pasted.where] = pasted.window
    return mask


# -- Detections --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("masks", np.zeros((2, 3, 4), np.uint8), r"masks: expected \(n, m, m\) uint8"),
        ("masks", np.zeros((2, 4, 4), np.float32), r"got \(2, 4, 4\) float32"),
        ("scores", np.full(2, np.nan, np.float32), r"scores: expected values in \[0, 1\]"),
        ("scores", np.zeros((2, 1), np.float32), r"scores: expected \(n,\) float32"),
        ("boxes", np.zeros((3, 4), np.float32), r"boxes: expected \(n, 4\) float32 with n = 2"),
        ("boxes", np.full((2, 4), np.inf, np.float32), "boxes: expected finite"),
        ("boxes", np.array([[0, 0, 1, 1], [5, 0, 4, 1]], np.float32), "x1 <= x2"),
        ("labels", np.zeros(2, np.int32), r"labels: expected \(n,\) int64"),
        ("height", 0, "height, width: expected at least 1, got 0, 30"),
    ],
)
def test_detections_say_what_they_expected(field, value, message):
    good = make_detections([[0, 0, 2, 2], [1, 1, 5, 5]])
    with pytest.raises(ValueError, match=message):
        replace(good, **{field: value})


def test_select_takes_indices_and_booleans():
    detections = random_detections(0, 4, (20, 30))
    by_index, by_flag = detections.select([2, 3]), detections.select([False, False, True, True])
    assert len(by_index) == len(by_flag) == 2
    np.testing.assert_array_equal(by_index.boxes, detections.boxes[2:])
    np.testing.assert_array_equal(by_flag.masks, detections.masks[2:])
    assert len(detections.select([])) == 0


# -- pasting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [1, 7, 14, 28, 56])
@pytest.mark.parametrize("size", [(1, 1), (37, 53), (301, 400)])
def test_paste_is_that_of_torchvision(cells, size):
    rng = np.random.default_rng(cells * size[0])
    scale = np.array([size[1], size[0]])
    # From a hundredth of a pixel to more than the picture, and also partly outside it.
    half = np.exp(rng.uniform(np.log(0.005), np.log(scale * 0.7), (30, 2)))
    centre = rng.uniform(0, 1, (30, 2)) * (scale - 0.01)
    boxes = np.hstack([centre - half, centre + half]).astype(np.float32)
    masks = rng.integers(0, 256, (30, cells, cells), np.uint8)
    soft = torch.tensor(masks)[:, None] / 255
    theirs = paste_masks_in_image(soft, torch.tensor(boxes), size)
    theirs = theirs[:, 0].numpy() > 0.5
    ours = [paste_mask(m, b, size, 0.5) for m, b in zip(masks, boxes, strict=True)]
    ours = np.array([paste_full_size(pasted, size) for pasted in ours])
    different = (ours != theirs).any(axis=(1, 2))
    assert different.mean() <= 0.05  # a rounding at exactly one half
    assert (ours & theirs).sum() >= 0.999 * (ours | theirs).sum()


def test_paste_of_a_case_worked_by_hand():
    # One cell of 1 padded by zeros to 3x3; the box of 4 px grows threefold around its centre
    # (6, 6) to 0..12, so 13 px. Along an axis the profile is a tent with its peak at pixel 6 and
    # a slope of 3/13 a pixel: pixels 6-2 to 6+2 are above 1/2. The product of two such tents is
    # above 1/2 where (1 - 3a/13)(1 - 3b/13) > 1/2 for distances a, b: a + b <= 2.
    pasted = paste_mask(np.full((1, 1), 255, np.uint8), np.float32([4, 4, 8, 8]), (20, 20), 0.5)
    y, x = np.mgrid[:20, :20]
    expected = np.abs(y - 6) + np.abs(x - 6) <= 2
    np.testing.assert_array_equal(paste_full_size(pasted, (20, 20)), expected)


@pytest.mark.parametrize(
    "box", [[-90, 2, -50, 8], [40, 2, 90, 8], [2, -90, 8, -50], [2, 25, 8, 90]]
)
def test_a_box_outside_the_image_adds_nothing(box):
    assert not combine_detections(make_detections([box])).mask.any()


def test_memory_does_not_grow_with_detections():
    detections = random_detections(1, 100, (3000, 4000))
    detections = replace(detections, scores=np.ones(100, np.float32))
    tracemalloc.start()
    combine_detections(detections, Combine(fill_holes=0.01, min_area=0.01))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # the mask is 12 MB, 100 of them would be 1200


# -- choosing ----------------------------------------------------------------------------------


def test_score_threshold_is_strict():
    detections = make_detections([[0, 0, 5, 5]] * 3, scores=[0.7, 0.71, 0.2])
    assert (
        select_detections(detections, Selection(0.7)).scores.tolist()
        == detections.scores[1:2].tolist()
    )


@pytest.mark.parametrize(
    ("threshold", "labels", "scores"),
    [(0, None, [0.8, 0.9, 0.95]), (0.85, None, [0.9, 0.95]), (0, {7}, [0.9]), (0, set(), [])],
)
def test_labels_and_scores_select(threshold, labels, scores):
    detections = make_detections([[0, 0, 5, 5]] * 3, scores=[0.8, 0.9, 0.95], labels=[1, 7, 1])
    assert select_detections(
        detections, Selection(threshold, labels=labels)
    ).scores.tolist() == pytest.approx(scores)


@pytest.mark.parametrize(
    ("threshold", "fallback", "labels", "scores"),
    [
        (0.9, None, None, []),
        (0.9, 0.5, None, [0.8]),
        (0.9, 0.8, None, []),  # strictly above
        (0.7, 0.5, None, [0.8, 0.75]),  # not asked where something is above the threshold
        (0.9, 0.5, {7}, [0.6]),
        (0.9, 0.5, {2}, []),
    ],
)
def test_the_best_counts_where_nothing_else_does(threshold, fallback, labels, scores):
    detections = make_detections([[0, 0, 5, 5]] * 3, scores=[0.8, 0.75, 0.6], labels=[1, 1, 7])
    selected = select_detections(detections, Selection(threshold, fallback, labels))
    assert selected.scores.tolist() == pytest.approx(scores)


def test_nothing_found_is_an_empty_mask():
    for instances in ("all", "largest", "central"):
        result = combine_detections(make_detections([]), Combine(instances=instances))
        assert result.mask.shape == (20, 30)
        assert not result.mask.any()
        assert result.used.tolist() == []


@pytest.mark.parametrize(
    ("change", "indices"),
    [
        ({}, [0, 1, 2]),
        ({"instances": "largest"}, [0]),
        ({"instances": "central"}, [2]),  # centres 5, 6.5 and 2 px from the image's (15, 10)
    ],
)
def test_which_detections_are_used(change, indices):
    boxes = [[4, 2, 16, 18], [18, 5, 25, 15], [15, 8, 19, 12]]
    detections = make_detections(boxes, scores=[0.8, 0.9, 0.95], labels=[1, 7, 1])
    assert combine_detections(detections, Combine(**change)).used.tolist() == indices


@given(st.integers(0, 10**6))
def test_the_central_one_is_that_whose_boxs_centre_is_nearest(seed):
    detections = random_detections(seed, 8, (60, 90))
    centres = (detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2
    distances = np.linalg.norm(centres - (45, 30), axis=1)
    used = combine_detections(detections, Combine(instances="central")).used
    assert distances[used] == pytest.approx(distances.min(), abs=1e-4)


def test_largest_is_by_pasted_area_and_not_by_box():
    masks = np.stack([np.full((4, 4), 25), np.full((4, 4), 255)]).astype(np.uint8)
    detections = make_detections([[0, 0, 29, 19], [10, 10, 15, 15]], masks=masks)
    assert combine_detections(detections, Combine(instances="largest")).used.tolist() == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask_threshold": 1.1}, "mask_threshold"),
        ({"min_area": -0.1}, "min_area"),
        ({"instances": "best"}, "'all', 'largest' or 'central'"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Combine(**change)


# -- cleaning ----------------------------------------------------------------------------------

# A mask of 8x8 cells on a box of which each cell is exactly 2 px: (8 + 2) * 2 = 20 px, so the
# grown box is 0 to 19 and the given one is shrunk by 8/10 around the same centre.
_CELLS = """
########
#..##..#
#..##.##
########
#.######
########
........
.......#
"""


def clean_cells(change):
    cells = np.array([[255 * (c == "#") for c in line] for line in _CELLS.split()], np.uint8)
    detections = make_detections([[1.9, 1.9, 17.1, 17.1]], masks=cells[None], size=(20, 20))
    return combine_detections(detections, Combine(**change)).mask


def count_parts(mask, connectivity):
    return label(mask, connectivity=connectivity).max()


def test_cleaning_of_a_case_worked_by_hand():
    plain = clean_cells({})
    parts, holes = count_parts(plain, 2), count_parts(~plain, 1) - 1
    assert (parts, holes) == (2, 3)  # the big part and the lone cell; three holes
    speck = clean_cells({"min_area": 0.1})
    assert count_parts(speck, 2) == 1
    assert not speck[14:].any()
    sizes = sorted(np.bincount(label(~plain, connectivity=1).ravel())[1:])[:3]
    for i, size in enumerate(sizes):
        filled = clean_cells({"fill_holes": (size + 0.1) / 400})
        assert count_parts(~filled, 1) - 1 == 2 - i
        assert filled.sum() == plain.sum() + sum(sizes[: i + 1])


@pytest.mark.parametrize("n_pixels", [1, 2, 3])
def test_specks_and_pinholes_are_measured_to_the_pixel(n_pixels):
    speck = np.zeros((16, 16), np.uint8)  # shares of 256 pixels are exact
    speck[5, 5 : 5 + n_pixels] = 255
    for change in (-0.25, 0, 0.25):
        limit = (n_pixels + change) / speck.size
        kept = combine_output(SoftMask(speck), Combine(min_area=limit)).mask
        assert kept.sum() == (0 if change > 0 else n_pixels)
        filled = combine_output(SoftMask(255 - speck), Combine(fill_holes=limit)).mask
        assert filled.size - filled.sum() == (n_pixels if change < 0 else 0)
        assert filled.view(np.uint8).max() == 1


def test_an_opening_at_the_image_border_is_no_hole():
    cells = np.full((8, 8), 255, np.uint8)
    cells[3:5, :5] = 0
    detections = make_detections([[-4, -4, 23, 23]], masks=cells[None], size=(20, 20))
    plain = combine_detections(detections).mask
    assert not plain[10, 0]
    filled = combine_detections(detections, Combine(fill_holes=1)).mask
    np.testing.assert_array_equal(filled, plain)


def clean_by_labels(mask, smallest, largest):
    """Clean the slow, obvious way: each part with all that it encloses, one at a time."""
    parts, cleaned = label(mask, connectivity=2), np.zeros_like(mask)
    for i in range(1, parts.max() + 1):
        part = parts == i
        holes = find_holes(part)
        if part.sum() + sum(hole.sum() for hole in holes) >= smallest:
            cleaned |= part
            for hole in holes:
                cleaned |= hole & (hole.sum() <= largest)
    return cleaned


def find_holes(part):
    regions = label(~np.pad(part, 1), connectivity=1)
    inner = set(range(1, regions.max() + 1)) - {regions[0, 0]}
    return [regions[1:-1, 1:-1] == i for i in inner]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.floats(0, 0.1), st.floats(0, 0.1))
def test_cleaning_agrees_with_the_obvious_way(seed, fill_holes, min_area):
    rng = np.random.default_rng(seed)
    cells = np.uint8(255) * (rng.random((1, 14, 14)) < rng.uniform(0.3, 0.8))
    detections = make_detections([[2, 2, 27, 17]], masks=cells)
    plain = combine_detections(detections).mask
    ours = combine_detections(detections, Combine(fill_holes=fill_holes, min_area=min_area)).mask
    theirs = clean_by_labels(plain, min_area * plain.size, fill_holes * plain.size)
    np.testing.assert_array_equal(ours, theirs)


def test_a_soft_mask_is_cut_above_the_threshold_and_cleaned():
    soft = SoftMask(np.full((10, 20), 128, np.uint8))
    soft.mask[:, 12:] = 127
    soft.mask[:2, :2] = 127
    soft.mask[4, 4:6] = 0
    soft.mask[0, 0], soft.mask[5, 15] = 128, 255
    plain = combine_output(soft, Combine(fill_holes=0, min_area=0))
    assert plain.used.shape == (0,)
    assert plain.used.dtype == np.int64
    np.testing.assert_array_equal(plain.mask, soft.mask > 127)
    clean = combine_output(soft, Combine(fill_holes=2 / 200, min_area=2 / 200)).mask
    expected = soft.mask > 127
    expected[4, 4:6], expected[0, 0], expected[5, 15] = True, False, False
    np.testing.assert_array_equal(clean, expected)


# -- properties --------------------------------------------------------------------------------

seeds = st.integers(0, 10**6)
shares = st.floats(0, 1)
cleanings = st.builds(
    lambda holes, parts: {"fill_holes": holes, "min_area": parts},
    st.sampled_from([0.0, 0.01, 0.1]),
    st.sampled_from([0.0, 0.01, 0.1]),
)


def within(inner, outer):
    return not (inner & ~outer).any()


@settings(deadline=None)
@given(seeds, cleanings)
def test_more_detections_only_grow_the_mask(seed, cleaning):
    detections = random_detections(seed, 5, (40, 60))
    rule = Combine(**cleaning)
    masks = [combine_detections(detections.select(np.arange(n)), rule).mask for n in range(6)]
    assert all(within(few, larger) for few, larger in pairwise(masks))


@settings(deadline=None)
@given(seeds, shares, shares, cleanings)
def test_lower_thresholds_only_grow_the_mask(seed, first, second, cleaning):
    detections = random_detections(seed, 5, (40, 60))
    low, high = sorted([first, second])
    small = combine_detections(detections, Combine(mask_threshold=high, **cleaning)).mask
    assert within(
        small, combine_detections(detections, Combine(mask_threshold=low, **cleaning)).mask
    )
    few, many = (
        combine_detections(select_detections(detections, Selection(t))).mask for t in (high, low)
    )
    assert within(few, many)


@settings(deadline=None)
@given(seeds, st.floats(0, 0.3))
def test_filling_only_adds_and_removing_only_removes(seed, share):
    detections = random_detections(seed, 5, (40, 60))
    plain = combine_detections(detections).mask
    assert within(plain, combine_detections(detections, Combine(fill_holes=share)).mask)
    assert within(combine_detections(detections, Combine(min_area=share)).mask, plain)


# -- all thresholds at once ----------------------------------------------------------------------


@pytest.mark.parametrize("instances", ["all", "central"])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_all_thresholds_give_the_masks_of_each(n, instances):
    size = (60, 80)
    soft = SoftMask(np.random.default_rng(n).integers(0, 256, size, np.uint8))
    for output in (random_detections(n, n, size), soft):
        plain = Combine(instances=instances, fill_holes=0, min_area=0)
        counts = count_exceeded_thresholds(output, plain, THRESHOLDS)
        assert counts.dtype == np.uint8
        for place, threshold in enumerate(THRESHOLDS):
            mask = combine_output(output, plain.replace(mask_threshold=threshold)).mask
            assert np.array_equal(counts > place, mask)
