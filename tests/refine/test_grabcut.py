from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgexp.config import GrabCut
from bgexp.refine import refine_mask_grabcut


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def ellipse(size, centre, axes):
    y, x = np.mgrid[: size[0], : size[1]]
    return ((x - centre[0]) / axes[0]) ** 2 + ((y - centre[1]) / axes[1]) ** 2 <= 1


def textured(size, color, rng):
    """Cloudy texture of about the colour, with grain."""
    clouds = cv2.resize(rng.random((9, 12, 3), np.float32), size[::-1])
    return color + 60 * (clouds - 0.5) + rng.normal(0, 6, (*size, 3))


def picture_of(truth, seed=0):
    """A reddish object on a greenish background: HxWx3 uint8."""
    rng = np.random.default_rng(seed)
    inside = textured(truth.shape, np.array([170, 90, 70]), rng)
    outside = textured(truth.shape, np.array([90, 140, 80]), rng)
    return np.clip(np.where(truth[..., None], inside, outside), 0, 255).astype(np.uint8)


TRUTH = ellipse((300, 400), (200, 150), (110, 80))
IMAGE = picture_of(TRUTH)
SHIFTED = ellipse((300, 400), (206, 147), (117, 87))
SMALL = GrabCut(size=128)


# -- it helps ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [128, 512])
@pytest.mark.parametrize(
    "coarse",
    [
        SHIFTED,
        ellipse((300, 400), (200, 150), (102, 72)),
        ellipse((300, 400), (194, 153), (110, 80)),
    ],
    ids=["dilated and shifted", "eroded", "shifted"],
)
def test_it_finds_the_edge(coarse, size):
    before = coarse.copy()
    result = refine_mask_grabcut(IMAGE, coarse, GrabCut(size=size, band=0.08))
    assert result.status == "applied"
    assert result.reason == ""
    assert iou(result.mask, TRUTH) > max(0.97, iou(coarse, TRUTH) + 0.05)
    np.testing.assert_array_equal(coarse, before)


def test_an_object_cut_off_by_the_border_is_not_eroded_from_there():
    truth = ellipse((200, 300), (0, 200), (150, 120))
    coarse = ellipse((200, 300), (3, 198), (160, 128))
    result = refine_mask_grabcut(picture_of(truth), coarse, GrabCut(size=128, band=0.1))
    assert result.status == "applied"
    assert iou(result.mask, truth) > max(0.97, iou(coarse, truth) + 0.05)
    assert result.mask[-1, :130].all()
    assert result.mask[100:, 0].all()


def test_thin_parts_keep_a_core():
    truth = ellipse((300, 400), (200, 150), (110, 80))
    truth[20:26, 40:360] = True  # a bar of 6 px, far thinner than the band of 32
    result = refine_mask_grabcut(picture_of(truth), truth, GrabCut(band=0.1))
    assert result.status == "applied"
    assert result.mask[22:24, 45:355].all()


def test_a_few_pixels_are_enough():
    image = np.full((3, 3, 3), 200, np.uint8)
    mask = np.zeros((3, 3), np.bool_)
    mask[1, 1] = True
    image[1, 1] = 20
    np.testing.assert_array_equal(refine_mask_grabcut(image, mask).mask, mask)


# -- what it leaves alone ----------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 1000),
    st.tuples(st.integers(40, 160), st.integers(30, 90)),
    st.tuples(st.integers(4, 60), st.integers(4, 50)),
    st.sampled_from([0.02, 0.05, 0.1]),
)
def test_nothing_changes_outside_the_band(seed, centre, axes, band):
    mask = ellipse((120, 200), centre, axes)
    image = picture_of(ellipse((120, 200), (100, 60), (50, 30)), seed)
    result = refine_mask_grabcut(image, mask, GrabCut(size=64, band=band, max_change=10))
    _, _, width, height = cv2.boundingRect(mask.view(np.uint8))
    scale = max(width, height) * (1 + 2 * (band + 0.1)) / 64
    # The band in full pixels, and two working pixels for the rounding on the way there and back.
    reach = band * max(width, height) + 2 * max(scale, 1) + 1
    deep = distance(mask) + distance(~mask)
    np.testing.assert_array_equal(result.mask[deep > reach], mask[deep > reach])


def distance(mask):
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


# -- the same bits each time -------------------------------------------------------------------


def test_repeats_are_bit_equal_in_any_thread_and_with_any_number_of_them():
    once = refine_mask_grabcut(IMAGE, SHIFTED).mask

    def again(i):
        cv2.setRNGSeed(i)  # as other work in this thread would leave it
        return refine_mask_grabcut(IMAGE, SHIFTED).mask

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(again, range(8)))
    before = cv2.getNumThreads()
    try:
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            results.append(again(threads))
    finally:
        cv2.setNumThreads(before)
    assert all((one == once).all() for one in results)


def test_the_seed_reaches_grabcut(monkeypatch):
    seen = []
    monkeypatch.setattr(cv2, "setRNGSeed", seen.append)
    refine_mask_grabcut(IMAGE, SHIFTED, SMALL, seed=7)
    assert seen == [7]


def test_any_memory_layout():
    flipped = refine_mask_grabcut(IMAGE[:, ::-1], SHIFTED[:, ::-1], SMALL).mask
    straight = refine_mask_grabcut(IMAGE[:, ::-1].copy(), SHIFTED[:, ::-1].copy(), SMALL).mask
    np.testing.assert_array_equal(flipped, straight)


# -- falling back ------------------------------------------------------------------------------


def refused(image, mask, how=SMALL, status="refused"):
    result = refine_mask_grabcut(image, mask, how)
    assert result.status == status
    np.testing.assert_array_equal(result.mask, mask)
    return result.reason


def test_an_empty_mask_and_a_full_one_come_back():
    assert refused(IMAGE, np.zeros_like(TRUTH), status="skipped") == "the mask is empty"
    assert refused(IMAGE, np.ones_like(TRUTH), status="skipped") == "the mask fills the image"


def test_what_vanishes_at_working_size_comes_back():
    line = np.zeros_like(TRUTH)
    line[150, 20:380] = True
    too_thin = "the mask or its background is too thin at working size"
    assert refused(IMAGE, line) == too_thin
    assert refused(IMAGE, ~line) == too_thin


def test_a_band_without_an_edge_comes_back():
    flat = np.where(TRUTH[..., None], np.uint8([170, 90, 70]), np.uint8([90, 140, 80]))
    far_too_wide = ellipse((300, 400), (200, 150), (150, 120))
    assert refused(flat, far_too_wide) == "GrabCut found no edge in the band"


def test_too_large_a_change_comes_back():
    reason = refused(IMAGE, SHIFTED, GrabCut(max_change=0.01))
    assert reason.startswith("it would change ")
    assert reason.endswith("% of the mask")


def test_an_error_of_opencv_comes_back_as_the_reason(monkeypatch):
    def fails(*_):
        raise cv2.error("no memory")

    monkeypatch.setattr(cv2, "grabCut", fails)
    assert refused(IMAGE, SHIFTED) == "OpenCV failed: no memory"


# -- wrong use ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (IMAGE[..., 0], TRUTH, r"image: expected \(h, w, 3\) uint8, got \(300, 400\) uint8"),
        (IMAGE / 255, TRUTH, "float64"),
        (IMAGE, TRUTH[:-1], r"mask: expected \(300, 400\) bool, got \(299, 400\) bool"),
        (IMAGE, TRUTH.view(np.uint8), "mask: .* uint8"),
    ],
)
def test_wrong_input_is_refused(image, mask, message):
    with pytest.raises(ValueError, match=message):
        refine_mask_grabcut(image, mask)


@pytest.mark.parametrize(
    "change", [{"iterations": 0}, {"size": 15}, {"band": -0.1}, {"max_change": float("nan")}]
)
def test_wrong_settings_are_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=name):
        GrabCut(**change)
