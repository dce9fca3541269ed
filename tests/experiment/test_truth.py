"""Truths that are empty, full, inverted or turned are found; void reaches the scores."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from bgexp.datasets.load import TURNED
from bgexp.datasets.mask_rule import Truth
from bgexp.experiment.difference import LEAKED, LOST, draw_difference
from bgexp.experiment.truth_findings import find_truth_findings
from bgexp.experiment.truth_fits import measure_truth_fits, summarize_truth
from bgexp.images.decode import encode_mask

L_SHAPE = np.zeros((20, 20), bool)
L_SHAPE[2:8, 2:4] = L_SHAPE[6:8, 2:9] = True


def find(pairs, **dataset):
    """Return the findings on (mask, truth) pairs."""
    fits = [measure_truth_fits(mask, truth) for mask, truth in pairs]
    rows = [_Row(truth_fits=values) for values in fits]
    return list(find_truth_findings({"dataset": {"truth": summarize_truth(rows), **dataset}}))


class _Row:
    def __init__(self, truth_fits=None, reason=""):
        self.truth_fits, self.reason = truth_fits or {}, reason


def list_titles(findings):
    assert {finding.severity for finding in findings} <= {"problem"}
    return [finding.title for finding in findings]


def test_good_truths_say_nothing():
    assert find([(L_SHAPE, Truth(L_SHAPE)), (L_SHAPE, Truth(np.roll(L_SHAPE, 1)))]) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (np.logical_not, "inverted"),
        (lambda plane: np.rot90(plane, -1), "turned by 90 degrees"),
        (lambda plane: np.rot90(plane, 2), "turned by 180 degrees"),
        (lambda plane: np.rot90(plane, -3), "turned by 270 degrees"),
    ],
)
def test_truths_that_fit_better_otherwise(change, words):
    pairs = [(L_SHAPE, Truth(change(L_SHAPE))), (L_SHAPE, Truth(change(np.roll(L_SHAPE, 1))))]
    assert list_titles(find(pairs)) == [f"The truths fit better {words}"]
    assert find(pairs[:1]) == []  # one alone may be an accident
    good = [(L_SHAPE, Truth(L_SHAPE))] * 2
    assert find(pairs[:1] + good) == []


@pytest.mark.parametrize(("value", "name"), [(False, "empty"), (True, "full")])
def test_truths_that_are_all_the_same(value, name):
    truth = Truth(np.full_like(L_SHAPE, value))
    [finding] = find([(L_SHAPE, truth)] * 3, masks={"description": "as usual"})
    assert finding.title == f"The truth is {name} in all 3 images"
    assert "as usual" in finding.evidence
    assert find([(L_SHAPE, truth), (L_SHAPE, Truth(L_SHAPE))]) == []


def test_full_but_for_void_is_full():
    truth = Truth(L_SHAPE, ~L_SHAPE)
    assert measure_truth_fits(L_SHAPE, truth)["share"] == 1
    assert math.isnan(
        measure_truth_fits(L_SHAPE, Truth(~L_SHAPE & L_SHAPE, ~L_SHAPE | L_SHAPE))["share"]
    )


def test_a_poor_detector_is_no_inverted_truth():
    """It keeps all, or what it keeps has nothing to do with the truth."""
    everything, noise = np.ones_like(L_SHAPE), np.random.default_rng(0).random((20, 20)) < 0.9
    assert find([(everything, Truth(L_SHAPE))] * 3) == []
    assert find([(noise, Truth(L_SHAPE))] * 3) == []


def test_masks_that_lie_across():
    reason = f"its mask has 3x4 pixels, the upright image 4x3 ({TURNED})"
    summary = {"dataset": {"truth": summarize_truth([_Row(reason=reason), _Row()])}}
    [finding] = find_truth_findings(summary)
    assert finding.title == "The truth is turned by 90 degrees in 1 image"


def test_without_truth():
    assert summarize_truth([_Row()]) == {}
    assert list(find_truth_findings({"dataset": {"truth": {}}})) == []
    assert list(find_truth_findings({})) == []


def test_summary_is_json():
    rows = [_Row(truth_fits=measure_truth_fits(L_SHAPE, Truth(L_SHAPE)))]
    assert json.loads(json.dumps(summarize_truth(rows)))["n"] == 1


def test_void_has_no_colour():
    image = np.full((1, 4, 3), 90, np.uint8)
    mask, truth, void = np.array([[[1, 0, 1, 1]], [[0, 1, 0, 1]], [[0, 0, 1, 0]]], bool)
    picture = draw_difference(image, mask, truth, void)
    assert picture.tolist() == [[list(LEAKED), list(LOST), [30] * 3, [30] * 3]]


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two upright pictures of unequal sides with masks, which are not near-symmetric."""
    root = tmp_path_factory.mktemp("pairs")
    for folder in ("images", "white"):
        (root / folder).mkdir()
    for number in range(2):
        mask = np.zeros((60, 80), bool)
        mask[20:50, 10 + number : 45] = True
        rng = np.random.default_rng(number)
        picture = np.where(mask[..., None], 200, 60) + rng.integers(0, 40, (60, 80, 3))
        Image.fromarray(picture.astype(np.uint8)).save(root / "images" / f"{number}.png")
        (root / "white" / f"{number}.png").write_bytes(encode_mask(mask))
    return root


def write_masks(root, name, change):
    """Write the white masks changed, as HxW bool to HxW uint8; return the folder."""
    folder = root / name
    folder.mkdir(exist_ok=True)
    for file in (root / "white").iterdir():
        values = change(np.asarray(Image.open(file)) > 127).astype(np.uint8)
        Image.fromarray(values).save(folder / file.name)
    return folder


@pytest.fixture
def run_pairs(bgexp_cli, fast, pairs, tmp_path):
    """Run on the pictures with a folder of masks; return exit code, output, errors, the run."""

    def run(masks, *settings):
        folder = tmp_path / masks.name
        words = [word for word in fast if "subset" not in word]
        paths = f"dataset.images={pairs / 'images'}", f"dataset.masks={masks}"
        code, out, err = bgexp_cli(
            "run", *words, "dataset=pairs", *paths, "workers=1", f"runs_dir={tmp_path / 'runs'}",
            f"hydra.run.dir={folder}", *settings,
        )  # fmt: skip
        return code, out, err, folder

    return run


def test_masks_of_0_and_1_score_as_white_ones(run_pairs, pairs):
    metrics = []
    for masks in (pairs / "white", write_masks(pairs, "ones", lambda mask: mask)):
        code, out, err, folder = run_pairs(masks)
        assert code == 0, out + err
        summary = json.loads((folder / "summary.json").read_text())
        metrics.append({key: stats["mean"] for key, stats in summary["metrics"].items()})
        assert ("Masks:   every value but 0 is the object (found 0, 1)" in out) == (
            masks.name == "ones"
        )
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-9)  # sums depend on how memory lies
    assert summary["dataset"]["masks"]["meaning"] == "nonzero"
    assert summary["dataset"]["masks"]["n_masks"] == 2


def test_masks_that_are_not_clear_are_refused(run_pairs, pairs):
    masks = write_masks(pairs, "one_two", lambda mask: mask + 1)
    code, _, err, folder = run_pairs(masks)
    assert code == 2
    assert err.count("\n") == 1
    assert "they hold 1, 2 (2 masks)" in err
    assert not folder.exists()
    code, out, _, _ = run_pairs(masks, "dataset.mask_values=[2]")
    assert code == 0
    assert "Masks:   2 is the object (found 1, 2)" in out


def test_empty_truths_lead_the_page_and_end_the_output(run_pairs, pairs):
    code, out, _, folder = run_pairs(write_masks(pairs, "black", np.zeros_like))
    assert code == 0
    assert "Warning: The truth is empty in all 2 images." in out.splitlines()[-1]
    page = (folder / "report.html").read_text()
    assert page.index("The truth is empty in all 2 images") < page.index("IoU")


def test_masks_across_are_told(run_pairs, pairs):
    code, out, _, _ = run_pairs(write_masks(pairs, "across", lambda mask: mask.T * 255))
    assert code == 1
    assert "Warning: The truth is turned by 90 degrees in 2 images." in out
