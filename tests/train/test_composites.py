import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgexp.errors import UserError
from bgexp.train import composites
from bgexp.train.composites import MIN_VISIBLE_PIXELS, CompositeSources, compose

SIZE = 64
seeds = st.integers(0, 2**31 - 1)
few = settings(max_examples=25, deadline=None, database=None)


def write(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write white discs and bars on transparent ground, and dark noise for backgrounds."""
    folder, rng = tmp_path_factory.mktemp("composites"), np.random.default_rng(0)
    for pool in ("large", "small", "other"):
        for number in range(2):
            cutout = np.full((40, 30 + 20 * number, 4), 255, np.uint8)
            shape = np.zeros(cutout.shape[:2], np.uint8)
            cv2.circle(shape, (15, 20), 12, 255, -1)
            cutout[..., 3] = shape if number else cv2.GaussianBlur(shape, (0, 0), 2)
            write(folder / "cutouts" / pool / f"{number}.png", cutout)
    for number, size in enumerate([(50, 70), (90, 60), (3, 4)]):
        picture = rng.integers(0, 30, (*size, 3), np.uint8)
        write(folder / "backgrounds" / f"{number}.{'png' if number else 'jpg'}", picture)
    return folder


@pytest.fixture(scope="module")
def sources(folder):
    return CompositeSources.from_folders(folder / "cutouts", folder / "backgrounds")


def compose_scene(sources, seed, index=0):
    return compose(sources, SIZE, np.random.default_rng((seed, index)))


def is_same(first, second):
    return np.array_equal(first.image, second.image) and np.array_equal(first.masks, second.masks)


def test_a_scene_follows_from_seed_and_index_alone(sources):
    forwards = [compose_scene(sources, 5, index) for index in range(6)]
    backwards = [compose_scene(sources, 5, index) for index in reversed(range(6))][::-1]
    assert all(map(is_same, forwards, backwards))
    assert not any(map(is_same, forwards, forwards[1:]))
    assert not is_same(forwards[0], compose_scene(sources, 6, 0))


@few
@given(seeds)
def test_every_scene_keeps_its_promises(sources, seed):
    scene = compose_scene(sources, seed)
    assert (scene.image.shape, scene.image.dtype) == ((SIZE, SIZE, 3), np.uint8)
    assert scene.masks.dtype == np.bool_
    assert scene.masks.shape[1:] == (SIZE, SIZE)
    assert len(scene.masks) <= 20  # three, or a tray of five by four alike
    assert (scene.masks.sum(axis=0) <= 1).all()  # visible parts: no pixel is of two objects
    assert (scene.masks.sum(axis=(1, 2)) >= MIN_VISIBLE_PIXELS).all()
    assert scene.labels.tolist() == [1] * len(scene.masks)


def test_some_scenes_hold_one_object_many_times(sources):
    scenes = [compose_scene(sources, 1, index) for index in range(120)]
    crowded = np.mean([len(scene.masks) > 3 for scene in scenes])
    assert 0.01 < crowded < 0.12


def test_scenes_without_an_object_and_objects_cut_by_the_frame_exist(sources):
    scenes = [compose_scene(sources, 0, index) for index in range(80)]
    counts = [len(scene.masks) for scene in scenes]
    assert {0, 1, 2} <= set(counts)
    assert np.mean(np.array(counts) == 0) < 0.3
    borders = [m[[0, -1]].any() or m[:, [0, -1]].any() for s in scenes for m in s.masks]
    assert 0.1 < np.mean(borders) < 0.9
    assert len({scene.image.tobytes() for scene in scenes}) == len(scenes)


def test_the_masks_are_where_the_objects_are(sources, monkeypatch):
    """White things on dark ground; no clutter, light, shadows, camera or changes of colour."""
    monkeypatch.setattr(composites, "SHAPE_SHARE", 0)
    for name in ("light_layer", "cast_shadow", "_add_clutter"):
        monkeypatch.setattr(composites, name, lambda *_: None)
    monkeypatch.setattr(composites, "apply_camera", lambda canvas, _rng: canvas.astype(np.uint8))
    monkeypatch.setattr(composites, "_vary", lambda cutout, *_: cutout)
    monkeypatch.setattr(
        composites, "_make_background", lambda *_: np.zeros((SIZE, SIZE, 3), np.uint8)
    )
    monkeypatch.setattr(composites, "MIN_VISIBLE_PIXELS", 1)
    n_scenes = 0
    for index in range(40):
        scene = compose_scene(sources, 1, index)
        red = scene.image[..., 0]
        foreground = scene.masks.any(axis=0)
        assert (red[foreground] >= 127).all()
        if len(scene.masks) < 2:  # the edges of two that meet add up
            assert (red[~foreground] <= 128).all()
        n_scenes += foreground.any()
    assert n_scenes > 30


@few
@given(seeds, st.floats(0.15, 1.1))
def test_an_object_is_as_large_as_asked_for(seed, span):
    cutout = np.full((40, 20, 4), 255, np.uint8)
    alpha = composites.place_cutout(cutout, 200, span, np.random.default_rng(seed))[..., 3]
    # 40:20 on a canvas of 200; up to a quarter wider or narrower, part of it outside.
    area = 200 * span * 100 * span
    assert alpha.max() <= 1 + 1e-5
    assert 0.15 * area < alpha.sum() < 1.4 * area


def test_folders_are_pools_with_shares_of_their_own(sources, monkeypatch):
    assert sorted(sources.cutouts) == ["large", "other", "small"]
    assert all(len(pool) == 2 for pool in sources.cutouts.values())
    pools_read = []
    read_file = composites._read
    monkeypatch.setattr(
        composites, "_read", lambda p: pools_read.append(p.parent.name) or read_file(p)
    )
    rng = np.random.default_rng(0)
    for _ in range(1000):
        sources.pick(rng)
    for pool, share in (("large", 0.45), ("small", 0.25), ("other", 0.30)):
        assert pools_read.count(pool) / 1000 == pytest.approx(share, abs=0.05)


def test_empty_folders(folder, tmp_path):
    with pytest.raises(UserError, match=r"dataset\.cutouts: no \.png cut-outs under"):
        CompositeSources.from_folders(tmp_path, folder / "backgrounds")
    with pytest.raises(UserError, match=r"dataset\.backgrounds: no \.jpg or \.png pictures under"):
        CompositeSources.from_folders(folder / "cutouts", tmp_path / "none")


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_file_that_cannot_be_read(folder, tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    sources = CompositeSources.from_folders(tmp_path, folder / "backgrounds")
    with pytest.raises(UserError, match=r"broken\.png: not a colour picture that can be read"):
        sources.pick(np.random.default_rng(0))


def test_a_cutout_without_transparency(folder, tmp_path):
    write(tmp_path / "opaque.png", np.zeros((9, 9, 3), np.uint8))
    sources = CompositeSources.from_folders(tmp_path, folder / "backgrounds")
    with pytest.raises(UserError, match=r"opaque\.png: a cut-out needs an alpha channel"):
        sources.pick(np.random.default_rng(0))
