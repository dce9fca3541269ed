import io

import pytest
from PIL import Image

from bgexp.batch.stream import process_stream
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.errors import HaltedError
from tests.conftest import SAMPLE


@pytest.fixture
def settings(weights):
    overrides = ["input='-'", "output='-'", f"detector.weights={weights}", "refine=none"]
    overrides += ["detector.image_size=64", "device=cpu", "cutout.background=transparent"]
    return check_settings(BatchSettings, resolve_config(compose_config("batch", overrides, None)))


def test_an_image_goes_in_and_its_result_comes_out(settings):
    file, target = SAMPLE / "images/animals/cat.jpg", io.BytesIO()
    process_stream(settings, io.BytesIO(file.read_bytes()), target)
    with Image.open(target) as result, Image.open(file) as image:
        assert (result.format, result.mode, result.size) == ("PNG", "RGBA", image.size)


@pytest.mark.parametrize("data", [b"", b"no image"])
def test_what_is_no_image_has_no_result(settings, data):
    target = io.BytesIO()
    with pytest.raises(HaltedError, match=r"^input: "):
        process_stream(settings, io.BytesIO(data), target)
    assert target.getvalue() == b""


@pytest.mark.parametrize("places", [("input=-", "output=x"), ("input=x.jpg", "output=-")])
def test_one_goes_with_the_other(bgexp_cli, places):
    code, _, err = bgexp_cli("batch", *places)
    assert (code, err) == (2, "bgexp: input=-: output=- belongs to it, and it to that\n")
