import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bgexp.pipeline.refinement import RefusedError
from bgexp.pipeline.working_window import check_length, find_bands, open_window, shrink

IMAGE = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)


def box(top, bottom, left, right):
    mask = np.zeros((100, 200), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def parse_mask(rows):
    return np.array([[pixel == "#" for pixel in row] for row in rows.split()])


# -- the part that is looked at --------------------------------------------------------------


def test_a_margin_of_a_share_of_the_longer_side():
    mask = box(40, 60, 80, 120)
    window = open_window(IMAGE, mask, 0.1, 512)
    assert window.where == (slice(35, 65), slice(75, 125))  # 4 pixels, and one more
    assert window.longer == 40
    np.testing.assert_array_equal(window.picture, IMAGE[35:65, 75:125])
    np.testing.assert_array_equal(window.small, window.picture)
    np.testing.assert_array_equal(window.coarse, mask[35:65, 75:125])


@given(st.integers(1, 90), st.integers(1, 120), st.floats(1, 12), st.sampled_from([(), (3,)]))
def test_shrunk_to_the_means_of_areas(height, width, scale, channels):
    size = round(height * scale), round(width * scale)
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    picture = np.stack([255 * x * y, 200 * x, 90 * y], -1).astype(np.uint8)
    picture = picture if channels else picture[..., 0]
    small = shrink(picture, (width, height))
    assert small.shape == (height, width, *channels)
    expected = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    assert abs(small.astype(int) - expected.reshape(small.shape)).max() <= 255 / max(height, width)


def test_it_ends_at_the_border():
    window = open_window(IMAGE, box(0, 90, 150, 200), 0.5, 512)
    assert window.picture.shape == (100, 96, 3)  # 45 + 1 pixels to the left


def test_working_size():
    window = open_window(IMAGE, box(10, 90, 10, 190), 0.0, 91)
    assert window.picture.shape == (82, 182, 3)
    assert window.small.shape == (41, 91, 3)
    assert window.longer == 90
    mean = window.picture.reshape(41, 2, 91, 2, 3).mean((1, 3))
    assert np.abs(window.small - mean).max() <= 0.5


@pytest.mark.parametrize("turned", [False, True])
def test_what_vanishes_is_refused(turned):
    line = box(50, 51, 0, 200)
    with pytest.raises(RefusedError, match="too thin"):
        open_window(IMAGE, ~line if turned else line, 0.5, 20)


# -- small objects ---------------------------------------------------------------------------


def draw_discs(*discs):
    mask = np.zeros((100, 200), np.uint8)
    for x, y, radius in discs:
        cv2.circle(mask, (x, y), radius, 1, cv2.FILLED)
    return mask > 0


DROPLETS = [(x, y, 6) for x in range(20, 190, 30) for y in (20, 50, 80)]


def test_many_small_objects_are_refused():
    with pytest.raises(RefusedError, match=r"too small .*: 13 pixels, not 20"):
        check_length(draw_discs(*DROPLETS), 20)


@pytest.mark.parametrize(
    "mask",
    [
        draw_discs(*[(x, y, 12) for x, y, _ in DROPLETS]),  # large enough
        draw_discs((100, 50, 40), *DROPLETS[:3]),  # small ones beside a large one
        box(45, 51, 10, 190),  # a single narrow one
    ],
    ids=["larger", "one large", "one narrow"],
)
def test_other_objects_are_not(mask):
    check_length(mask, 20)


# -- bands -----------------------------------------------------------------------------------


def test_a_band_on_both_sides_of_an_edge():
    mask = np.zeros((3, 12), np.bool_)
    mask[:, :6] = True
    narrow, wide = find_bands(mask, 1, 2.5)
    assert [np.flatnonzero(row).tolist() for row in narrow] == [[5, 6]] * 3
    assert [np.flatnonzero(row).tolist() for row in wide] == [[4, 5, 6, 7]] * 3


def test_a_thin_part_keeps_its_inner_half():
    """A bar of 5 is 3 deep: pixels of depth 1 are uncertain, those of 2 and 3 are not."""
    mask = parse_mask(
        "............ .#####...... .#####...... .#####...... .#####...... .#####......"
    )
    mask = np.pad(mask, ((0, 1), (0, 8)))
    (band,) = find_bands(mask, 9)
    expected = parse_mask("##### #...# #...# #...# #####")
    np.testing.assert_array_equal(band[1:6, 1:6], expected)


def test_each_part_has_a_depth_of_its_own():
    mask = np.zeros((40, 60), np.bool_)
    mask[5:35, 5:35] = True  # 15 deep
    mask[10:13, 45:48] = True  # 2 deep
    (band,) = find_bands(mask, 5)
    assert band[5:10, 5:35].all()
    assert not band[10:30, 10:30].any()
    assert not band[11, 46]
    assert band[10:13, 45:48].sum() == 8


def measure_exact_depth(mask):
    """Measure the distance from each True pixel to the nearest False one: all pairs."""
    false = np.argwhere(~mask)
    depth = np.zeros(mask.shape)
    for y, x in np.argwhere(mask):
        depth[y, x] = np.hypot(*(false - (y, x)).T).min()
    return depth


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.bool_, (7, 9)), st.floats(1, 6))
def test_bands_by_the_definition(mask, width):
    if not mask.any() or mask.all():
        return
    (band,) = find_bands(mask, width)
    _, parts = cv2.connectedComponents(mask.view(np.uint8))
    for part, depth in [
        (parts == n, measure_exact_depth(mask)) for n in range(1, parts.max() + 1)
    ] + [(~mask, measure_exact_depth(~mask))]:
        limit = min(width, depth[part].max() / 2)
        clear = np.abs(depth - limit) > 1e-5  # OpenCV's are float32
        np.testing.assert_array_equal(band[part & clear], (depth <= limit)[part & clear])
    assert not band[mask].all()
    assert not band[~mask].all()
