"""Masks of any tool in place of a network: found, read, and judged as a network's are."""

import shutil
import zipfile
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bgexp.config.detectors import Masks
from bgexp.datasets.read import Item
from bgexp.detect.masks import MaskReader, find_masks
from bgexp.errors import UserError
from bgexp.images.decode import ImageError, decode_soft_mask, load_image
from bgexp.tracking.mask_archive import MaskArchive
from bgexp.tracking.run_folder import RunFolder
from tests.conftest import SAMPLE
from tests.detect.test_rembg import network, reference

IMAGE = np.zeros((20, 30, 3), np.uint8)
SOFT = np.linspace(0, 255, 600).reshape(20, 30).astype(np.uint8)
HARD = np.where(SOFT > 127, 255, 0).astype(np.uint8)


def encode(pixels, mode=None):
    file = BytesIO()
    Image.fromarray(pixels, mode).save(file, "PNG")
    return file.getvalue()


def cut_out(alpha):
    """Return an image as background removers give it: the alpha is the mask."""
    photo = np.random.default_rng(0).integers(0, 256, (*alpha.shape, 3), np.uint8)
    return encode(np.dstack([photo, alpha]))


def make_items(*paths):
    return [Item(path, ".", SAMPLE / path, None, "", None) for path in paths]


def write_folder(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def write_zip(file, files):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file


def find(place, *paths, **settings):
    return find_masks(Masks(name="masks", path=place, **settings), make_items(*paths))


def load(masks, path, image=IMAGE):
    return MaskReader(masks).for_file("", path).detect(image).mask


@pytest.mark.parametrize("kind", ["folder", "zip", "zip with a folder"])
def test_names_are_matched_as_pairs(tmp_path, kind):
    files = {"cat/a.png": encode(SOFT), "cat/b.jpg.png": encode(HARD), "x.webp": encode(HARD)}
    if kind == "folder":
        place = write_folder(tmp_path / "masks", files)
    else:
        top = "masks/" if kind == "zip with a folder" else ""
        beside = {f"__MACOSX/{top}cat/._a.png": b"", f"{top}.DS_Store": b"", f"{top}a.txt": b""}
        named = {f"{top}{name}": data for name, data in files.items()} | beside
        place = write_zip(tmp_path / "m.zip", named)
    masks = find(place, "cat/a.jpg", "cat/b.jpg", "c.jpg")
    assert (masks.n_images, masks.n_others) == (3, 1)
    np.testing.assert_array_equal(load(masks, "cat/a.jpg"), SOFT)
    np.testing.assert_array_equal(load(masks, "cat/b.jpg"), HARD)
    with pytest.raises(ImageError, match="no mask of it is in"):
        load(masks, "c.jpg")
    assert masks.describe().startswith("2 for 3 images, 1 of other images; values over 127")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.png": cut_out(SOFT), "b.png": cut_out(HARD)}, SOFT),
        ({"a.png": encode(SOFT // 255 + HARD // 255)}, HARD),
        ({"a.png": encode(HARD > 0)}, HARD),
        ({"a.png": encode(HARD // 255 * 128)}, HARD),
        ({"a.png": encode(HARD), "b.png": encode(np.zeros_like(HARD))}, HARD),
        ({"a.png": encode(SOFT.astype(np.uint16) * 257)}, SOFT),
        # 128 is half covered, and no void: a tool gives no truth.
        ({"a.png": encode(np.where(SOFT > 200, 128, HARD).astype(np.uint8))}, None),
    ],
)
def test_values_are_read_as_those_of_a_dataset(tmp_path, files, expected):
    masks = find(write_folder(tmp_path / "m", files), "a.jpg", "b.jpg")
    mask = load(masks, "a.jpg")
    assert mask.dtype == np.uint8
    if expected is None:
        assert set(np.unique(mask)) == {0, 128, 255}
    else:
        np.testing.assert_array_equal(mask, expected)


def test_the_values_can_be_given(tmp_path):
    labels = np.where(SOFT > 200, 2, HARD // 255).astype(np.uint8)
    place = write_folder(tmp_path / "m", {"a.png": encode(labels)})
    assert (load(find(place, "a.jpg"), "a.jpg") == 255).sum() == (labels > 0).sum()
    only = load(find(place, "a.jpg", mask_values=(2,)), "a.jpg")
    np.testing.assert_array_equal(only == 255, labels == 2)
    with pytest.raises(UserError, match=r"^detector.mask_values: no mask holds 7"):
        find(place, "a.jpg", mask_values=(7,))
    photo = np.random.default_rng(0).integers(1, 256, (20, 30, 3), np.uint8)
    write_folder(place, {"a.png": encode(photo)})
    with pytest.raises(UserError, match=r"^detector.mask_values: .* not clear: many colours") as e:
        find(place, "a.jpg")
    assert "ignore_values" not in str(e.value)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (encode(HARD[:10]), "its mask has 30x10 pixels, the upright image 30x20"),
        (encode(HARD)[:60], "its mask: "),
        (b"", "its mask: "),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_mask_that_does_not_fit_costs_its_image(tmp_path, data, problem, kind):
    files = {"a.png": data, "b.png": encode(HARD)}
    write = write_folder if kind == "folder" else write_zip
    masks = find(write(tmp_path / "m.zip", files), "a.jpg", "b.jpg")
    with pytest.raises(ImageError, match=problem):
        load(masks, "a.jpg")
    np.testing.assert_array_equal(load(masks, "b.jpg"), HARD)


def test_a_damaged_file_in_a_zip_costs_its_image(tmp_path):
    place = write_zip(tmp_path / "m.zip", {"a.png": encode(HARD), "b.png": encode(SOFT)})
    data = bytearray(place.read_bytes())
    data[60] ^= 255
    place.write_bytes(data)
    masks = find(place, "a.jpg", "b.jpg")
    with pytest.raises(ImageError, match=r"its mask: cannot be read from m.zip: "):
        load(masks, "a.jpg")
    np.testing.assert_array_equal(load(masks, "b.jpg"), SOFT)


def test_names_in_a_zip_that_lead_out_are_no_masks_and_nothing_is_unpacked(tmp_path):
    files = {"../a.png": encode(HARD), "/a.png": encode(HARD), "b.png": encode(HARD)}
    (tmp_path / "in").mkdir()
    masks = find(write_zip(tmp_path / "in/m.zip", files), "a.jpg", "b.jpg")
    assert list(masks.files) == ["b.jpg"]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["in", "m.zip"]


@pytest.mark.parametrize(
    ("files", "paths", "message"),
    [
        (
            {"x.png": encode(HARD)},
            ["a.jpg"],
            "no image of the dataset has a mask in .* .that of a.jpg is",
        ),
        ({"a.png": b"", "a.webp": b"", "a.tif": b""}, ["a.png", "a.jpg"], "ambiguous: a.png for"),
        ({"a.txt": b""}, ["a.jpg"], "no images in"),
    ],
)
def test_places_without_masks(tmp_path, files, paths, message):
    with pytest.raises(UserError, match=rf"^detector.path: {message}"):
        find(write_folder(tmp_path / "m", files), *paths)


def test_no_place(tmp_path):
    with pytest.raises(UserError, match=r"^detector.path: no such folder or file"):
        find(tmp_path / "none", "a.jpg")
    (tmp_path / "a.png").write_bytes(encode(HARD))
    with pytest.raises(UserError, match=r"^detector.path: neither a folder nor a whole zip file"):
        find(tmp_path / "a.png", "a.jpg")


def test_the_digest_is_of_the_contents(tmp_path):
    first = find(write_folder(tmp_path / "m", {"a.png": encode(HARD)}), "a.jpg")
    same = find(write_zip(tmp_path / "m.zip", {"a.png": encode(HARD)}), "a.jpg")
    other = find(write_folder(tmp_path / "n", {"a.png": encode(SOFT)}), "a.jpg")
    assert first.digest == same.digest != other.digest


# -- runs ------------------------------------------------------------------------------------


def run(run_cli, runs, *words):
    """Run one experiment on two sample images; return its folder."""
    places = [f"runs_dir={runs}", "dataset.subset=2", "device=cpu", "workers=1"]
    assert run_cli("run", *places, *words) == 0
    return RunFolder(max((runs / "run").iterdir()))


def test_it_scores_what_the_network_scores(run_cli, bgexp_cli, tmp_path):
    """The soft masks are rembg's own, by its own code, as PNG files."""
    model, kernel = network()
    (tmp_path / "tiny.onnx").write_bytes(model)
    for file in (SAMPLE / "images").glob("*/*"):
        soft = reference(load_image(file), kernel)
        write_folder(tmp_path / "masks", {f"{file.parent.name}/{file.name}.png": encode(soft)})
    runs = tmp_path / "runs"
    rembg = ["detector=rembg", f"detector.model={tmp_path / 'tiny.onnx'}", "refine=none"]
    masks = ["detector=masks", f"detector.path={tmp_path / 'masks'}"]
    tables = [run(run_cli, runs, *words).read_rows() for words in (rembg, masks)]
    scores = [t.drop(columns=[c for c in t if c.startswith("ms.")]) for t in tables]
    assert scores[0]["iou"].notna().all()
    pd.testing.assert_frame_equal(*scores, rtol=0, atol=1e-6)
    code, _, err = bgexp_cli("promote", "last", f"runs_dir={runs}")
    assert code == 1
    assert "detector=masks judges masks that are there: there is no network to promote" in err


def test_a_run_judged_again_against_a_corrected_truth(run_cli, fast, tmp_path):
    runs = tmp_path / "runs"
    first = run(run_cli, runs, *fast)
    again = run(run_cli, runs, "detector=masks", f"detector.path={first.path}")
    rows, same = first.read_rows(), again.read_rows()
    pd.testing.assert_series_equal(rows["iou"], same["iou"])
    # People say that all that was found is right.
    with MaskArchive.open(first.path / "masks.zip") as archive:
        for path in rows["path"]:
            mask = archive.read(path)
            write_folder(tmp_path / "truth", {f"{path}.png": encode(mask)})
    images = SAMPLE / "images"
    for path in rows["path"]:
        write_folder(tmp_path / "images", {path: (images / path).read_bytes()})
    truth = [f"dataset.images={tmp_path / 'images'}", f"dataset.masks={tmp_path / 'truth'}"]
    place = f"detector.path={first.path / 'masks.zip'}"
    judged = run(run_cli, runs, "detector=masks", place, "dataset=pairs", *truth)
    assert (judged.read_rows()["iou"] == 1).all()
    assert judged.read_summary()["weights"]["name"] == "masks.zip"


def test_an_image_without_a_mask_is_a_failed_row(bgexp_cli, tmp_path):
    place = shutil.copytree(SAMPLE / "masks", tmp_path / "masks")
    (place / "birds/owl.png").unlink()
    words = ["detector=masks", f"detector.path={place}", f"runs_dir={tmp_path / 'runs'}"]
    code, out, _ = bgexp_cli("run", *words, "workers=1", "samples=0")
    assert code == 1
    folder = RunFolder(next((tmp_path / "runs/run").iterdir()))
    rows = folder.read_rows().set_index("path")
    assert rows.loc["birds/owl.jpg", "reason"] == f"no mask of it is in {place}"
    others = rows.drop("birds/owl.jpg")
    assert (others["iou"] == 1).all()
    assert (others["refined"] == "off").all()
    assert "masks: 23 for 24 images; values over 127 of 255 are the object" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "detector=masks"], "detector.path: a value is needed"),
        (
            ["run", "detector=masks", "detector.path=no"],
            "detector.path: no such folder or file: no",
        ),
        (
            ["run", "detector=masks", "detector.path=.", "combine.instances=largest"],
            "combine.instances: largest needs single objects, and detector=masks finds none",
        ),
        (
            ["batch", "detector=masks", "detector.path=.", "input=.", "output=out"],
            "detector: no such choice here (got masks; allowed: demo,",
        ),
    ],
)
def test_wrong_use(bgexp_cli, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = bgexp_cli(*words)
    assert code == 2
    assert err.startswith(f"bgexp: {message}")
    assert err.count("\n") == 1


def test_a_soft_mask_stays_soft():
    assert decode_soft_mask(encode(SOFT)).tolist() == SOFT.tolist()
    assert decode_soft_mask(cut_out(SOFT)).tolist() == SOFT.tolist()
