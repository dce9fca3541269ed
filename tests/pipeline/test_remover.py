import numpy as np
import pytest
from PIL import Image

import bgexp
from bgexp.config.load import load_settings
from bgexp.errors import UserError
from bgexp.images.decode import ImageError, load_image
from bgexp.pipeline.remover import Remover, remove_background

pytestmark = pytest.mark.slow
SETTINGS = {"refine": "none", "device": "cpu", "detector": {"image_size": 128}}


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    """A small picture, turned by its EXIF."""
    path = tmp_path_factory.mktemp("photograph") / "cat.jpg"
    pixels = load_image(f"{bgexp.__path__[0]}/sample/images/animals/cat.jpg")[::2, ::2]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(pixels).copy()).save(path, exif=exif)
    return path


@pytest.fixture(scope="module")
def result(photograph):
    return remove_background(photograph, **SETTINGS)


def test_a_path_an_array_and_a_pillow_image_give_the_same(photograph, result):
    remover = Remover(load_settings("run", ["refine=none", "detector.image_size=128"]))
    with Image.open(photograph) as image:
        for source in (str(photograph), load_image(photograph), image):
            assert np.array_equal(remover(source).cutout, result.cutout)
    assert result.mask.any()
    assert result.mask.shape == load_image(photograph).shape[:2]
    assert not result.cutout[~result.mask].any()


def test_it_is_what_the_command_line_does(photograph, result, run_cli, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(photograph.read_bytes())
    overrides = [f"input={folder}", f"output={tmp_path / 'out'}", f"runs_dir={tmp_path / 'runs'}"]
    overrides += ["refine=none", "detector.image_size=128", "device=cpu", "workers=1"]
    assert run_cli("batch", *overrides) == 0
    [written] = (tmp_path / "out").rglob("regular/*.png")
    assert np.array_equal(load_image(written), result.cutout)


@pytest.mark.parametrize("name", ["a.png", "a.WEBP", "a.jpg", "a.jpeg"])
def test_save(result, tmp_path, name):
    result.save(tmp_path / name)
    saved = load_image(tmp_path / name).astype(int)
    assert np.abs(saved - result.cutout).mean() < (3 if "jp" in name else 1e-9)


def test_save_refuses_what_it_cannot_write(photograph, result, tmp_path):
    with pytest.raises(UserError, match=r"a\.gif: no format by this suffix .allowed: \.png, "):
        result.save(tmp_path / "a.gif")
    clear = remove_background(photograph, cutout={"background": "transparent"}, **SETTINGS)
    with pytest.raises(UserError, match=r"a\.jpg: JPEG knows no transparency"):
        clear.save(tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())
    clear.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image)[..., 3], clear.alpha)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"refine": "nosuch"}, "refine: no such choice: 'nosuch'"),
        ({"detector": {"score_threshold": 2}}, "detector.score_threshold: .*less than or equal"),
        ({"nosuch": 1}, "nosuch: no such setting"),
    ],
)
def test_a_wrong_setting_is_one_line(settings, words):
    with pytest.raises(UserError, match=words):
        remove_background("cat.jpg", **settings)


def test_what_is_no_image():
    remover = Remover(load_settings("run", ["refine=none"]))
    with pytest.raises(ImageError, match="unreadable"):
        remover("nosuch.jpg")
    with pytest.raises(ValueError, match=r"expected HxWx3 uint8 RGB, got \(4, 4\) float64"):
        remover(np.zeros((4, 4)))
