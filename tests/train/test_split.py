import numpy as np
import pytest

from bgexp.datasets.read import Dataset, Item
from bgexp.errors import UserError
from bgexp.train import split as data
from bgexp.train.augment import Photographs
from bgexp.train.composites import CompositeSources
from bgexp.train.split import read_data, read_images

OBJECT = ("background", "object")


def make_dataset(*hashes, masks=True):
    items = [
        Item(f"{n}.png", ".", f"{n}.png", None, sha256, "truth" if masks else None)
        for n, sha256 in enumerate(hashes)
    ]
    return Dataset("pairs", "root", tuple(items), len(items))


@pytest.mark.parametrize("seed", range(5))
def test_equal_images_are_never_on_both_sides(seed):
    dataset = make_dataset(*"aabbccddee")
    training_items, held_out = data._split(dataset, 0.3, seed)
    assert sorted([*training_items, *held_out], key=lambda item: item.path) == list(dataset.items)
    assert not {item.sha256 for item in training_items} & {item.sha256 for item in held_out}
    assert len(held_out) == 4  # three asked for, and the twin of the third


def test_a_split_follows_from_the_seed_and_not_from_the_order():
    dataset = make_dataset(*"abcdefgh")
    turned = Dataset("pairs", "root", dataset.items[::-1], 8)
    assert data._split(dataset, 0.25, 1) == data._split(turned, 0.25, 1)
    assert len({tuple(data._split(dataset, 0.25, seed)[1]) for seed in range(9)}) > 1


def test_images_without_truth_are_left_out():
    with_truth, without = make_dataset(*"abc"), make_dataset(*"def", masks=False)
    both = Dataset("pairs", "root", with_truth.items + without.items, 6)
    training_items, held_out = data._split(both, 0.3, 0)
    assert {*training_items, *held_out} == set(with_truth.items)


@pytest.mark.parametrize("hashes", ["", "a", "aaa"])
def test_too_few_images(hashes):
    with pytest.raises(UserError, match=f"dataset: {len(hashes)} images with masks are too few"):
        data._split(make_dataset(*hashes), 0.2, 0)


def test_pairs_are_read_whole_for_validation(settings_of):
    settings = settings_of("loop.validation_images=9", "loop.validation_share=0.4")
    training_data = read_data(settings, read_images(settings), OBJECT)
    assert isinstance(training_data.scenes, Photographs)
    assert (len(training_data.scenes.items), len(training_data.validation)) == (3, 2)
    for scene in training_data.validation:
        assert max(scene.image.shape[:2]) == 64
        assert scene.foreground.any()
        assert (scene.image[scene.foreground][:, 0] > 120).mean() > 0.9  # red discs


def test_a_validation_image_that_cannot_be_read(settings_of, tmp_path, write):
    mask = np.uint8(255) * (np.random.default_rng(0).random((40, 40)) < 0.5)
    for n in range(3):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"{n}.png").write_bytes(b"no picture" + bytes([n]))
        write(tmp_path / "masks" / f"{n}.png", mask)
    folders = [f"dataset.{kind}={tmp_path / kind}" for kind in ("images", "masks")]
    settings = settings_of(*folders)
    with pytest.raises(UserError, match=r"dataset: \d\.png: "):
        read_data(settings, read_images(settings), OBJECT)


def test_composites_are_validated_on_objects_of_their_own(settings_of, tmp_path, write):
    picture = np.full((32, 32, 4), 255, np.uint8)
    for name in ("cutouts", "backgrounds", "validation_cutouts", "validation_backgrounds"):
        for n in range(2):
            image = picture if "cutouts" in name else picture[..., :3]
            write(tmp_path / name / f"{n}.png", np.ascontiguousarray(image))
    folders = [f"dataset.{path.name}={path}" for path in sorted(tmp_path.iterdir())]
    settings = settings_of("dataset=composites", *folders, "loop.validation_images=3")
    assert read_images(settings) is None
    training_data = read_data(settings, None, OBJECT)
    assert isinstance(training_data.scenes, CompositeSources)
    assert {path.parent.name for path in training_data.scenes.backgrounds} == {"backgrounds"}
    assert [scene.image.shape for scene in training_data.validation] == [(64, 64, 3)] * 3
    validation = read_data(settings, None, OBJECT).validation
    assert all(
        map(
            np.array_equal,
            [s.image for s in training_data.validation],
            [s.image for s in validation],
        )
    )
