from copy import deepcopy

import numpy as np
import pytest
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2
from torchvision.ops import MultiScaleRoIAlign
from torchvision.transforms.functional import to_tensor

from bgexp.config.detectors import MaskRcnnResnet50FpnV2
from bgexp.detect.demo import build_demo_model
from bgexp.detect.detections import Selection
from bgexp.detect.maskrcnn import MaskRCNNDetector
from bgexp.detect.resnet50 import build_resnet50_model, build_resnet50_v2_model
from bgexp.pipeline.combine import combine_detections, select_detections

CPU = torch.device("cpu")
SIZES = [(97, 160), (200, 300), (5, 3), (1, 1), (6, 240), (400, 9)]
LINES = [(1, 17000), (9000, 2)]  # longer than the network has pixels for


@pytest.fixture(scope="module")
def models(demo_state, uninitialised):
    """Make two equal models: one for us to change, one left to torchvision."""
    with uninitialised():
        pair = build_demo_model(96), build_demo_model(96)
    for model in pair:
        model.load_state_dict(demo_state)
    return pair


def make_detector(model, threshold):
    return MaskRCNNDetector(
        deepcopy(model),
        CPU,
        score_floor=threshold,
        selection=Selection(threshold, labels=frozenset({1})),
    )


def detect_with_torchvision(model, image, threshold):
    """Return boxes, labels, scores, and the union of the masks as torchvision itself pastes them.

    The union comes twice, at both ends of what rounding masks to 255 levels can do to it.
    """
    model.roi_heads.score_thresh = threshold
    with torch.inference_mode():
        output = model.eval()([to_tensor(image)])[0]
    soft = output["masks"][:, 0].numpy()
    ends = [(soft > 0.5 + step).any(axis=0) for step in (0.501 / 255, -0.501 / 255)]
    return *(output[key].numpy() for key in ("boxes", "labels", "scores")), *ends


def assert_same(detector, model, image, threshold, at_least):
    boxes, labels, scores, smallest, largest = detect_with_torchvision(model, image, threshold)
    detections = detector.detect(image)
    assert len(detections) >= at_least
    assert (detections.height, detections.width) == image.shape[:2]
    # Norms inside the convolutions move the last digits: up to 0.0024 pixels were measured.
    np.testing.assert_allclose(detections.boxes, boxes, atol=0.02)
    np.testing.assert_array_equal(detections.labels, labels)
    np.testing.assert_allclose(detections.scores, scores, atol=1e-4)
    mask = combine_detections(detections).mask
    assert mask.shape == smallest.shape
    assert (smallest & ~mask).sum() <= 0.001 * smallest.sum()
    assert (mask & ~largest).sum() <= 0.001 * largest.sum()
    return smallest


@pytest.mark.parametrize("size", SIZES)
def test_the_demo_model_finds_what_torchvision_finds(size, models, picture):
    detector = make_detector(models[0], 0.4)
    union = assert_same(detector, models[1], picture(*size), 0.4, at_least=3)
    assert union.any()


@pytest.mark.slow
@pytest.mark.usefixtures("few_proposals")
@pytest.mark.parametrize("version", [1, 2])
def test_resnet50_finds_what_torchvision_finds(
    version, resnet_settings, resnet_state, uninitialised, picture, state_of
):
    with uninitialised():
        if version == 1:
            pair = [build_resnet50_model(resnet_settings) for _ in range(2)]
            state = resnet_state
        else:
            values = resnet_settings.model_dump(exclude={"name", "norm", "norm_eps"})
            settings = MaskRcnnResnet50FpnV2(name="maskrcnn_resnet50_fpn_v2", **values)
            sizes = {"min_size": settings.min_size, "max_size": settings.max_size}
            most = settings.detections_per_image
            theirs = maskrcnn_resnet50_fpn_v2(
                weights=None, weights_backbone=None, box_detections_per_img=most, **sizes
            )
            pair = [build_resnet50_v2_model(settings), theirs]
            state = state_of(theirs, class_scale=0.05, seed=0)
    for model in pair:
        model.load_state_dict(state)
    detector = make_detector(pair[0], 0.2)
    for size in [(97, 160), (33, 20)]:
        assert_same(detector, pair[1], picture(*size), 0.2, at_least=2)


@pytest.mark.parametrize("threshold", [0.35, 0.6])
def test_a_threshold_inside_the_model_is_a_filter_on_a_lower_one(threshold, models, picture):
    image = picture(97, 160)
    everything = make_detector(models[0], 0.15).detect(image)
    inside = make_detector(models[0], threshold).detect(image)
    filtered = select_detections(everything, Selection(threshold))
    assert 0 < len(inside) < len(everything)
    np.testing.assert_array_equal(inside.boxes, filtered.boxes)
    np.testing.assert_array_equal(inside.scores, filtered.scores)
    # Kernels depend on how many there are: up to 6.5e-6 was measured, which moves a rounding.
    assert np.abs(inside.masks.astype(int) - filtered.masks).max() <= 1


def test_the_mask_head_sees_only_what_is_above_the_threshold(models, picture):
    features = []
    hook = models[0].roi_heads.mask_head.register_forward_hook(
        lambda *call: features.append(call[2])
    )
    detections = make_detector(models[0], 0.6).detect(picture(97, 160))
    hook.remove()
    assert [len(batch) for batch in features] == [len(detections)]
    assert len(detections) > 0
    assert (detections.scores > 0.6).all()


def test_no_mask_is_pasted_at_full_size(models, picture, monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("pasted")

    monkeypatch.setattr("torchvision.models.detection.transform.paste_masks_in_image", refuse)
    image = picture(1500, 2000)
    with pytest.raises(AssertionError, match="pasted"):
        detect_with_torchvision(models[1], image, 0.6)
    detections = make_detector(models[0], 0.6).detect(image)
    assert detections.masks.shape == (len(detections), 28, 28)
    assert detections.boxes.max() > 1000


def test_nothing_found(models, picture):
    detections = make_detector(models[0], 0.999).detect(picture(40, 60))
    assert len(detections) == 0
    assert detections.masks.shape == (0, 28, 28)
    assert not combine_detections(detections).mask.any()


def test_an_image_is_left_as_it_is_whatever_its_memory_layout(models, picture):
    detector, image = make_detector(models[0], 0.6), picture(60, 80)
    copy, expected = image.copy(), detector.detect(image)
    np.testing.assert_array_equal(image, copy)
    turned = image.transpose(2, 1, 0).copy().transpose(2, 1, 0)
    np.testing.assert_allclose(detector.detect(turned).boxes, expected.boxes, atol=1e-3)
    assert len(expected) > 0


def test_what_was_seen_before_changes_nothing(models, demo_state, picture):
    """By default torchvision's poolers keep the strides that they guess from the first one."""
    low, image = np.zeros((10, 96, 3), np.uint8), picture(97, 160)  # 10 rows, padded to 32
    fresh = make_detector(models[0], 0.2).detect(image)
    model = build_demo_model(96)
    model.load_state_dict(demo_state)
    detector = make_detector(model, 0.2)
    detector.detect(low)
    later = detector.detect(image)
    assert len(fresh)
    np.testing.assert_array_equal(fresh.boxes, later.boxes)
    np.testing.assert_array_equal(fresh.masks, later.masks)


def test_the_strides_are_those_that_torchvision_guesses_from_a_plain_picture(
    resnet_settings, uninitialised
):
    with uninitialised():
        models = build_demo_model(128), build_resnet50_model(resnet_settings)
    for model in models:
        with torch.inference_mode():
            features = model.backbone(torch.zeros(1, 3, 128, 128))
        for pool in (model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool):
            guess = MultiScaleRoIAlign(pool.featmap_names, 7, 2)
            guess(features, [torch.tensor([[0.0, 0, 9, 9]])], [(128, 128)])
            assert pool.scales == guess.scales
            assert vars(pool.map_levels) == vars(guess.map_levels)


@pytest.mark.parametrize("size", LINES)
def test_a_line_of_pixels_is_looked_at_too(models, size):
    detections = make_detector(models[0], 0.0).detect(np.full((*size, 3), 90, np.uint8))
    assert (detections.height, detections.width) == size
    assert combine_detections(detections).mask.shape == size


def test_a_batch_finds_what_single_images_find(models, picture):
    images = [picture(97, 160, seed) for seed in range(3)]
    detector = make_detector(models[0], 0.4)
    for batched, single in zip(
        detector.detect_batch(images), map(detector.detect, images), strict=True
    ):
        assert len(batched) == len(single) > 0
        np.testing.assert_allclose(batched.boxes, single.boxes, atol=0.02)
        np.testing.assert_allclose(batched.scores, single.scores, atol=1e-4)


def test_where_memory_is_short_a_batch_is_halved(models, picture, monkeypatch):
    images, batch_sizes = [picture(97, 160, seed) for seed in range(5)], []
    detector = make_detector(models[0], 0.4)
    expected, compute = detector.detect_batch(images), detector._dense

    def short_of_memory(batch):
        batch_sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("none left")
        return compute(batch)

    monkeypatch.setattr(detector, "_dense", short_of_memory)
    detections = detector.detect_batch(images)
    assert batch_sizes == [5, 2, 3, 1, 2]
    assert [len(d) for d in detections] == [len(d) for d in expected]
    for halved, unhalved in zip(detections, expected, strict=True):
        np.testing.assert_allclose(halved.boxes, unhalved.boxes, atol=0.02)
    monkeypatch.setattr(detector, "_dense", lambda _: short_of_memory([0, 0, 0]))
    with pytest.raises(torch.OutOfMemoryError):
        detector.detect(images[0])
