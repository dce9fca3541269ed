"""rembg's networks: its arithmetic, its files, and the way of a soft mask through everything."""

import hashlib
import sys
import zipfile

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from bgexp.config.check import check_settings
from bgexp.config.detectors import Rembg
from bgexp.config.stages import Combine
from bgexp.detect.build import build_detector, find_weights
from bgexp.detect.cache import CachedDetector, DetectionCache
from bgexp.detect.detections import Selection, SoftMask
from bgexp.detect.rembg import MODELS, normalise, stretch_contrast
from bgexp.errors import UserError
from bgexp.images.decode import decode_mask
from bgexp.pipeline.remove import remove_background
from bgexp.tracking.run_folder import RunFolder

CPU = torch.device("cpu")


def network(side=320, channels=3, outputs=1):
    """Make an ONNX model of U2-Net's shapes: a 3x3 convolution, a sigmoid, a second output."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.3, (outputs, channels, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["input.1", "kernel"], ["soft"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["soft"], ["d0"]),
        helper.make_node("Neg", ["d0"], ["d1"]),
    ]
    shape = [1, outputs, side, side]
    graph = helper.make_graph(
        nodes,
        "u2",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, channels, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("d0", "d1")],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString(), kernel


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("peer") / "tiny.onnx"
    path.write_bytes(network()[0])
    return path


def settings_for(model):
    return Rembg(name="rembg", model=str(model))


def reference(image, kernel):
    """Compute the mask as rembg 2.0.86 does, line by line, with torch for the network.

    After BaseSession.normalize and U2netpSession.predict.
    """
    im = Image.fromarray(image).convert("RGB").resize((320, 320), Image.Resampling.LANCZOS)
    im_ary = np.array(im)
    im_ary = im_ary / max(np.max(im_ary), 1e-6)
    tmp = np.zeros((im_ary.shape[0], im_ary.shape[1], 3))
    tmp[:, :, 0] = (im_ary[:, :, 0] - 0.485) / 0.229
    tmp[:, :, 1] = (im_ary[:, :, 1] - 0.456) / 0.224
    tmp[:, :, 2] = (im_ary[:, :, 2] - 0.406) / 0.225
    tmp = np.expand_dims(tmp.transpose((2, 0, 1)), 0).astype(np.float32)
    soft = torch.nn.functional.conv2d(torch.from_numpy(tmp), torch.from_numpy(kernel), padding=1)
    pred = soft.sigmoid().numpy()[:, 0, :, :]
    pred = np.squeeze((pred - np.min(pred)) / (np.max(pred) - np.min(pred)))
    mask = Image.fromarray((pred * 255).astype("uint8"))
    return np.asarray(mask.resize((image.shape[1], image.shape[0]), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("size", [(240, 320), (401, 77), (1, 5), (640, 960)])
def test_it_gives_rembgs_mask(model, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    soft_mask = build_detector(settings_for(model), CPU).detect(image)
    assert isinstance(soft_mask, SoftMask)
    assert (soft_mask.height, soft_mask.width) == size
    expected = reference(image, network()[1])
    assert np.abs(soft_mask.mask.astype(int) - expected).max() <= 1


def test_a_picture_of_nothing_is_no_division_by_zero(model):
    black = np.zeros((30, 40, 3), np.uint8)
    assert np.isfinite(normalise(black)).all()
    build_detector(settings_for(model), CPU).detect(black)


@given(arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32)))
def test_a_map_is_stretched_over_all_values(soft):
    mask = stretch_contrast(soft)
    assert mask.min() == 0
    assert mask.max() == (255 if soft.max() > soft.min() else 0)
    order = np.argsort(soft, axis=None)
    assert (np.diff(mask.reshape(-1)[order].astype(int)) >= 0).all()


# -- which file ------------------------------------------------------------------------------


@pytest.fixture
def onnx_bytes(model, monkeypatch, tmp_path):
    """Make the tiny network pass for u2netp, with an empty home; return its file's bytes."""
    monkeypatch.setitem(MODELS, "u2netp", hashlib.md5(model.read_bytes()).hexdigest())
    for name in ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return model.read_bytes()


@pytest.mark.parametrize(
    ("variable", "value", "folder"),
    [
        ("", "", ".rembg/models/u2netp"),
        ("", "", ".u2net"),
        ("U2NET_HOME", "/mine", "mine"),
        ("U2NET_HOME", "/mine", "mine/models/u2netp"),
        ("REMBG_HOME", "/own", "own/models/u2netp"),
        ("XDG_DATA_HOME", "/data", "data/rembg/models/u2netp"),
        ("XDG_DATA_HOME", "/data", "data/.u2net"),
    ],
)
def test_a_name_is_looked_for_where_rembg_keeps_it(
    onnx_bytes, monkeypatch, tmp_path, variable, value, folder
):
    if variable:
        monkeypatch.setenv(variable, f"{tmp_path}{value}")
    path = tmp_path / folder / "u2netp.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(onnx_bytes)
    weights = find_weights(settings_for("u2netp"))
    assert (weights.path, weights.name, weights.key) == (path, "u2netp", "detector.model")
    assert weights.sha256 == hashlib.sha256(onnx_bytes).hexdigest()


@pytest.mark.usefixtures("onnx_bytes")
def test_a_name_whose_file_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"^detector.model: u2netp is not on this ma") as refused:
        find_weights(settings_for("u2netp"))
    message = str(refused.value)
    assert "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2netp.onnx" in message
    assert str(tmp_path / ".rembg/models/u2netp/u2netp.onnx") in message


def test_a_damaged_download(onnx_bytes, tmp_path):
    path = tmp_path / ".u2net" / "u2netp.onnx"
    path.parent.mkdir()
    path.write_bytes(onnx_bytes[:-1])
    with pytest.raises(UserError, match=r"^detector.model: .*u2netp.onnx is damaged"):
        find_weights(settings_for("u2netp"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("u3net", None, "no such model: u3net .allowed: u2netp, u2net, u2net_human_seg, silueta"),
        ("no.onnx", None, "no such file"),
        ("text.onnx", b"not a model", "cannot be run"),
        ("empty.onnx", b"", "cannot be run"),
        ("small.onnx", network(side=64)[0], "no network of the U2-Net family"),
        ("gray.onnx", network(channels=1)[0], "no network of the U2-Net family"),
        ("two.onnx", network(outputs=2)[0], "no network of the U2-Net family"),
    ],
)
def test_no_such_network(tmp_path, name, data, message):
    path = tmp_path / name if name.endswith(".onnx") else name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=f"^detector.model: .*{message}") as refused:
        build_detector(settings_for(path), CPU)
    assert "\n" not in str(refused.value)


def test_a_model_reads_no_other_file(tmp_path):
    """Weights that an ONNX file keeps in a file beside it would be read unverified."""
    model = onnx.load_model_from_string(network()[0])
    onnx.save_model(
        model,
        tmp_path / "apart.onnx",
        save_as_external_data=True,
        location="beside.bin",
        size_threshold=0,
    )
    assert (tmp_path / "beside.bin").is_file()
    with pytest.raises(UserError, match="cannot be run"):
        build_detector(settings_for(tmp_path / "apart.onnx"), CPU)


def test_without_the_extra(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"^detector=rembg needs onnxruntime: pip install"):
        build_detector(settings_for(model), CPU)


# -- the way of its mask ---------------------------------------------------------------------


class PainterSession:
    """A detector of one soft mask."""

    selection = Selection(0.9, labels=frozenset({1}))  # of no use to it

    def __init__(self, mask):
        self.mask, self.calls = mask, 0

    def detect(self, _image):
        self.calls += 1
        return SoftMask(self.mask)


def test_the_pipeline_cuts_the_mask_at_its_threshold():
    soft = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = np.full((16, 16, 3), 200, np.uint8)
    for threshold, first in ((0.0, 1), (0.5, 128), (0.2, 52), (1.0, 256)):  # strictly above
        removed = remove_background(image, PainterSession(soft), Combine(mask_threshold=threshold))
        assert removed.mask.sum() == 256 - first
        assert removed.scores.shape == (0,)
        np.testing.assert_array_equal(removed.mask, removed.unrefined)
        np.testing.assert_array_equal(removed.cutout.any(axis=2), removed.mask)


def test_holes_and_small_parts_of_a_soft_mask():
    soft = np.zeros((20, 20), np.uint8)
    soft[2:10, 2:10], soft[5, 5], soft[15, 15] = 255, 0, 255
    image = np.full((20, 20, 3), 9, np.uint8)
    clean = Combine(fill_holes=0.01, min_area=0.01)
    mask = remove_background(image, PainterSession(soft), clean).mask
    assert mask[5, 5]
    assert not mask[15, 15]
    assert mask.sum() == 64


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 3)), np.zeros((2, 3, 1), np.uint8), np.zeros((0, 3), np.uint8)]
)
def test_no_soft_mask(bad):
    with pytest.raises(ValueError, match=r"expected .h, w. uint8"):
        SoftMask(bad)


def test_the_cache_keeps_it_at_any_floor(tmp_path):
    painter = PainterSession(np.random.default_rng(0).integers(0, 256, (9, 7), np.uint8))
    image = np.zeros((9, 7, 3), np.uint8)
    cache = DetectionCache(tmp_path, 10**6)
    for cached in (False, True):
        detector = CachedDetector(
            lambda: painter, cache, {}, floor=0.0, selection=Selection(0.0)
        ).for_file("00")
        np.testing.assert_array_equal(detector.detect(image).mask, painter.mask)
        assert detector.cached == cached
    assert painter.calls == 1


@pytest.mark.parametrize("instances", ["largest", "central"])
def test_instances_are_refused(bgexp_cli, model, tmp_path, instances):
    arguments = [
        f"detector.model={model}",
        f"combine.instances={instances}",
        f"runs_dir={tmp_path}",
    ]
    code, _, err = bgexp_cli("run", "detector=rembg", *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"bgexp: combine.instances: {instances} needs single objects")


@pytest.mark.parametrize("key", ["score_threshold", "score_floor", "labels"])
def test_it_has_no_scores(key):
    with pytest.raises(UserError, match="no such setting"):
        check_settings(Rembg, {"name": "rembg", "model": "u2netp", key: 0.5})


@pytest.mark.slow
def test_a_run_and_a_batch_with_it(run_cli, model, photographs, tmp_path):
    peer = ["detector=rembg", f"detector.model={model}", "refine=none", "device=cpu"]
    runs = tmp_path / "runs"
    assert run_cli("run", "-m", *peer, f"runs_dir={runs}", "dataset.subset=2", "samples=1",
                   "combine.mask_threshold=0.3,0.6") == 0  # fmt: skip
    [sweep] = (runs / "sweep").iterdir()
    jobs = [sweep / "0", sweep / "1"]
    summaries = [RunFolder(job).read_summary() for job in jobs]
    assert [s["status"] for s in summaries] == ["finished"] * 2
    assert [s["detections"]["computed"] for s in summaries] == [2, 0]
    for summary in summaries:
        assert summary["checks"]["confidence"]["n_undefined"] == 2
        assert summary["metrics"]["iou"]["n_scored"] == 2
        assert summary["weights"]["name"] == "tiny.onnx"
        assert (jobs[0] / "report.html").stat().st_size > 1000
    areas = []
    for job in jobs:
        with zipfile.ZipFile(job / "masks.zip") as archive:
            areas.append(sum(decode_mask(archive.read(n)).sum() for n in archive.namelist()))
    assert areas[0] > areas[1]
    output = tmp_path / "cut"
    few = next(path for path in photographs.iterdir() if path.is_dir())
    arguments = [f"input={few}", f"output={output}", "workers=1", f"runs_dir={runs}"]
    assert run_cli("batch", *peer, *arguments) == 0
    assert len(list((output / "regular").rglob("*.png"))) == len(list(few.iterdir()))


def test_doctor_looks_at_it(model):
    from bgexp.cli.probe_detection import check_detection

    findings = {finding.name: finding for finding in check_detection(settings_for(model))}
    assert findings["weights"].status == "ok"
    assert "of the sample's cat.jpg kept" in findings["detection on cpu"].detail
    [missing] = check_detection(settings_for("no.onnx"))
    assert (missing.status, missing.name) == ("problem", "weights")
