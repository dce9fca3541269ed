"""One network for several workers: real processes, the demo model with fixed random weights."""

import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import AuthenticationError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from bgexp.detect.demo import build_demo_model
from bgexp.detect.detections import Selection
from bgexp.detect.inference_server import (
    MOST_AT_ONCE,
    NetworkLostError,
    ServerStats,
    SharedDetector,
    choose_batch,
    detect_each,
    start_server,
)
from bgexp.detect.maskrcnn import Limits, MaskRCNNDetector, make_picture
from bgexp.detect.weights import read_state, save_state
from bgexp.errors import UserError

SIDE = 96
LIMITS = Limits(SIDE, SIDE)
SELECTION = Selection(0.4)


# What the network's process starts with; pickled, so at the top level.


def build(path: Path) -> MaskRCNNDetector:
    torch.set_num_threads(1)
    model = build_demo_model(SIDE)
    model.load_state_dict(read_state(path))
    return MaskRCNNDetector(model, torch.device("cpu"), score_floor=0.4, selection=SELECTION)


def no_weights():
    raise UserError("detector.weights: no such file: x")


def dead():
    os.kill(os.getpid(), signal.SIGKILL)


class DeadOnArrival:
    def __reduce__(self):
        return dead, ()


@pytest.fixture(scope="module")
def file(demo_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("shared") / "random.safetensors"
    save_state(demo_state, path, {})
    return path


@pytest.fixture(scope="module")
def server(file):
    with start_server(partial(build, file)) as server:
        yield server


def assert_same(detections, expected):
    assert (detections.height, detections.width) == (expected.height, expected.width)
    assert len(detections) == len(expected) > 0
    np.testing.assert_allclose(detections.boxes, expected.boxes, atol=0.02)
    np.testing.assert_allclose(detections.scores, expected.scores, atol=1e-4)
    assert np.abs(detections.masks.astype(int) - expected.masks).max() <= 1


def test_it_finds_what_a_network_of_ones_own_finds(server, file, picture):
    image, detector = picture(97, 160), build(file)
    detections = SharedDetector(server.address, SELECTION).detect(image)
    assert_same(detections, detector.detect(image))
    np.testing.assert_array_equal(detections.masks, detector.detect(image).masks)


def test_every_worker_gets_what_was_found_in_its_own_images(server, file, picture):
    images = [picture(97 + 7 * (seed % 3), 160, seed) for seed in range(12)]
    expected = list(map(build(file).detect, images))

    def detect_share(worker):
        detector = SharedDetector(server.address, SELECTION)
        return [detector.detect(image) for image in images[worker::4]]

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(detect_share, range(4)))
    for worker, share in enumerate(shares):
        for detections, expected_detections in zip(share, expected[worker::4], strict=True):
            assert_same(detections, expected_detections)


def test_it_tells_what_it_had_to_do(file, picture):
    with start_server(partial(build, file)) as server:
        assert server.load() == ServerStats()
        detector = SharedDetector(server.address, SELECTION)
        for seed in range(3):
            detector.detect(picture(97, 160, seed))
        stats = server.load()
        assert (stats.pictures, stats.batches) == (3, 3)  # one at a time: nothing could pile up
        assert 0 < stats.seconds < stats.span
    assert server.load() == ServerStats()


def test_only_who_knows_the_word_is_let_in_and_the_next_one_still_is(server, picture):
    stranger = SimpleNamespace(where=server.address.where, key=b"guessed")
    with pytest.raises(AuthenticationError):
        SharedDetector(stranger, SELECTION)
    assert len(SharedDetector(server.address, SELECTION).detect(picture(97, 160)))


@pytest.mark.skipif(sys.platform != "linux", reason="its address is another one")
def test_one_that_knocks_and_says_nothing_holds_up_no_other(server, picture):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(server.address.where)
        assert len(SharedDetector(server.address, SELECTION).detect(picture(97, 160)))


def test_a_network_whose_process_dies_at_once():
    message = r"^the process of the network died$"
    with pytest.raises(UserError, match=message), start_server(DeadOnArrival()):
        pass


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (no_weights, UserError, r"^detector.weights: no such file: x$"),
        (dead, NetworkLostError, r"^the process of the network died$"),
    ],
)
def test_a_network_that_cannot_be_loaded_says_why(build, error, message):
    with start_server(build) as server:
        for _ in range(2):  # the next worker hears it, too
            with pytest.raises(error, match=message):
                SharedDetector(server.address, SELECTION)


def test_a_network_that_died_is_told_from_a_bad_image(file, picture):
    processes = set(psutil.Process().children(recursive=True))
    with start_server(partial(build, file)) as server:
        detector = SharedDetector(server.address, SELECTION)
        detector.detect(picture(97, 160))
        for process in set(psutil.Process().children(recursive=True)) - processes:
            process.kill()
        with pytest.raises(NetworkLostError):
            detector.detect(picture(97, 160))


def test_it_ends_with_its_context(file):
    processes = set(psutil.Process().children(recursive=True))
    with start_server(partial(build, file)):
        new_processes = set(psutil.Process().children(recursive=True)) - processes
    assert new_processes
    assert not any(process.is_running() for process in new_processes)


def test_pictures_go_together_that_are_padded_to_one_size(picture):
    sizes = [(97, 160), (160, 97), (94, 160), (97, 160)]
    pictures = [make_picture(picture(*size), LIMITS) for size in sizes]
    assert choose_batch(pictures) == [0, 2, 3]
    assert choose_batch(pictures[1:]) == [0]
    assert choose_batch([pictures[0]] * (MOST_AT_ONCE + 3)) == list(range(MOST_AT_ONCE))


def test_a_device_that_is_lost_ends_the_network_and_not_every_picture():
    class Detector:
        def detect_pictures(self, _pictures):
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(torch.AcceleratorError):
        detect_each(Detector(), ["a", "b"])


@pytest.mark.parametrize(
    ("raised", "error_type"),
    [(torch.OutOfMemoryError("CUDA"), MemoryError), (ValueError("a\n b"), RuntimeError)],
)
def test_one_picture_that_fails_spoils_no_other(raised, error_type):
    class Detector:
        def detect_pictures(self, pictures):
            if "bad" in pictures:
                raise raised
            return [f"found in {picture}" for picture in pictures]

    first, bad, last = detect_each(Detector(), ["a", "bad", "b"])
    assert (first, last) == ("found in a", "found in b")
    assert isinstance(bad, error_type)
    assert str(bad) in ("the GPU's memory does not hold it", "ValueError: a b")
