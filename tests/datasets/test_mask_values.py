"""Masks of all kinds are read by what they are, decided once for a dataset."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bgexp.config.check import check_settings
from bgexp.config.datasets import Pairs
from bgexp.datasets.load import load_item
from bgexp.datasets.mask_rule import USUAL
from bgexp.datasets.read import read_dataset
from bgexp.errors import UserError
from bgexp.images.decode import decode_mask
from tests.datasets.mask_files import GREY, KINDS, VOC, encode, encode_grey, encode_palette

SIZE = (24, 30)


def make_truth(number):
    """Return a mask and a void border around it, in another place for each number."""
    mask, void = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    top, left = 3 + number, 4 + 2 * number
    void[top - 1 : top + 11, left - 1 : left + 13] = True
    mask[top : top + 10, left : left + 12] = True
    return mask, void & ~mask


def write_pairs(root, files, suffix="png"):
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, data in enumerate(files):
        Image.new("RGB", SIZE[::-1]).save(root / "images" / f"{number}.jpg")
        (root / "masks" / f"{number}.{suffix}").write_bytes(data)
    return root


def read_pairs(root, **settings):
    paths = {"images": root / "images", "masks": root / "masks"}
    return read_dataset(Pairs(name="pairs", **paths, **settings), 0)


def load_truths(root, **settings):
    return [load_item(item, 1)[1] for item in read_pairs(root, **settings).items]


def catch_error(root, **settings):
    with pytest.raises(UserError) as caught:
        read_pairs(root, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_truth(tmp_path, kind):
    encode_mask, has_void = KINDS[kind]
    expected = [make_truth(number) for number in range(4)]
    root = write_pairs(tmp_path, [encode_mask(*planes) for planes in expected])
    for truth, (mask, void) in zip(load_truths(root), expected, strict=True):
        assert np.array_equal(truth.foreground, mask)
        if has_void:
            assert np.array_equal(truth.void, void)
        else:
            assert truth.void is None


@pytest.mark.parametrize("kind", ["0/1", "trimap", "VOC", "RGBA", "16 bit 0/1"])
def test_an_empty_and_a_full_mask_are_read_as_the_others(tmp_path, kind):
    encode_mask, _ = KINDS[kind]
    none, planes = np.zeros(SIZE, bool), make_truth(0)
    files = [encode_mask(*planes), encode_mask(none, none), encode_mask(~none, none)]
    first, empty, full = load_truths(write_pairs(tmp_path, files))
    assert np.array_equal(first.foreground, planes[0])
    assert not empty.foreground.any()
    assert full.foreground.all()


@pytest.mark.parametrize("kind", ["0/255", "1 bit", "grey RGB", "matte", "16 bit 0/65535"])
def test_usual_masks_are_read_as_ever(tmp_path, kind):
    data = KINDS[kind][0](*make_truth(1))
    dataset = read_pairs(write_pairs(tmp_path, [data]))
    assert dataset.mask_rule == USUAL
    assert np.array_equal(load_item(dataset.items[0], 1)[1].foreground, decode_mask(data))


def test_jpeg_masks_are_cut_at_the_half(tmp_path):
    mask, _ = make_truth(0)
    data = encode_grey(mask * 255, "JPEG", quality=95)
    [truth] = load_truths(write_pairs(tmp_path, [data], "jpg"))
    assert np.array_equal(truth.foreground, decode_mask(data))


def test_soft_edges_of_few_steps_are_no_labels(tmp_path):
    values = np.zeros(SIZE, np.uint8)
    values[2:20, 2:26] = 255
    values[2, 2:26:3], values[19, 2:26:3], values[5, 2] = 64, 128, 191
    data = encode_grey(values)
    dataset = read_pairs(write_pairs(tmp_path, [data]))
    assert dataset.mask_rule == USUAL


def test_one_decision_for_all_files(tmp_path):
    """A file that holds 0 and 1 alone, and one with 255: void, as in the file that has both."""
    values = [np.zeros(SIZE, np.uint8) for _ in range(3)]
    values[0][:9], values[1][:9], values[1][9], values[2][20] = 1, 1, 255, 255
    root = write_pairs(tmp_path, [encode_grey(plane) for plane in values])
    truths = load_truths(root)
    assert [int(truth.foreground.sum()) for truth in truths] == [270, 270, 0]
    assert [truth.void is None for truth in truths] == [True, False, False]


def test_a_subset_is_read_as_the_whole(tmp_path):
    """Of masks that hold 1 and 2 alone nothing tells which is the object; others hold 3."""
    values = [np.full(SIZE, 2) for _ in range(4)]
    for number, plane in enumerate(values):
        plane[:9] = 1
        plane[9] = 3 if number == 3 else 2
    root = write_pairs(tmp_path, [encode_grey(plane) for plane in values])
    rules = {read_pairs(root, subset=n).mask_rule for n in range(1, 5)}
    assert len(rules) == 1
    assert rules.pop().void == (3,)


# -- what is not clear is refused, with the values and the settings that decide --------------------

HALF = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 2 == 0
THIRDS = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 3
AMBIGUOUS = {
    "1, 2": [encode_grey(HALF + 1)],
    "1, 2, 3, 4": [encode_grey(np.arange(720).reshape(SIZE) % 4 + 1)],
    "0, 1, 255": [encode_grey(HALF), encode_grey(HALF * 255)],
    "0, 100, 255": [encode_grey(np.array([0, 100, 255])[THIRDS])],
    "0, 100, 200": [encode_grey(np.array([0, 100, 200])[THIRDS])],
    "7": [encode_grey(np.full(SIZE, 7))],
    "0 to 99, many values": [encode_grey(np.arange(720).reshape(SIZE) % 100)],
    "0 to 199, many values": [encode_grey(np.arange(720).reshape(SIZE) % 200)],
    "#000000, #e0e0c0, #ffffff": [
        encode(Image.fromarray(np.array([VOC[0], VOC[255], GREY[255]])[THIRDS]))
    ],
    "#800000, #ff0000": [
        encode(Image.fromarray(np.where(HALF[..., None], (128, 0, 0), (255, 0, 0)).astype("u1")))
    ],
}


@pytest.mark.parametrize("found", AMBIGUOUS)
def test_what_is_not_clear_is_refused(tmp_path, found):
    message = catch_error(write_pairs(tmp_path, AMBIGUOUS[found]))
    assert message.startswith("dataset.mask_values: ")
    assert f"they hold {found} ({len(AMBIGUOUS[found])} mask" in message
    assert "threshold" in message
    assert "nonzero" in message
    assert "dataset.ignore_values" in message


def test_a_photograph_is_no_mask(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    assert "photographs" in catch_error(write_pairs(tmp_path, [encode(Image.fromarray(noise))]))


# -- settings decide -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "objects", "void"),
    [
        ({"mask_values": "threshold"}, {200, 255}, set()),
        ({"mask_values": "threshold", "ignore_values": [200]}, {255}, {200}),
        ({"mask_values": "nonzero"}, {1, 2, 200, 255}, set()),
        ({"mask_values": "nonzero", "ignore_values": [255, 2]}, {1, 200}, {2, 255}),
        ({"mask_values": [1, 2]}, {1, 2}, set()),
        ({"mask_values": [2], "ignore_values": [255]}, {2}, {255}),
        ({"mask_values": [0]}, {0}, set()),
    ],
)
def test_settings_decide(tmp_path, settings, objects, void):
    values = np.array([0, 1, 2, 200, 255])[np.arange(720).reshape(SIZE) % 5]
    [truth] = load_truths(write_pairs(tmp_path, [encode_grey(values)]), **settings)
    assert np.array_equal(truth.foreground, np.isin(values, list(objects)))
    if void:
        assert np.array_equal(truth.void, np.isin(values, list(void)))
    else:
        assert truth.void is None


def test_ignored_values_are_left_out_of_the_decision(tmp_path):
    values = np.array([0, 1, 9, 255])[np.arange(720).reshape(SIZE) % 4]
    [truth] = load_truths(write_pairs(tmp_path, [encode_grey(values)]), ignore_values=[1, 9])
    assert np.array_equal(truth.foreground, values == 255)
    assert np.array_equal(truth.void, np.isin(values, [1, 9]))


def test_no_void_when_none_is_asked_for(tmp_path):
    values = np.array([0, 128, 255])[THIRDS]
    [truth] = load_truths(write_pairs(tmp_path, [encode_grey(values)]), ignore_values=[])
    assert np.array_equal(truth.foreground, values > 127)
    assert truth.void is None


def test_colours_as_values(tmp_path):
    mask, void = make_truth(0)
    root = write_pairs(tmp_path, [KINDS["VOC colours"][0](mask, void)])
    name = "#" + bytes(VOC[15]).hex()
    [truth] = load_truths(root, mask_values=[name], ignore_values=["#e0e0c0"])
    assert np.array_equal(truth.foreground, mask)
    assert np.array_equal(truth.void, void)


def test_a_value_that_no_mask_holds(tmp_path):
    root = write_pairs(tmp_path, [encode_palette(np.where(HALF, 3, 0))])
    expected = "dataset.mask_values: no mask holds 5 (the 1 masks hold 0, 3)"
    assert catch_error(root, mask_values=[5]) == expected


@pytest.mark.parametrize("value", [7, "all", [], [1.5], ["red"], [-1], [True], None, {"a": 1}])
def test_wrong_settings(tmp_path, value):
    config = {"name": "pairs", "images": tmp_path, "masks": tmp_path, "mask_values": value}
    with pytest.raises(UserError) as caught:
        check_settings(Pairs, config)
    assert str(caught.value) == (
        "mask_values: allowed: auto, threshold, nonzero, alpha, or a list of values such as "
        f'[1,2] or ["#800000"] (got {value!r})'
    )


def test_as_alpha_the_levels_are_kept(tmp_path):
    levels = np.linspace(0, 255, HALF.size).round().astype(np.uint8).reshape(HALF.shape)
    root = write_pairs(tmp_path, [encode_grey(levels)])
    [truth] = load_truths(root, mask_values="alpha")
    np.testing.assert_array_equal(truth.alpha, levels)
    np.testing.assert_array_equal(truth.foreground, levels > 127)
    assert truth.void is None
    [hard] = load_truths(root, mask_values="threshold")
    assert hard.alpha is None
    np.testing.assert_array_equal(hard.foreground, truth.foreground)


def test_the_meaning_is_part_of_the_digest(tmp_path):
    root = write_pairs(tmp_path, [encode_grey(np.where(HALF, 255, 0))])
    usual = read_pairs(root)
    assert usual.digest == read_pairs(root, mask_values="threshold").digest
    assert usual.digest != read_pairs(root, mask_values=[0]).digest


def test_broken_masks_decide_nothing(tmp_path):
    mask, _ = make_truth(0)
    root = write_pairs(tmp_path, [encode_grey(mask), b"no image", b""])
    rule = read_pairs(root).mask_rule
    assert (rule.meaning, rule.n_masks) == ("nonzero", 1)


# -- properties ------------------------------------------------------------------------------------

places = st.lists(st.tuples(st.integers(0, 23), st.integers(0, 29)), max_size=20)


@given(
    kind=st.sampled_from([kind for kind, (_, has_void) in KINDS.items() if has_void]),
    inside=places,
    between=places,
    order=st.permutations(range(3)),
)
def test_any_shape_and_order(tmp_path_factory, kind, inside, between, order):
    """Two files leave no doubt; a third of any shape is read as they are, wherever it stands."""
    mask, void = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    for plane, points in ((mask, inside), (void, between)):
        for row, column in points:
            plane[row, column] = True
    mask &= ~void
    planes = [make_truth(0), make_truth(1), (mask, void)]
    files = [KINDS[kind][0](*planes[number]) for number in order]
    truths = load_truths(write_pairs(tmp_path_factory.mktemp("pairs"), files))
    for truth, number in zip(truths, order, strict=True):
        assert np.array_equal(truth.foreground, planes[number][0])
        found = np.zeros(SIZE, bool) if truth.void is None else truth.void
        assert np.array_equal(found, planes[number][1])
