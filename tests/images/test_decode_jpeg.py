import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import JpegImagePlugin

from bgexp.images.decode import decode_image
from tests.images.pictures import NOISE, SMOOTH, WHOLE, decode_or_reason, encode, encode_turned
from tests.images.profiles import (
    SRGB,
    adobe_rgb,
    make_curve,
    make_icc,
    make_xyz,
    matrix_profile,
    sampled_srgb_curve,
)

JPEGS = {
    "plain": WHOLE["jpeg"],
    "progressive": WHOLE["progressive"],
    "MPO": WHOLE["mpo"],
    "grey": encode(SMOOTH[..., 0], "JPEG"),
    "odd sides": encode(NOISE, "JPEG", subsampling="4:2:0"),
    "4:1:1": encode(NOISE, "JPEG", subsampling="4:1:1"),
    "4:2:2": encode(NOISE, "JPEG", subsampling="4:2:2", quality=30),
    "restarts": encode(SMOOTH, "JPEG", restart_marker_blocks=1),
    "stored as RGB": encode(SMOOTH, "JPEG", keep_rgb=True),
    "more behind it": WHOLE["jpeg"] + WHOLE["png"],
    "sRGB": encode(SMOOTH, "JPEG", icc_profile=matrix_profile(SRGB, sampled_srgb_curve())),
    "wide": encode(SMOOTH, "JPEG", icc_profile=adobe_rgb()),
    "turned": encode_turned("JPEG", 7),
}
BY_PILLOW = {
    "CMYK": encode(SMOOTH, "JPEG", mode="CMYK"),
    "grey with a profile": encode(
        SMOOTH[..., 0],
        "JPEG",
        icc_profile=make_icc(
            b"GRAY", {b"wtpt": make_xyz(0.9642, 1, 0.8249), b"kTRC": make_curve(1)}
        ),
    ),
}


def decode_by_pillow(data):
    def fail(*_, **__):
        raise ValueError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bgexp.images.decode.decode_jpeg", fail)
        return decode_or_reason(decode_image, data, max_megapixels=1)


@pytest.mark.parametrize("name", JPEGS)
def test_a_whole_jpeg_needs_no_load_by_pillow(monkeypatch, name):
    expected = decode_by_pillow(JPEGS[name])
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", lambda _: pytest.fail("loaded"))
    image = decode_image(JPEGS[name])
    assert image.flags.writeable
    assert np.array_equal(image, expected)


@pytest.mark.parametrize("name", BY_PILLOW)
def test_of_other_jpegs_pillow_has_the_last_word(monkeypatch, name):
    expected, loads = decode_by_pillow(BY_PILLOW[name]), []
    load = JpegImagePlugin.JpegImageFile.load
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile, "load", lambda image: loads.append(1) or load(image)
    )
    assert np.array_equal(decode_or_reason(decode_image, BY_PILLOW[name]), expected)
    assert loads


@given(
    st.sampled_from(sorted(JPEGS | BY_PILLOW)),
    st.floats(0, 2),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
)
@settings(max_examples=300, deadline=None)
def test_damaged_jpegs_fare_alike_in_both_decoders(name, end, changes):
    data = bytearray((JPEGS | BY_PILLOW)[name])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    data = bytes(data[: int(end * len(data))])
    assert np.array_equal(
        decode_or_reason(decode_image, data, max_megapixels=1), decode_by_pillow(data)
    )
