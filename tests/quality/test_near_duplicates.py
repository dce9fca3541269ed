import io

import numpy as np
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from PIL import Image

from bgexp.images.decode import decode_image
from bgexp.quality.near_duplicates import (
    COLOUR,
    PictureFeatures,
    compute_likeness,
    find_near_duplicates,
)

BITS = 4


def draw_picture(seed=5, size=(240, 180)):
    """Draw large soft shapes in many colours."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def measure(image):
    return compute_likeness(np.array(image))


def recompress(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return decode_image(file.getvalue())


def test_copies_are_found():
    original = draw_picture()
    copies = [
        recompress(original, 50),
        original.resize((120, 90)),
        original.resize((480, 360)),
        Image.eval(original, lambda level: min(255, level + 5)),
        original.crop((1, 1, 239, 179)),
    ]
    assert find_near_duplicates([measure(original), *map(measure, copies)], BITS) == [
        None,
        0,
        0,
        0,
        0,
        0,
    ]


def test_other_pictures_are_not():
    others = [measure(draw_picture(seed)) for seed in range(40)]
    assert find_near_duplicates(others, BITS) == [None] * 40
    original = draw_picture()
    red, green, blue = original.split()
    changed = [
        original.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        original.rotate(90),
        Image.merge("RGB", (red, green, blue.point(lambda level: level // 2))),
    ]
    assert find_near_duplicates([measure(original), *map(measure, changed)], BITS) == [None] * 4


def test_plain_pictures_look_like_none():
    plain = [Image.new("RGB", (50, 40), (level, 255, 255)) for level in (254, 255, 255)]
    assert all(measure(image).plain for image in plain)
    assert find_near_duplicates([*map(measure, plain)], BITS) == [None] * 3
    assert not measure(draw_picture()).plain


def test_a_picture_of_one_pixel():
    pixel = compute_likeness(np.full((1, 1, 3), 9, np.uint8))
    assert (pixel.colour, pixel.plain) == ((9, 9, 9), True)


def test_colours():
    mixed = compute_likeness(np.array([[[10, 0, 255], [20, 0, 255]]], np.uint8))
    assert mixed.colour == (15, 0, 255)
    base = measure(draw_picture())
    shifted = [
        PictureFeatures(base.structure, base.gradient, (red, *base.colour[1:]), plain=False)
        for red in (base.colour[0] + COLOUR, base.colour[0] + COLOUR + 0.1)
    ]
    assert find_near_duplicates([base, shifted[0]], BITS) == [None, 0]
    assert find_near_duplicates([base, shifted[1]], BITS) == [None, None]


def test_a_group_is_named_by_its_first():
    """Group b with a and c with b; leave out pictures without features."""
    a, b, c = (PictureFeatures(bits, 0, (0, 0, 0), plain=False) for bits in (0, 0b1111, 0b11111111))
    assert find_near_duplicates([None, a, b, c, None], BITS) == [None, None, 1, 1, None]
    assert find_near_duplicates([a, c], BITS) == [None, None]
    assert find_near_duplicates([c, a, b], BITS) == [None, None, 0]
    assert find_near_duplicates([], BITS) == []


def test_no_bits_are_equal_hashes():
    a, b = (PictureFeatures(bits, 0, (0, 0, 0), plain=False) for bits in (1, 3))
    assert find_near_duplicates([a, a, b], 0) == [None, 0, None]


def compare_all_pairs(likenesses, bits):
    """Compare all pairs, one by one."""
    first = [None] * len(likenesses)
    for later, a in enumerate(likenesses):
        for earlier, b in enumerate(likenesses[:later]):
            if a is None or b is None or a.plain or b.plain:
                continue
            hashes = ((a.structure, b.structure), (a.gradient, b.gradient))
            near_hashes = all(bin(x ^ y).count("1") <= bits for x, y in hashes)
            if near_hashes and np.abs(np.subtract(a.colour, b.colour)).max() <= COLOUR:
                first[later] = earlier if first[earlier] is None else first[earlier]
                break
    return first


@profile(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 16))
def test_against_all_pairs(seed, bits):
    random = np.random.default_rng(seed)
    centres = [int(random.integers(2**63)) for _ in range(4)]

    def near(flips):
        mask = sum(1 << int(bit) for bit in random.choice(64, flips, replace=False))
        return centres[random.integers(4)] ^ mask

    likenesses = [
        None
        if random.random() < 0.1
        else PictureFeatures(
            near(random.integers(0, 12)),
            near(0) if random.random() < 0.5 else centres[0],
            tuple(random.integers(0, 16, 3).tolist()),
            bool(random.random() < 0.1),
        )
        for _ in range(30)
    ]
    assert find_near_duplicates(likenesses, bits) == compare_all_pairs(likenesses, bits)
