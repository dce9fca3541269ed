import numpy as np
import pytest
import torch
from torchvision.transforms.functional import to_tensor

from bgexp.combine import combine_detections, select_detections
from bgexp.detect.demo import build_demo_model
from bgexp.detect.maskrcnn import MaskRCNNDetector
from bgexp.detect.resnet50 import build_resnet50_model

CPU = torch.device("cpu")
SIZES = [(97, 160), (200, 300), (5, 3), (1, 1), (6, 240), (400, 9)]


@pytest.fixture(scope="module")
def models(demo_state, uninitialised):
    """Two of the same: one for us to change, one left to torchvision."""
    with uninitialised():
        pair = build_demo_model(96), build_demo_model(96)
    for model in pair:
        model.load_state_dict(demo_state)
    return pair


def detector_of(model, threshold):
    return MaskRCNNDetector(
        model, CPU, weights_sha256="", score_threshold=threshold, labels=frozenset({1})
    )


def torchvisions_own(model, image, threshold):
    """Boxes, labels, scores and the union of the masks that torchvision itself pastes."""
    model.roi_heads.score_thresh = threshold
    with torch.inference_mode():
        found = model.eval()([to_tensor(image)])[0]
    union = (found["masks"][:, 0] > 0.5).any(dim=0).numpy()
    return *(found[key].numpy() for key in ("boxes", "labels", "scores")), union


def assert_same(detector, model, image, threshold, at_least):
    boxes, labels, scores, union = torchvisions_own(model, image, threshold)
    found = detector.detect(image)
    assert len(found) >= at_least
    assert (found.height, found.width) == image.shape[:2]
    np.testing.assert_array_equal(found.boxes, boxes)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.scores, scores)
    mask = combine_detections(found).mask
    assert mask.shape == union.shape
    assert (mask & union).sum() >= 0.999 * (mask | union).sum()
    return union


@pytest.mark.parametrize("size", SIZES)
def test_the_demo_model_finds_what_torchvision_finds(size, models, picture):
    detector = detector_of(models[0], 0.4)
    union = assert_same(detector, models[1], picture(*size), 0.4, at_least=3)
    assert union.any()


@pytest.mark.slow
@pytest.mark.usefixtures("few_proposals")
def test_resnet50_finds_what_torchvision_finds(
    resnet_settings, resnet_state, uninitialised, picture
):
    with uninitialised():
        pair = [build_resnet50_model(resnet_settings) for _ in range(2)]
    for model in pair:
        model.load_state_dict(resnet_state)
    detector = detector_of(pair[0], 0.2)
    for size in [(97, 160), (33, 20)]:
        assert_same(detector, pair[1], picture(*size), 0.2, at_least=3)


@pytest.mark.parametrize("threshold", [0.35, 0.6])
def test_a_threshold_inside_the_model_is_a_filter_on_a_lower_one(threshold, models, picture):
    image = picture(97, 160)
    everything = detector_of(models[0], 0.15).detect(image)
    inside = detector_of(models[0], threshold).detect(image)
    filtered = select_detections(everything, threshold)
    assert 0 < len(inside) < len(everything)
    np.testing.assert_array_equal(inside.boxes, filtered.boxes)
    np.testing.assert_array_equal(inside.scores, filtered.scores)
    # Kernels that depend on how many there are: measured up to 6.5e-6.
    np.testing.assert_allclose(inside.masks, filtered.masks, atol=1e-4)


def test_the_mask_head_sees_only_what_is_above_the_threshold(models, picture):
    seen = []
    hook = models[0].roi_heads.mask_head.register_forward_hook(lambda *call: seen.append(call[2]))
    found = detector_of(models[0], 0.6).detect(picture(97, 160))
    hook.remove()
    assert [len(features) for features in seen] == [len(found)]
    assert len(found) > 0
    assert (found.scores > 0.6).all()


def test_no_mask_is_pasted_at_full_size(models, picture, monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("pasted")

    monkeypatch.setattr("torchvision.models.detection.transform.paste_masks_in_image", refuse)
    image = picture(1500, 2000)
    with pytest.raises(AssertionError, match="pasted"):
        torchvisions_own(models[1], image, 0.6)
    found = detector_of(models[0], 0.6).detect(image)
    assert found.masks.shape == (len(found), 28, 28)
    assert found.boxes.max() > 1000


def test_nothing_found(models, picture):
    found = detector_of(models[0], 0.999).detect(picture(40, 60))
    assert len(found) == 0
    assert found.masks.shape == (0, 28, 28)
    assert not combine_detections(found).mask.any()


def test_an_image_is_left_as_it_is_whatever_its_memory_layout(models, picture):
    detector, image = detector_of(models[0], 0.6), picture(60, 80)
    before, expected = image.copy(), detector.detect(image)
    np.testing.assert_array_equal(image, before)
    turned = image.transpose(2, 1, 0).copy().transpose(2, 1, 0)
    np.testing.assert_allclose(detector.detect(turned).boxes, expected.boxes, atol=1e-3)
    assert len(expected) > 0
