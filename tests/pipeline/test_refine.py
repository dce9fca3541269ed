"""What every refinement promises, on drawn scenes and on the sample's photographs."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgexp.config.datasets import Sample
from bgexp.config.stages import GrabCut, GuidedFilter, NoRefinement, UNet
from bgexp.datasets.load import load_item
from bgexp.datasets.read import read_dataset
from bgexp.metrics.overlap import boundary_iou, iou
from bgexp.pipeline.grabcut import refine_mask_grabcut
from bgexp.pipeline.guided import refine_mask_guided
from bgexp.pipeline.refine import refine_mask


def ellipse(size, centre, axes):
    y, x = np.mgrid[: size[0], : size[1]]
    return ((x - centre[0]) / axes[0]) ** 2 + ((y - centre[1]) / axes[1]) ** 2 <= 1


def make_texture(size, color, rng):
    """Make a cloudy texture of about the colour, with grain."""
    clouds = cv2.resize(rng.random((9, 12, 3), np.float32), size[::-1])
    return color + 60 * (clouds - 0.5) + rng.normal(0, 6, (*size, 3))


def make_picture(truth, seed=0):
    """Make a reddish object on a greenish background: HxWx3 uint8."""
    rng = np.random.default_rng(seed)
    inside = make_texture(truth.shape, np.array([170, 90, 70]), rng)
    outside = make_texture(truth.shape, np.array([90, 140, 80]), rng)
    return np.clip(np.where(truth[..., None], inside, outside), 0, 255).astype(np.uint8)


TRUTH = ellipse((300, 400), (200, 150), (110, 80))
IMAGE = make_picture(TRUTH)
SHIFTED = ellipse((300, 400), (206, 147), (117, 87))
BOTH = pytest.mark.parametrize("kind", [GrabCut, GuidedFilter])


def make_wide_settings(kind, size):
    """Make settings for scenes whose coarse edges are 5 % of the object's longer side away."""
    if kind is GrabCut:
        return GrabCut(size=size, band=0.08)
    return GuidedFilter(size=size, radius=0.12)


# -- which one -------------------------------------------------------------------------------


def test_without_refinement_the_mask_is_the_same():
    result = refine_mask(IMAGE, SHIFTED, NoRefinement())
    assert (result.status, result.reason) == ("off", "")
    assert result.mask is SHIFTED


def test_the_settings_choose():
    grabcut, guided = (
        refine_mask(IMAGE, SHIFTED, refinement).mask for refinement in (GrabCut(), GuidedFilter())
    )
    np.testing.assert_array_equal(grabcut, refine_mask_grabcut(IMAGE, SHIFTED).mask)
    np.testing.assert_array_equal(guided, refine_mask_guided(IMAGE, SHIFTED).mask)
    assert (grabcut != guided).any()


# -- it helps --------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("size", [96, 192, 512])
@pytest.mark.parametrize(
    "coarse",
    [
        SHIFTED,
        ellipse((300, 400), (200, 150), (102, 72)),
        ellipse((300, 400), (194, 153), (110, 80)),
    ],
    ids=["dilated and shifted", "eroded", "shifted"],
)
def test_it_finds_the_edge(kind, coarse, size):
    copy = coarse.copy()
    result = refine_mask(IMAGE, coarse, make_wide_settings(kind, size))
    assert (result.status, result.reason) == ("applied", "")
    assert iou(result.mask, TRUTH) > max(0.97, iou(coarse, TRUTH) + 0.05)
    np.testing.assert_array_equal(coarse, copy)


@BOTH
def test_an_object_cut_off_by_the_border_is_not_eroded_from_there(kind):
    truth = ellipse((200, 300), (0, 200), (150, 120))
    coarse = ellipse((200, 300), (3, 198), (160, 128))
    result = refine_mask(make_picture(truth), coarse, make_wide_settings(kind, 128))
    assert result.status == "applied"
    assert iou(result.mask, truth) > max(0.97, iou(coarse, truth) + 0.05)
    assert result.mask[-1, :130].all()
    assert result.mask[100:, 0].all()


@BOTH
def test_thin_parts_keep_a_core(kind):
    truth = ellipse((300, 400), (200, 150), (110, 80))
    truth[20:26, 40:360] = True  # a bar of 6 px, far thinner than the band of 26
    result = refine_mask(make_picture(truth), truth, make_wide_settings(kind, 512))
    assert result.status == "applied"
    assert result.mask[22:24, 45:355].all()


@BOTH
def test_grain_does_not_fray_the_edge(kind):
    noise = np.random.default_rng(1).normal(0, 20, IMAGE.shape)
    grainy = (IMAGE + noise).clip(0, 255).astype(np.uint8)
    result = refine_mask(grainy, SHIFTED, make_wide_settings(kind, 192))
    assert result.status == "applied"
    assert measure_edge(result.mask) < 1.1 * measure_edge(TRUTH)


def measure_edge(mask):
    """Count the steps between a foreground and a background pixel, down or to the right."""
    return sum(np.count_nonzero(np.diff(mask, axis=axis)) for axis in (0, 1))


@BOTH
def test_a_few_pixels_are_enough(kind):
    image = np.full((3, 3, 3), 200, np.uint8)
    mask = np.zeros((3, 3), np.bool_)
    mask[1, 1] = True
    image[1, 1] = 20
    np.testing.assert_array_equal(refine_mask(image, mask, kind()).mask, mask)


@pytest.fixture(scope="module")
def photographs():
    """Load the sample's images, their truths, and masks of 8x8 cells in the truth's box."""
    photographs = []
    for item in read_dataset(Sample(name="sample"), 0).items:
        image, loaded = load_item(item, 1)
        truth = loaded.foreground
        x, y, width, height = cv2.boundingRect(truth.view(np.uint8))
        box = slice(y, y + height), slice(x, x + width)
        cells = cv2.resize(truth[box].astype(np.float32), (8, 8), interpolation=cv2.INTER_AREA)
        coarse = np.zeros_like(truth)
        coarse[box] = cv2.resize(cells, (width, height)) > 0.5
        photographs.append((image, truth, coarse))
    return photographs


@BOTH
def test_it_helps_on_photographs(kind, photographs):
    gains = np.array(
        [
            boundary_iou(refine_mask(image, coarse, kind()).mask, truth)
            - boundary_iou(coarse, truth)
            for image, truth, coarse in photographs
        ]
    )
    assert gains.mean() > 0.15
    assert np.mean(gains < 0) < 1 / 8


# -- what it leaves alone --------------------------------------------------------------------


@BOTH
@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 1000),
    st.tuples(st.integers(40, 160), st.integers(30, 90)),
    st.tuples(st.integers(4, 60), st.integers(4, 50)),
    st.sampled_from([0.02, 0.05, 0.1]),
)
def test_nothing_changes_outside_the_band(kind, seed, centre, axes, band):
    mask = ellipse((120, 200), centre, axes)
    image = make_picture(ellipse((120, 200), (100, 60), (50, 30)), seed)
    grabcut = GrabCut(size=64, band=band, max_change=10)
    refinement = grabcut if kind is GrabCut else GuidedFilter(size=64, radius=band)
    result = refine_mask(image, mask, refinement)
    _, _, width, height = cv2.boundingRect(mask.view(np.uint8))
    scale = max(width, height) * (1 + 2 * (band + 0.1)) / 64
    # The band in full pixels, and two working pixels for the rounding on the way there and back.
    reach = band * max(width, height) + 2 * max(scale, 1) + 1
    deep = measure_distance(mask) + measure_distance(~mask)
    np.testing.assert_array_equal(result.mask[deep > reach], mask[deep > reach])


def measure_distance(mask):
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


# -- the same bits each time -----------------------------------------------------------------


@BOTH
def test_repeats_are_bit_equal_in_any_thread_and_with_any_number_of_them(kind):
    mask = refine_mask(IMAGE, SHIFTED, kind()).mask

    def refine_again(i):
        cv2.setRNGSeed(i)  # as other work in this thread would leave it
        return refine_mask(IMAGE, SHIFTED, kind()).mask

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(refine_again, range(8)))
    n_threads = cv2.getNumThreads()
    try:
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            results.append(refine_again(threads))
    finally:
        cv2.setNumThreads(n_threads)
    assert all((result == mask).all() for result in results)


@BOTH
def test_any_memory_layout(kind):
    flipped = refine_mask(IMAGE[:, ::-1], SHIFTED[:, ::-1], kind()).mask
    straight = refine_mask(IMAGE[:, ::-1].copy(), SHIFTED[:, ::-1].copy(), kind()).mask
    np.testing.assert_array_equal(flipped, straight)


# -- when the mask comes back ----------------------------------------------------------------


def check_kept(result, mask):
    np.testing.assert_array_equal(result.mask, mask)
    return result.status, result.reason


@BOTH
def test_with_nothing_to_refine_it_is_skipped(kind):
    for mask, reason in [
        (np.zeros_like(TRUTH), "the mask is empty"),
        (np.ones_like(TRUTH), "the mask fills the image"),
    ]:
        assert check_kept(refine_mask(IMAGE, mask, kind()), mask) == ("skipped", reason)


@BOTH
def test_what_vanishes_at_working_size_is_refused(kind):
    line = np.zeros_like(TRUTH)
    line[150, 20:380] = True
    for mask in (line, ~line):
        status, reason = check_kept(refine_mask(IMAGE, mask, kind(size=128)), mask)
        assert status == "refused"
        assert reason == "the mask or its background is too thin at working size"


@BOTH
def test_an_error_of_opencv_comes_back_as_the_reason(kind, monkeypatch):
    def fail(*_, **__):
        raise cv2.error("no memory")

    monkeypatch.setattr(cv2, "blur" if kind is GuidedFilter else "grabCut", fail)
    result = refine_mask(IMAGE, SHIFTED, kind())
    assert check_kept(result, SHIFTED) == ("refused", "OpenCV failed: no memory")


# -- wrong use -------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (IMAGE[..., 0], TRUTH, r"image: expected \(h, w, 3\) uint8, got \(300, 400\) uint8"),
        (IMAGE / 255, TRUTH, "float64"),
        (IMAGE, TRUTH[:-1], r"mask: expected \(300, 400\) bool, got \(299, 400\) bool"),
        (IMAGE, TRUTH.view(np.uint8), "mask: .* uint8"),
    ],
)
def test_wrong_input_is_refused(kind, image, mask, message):
    with pytest.raises(ValueError, match=message):
        refine_mask(image, mask, kind())


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (GrabCut, {"iterations": 0}),
        (GrabCut, {"size": 15}),
        (GrabCut, {"band": -0.1}),
        (GrabCut, {"max_change": float("nan")}),
        (GuidedFilter, {"iterations": 0}),
        (GuidedFilter, {"size": 15}),
        (GuidedFilter, {"radius": 1.1}),
    ],
)
def test_wrong_settings_are_refused(kind, change):
    (name,) = change
    with pytest.raises(ValueError, match=name):
        kind(**change)


@pytest.mark.parametrize("kind", [GuidedFilter, GrabCut, UNet])
def test_many_small_objects_keep_their_mask(kind):
    """A window around all of them leaves each too few pixels: it halved a score of droplets."""
    truth, mask = np.zeros((2, 480, 640), np.uint8)
    for number in range(48):
        centre = 40 + 80 * (number % 8), 40 + 80 * (number // 8)
        cv2.circle(truth, centre, 9, 1, cv2.FILLED)
        cv2.circle(mask, (centre[0] + 1, centre[1] - 1), 10, 1, cv2.FILLED)
    result = refine_mask(make_picture(truth > 0), mask > 0, kind())
    assert result.status == "refused"
    assert result.reason.startswith("the objects are too small at working size: ")
    np.testing.assert_array_equal(result.mask, mask > 0)
