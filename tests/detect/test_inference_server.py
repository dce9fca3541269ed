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
    alike,
    look,
    shared_network,
)
from bgexp.detect.maskrcnn import Limits, MaskRCNNDetector, as_picture
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
def network(file):
    with shared_network(partial(build, file)) as started:
        yield started


def assert_same(found, expected):
    assert (found.height, found.width) == (expected.height, expected.width)
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.02)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert np.abs(found.masks.astype(int) - expected.masks).max() <= 1


def test_it_finds_what_a_network_of_ones_own_finds(network, file, picture):
    image, own = picture(97, 160), build(file)
    found = SharedDetector(network.address, SELECTION).detect(image)
    assert_same(found, own.detect(image))
    np.testing.assert_array_equal(found.masks, own.detect(image).masks)


def test_every_worker_gets_what_was_found_in_its_own_images(network, file, picture):
    images = [picture(97 + 7 * (seed % 3), 160, seed) for seed in range(12)]
    expected = list(map(build(file).detect, images))

    def ask(worker):
        detector = SharedDetector(network.address, SELECTION)
        return [detector.detect(image) for image in images[worker::4]]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    for worker, answer in enumerate(answers):
        for found, alone in zip(answer, expected[worker::4], strict=True):
            assert_same(found, alone)


def test_it_tells_what_it_had_to_do(file, picture):
    with shared_network(partial(build, file)) as network:
        assert network.load() == ServerStats()
        detector = SharedDetector(network.address, SELECTION)
        for seed in range(3):
            detector.detect(picture(97, 160, seed))
        load = network.load()
        assert (load.pictures, load.batches) == (3, 3)  # one at a time: nothing could pile up
        assert 0 < load.seconds < load.span
    assert network.load() == ServerStats()


def test_only_who_knows_the_word_is_let_in_and_the_next_one_still_is(network, picture):
    stranger = SimpleNamespace(where=network.address.where, key=b"guessed")
    with pytest.raises(AuthenticationError):
        SharedDetector(stranger, SELECTION)
    assert len(SharedDetector(network.address, SELECTION).detect(picture(97, 160)))


@pytest.mark.skipif(sys.platform != "linux", reason="its address is another one")
def test_one_that_knocks_and_says_nothing_holds_up_no_other(network, picture):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(network.address.where)
        assert len(SharedDetector(network.address, SELECTION).detect(picture(97, 160)))


def test_a_network_whose_process_dies_at_once():
    said = r"^the process of the network died$"
    with pytest.raises(UserError, match=said), shared_network(DeadOnArrival()):
        pass


@pytest.mark.parametrize(
    ("build", "error", "said"),
    [
        (no_weights, UserError, r"^detector.weights: no such file: x$"),
        (dead, NetworkLostError, r"^the process of the network died$"),
    ],
)
def test_a_network_that_cannot_be_loaded_says_why(build, error, said):
    with shared_network(build) as network:
        for _ in range(2):  # the next worker hears it, too
            with pytest.raises(error, match=said):
                SharedDetector(network.address, SELECTION)


def test_a_network_that_died_is_told_from_a_bad_image(file, picture):
    before = set(psutil.Process().children(recursive=True))
    with shared_network(partial(build, file)) as network:
        detector = SharedDetector(network.address, SELECTION)
        detector.detect(picture(97, 160))
        for process in set(psutil.Process().children(recursive=True)) - before:
            process.kill()
        with pytest.raises(NetworkLostError):
            detector.detect(picture(97, 160))


def test_it_ends_with_its_context(file):
    before = set(psutil.Process().children(recursive=True))
    with shared_network(partial(build, file)):
        started = set(psutil.Process().children(recursive=True)) - before
    assert started
    assert not any(process.is_running() for process in started)


def test_pictures_go_together_that_are_padded_to_one_size(picture):
    sizes = [(97, 160), (160, 97), (94, 160), (97, 160)]
    pictures = [as_picture(picture(*size), LIMITS) for size in sizes]
    assert alike(pictures) == [0, 2, 3]
    assert alike(pictures[1:]) == [0]
    assert alike([pictures[0]] * (MOST_AT_ONCE + 3)) == list(range(MOST_AT_ONCE))


def test_a_device_that_is_lost_ends_the_network_and_not_every_picture():
    class Detector:
        def detect_pictures(self, _pictures):
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(torch.AcceleratorError):
        look(Detector(), ["a", "b"])


@pytest.mark.parametrize(
    ("raised", "said"),
    [(torch.OutOfMemoryError("CUDA"), MemoryError), (ValueError("a\n b"), RuntimeError)],
)
def test_one_picture_that_fails_spoils_no_other(raised, said):
    class Detector:
        def detect_pictures(self, pictures):
            if "bad" in pictures:
                raise raised
            return [f"found in {one}" for one in pictures]

    first, bad, last = look(Detector(), ["a", "bad", "b"])
    assert (first, last) == ("found in a", "found in b")
    assert isinstance(bad, said)
    assert str(bad) in ("the GPU's memory does not hold it", "ValueError: a b")
