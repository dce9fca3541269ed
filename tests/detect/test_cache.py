import io
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bgexp.config.detectors import Demo, MaskRcnnResnet50Fpn
from bgexp.detect.build import build_cached_detector, build_detector
from bgexp.detect.cache import CachedDetector, DetectionCache, Entry
from bgexp.detect.detections import Detections, Selection
from bgexp.detect.weights import Weights, save_state
from bgexp.pipeline.combine import select_detections

CPU = torch.device("cpu")
IMAGE = np.zeros((20, 30, 3), np.uint8)
KEY = "ab" * 32


def make_detections(seed=0, n=5):
    rng = np.random.default_rng(seed)
    corner = rng.random((n, 2), np.float32) * 10
    return Detections(
        boxes=np.hstack([corner, corner + rng.random((n, 2), np.float32) * 10]),
        labels=rng.integers(1, 91, n),
        scores=np.sort(rng.random(n, np.float32))[::-1].copy(),
        masks=rng.integers(0, 256, (n, 28, 28), np.uint8),
        height=20,
        width=30,
    )


def is_equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(astuple(first), astuple(second), strict=True))


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


class CountingDetector:
    """A detector that counts its calls."""

    def __init__(self, floor=0.0):
        self.selection, self.floor, self.calls = Selection(0.5), floor, 0

    def detect(self, image):
        self.calls += 1
        detections = make_detections(int(image[0, 0, 0]))
        return select_detections(detections, Selection(self.floor))


def cached(cache, network, identity=(), floor=0.0):
    return CachedDetector(
        lambda: network, cache, dict(identity), floor=floor, selection=Selection(0.5)
    )


@pytest.fixture
def cache(tmp_path):
    return DetectionCache(tmp_path, 10**9)


# -- entries ---------------------------------------------------------------------------------


@given(st.integers(0, 60_000), st.integers(0, 40), st.floats(0, 1), st.floats(0, 1e6))
def test_what_goes_in_comes_out(tmp_path_factory, seed, n, floor, milliseconds):
    cache = DetectionCache(tmp_path_factory.mktemp("cache"), 10**9)
    detections = select_detections(make_detections(seed, n), Selection(floor))
    cache.put(KEY, floor, Entry(detections, milliseconds))
    entry = cache.get(KEY, floor)
    assert is_equal(entry.output, detections)
    assert entry.network_ms == milliseconds
    assert cache.get("cd" * 32, floor) is None


def test_an_entry_serves_its_floor_and_what_lies_above(cache):
    detections = select_detections(make_detections(n=30), Selection(0.3))
    cache.put(KEY, 0.3, Entry(detections, 1.0))
    assert cache.get(KEY, 0.29) is None
    for threshold in (0.3, 0.5, 0.9):
        assert is_equal(
            cache.get(KEY, threshold).output, select_detections(detections, Selection(threshold))
        )
    everything = select_detections(make_detections(n=30), Selection(0.1))
    cache.put(KEY, 0.1, Entry(everything, 1.0))
    assert len(cache.get(KEY, 0.1).output) > len(detections)


@pytest.mark.parametrize("length", [0, 1, 100, 0.5, 0.9, -1])
def test_a_cut_entry_is_none(cache, tmp_path, length):
    cache.put(KEY, 0.0, Entry(make_detections(), 1.0))
    [path] = files(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(length * len(data)) if isinstance(length, float) else length])
    assert cache.get(KEY, 0.0) is None


def test_a_flipped_byte_is_none_or_harmless(cache, tmp_path):
    detections = make_detections()
    cache.put(KEY, 0.0, Entry(detections, 1.0))
    [path] = files(tmp_path)
    data, damaged = path.read_bytes(), 0
    for place in range(0, len(data), 37):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        entry = cache.get(KEY, 0.0)
        assert entry is None or is_equal(entry.output, detections)
        damaged += entry is None
    assert damaged > 50


def test_a_file_under_another_key_is_none(cache, tmp_path):
    cache.put(KEY, 0.0, Entry(make_detections(), 1.0))
    [path] = files(tmp_path)
    path.rename(path.with_name(f"ab{'0' * 62}.npz"))
    assert cache.get(f"ab{'0' * 62}", 0.0) is None


def write_soft_mask(path, packing, height, width):
    """Write an entry as `_encode` would, of zeros, without having them in memory."""
    path.parent.mkdir(exist_ok=True)
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (height, width)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, array in (("key", np.array(KEY)), ("numbers", np.array([0.0, 1.0, 1.0, 1.0]))):
            with archive.open(f"{name}.npy", "w") as member:
                np.save(member, array)
        with archive.open("mask.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(height):
                member.write(bytes(width))


@pytest.mark.parametrize(
    ("packing", "height"), [(zipfile.ZIP_DEFLATED, 600), (zipfile.ZIP_BZIP2, 100)]
)
def test_a_bomb_is_none(cache, tmp_path, packing, height):
    path = tmp_path / KEY[:2] / f"{KEY}.npz"
    write_soft_mask(path, zipfile.ZIP_DEFLATED, 2, 3)
    assert cache.get(KEY, 0.0).output.mask.shape == (2, 3)
    write_soft_mask(path, packing, height, 10**6)
    tracemalloc.start()
    assert cache.get(KEY, 0.0) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**7


def test_a_pipe_is_none(cache, tmp_path):
    (tmp_path / KEY[:2]).mkdir()
    os.mkfifo(tmp_path / KEY[:2] / f"{KEY}.npz")
    assert cache.get(KEY, 0.0) is None


class PickleBomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def test_no_code_is_loaded(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache.put(KEY, 0.0, Entry(make_detections(), 1.0))
    [path] = files(tmp_path)
    with np.load(path) as archive:
        arrays = dict(archive)
    evil = io.BytesIO()
    np.savez(evil, **arrays | {"labels": np.array([PickleBomb()], object)})
    for data in (evil.getvalue(), pickle.dumps(PickleBomb())):
        path.write_bytes(data)
        assert cache.get(KEY, 0.0) is None
    assert not Path("exploded").exists()


# -- room ------------------------------------------------------------------------------------


def fill(cache, names):
    for name in names:
        cache.put(name, 0.0, Entry(make_detections(), 1.0))


def names(n):
    return [f"{number:02x}" * 32 for number in range(n)]


def test_the_longest_unused_go_first(tmp_path):
    fill(DetectionCache(tmp_path, 10**9), names(10))
    sizes = [path.stat().st_size for path in files(tmp_path)]
    for age, name in enumerate(names(10)):
        os.utime(tmp_path / name[:2] / f"{name}.npz", (1000 + age, 1000 + age))
    small = DetectionCache(tmp_path, int(sum(sizes) * 0.8))
    assert small.get(names(10)[0], 0.0) is not None  # used just now
    fill(small, ["ff" * 32])
    left = [name for name in [*names(10), "ff" * 32] if small.get(name, 0.0) is not None]
    assert left == [names(10)[0], *names(10)[5:], "ff" * 32]
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 0.8 * sum(sizes)


def test_it_stays_within_its_bounds(tmp_path):
    fill(DetectionCache(tmp_path, 10**9), names(1))
    size = files(tmp_path)[0].stat().st_size
    cache = DetectionCache(tmp_path, 40 * size)
    for name in names(200):
        cache.put(name, 0.0, Entry(make_detections(), 1.0))
        assert len(files(tmp_path)) <= 43  # a twentieth more, and the one just written


def test_what_a_killed_process_left_goes(cache, tmp_path):
    old, new = (tmp_path / "ab" / f".bgexp-{name}.part" for name in ("old", "new"))
    old.parent.mkdir()
    for path in (old, new):
        path.touch()
    os.utime(old, (1000, 1000))
    fill(cache, names(1))
    assert not old.exists()
    assert new.exists()


def test_a_disk_that_refuses_stops_nothing(tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be")
    detector = cached(DetectionCache(tmp_path / "cache", 10**9), network := CountingDetector())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert len(detector.for_file("1").detect(IMAGE)) == 5
    assert network.calls == 2
    assert "cannot be written" in caplog.text


# -- the decorated detector ------------------------------------------------------------------


def test_the_network_runs_once_for_each_file(cache):
    network = CountingDetector()
    detector = cached(cache, network)
    first = detector.for_file("1")
    detections = first.detect(IMAGE)
    assert (first.cached, network.calls) == (False, 1)
    second = detector.for_file("1")
    assert is_equal(second.detect(IMAGE), detections)
    assert (second.cached, network.calls) == (True, 1)
    assert second.network_ms == first.network_ms > 0
    assert len(cached(cache, network).for_file("2").detect(IMAGE)) == 5
    assert network.calls == 2
    for uncached in (cached(cache, network, {"weights": "x"}), cached(None, network)):
        calls = network.calls
        assert is_equal(uncached.for_file("1").detect(IMAGE), detections)
        assert network.calls == calls + 1


def test_a_known_image_needs_no_network(cache):
    cached(cache, CountingDetector()).for_file("1").detect(IMAGE)

    def fail_to_build():
        raise AssertionError("built")

    detector = CachedDetector(fail_to_build, cache, {}, floor=0.5, selection=Selection(0.5))
    assert (detector.for_file("1").detect(IMAGE).scores > 0.5).all()
    with pytest.raises(AssertionError, match="built"):
        detector.for_file("2").detect(IMAGE)


def test_an_entry_of_another_size_is_not_this_images(cache):
    network = CountingDetector()
    detector = cached(cache, network)
    detector.for_file("1").detect(IMAGE)
    detector.for_file("1").detect(np.zeros((30, 20, 3), np.uint8))
    assert network.calls == 2


@pytest.fixture(scope="module")
def random_network(demo_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "random.safetensors"
    return path, save_state(demo_state, path, {})


def demo(path, **changes):
    settings = Demo(name="demo", weights=path, score_threshold=0.4, labels=None, image_size=96)
    return settings.model_copy(update=changes)


def test_on_and_off_are_bit_equal(cache, random_network, picture):
    path, sha256 = random_network
    weights, image = Weights("w", path, sha256), picture(97, 160)
    off = build_cached_detector(demo(path, score_floor=0.2), CPU, weights, None).for_file("1")
    plain = off.detect(image)
    assert is_equal(build_detector(demo(path, score_floor=0.2), CPU).detect(image), plain)
    for threshold in (0.2, 0.4, 0.6):
        settings = demo(path, score_floor=0.2, score_threshold=threshold)
        on = build_cached_detector(settings, CPU, weights, cache).for_file("1")
        assert is_equal(on.detect(image), plain)
        assert on.cached is (threshold > 0.2)
        assert on.selection == Selection(threshold)
    assert len(plain) > len(select_detections(plain, Selection(0.4))) > 0


def test_what_an_entry_depends_on(cache, random_network, monkeypatch):
    path, sha256 = random_network

    def is_known(settings, digest=sha256, device=CPU):
        detector = build_cached_detector(settings, device, Weights("w", path, digest), cache)
        monkeypatch.setattr(detector, "_build", CountingDetector)
        file_detector = detector.for_file("1")
        file_detector.detect(IMAGE)
        return file_detector.cached

    assert not is_known(demo(path))
    assert is_known(demo(path))
    assert is_known(demo(path, score_threshold=0.7, labels=("object",)))
    assert is_known(demo("moved.safetensors"))
    assert not is_known(demo(path, score_floor=0.1))
    assert not is_known(demo(path, image_size=128))
    assert not is_known(demo(path), digest="another")
    assert not is_known(demo(path), device=torch.device("meta"))
    monkeypatch.setattr("bgexp.detect.build.hash_sources", lambda *_: "other code")
    assert not is_known(demo(path))
    monkeypatch.undo()
    monkeypatch.setattr("bgexp.detect.build.find_package_versions", lambda: {"torch": "99"})
    assert not is_known(demo(path))


@pytest.mark.parametrize(
    "change",
    [
        {"min_size": 200},
        {"max_size": 400},
        {"detections_per_image": 7},
        {"norm_eps": 1e-5},
        {"norm": "batch_norm"},
    ],
    ids=str,
)
def test_every_setting_of_the_network_counts(resnet_settings, change):
    def identity(settings):
        weights = Weights("w", Path("w"), "0")
        return json.dumps(build_cached_detector(settings, CPU, weights, None)._identity)

    assert isinstance(resnet_settings, MaskRcnnResnet50Fpn)
    changed = identity(resnet_settings.model_copy(update=change))
    assert changed != identity(resnet_settings)
    choices = {"score_threshold": 0.9, "labels": ("dog",), "weights": "elsewhere"}
    assert identity(resnet_settings.model_copy(update=choices)) == identity(resnet_settings)


# -- several processes -----------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from tests_cache import DetectionCache, Entry, make_detections, names
cache = DetectionCache(Path(sys.argv[1]), 60_000)
print("ready", flush=True)
for number in range(100_000):
    key = names(20)[number % 20]
    floor = (number % 3) / 10
    cache.put(key, floor, Entry(make_detections(int(key[:2], 16)), 1.0))
"""


@pytest.mark.slow
def test_killed_writers_leave_no_wrong_entry(tmp_path):
    """Two write the same keys at once, both are killed in the middle, and everything is right."""
    code = WRITER.replace("from tests_cache", "from test_cache")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    folder = tmp_path / "cache"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, env=environment
        )
        for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout.readline() == b"ready\n"
        reader, n_read = DetectionCache(folder, 60_000), 0
        end = time.monotonic() + 60
        while n_read < 300 and time.monotonic() < end:
            for name in names(20):
                entry = reader.get(name, 0.2)
                if entry is not None:
                    n_read += 1
                    assert is_equal(entry.output, expected_detections(name))
    finally:
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
    assert n_read >= 300
    assert files(folder)
    for path in folder.rglob("*.npz"):
        assert is_equal(reader.get(path.stem, 0.2).output, expected_detections(path.stem))


def expected_detections(name):
    return select_detections(replace(make_detections(int(name[:2], 16))), Selection(0.2))
