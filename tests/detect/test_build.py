import hashlib

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from torchvision.models import WeightsEnum
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.transforms.functional import to_tensor

from bgexp.config.detectors import Demo
from bgexp.detect.build import COCO, SAMPLE, build_detector, find_weights, list_class_names
from bgexp.detect.demo import WEIGHTS, WEIGHTS_SHA256
from bgexp.detect.detections import Selection
from bgexp.detect.weights import read_state, save_state
from bgexp.errors import UserError
from bgexp.images.decode import load_image
from bgexp.metrics.overlap import iou
from bgexp.pipeline.combine import combine_detections

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _quick(uninitialised):
    with uninitialised():
        yield


@pytest.fixture(scope="session")
def demo_file(demo_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "random.safetensors"
    save_state(demo_state, path, {})
    return path


def demo_settings(**changes):
    settings = Demo(name="demo", weights=None, score_threshold=0.5, labels=None, image_size=160)
    return settings.model_copy(update=changes)


# -- labels ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_labels_by_name_and_number(resnet_settings, resnet_file):
    changes = {"weights": str(resnet_file), "labels": ("person", 18, "toothbrush")}
    detector = build_detector(resnet_settings.model_copy(update=changes), CPU)
    assert detector.selection == Selection(0.2, labels=frozenset({1, 18, 90}))
    assert list_class_names(resnet_settings)[18] == "dog"


@pytest.mark.parametrize(
    "labels", [("unicorn",), (91,), (12,), (0,), ("N/A",), ("__background__",)]
)
def test_unknown_labels(resnet_settings, labels):
    settings = resnet_settings.model_copy(update={"labels": ("person", *labels)})
    with pytest.raises(UserError) as caught:
        build_detector(settings, CPU)
    line = str(caught.value)
    assert line.startswith(f"detector.labels: unknown (got person, {labels[0]}; allowed: person, ")
    assert "N/A" not in line.partition("allowed")[2]
    assert line.endswith("toothbrush)")


def test_labels_of_the_demo_detector(demo_file):
    for labels in (("object",), (1,), None):
        detector = build_detector(demo_settings(weights=demo_file, labels=labels), CPU)
        assert detector.selection.labels == (None if labels is None else {1})
    for labels in (("background",), ("person",), ()):
        with pytest.raises(UserError, match=r"allowed: object\)"):
            build_detector(demo_settings(weights=demo_file, labels=labels), CPU)


# -- weights ---------------------------------------------------------------------------------


def test_weights_of_the_other_detector_are_refused(resnet_file):
    with pytest.raises(UserError, match="belongs to another model"):
        build_detector(demo_settings(weights=resnet_file), CPU)


def test_missing_weights(tmp_path, resnet_settings):
    for settings in (
        demo_settings(weights=tmp_path / "none.safetensors"),
        resnet_settings.model_copy(update={"weights": str(tmp_path / "none.safetensors")}),
    ):
        with pytest.raises(UserError, match=r"no such file: .*none\.safetensors"):
            find_weights(settings)


def test_coco_weights_come_from_torchs_cache(tmp_path, monkeypatch, resnet_settings):
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    torch.hub.set_dir(tmp_path)
    cached = tmp_path / "checkpoints" / COCO["maskrcnn_resnet50_fpn"].url.rpartition("/")[2]
    cached.parent.mkdir()
    cached.write_bytes(b"not those")
    with pytest.raises(UserError, match=f"{cached.name} is damaged"):
        find_weights(resnet_settings.model_copy(update={"weights": "COCO_V1"}))


@pytest.mark.slow
@pytest.mark.usefixtures("few_proposals")
def test_norm_and_epsilon_are_those_of_torchvisions_own_builder(
    resnet_settings, resnet_file, picture, monkeypatch
):
    """COCO_V1 wants frozen norms with eps 0; without weights torchvision builds others."""
    image, state = picture(64, 64), {k: v.float() for k, v in read_state(resnet_file).items()}
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: state)
    size = {"min_size": 64, "max_size": 64, "box_score_thresh": 0.2, "box_detections_per_img": 3}
    frozen = maskrcnn_resnet50_fpn(weights="COCO_V1", **size)
    plain = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, **size)
    plain.load_state_dict(state, strict=False)
    changes = {
        "weights": str(resnet_file),
        "detections_per_image": 3,
        "min_size": 64,
        "max_size": 64,
    }
    ours = resnet_settings.model_copy(update=changes)

    def scores_of(model):
        with torch.inference_mode():
            return model.eval()([to_tensor(image)])[0]["scores"].numpy()

    def our_scores(norm, eps):
        settings = ours.model_copy(update={"norm": norm, "norm_eps": eps})
        return build_detector(settings, CPU).detect(image).scores

    default = our_scores("frozen_batch_norm", 0.0)
    assert len(default) == 3
    np.testing.assert_allclose(default, scores_of(frozen), atol=1e-5)
    np.testing.assert_allclose(our_scores("batch_norm", 1e-5), scores_of(plain), atol=1e-5)
    assert np.abs(our_scores("frozen_batch_norm", 0.05) - default).max() > 1e-3


# -- the shipped file ------------------------------------------------------------------------


def test_the_shipped_weights_are_the_ones_that_the_code_names():
    assert WEIGHTS.is_file()
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == WEIGHTS_SHA256
    assert WEIGHTS.stat().st_size < 16_000_000
    weights = find_weights(demo_settings())
    assert (weights.name, weights.sha256) == ("demo", WEIGHTS_SHA256)


def test_the_shipped_weights_are_of_16_bits_and_their_norms_of_32():
    state = read_state(WEIGHTS)
    norms = {name.rpartition(".")[0] for name in state if name.endswith("running_var")}
    assert norms
    for name, value in state.items():
        dtype = torch.float32 if name.rpartition(".")[0] in norms else torch.float16
        assert value.dtype == dtype, name
        assert torch.isfinite(value).all(), name
    build_detector(demo_settings(), CPU)


def test_the_model_card_travels_with_the_shipped_weights():
    with safe_open(WEIGHTS, "pt") as file:
        card = file.metadata()
    assert {"data", "licences", "settings", "commit", "scores"} <= card.keys()
    assert all(card.values())


# -- precision -------------------------------------------------------------------------------


def test_bf16_finds_nearly_the_same():
    image, masks = load_image(SAMPLE / "images" / "birds" / "owl.jpg"), []
    for precision in ("fp32", "bf16"):
        detector = build_detector(demo_settings(precision=precision), CPU)
        masks.append(combine_detections(detector.detect(image)).mask)
    assert 0.95 < iou(*masks) < 1


def test_fp16_is_refused_on_a_processor():
    with pytest.raises(UserError, match=r"detector\.precision: fp16 is for GPUs \(allowed here"):
        build_detector(demo_settings(precision="fp16"), CPU)


@pytest.mark.parametrize(("backend", "precision"), [("torch", "int8"), ("openvino", "fp16")])
def test_a_backend_without_the_precision(backend, precision):
    values = demo_settings().model_dump() | {"backend": backend, "precision": precision}
    with pytest.raises(ValidationError, match=f"{backend} has no {precision} .allowed: fp32, bf16"):
        Demo.model_validate(values)
