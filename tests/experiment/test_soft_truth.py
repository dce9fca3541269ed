"""A run whose truth is soft, by the command line: scores, alphas, page, and compare."""

import json
import zipfile

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bgexp.metrics.matting import MATTING_METRICS
from bgexp.system.hashing import hash_bytes
from tests.conftest import SAMPLE

NAMES = ("animals/cat", "birds/owl", "birds/duck")


@pytest.fixture(scope="module")
def soft_runs(run_cli, fast, tmp_path_factory):
    """Two runs, with a hard and with a soft edge, over three images with soft masks."""
    folder = tmp_path_factory.mktemp("soft")
    for name in NAMES:
        for kind, suffix in (("images", "jpg"), ("masks", "png")):
            target = folder / kind / f"{name}.{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((SAMPLE / kind / f"{name}.{suffix}").read_bytes())
        mask = np.asarray(Image.open(folder / f"masks/{name}.png").convert("L"))
        Image.fromarray(cv2.GaussianBlur(mask, (0, 0), 2)).save(folder / f"masks/{name}.png")
    words = ["dataset=pairs", f"dataset.images={folder / 'images'}", "dataset.mask_values=alpha"]
    words += [f"dataset.masks={folder / 'masks'}", f"runs_dir={folder / 'runs'}"]
    words += [word for word in fast if not word.startswith("dataset")]
    assert run_cli("run", "-m", "cutout.edge=hard,soft", *words) == 0
    return folder / "runs"


def find_runs(runs):
    """The folders of both runs, by their edge."""
    summaries = [path.parent for path in runs.rglob("per_image.parquet")]
    return {"soft" if (folder / "alpha.zip").exists() else "hard": folder for folder in summaries}


def test_each_image_has_scores_of_alpha(soft_runs):
    folders = find_runs(soft_runs)
    assert set(folders) == {"hard", "soft"}
    for folder in folders.values():
        rows = pd.read_parquet(folder / "per_image.parquet")
        assert rows[list(MATTING_METRICS)].notna().all(axis=None)
        means = json.loads((folder / "summary.json").read_text())["metrics"]
        for key in MATTING_METRICS:
            assert means[key]["mean"] == pytest.approx(rows[key].mean())
        page = (folder / "report.html").read_text()
        assert "Alpha SAD" in page
        assert "Error over other backgrounds" in page
    tables = [pd.read_parquet(folder / "per_image.parquet") for folder in folders.values()]
    pd.testing.assert_series_equal(tables[0]["iou"], tables[1]["iou"])  # the mask stays the judged


def test_alphas_lie_beside_the_masks(soft_runs):
    folder = find_runs(soft_runs)["soft"]
    with (
        zipfile.ZipFile(folder / "alpha.zip") as alphas,
        zipfile.ZipFile(folder / "masks.zip") as z,
    ):
        assert (
            sorted(alphas.namelist())
            == sorted(z.namelist())
            == sorted(f"{name}.jpg.png" for name in NAMES)
        )
        rows = pd.read_parquet(folder / "per_image.parquet")
        hashes = [hash_bytes(alphas.read(f"{path}.png")) for path in rows["path"]]
        assert rows["alpha_sha256"].tolist() == hashes
        for name in alphas.namelist():
            alpha, mask = (np.asarray(Image.open(file.open(name))) for file in (alphas, z))
            far = cv2.erode(mask, np.ones((61, 61))) > 0
            assert (alpha[far] == 255).all()
    assert "alpha.zip" in (folder / "report.html").read_text()


def test_runs_are_compared_by_them(soft_runs, bgexp_cli):
    code, out, _ = bgexp_cli("compare", f"runs_dir={soft_runs}", "metric=composite_error")
    assert code == 0
    assert "rror over other backgrounds" in out or "composite_error" in out


def test_a_hard_truth_has_no_scores_of_alpha(two_runs):
    [path, *_] = two_runs.rglob("per_image.parquet")
    assert not set(MATTING_METRICS) & set(pd.read_parquet(path).columns)
    assert not list(two_runs.rglob("alpha.zip"))
