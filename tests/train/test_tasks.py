from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from bgexp.config.stages import UNet
from bgexp.detect.demo import build_demo_model
from bgexp.detect.detections import Selection
from bgexp.metrics.overlap import iou
from bgexp.pipeline.unet import UNetModel
from bgexp.train.scene import Scene
from bgexp.train.tasks import (
    PADDING,
    DetectorTask,
    UNetExample,
    UNetLosses,
    UNetTask,
    convert_to_tensor,
    make_detector_example,
)

CPU = torch.device("cpu")


def test_a_scene_as_torchvision_takes_it():
    masks = np.zeros((2, 6, 8), bool)
    masks[0, 1:3, 2:7], masks[1, 5, 0] = True, True
    scene = Scene(np.full((6, 8, 3), 255, np.uint8), masks, np.array([2, 1]))
    image, target = make_detector_example(scene, np.random.default_rng(0))
    assert (image.shape, float(image.max()), image.dtype) == ((3, 6, 8), 1.0, torch.float32)
    assert target["boxes"].tolist() == [[2, 1, 7, 3], [0, 5, 1, 6]]
    assert target["labels"].tolist() == [2, 1]
    assert (target["masks"].dtype, target["masks"].shape) == (torch.uint8, (2, 6, 8))


def test_a_scene_without_objects(scene):
    _, target = make_detector_example(scene(), np.random.default_rng(0))
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)


def test_a_picture_as_a_tensor_worked_by_hand():
    picture = np.array([[[0, 51, 255], [255, 0, 102]]], np.uint8)
    expected = torch.tensor([[[0, 1.0]], [[0.2, 0]], [[1, 0.4]]])
    torch.testing.assert_close(convert_to_tensor(picture), expected)


def test_the_unet_sees_picture_and_masks_of_one_place(scene):
    disc_scene = scene((40, 30, 18))
    for seed in range(10):
        image, target = UNetExample(96, 0.25)(disc_scene, np.random.default_rng(seed))
        assert image.shape == (3, 96, 96)
        assert target["coarse"].shape == target["mask"].shape == (1, 96, 96)
        red, truth = (image[0] > 0.5).numpy(), (target["mask"][0] > 0.5).numpy()
        assert iou(red, truth) > 0.9
        assert 0 < float(target["coarse"].mean()) < 1


def test_the_unet_learns_from_a_detectors_masks_in_six_of_ten_examples(scene):
    disc_scene = scene((40, 30, 18))
    coarse = np.zeros_like(disc_scene.foreground)
    coarse[70:, :20] = True  # no made-up mask lies there alone
    disc_scene = replace(disc_scene, coarse=coarse)
    is_from_detector = []
    for seed in range(100):
        _, target = UNetExample(96, 5)(disc_scene, np.random.default_rng(seed))
        y, x = np.nonzero(target["coarse"][0].numpy() > 0.5)
        is_from_detector.append(y.min() > 55 and x.max() < 48)
    assert 0.5 < np.mean(is_from_detector) < 0.75


def test_an_empty_mask_of_a_detector_is_replaced(network, scene):
    disc_scene = scene((40, 30, 18))
    disc_scene = replace(disc_scene, coarse=np.zeros_like(disc_scene.foreground))
    for seed in range(10):
        _, target = UNetExample(96, 0.25)(disc_scene, np.random.default_rng(seed))
        assert target["coarse"].any()
    task = UNetTask(network, UNet(size=64), CPU)
    assert task.predict(task.model, [disc_scene])[0]["coarse"].any()


def test_an_example_keeps_its_proportions_or_is_nearer_to_a_square(scene):
    wide_scene = scene((32, 20, 30), size=(40, 160))
    for seed in range(20):
        image, target = UNetExample(96, 5)(wide_scene, np.random.default_rng(seed))
        is_padding = (image == torch.tensor(PADDING)[:, None, None] / 255).all(dim=0).all(dim=1)
        assert 24 <= int((~is_padding).sum()) < 96
        assert not target["mask"][0][is_padding].any()
        assert not target["coarse"][0][is_padding].any()


class ConstantLogits(torch.nn.Module):
    """A network with constant logits."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, _images, _coarse):
        return self.logits


def compute_losses(logits, mask):
    """Compute the losses of logits Nx1xhxw for true masks Nx1x2hx2w."""
    targets = [{"coarse": m, "mask": m} for m in mask]
    losses = UNetLosses(ConstantLogits(logits))(list(torch.zeros(len(mask), 3, 1, 1)), targets)
    return {name: float(loss.detach()) for name, loss in losses.items()}


def compute_expected_losses(logits, truth):
    """Compute the losses in plain numpy; all arrays hxw of float64."""
    near = np.zeros_like(truth)
    padded = np.pad(truth, 7)  # beyond the picture nothing is foreground
    for y, x in np.ndindex(truth.shape):
        near[y, x] = padded[y : y + 15, x : x + 15].mean()
    weight = 1 + 5 * np.abs(near - truth)
    share = 1 / (1 + np.exp(-logits))
    entropy = -(truth * np.log(share) + (1 - truth) * np.log(1 - share))
    both = (weight * share * truth).sum()
    either = (weight * (share + truth - share * truth)).sum()
    return (weight * entropy).sum() / weight.sum(), 1 - (both + 1) / (either + 1)


def test_the_losses_are_those_of_a_plain_reference():
    rng = np.random.default_rng(0)
    mask = cv2.resize(rng.integers(0, 2, (5, 6)).astype(np.uint8), (36, 30), None, 0, 0, 0)
    logits = rng.normal(0, 2, (15, 18))
    truth = mask.reshape(15, 2, 18, 2).mean((1, 3))  # at half the size
    losses = compute_losses(
        torch.tensor(logits)[None, None], torch.tensor(mask)[None, None].double()
    )
    assert list(losses.values()) == pytest.approx(compute_expected_losses(logits, truth), rel=1e-6)
    assert list(losses) == ["loss_entropy", "loss_iou"]


def test_the_losses_of_one_cell_worked_by_hand():
    losses = compute_losses(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 2, 2))
    # near = 1/225, weight = 1 + 5 * 224/225; the share is 1/2: both = either / 2 = weight / 2.
    weight = 1 + 5 * 224 / 225
    assert losses["loss_entropy"] == pytest.approx(np.log(2))
    assert losses["loss_iou"] == pytest.approx(1 - (weight / 2 + 1) / (weight + 1))


def draw_disc_masks():
    mask = torch.from_numpy(cv2.circle(np.zeros((64, 64), np.float32), (32, 32), 20, 1, -1))
    return mask[None, None].repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_perfect_prediction_loses_nearly_nothing_and_a_turned_one_much():
    mask = draw_disc_masks()
    right = 40 * (mask[..., ::2, ::2] - 0.5)
    assert all(loss < 1e-3 for loss in compute_losses(right, mask).values())
    turned = compute_losses(-right, mask)
    assert turned["loss_entropy"] > 10
    assert turned["loss_iou"] > 0.99


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return UNetModel()


def test_gradients_of_the_losses_reach_decoder_and_late_blocks_but_not_the_frozen_ones(network):
    image, coarse = torch.rand(1, 3, 64, 64), draw_disc_masks()[..., ::2, ::2]
    losses = UNetLosses(network.train())([image[0]], [{"coarse": coarse[0], "mask": coarse[0]}])
    sum(losses.values()).backward()
    for name, weight in network.named_parameters():
        assert (weight.grad is not None and bool(weight.grad.any())) == weight.requires_grad, name
    frozen = {n for n, weight in network.named_parameters() if not weight.requires_grad}
    assert frozen
    assert all(name.startswith("body.") for name in frozen)
    network.zero_grad()


def test_the_unet_is_judged_on_the_same_coarse_masks_each_time(network, scene):
    task = UNetTask(network, UNet(size=64), CPU)
    scenes = [scene((40, 30, 18)), scene((60, 30, 20))]
    state = {name: value.clone() for name, value in task.model.state_dict().items()}
    first, second = task.predict(task.model, scenes), task.predict(task.model, scenes)
    for masks, repeated_masks, disc_scene in zip(first, second, scenes, strict=True):
        assert masks.keys() == {"coarse", "refined"}
        assert masks["coarse"].shape == masks["refined"].shape == disc_scene.foreground.shape
        np.testing.assert_array_equal(masks["coarse"], repeated_masks["coarse"])
        np.testing.assert_array_equal(masks["refined"], repeated_masks["refined"])
    assert all(torch.equal(state[name], v) for name, v in task.model.state_dict().items())


def test_the_unet_is_judged_by_a_detectors_masks(network, scene):
    disc_scene = scene((40, 30, 18))
    coarse = np.roll(disc_scene.foreground, 9, axis=1)
    task = UNetTask(network, UNet(size=64), CPU)
    masks = task.predict(task.model, [replace(disc_scene, coarse=coarse)])[0]
    np.testing.assert_array_equal(masks["coarse"], coarse)


def test_the_unet_file_holds_the_network_alone(network):
    task = UNetTask(network, UNet(size=64), CPU)
    assert task.get_state(task.model).keys() == UNetModel().state_dict().keys()


def test_the_detector_is_judged_at_each_threshold_and_left_as_it_is(scene):
    torch.manual_seed(0)
    model = build_demo_model(64)
    model.roi_heads.box_predictor.cls_score.bias.data.copy_(torch.tensor([0.0, 0.6]))
    model.roi_heads.mask_predictor.mask_fcn_logits.bias.data.fill_(0.3)
    task = DetectorTask(model, Selection(0.6, 0.4), CPU)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    masks = task.predict(model, [scene((40, 30, 18))])[0]
    assert list(masks) == ["0.5", "0.6", "0.7", "0.9"]
    assert task.judged_by == "0.6"
    areas = [mask.sum() for mask in masks.values()]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > 0
    later_state = task.get_state(model)
    assert state.keys() == later_state.keys()
    assert all(torch.equal(state[name], later_state[name]) for name in state)


def test_void_teaches_the_unet_nothing():
    """Whatever the truth or the answer in void, losses are those of the rest."""
    void = np.zeros((64, 64), bool)
    void[:, 32:] = True
    losses = []
    for inside in (False, True):
        masks = np.zeros((1, 64, 64), bool)
        masks[0, 16:48, 4:28] = True
        image = np.full((64, 64, 3), 90, np.uint8)
        scene = Scene(image, masks, np.ones(1, np.int64), void=void)
        picture, target = UNetExample(64, 0.25)(scene, np.random.default_rng(1))
        known = target["known"] == 1
        assert 0 < float(known.float().mean()) < 1
        # The edge of the truth counts more, in an area around it that void may cut.
        target["mask"] = torch.where(known, target["mask"], target["mask"] * 0)
        logits = torch.zeros(1, 1, 32, 32)
        logits[(target["known"][None, :, ::2, ::2] == 0)] = 9.0 if inside else -9.0
        losses.append(UNetLosses(ConstantLogits(logits))([picture], [target]))
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=0)


def test_scenes_without_void_beside_one_with_it(scene):
    """A batch of both: the plane of what is known is made up where it is missing."""
    picture, target = UNetExample(64, 0.25)(scene((40, 30, 18)), np.random.default_rng(0))
    known = {**target, "known": torch.ones_like(target["mask"])}
    losses = UNetLosses(ConstantLogits(torch.zeros(2, 1, 32, 32)))
    expected = losses([picture] * 2, [target] * 2)
    assert losses([picture] * 2, [target, known]) == expected
