import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from bgexp.config.color import parse_color
from bgexp.errors import UserError
from bgexp.pipeline.cutout import cut_out, find_crop


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("black", (0, 0, 0)),
        ("white", (255, 255, 255)),
        ("transparent", "transparent"),
        ("#ff8000", (255, 128, 0)),
        ("#0A0b0C", (10, 11, 12)),
    ],
)
def test_colors(text, color):
    assert parse_color(text) == color


@pytest.mark.parametrize("text", ["", "red", "#fff", "#ff80000", "#gg0000", "ff8000", "Black "])
def test_other_colors_are_refused(text):
    with pytest.raises(
        ValueError, match="background: expected black, white, transparent, blur, #rr"
    ):
        parse_color(text)


def test_a_case_worked_by_hand():
    image = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    mask = np.array([[True, False]])
    assert cut_out(image, mask).tolist() == [[[1, 2, 3], [0, 0, 0]]]
    assert cut_out(image, mask, (7, 8, 9)).tolist() == [[[1, 2, 3], [7, 8, 9]]]
    assert cut_out(image, mask, "#ff8000").tolist() == [[[1, 2, 3], [255, 128, 0]]]
    assert cut_out(image, mask, "transparent").tolist() == [[[1, 2, 3, 255], [0, 0, 0, 0]]]


@st.composite
def pictures(draw):
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    image = draw(arrays.arrays(np.uint8, (height, width, 3)))
    return image, draw(arrays.arrays(np.bool_, (height, width)))


levels = st.integers(0, 255)


@given(pictures(), st.tuples(levels, levels, levels))
def test_kept_pixels_are_bit_equal_and_the_rest_is_the_color(picture, color):
    image, mask = picture
    copy = image.copy()
    result = cut_out(image, mask, color)
    assert (result[mask] == image[mask]).all()
    assert (result[~mask] == color).all()
    assert (cut_out(image, mask)[~mask] == 0).all()
    np.testing.assert_array_equal(image, copy)


@given(pictures())
def test_transparent_is_the_black_one_with_the_mask_as_alpha(picture):
    image, mask = picture
    result = cut_out(image, mask, "transparent")
    np.testing.assert_array_equal(result[..., :3], cut_out(image, mask, "black"))
    np.testing.assert_array_equal(result[..., 3], mask * np.uint8(255))


def test_any_memory_layout():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, 20, 30), np.uint8).transpose(2, 1, 0)[::-1, ::2]
    mask = (rng.random((10, 30)) > 0.5).T
    np.testing.assert_array_equal(cut_out(image, mask), image * mask[..., None])


@pytest.mark.parametrize(
    ("image", "mask", "background", "message"),
    [
        (np.zeros((2, 2), np.uint8), np.ones((2, 2), bool), "black", r"image: .*\(2, 2\) uint8"),
        (np.zeros((2, 2, 3)), np.ones((2, 2), bool), "black", "float64"),
        (np.zeros((2, 2, 3), np.uint8), np.ones((2, 3), bool), "black", r"mask: expected \(2, 2\)"),
        (np.zeros((2, 2, 3), np.uint8), np.ones((2, 2)), "black", "mask: .* float64"),
        (np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), bool), (0, 256, 0), "three levels"),
    ],
)
def test_wrong_input_is_refused(image, mask, background, message):
    with pytest.raises(ValueError, match=message):
        cut_out(image, mask, background)


# -- another background, and a crop --------------------------------------------------------------


def make_square(height=60, width=90):
    """A red square on a grey ground that becomes lighter to the right."""
    image = np.repeat(np.linspace(40, 160, width, dtype=np.uint8)[None, :, None], height, 0)
    image, mask = np.repeat(image, 3, 2), np.zeros((height, width), np.bool_)
    mask[20:40, 30:50] = True
    image[mask] = 255, 0, 0
    return image, mask


def test_a_blurred_background_has_nothing_of_the_foreground():
    image, mask = make_square()
    result = cut_out(image, mask, "blur")
    np.testing.assert_array_equal(result[mask], image[mask])
    around, before = result[~mask].astype(int), image[~mask].astype(int)
    assert np.ptp(around, axis=1).max() <= 1  # it stays grey, up to the red square
    assert np.abs(around - before).max() <= 6


@pytest.mark.parametrize("size", [(30, 20), (400, 100), (90, 60)])
def test_a_picture_fills_the_background_without_being_distorted(tmp_path, size):
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[:, : size[0] // 2] = 0, 0, 255
    picture[:, size[0] // 2 :] = 0, 255, 0
    Image.fromarray(picture).save(tmp_path / "behind.png")
    image, mask = make_square()
    result = cut_out(image, mask, str(tmp_path / "behind.png"))
    np.testing.assert_array_equal(result[mask], image[mask])
    np.testing.assert_array_equal(result[0, 40], (0, 0, 255))
    np.testing.assert_array_equal(result[0, 50], (0, 255, 0))


def test_a_picture_that_is_not_there(tmp_path):
    image, mask = make_square()
    for name in ("nowhere.png", "text.png"):
        (tmp_path / "text.png").write_text("no image")
        with pytest.raises(UserError, match=rf"^cutout\.background: .*{name}"):
            cut_out(image, mask, str(tmp_path / name))


@pytest.mark.parametrize(
    ("margin", "expected"), [(0, (20, 40, 30, 50)), (0.5, (10, 50, 20, 60)), (1, (0, 60, 10, 70))]
)
def test_a_crop_has_a_margin_and_ends_at_the_image(margin, expected):
    image, mask = make_square()
    top, bottom, left, right = expected
    np.testing.assert_array_equal(image[find_crop(mask, margin)], image[top:bottom, left:right])


def test_without_a_foreground_nothing_is_cropped():
    image, mask = make_square()
    assert image[find_crop(np.zeros_like(mask), 0.1)].shape == image.shape
