import logging

import cv2
import numpy as np
import pytest

from bgexp.config.datasets import Pairs
from bgexp.datasets.coco import Annotation, CocoImage
from bgexp.datasets.read import Item, read_dataset
from bgexp.images.decode import ImageError
from bgexp.metrics.overlap import iou
from bgexp.system.hashing import hash_file
from bgexp.train.augment import SMALLEST, Photographs, split_parts


@pytest.fixture(scope="module")
def items(pairs):
    settings = Pairs(name="pairs", images=pairs / "images", masks=pairs / "masks")
    return read_dataset(settings, 0).items


@pytest.fixture(scope="module")
def scenes(items):
    photographs = Photographs(items, 200, {})
    return [photographs.draw(80, np.random.default_rng(seed)) for seed in range(40)]


def test_a_drawn_scene_keeps_image_and_masks_together(scenes):
    n_checked = 0
    for scene in scenes:
        assert scene.masks.shape[1:] == scene.image.shape[:2]
        assert len(scene.labels) == len(scene.masks)
        red = scene.image[..., 0].astype(int) - scene.image[..., 1:].max(axis=-1)
        if not scene.foreground.any() or not red.any():  # a part without the disc, or grey
            continue
        assert iou(red > red.max() / 2, scene.foreground) > 0.8
        n_checked += 1
    assert n_checked > 25


def test_a_drawn_scene_has_the_size_asked_for_and_differs_from_the_next(scenes):
    assert {max(scene.image.shape[:2]) for scene in scenes} == {80}
    assert len({scene.image.tobytes() for scene in scenes}) == len(scenes)
    assert all((scene.masks.sum(axis=(1, 2)) >= SMALLEST).all() for scene in scenes)


def test_a_drawn_scene_follows_from_its_generator(items, scenes):
    scene = Photographs(items, 200, {}).draw(80, np.random.default_rng(3))
    np.testing.assert_array_equal(scene.image, scenes[3].image)
    np.testing.assert_array_equal(scene.masks, scenes[3].masks)


def test_a_whole_image_is_as_it_is(items, scene):
    loaded = Photographs(items, 200, {}).load_whole(items[1], 96)
    expected = scene((32, 38, 14), seed=1)
    np.testing.assert_array_equal(loaded.image, expected.image)
    np.testing.assert_array_equal(loaded.masks, expected.masks)


def test_an_image_that_cannot_be_read_is_passed_over(items, tmp_path, caplog):
    file = tmp_path / "broken.png"
    file.write_bytes(b"no picture")
    broken = Item("broken.png", ".", file, None, hash_file(file), "truth")
    photographs = Photographs([broken, items[0]], 200, {})
    with caplog.at_level(logging.WARNING):
        scenes = [photographs.draw(64, np.random.default_rng(seed)) for seed in range(8)]
    assert all(scene.image.any() for scene in scenes)
    assert "broken.png: " in caplog.text
    with pytest.raises(ImageError, match="none of a hundred images could be read"):
        Photographs([broken], 200, {}).draw(64, np.random.default_rng(0))


def test_parts_are_the_large_separate_pieces():
    mask = np.zeros((20, 40), bool)
    mask[2:12, 2:12], mask[5:15, 20:30], mask[0, 39] = True, True, True
    objects = split_parts(mask)
    assert objects.dtype == np.bool_
    assert [part.sum() for part in objects] == [100, 100]  # the speck is under 5 %
    assert not (objects[0] & objects[1]).any()
    assert not (objects.any(axis=0) & ~mask).any()


def test_a_mask_without_foreground_has_no_parts():
    assert split_parts(np.zeros((5, 7), bool)).shape == (0, 5, 7)


def square(number, category, x, crowd=False):
    polygon = f"[[{x},10,{x + 20},10,{x + 20},30,{x},30]]".encode()
    return Annotation(number, 1, category, polygon, crowd)


@pytest.mark.parametrize(
    ("classes", "labels"), [({}, [1, 1]), ({"cat": 1, "dog": 2}, [2, 1])], ids=["object", "dataset"]
)
def test_annotations_become_objects_with_labels_without_crowds(tmp_path, write, classes, labels):
    file = tmp_path / "a.png"
    write(file, np.full((64, 96, 3), 90, np.uint8))
    names = {3: "dog", 7: "cat"}
    objects = square(5, 3, 4), square(6, 7, 40), square(7, 7, 70, crowd=True)
    item = Item(
        "a.png", ".", file, None, hash_file(file), "t", CocoImage(1, 64, 96, objects, names)
    )
    scene = Photographs([item], 200, classes).load_whole(item, 96)
    assert scene.labels.tolist() == labels
    assert [np.flatnonzero(mask.any(axis=0))[0] for mask in scene.masks] == [4, 40]


def test_void_stays_with_its_picture(pairs, tmp_path, write):
    """0/1 masks with 255 for void: void is no object, and is cropped and mirrored with the rest."""
    for number in range(5):
        mask = cv2.imread(str(pairs / "masks" / f"{number}.png"), cv2.IMREAD_GRAYSCALE) > 127
        void = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool) & ~mask
        write(tmp_path / "masks" / f"{number}.png", mask + np.uint8(255) * void)
    settings = Pairs(name="pairs", images=pairs / "images", masks=tmp_path / "masks")
    data = read_dataset(settings, 0)
    assert data.mask_rule.void == (255,)
    photographs = Photographs(data.items, 200, {})
    for seed in range(10):
        scene = photographs.draw(80, np.random.default_rng(seed))
        assert scene.void.shape == scene.image.shape[:2]
        near = cv2.dilate(scene.foreground.astype(np.uint8), np.ones((15, 15), np.uint8))
        assert not scene.void[near == 0].any() or not scene.foreground.any()
    whole = photographs.load_whole(data.items[0], 96)
    assert not (whole.void & whole.foreground).any()
