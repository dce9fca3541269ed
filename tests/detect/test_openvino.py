import numpy as np
import pytest
import torch

from bgexp.config.detectors import Demo
from bgexp.detect import openvino
from bgexp.detect.build import SAMPLE, build_detector, find_runtime_versions
from bgexp.errors import UserError
from bgexp.images.decode import load_image
from bgexp.metrics.overlap import iou
from bgexp.pipeline.combine import combine_detections

CPU = torch.device("cpu")
PICTURES = [load_image(SAMPLE / "images" / name) for name in ("birds/owl.jpg", "food/lemons.jpg")]


def shipped(**changes):
    """Make settings of the shipped detector, at a size at which translating is quick."""
    defaults = {"weights": None, "score_threshold": 0.5, "labels": None, "image_size": 256}
    return Demo(name="demo", **defaults, **changes)


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory):
    """Give a folder for translated networks, shared by this file's tests."""
    folder = tmp_path_factory.mktemp("hub")
    hub = torch.hub.get_dir()
    torch.hub.set_dir(str(folder))
    yield folder / "bgexp"
    torch.hub.set_dir(hub)


@pytest.mark.slow
def test_it_finds_what_torch_finds_and_translates_once(cache_folder, monkeypatch):
    torch_detector, compiled = (
        build_detector(shipped(), CPU),
        build_detector(shipped(backend="openvino"), CPU),
    )
    for picture in PICTURES:  # two shapes
        expected, detections = torch_detector.detect(picture), compiled.detect(picture)
        assert len(expected) > 0
        np.testing.assert_array_equal(detections.labels, expected.labels)
        np.testing.assert_allclose(detections.boxes, expected.boxes, atol=0.02)
        np.testing.assert_allclose(detections.scores, expected.scores, atol=1e-4)
        masks = combine_detections(expected).mask, combine_detections(detections).mask
        assert iou(*masks) > 0.999
    [folder] = [path for path in cache_folder.iterdir() if path.is_dir()]
    assert {path.name for path in folder.iterdir()} == {"dense.xml", "dense.bin"}
    monkeypatch.setattr(openvino, "_translate", None)  # would fail if it were called
    second = build_detector(shipped(backend="openvino"), CPU)
    np.testing.assert_array_equal(
        second.detect(PICTURES[0]).boxes, compiled.detect(PICTURES[0]).boxes
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_int8_finds_the_owl():
    torch_detector = build_detector(shipped(), CPU)
    quantised = build_detector(shipped(backend="openvino", precision="int8"), CPU)
    masks = [
        combine_detections(detector.detect(PICTURES[0])).mask
        for detector in (torch_detector, quantised)
    ]
    assert 0.9 < iou(*masks) < 1  # it is another network by now


def test_bf16_is_refused_where_the_processor_has_none(monkeypatch):
    monkeypatch.setattr(openvino, "supports_bf16", lambda: False)
    with pytest.raises(UserError, match=r"detector\.precision: bf16: this processor has none"):
        build_detector(shipped(backend="openvino", precision="bf16"), CPU)


def test_it_is_for_processors():
    with pytest.raises(UserError, match=r"detector\.backend: openvino computes on the processor"):
        build_detector(shipped(backend="openvino"), torch.device("cuda"))


def test_its_version_is_part_of_what_computes():
    assert find_runtime_versions(shipped()) == {}
    assert set(find_runtime_versions(shipped(backend="openvino"))) == {"openvino"}


def test_a_missing_installation_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(UserError, match=r"pip install 'bgexp\[openvino\]'"):
        build_detector(shipped(backend="openvino"), CPU)
