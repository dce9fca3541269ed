"""`bgexp export`: a run's masks, written and read back by bgexp itself."""

import json

import numpy as np
import pytest

from bgexp.config.datasets import Coco, Pairs
from bgexp.datasets.load import load_item
from bgexp.datasets.read import read_dataset
from bgexp.images.decode import decode_mask
from bgexp.tracking.run_folder import RunFolder
from tests.conftest import SAMPLE


@pytest.fixture(scope="module")
def job(two_runs):
    folder = RunFolder(next(two_runs.glob("sweep/*/0")))
    return two_runs, folder.read_summary()["run_id"], folder


def read_masks(folder):
    with folder.open_masks() as archive:
        return {path: archive.read(path) for path in folder.read_rows()["path"]}


@pytest.mark.parametrize("kind", ["coco", "png"])
def test_what_is_exported_is_read_back(bgexp_cli, job, tmp_path, kind):
    runs, run_id, folder = job
    out = tmp_path / "out"
    code, text, err = bgexp_cli(
        "export", run_id[:8], f"format={kind}", f"output={out}", f"runs_dir={runs}"
    )
    assert code == 0, err
    assert text.startswith("4 images of ")
    assert f"Images:  {SAMPLE / 'images'}" in text
    images = SAMPLE / "images"
    if kind == "coco":
        settings = Coco(name="coco", images=images, annotations=out / "annotations.json")
    else:
        settings = Pairs(name="pairs", images=images, masks=out / "masks")
    truths = {
        item.path: load_item(item, 100)[1]
        for item in read_dataset(settings, 0).items
        if item.mask_sha256
    }
    masks = read_masks(folder)
    assert masks.keys() == truths.keys()
    for path, mask in masks.items():
        np.testing.assert_array_equal(truths[path].foreground, mask)


@pytest.mark.parametrize(
    ("kind", "files"),
    [("cvat", ["annotations.xml"]), ("labelstudio", ["interface.xml", "tasks.json"])],
)
def test_other_tools(bgexp_cli, job, tmp_path, kind, files):
    runs, run_id, _ = job
    out = tmp_path / "out"
    words = [f"format={kind}", f"output={out}", f"runs_dir={runs}", "polygons=true"]
    code, text, err = bgexp_cli("export", run_id, *words)
    assert code == 0, err
    assert sorted(path.name for path in out.iterdir()) == files
    assert "Needs:" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{id}"], "format: a value is needed"),
        (["{id}", "format=yolo"], "format: Input should be 'coco', 'png', 'labelstudio' or 'cvat'"),
        (["{id}", "format=png", "polygons=true"], "polygons: PNG masks have none"),
        (["sweep", "format=coco"], "runs: 2 runs are meant; give the id of one"),
        (["{id}", "format=coco", "output=used"], "is not empty, and masks that were edited"),
        (["none", "format=coco"], "none: no such run"),
    ],
)
def test_wrong_use(bgexp_cli, job, tmp_path, monkeypatch, words, message):
    runs, run_id, _ = job
    (tmp_path / "used").mkdir()
    (tmp_path / "used/a").touch()
    monkeypatch.chdir(tmp_path)
    words = [word.format(id=run_id) for word in words]
    code, _, err = bgexp_cli("export", *words, f"runs_dir={runs}")
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_select_offers_the_same(bgexp_cli, job, tmp_path):
    runs, _, _ = job
    out = tmp_path / "out"
    words = [f"output={out}", f"runs_dir={runs}", "n_images=4", "format=coco"]
    code, _, err = bgexp_cli("select", "sweep", *words)
    assert code == 0, err
    for folder in (out / "random", out / "disagreement"):
        content = json.loads((folder / "annotations.json").read_text())
        settings = Coco(
            name="coco", images=folder / "images", annotations=folder / "annotations.json"
        )
        for item in read_dataset(settings, 0).items:
            mask = decode_mask((folder / "masks" / f"{item.path}.png").read_bytes())
            np.testing.assert_array_equal(load_item(item, 100)[1].foreground, mask)
        assert len(content["images"]) == 2
