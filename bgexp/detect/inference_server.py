"""One network for all workers: a process of its own that looks at their pictures in batches.

For a GPU, which wants one process and many pictures at once, while reading, refining and writing
want many cores. A worker asks for one image at a time; what has piled up while the network
computed is its next batch, so no worker waits for a batch to fill. A worker's picture lies in
memory that the network's process sees too; detections travel through a pipe.
"""

import os
import secrets
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from multiprocessing import AuthenticationError
from multiprocessing.connection import (
    Client,
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import perf_counter, sleep

import numpy as np
import torch
from numpy.typing import NDArray

from bgexp.detect.detections import Detections, Selection
from bgexp.detect.device import use_threads
from bgexp.detect.maskrcnn import Limits, MaskRCNNDetector, Picture, make_picture
from bgexp.errors import UserError
from bgexp.system.shared_memory import allocate, attach
from bgexp.system.workers import CONTEXT, TaskFailure, follow_parent

MOST_AT_ONCE = 8  # pictures in a batch
_DIED = "the process of the network died"
_ANSWER_SECONDS = 5.0
_LOADING_SECONDS = 600.0
_PAUSE_SECONDS = 0.1


# Makes the detector, in its process; to be pickled.
Build = Callable[[], MaskRCNNDetector]


@dataclass(frozen=True)
class ServerAddress:
    """The inference server's address, and the key that authenticates a worker."""

    where: str | tuple[str, int]
    key: bytes


@dataclass(frozen=True)
class ServerStats:
    """An inference server's work, from the first picture it received to the last.

    Attributes:
        pictures: How many it processed.
        batches: In how many batches.
        seconds: How long the network computed.
        span: Seconds from the first request to the last reply.
    """

    pictures: int = 0
    batches: int = 0
    seconds: float = 0.0
    span: float = 0.0


@dataclass(frozen=True)
class InferenceServer:
    """A handle on the network's process, for the process that started it."""

    address: ServerAddress
    _pipe: Connection

    def load(self) -> ServerStats:
        """Return its statistics so far; zeros if it is dead."""
        with suppress(EOFError, OSError):
            self._pipe.send(None)
            if self._pipe.poll(_ANSWER_SECONDS):
                stats: ServerStats = self._pipe.recv()
                return stats
        return ServerStats()


class NetworkLostError(Exception):
    """The network's process is gone, so no image can be processed."""


class SharedDetector:
    """A worker's client of the inference server.

    Attributes:
        selection: Which detections count.

    Raises:
        UserError: The network cannot be loaded.
        NetworkLostError: There is no network any more.
    """

    def __init__(self, address: ServerAddress, selection: Selection) -> None:
        self.selection = selection
        try:
            self._connection = Client(address.where, authkey=address.key)
            if not self._connection.poll(_LOADING_SECONDS):
                raise NetworkLostError(f"the network was not loaded in {_LOADING_SECONDS:g} s")
            reply: Limits | TaskFailure = self._connection.recv()
            if isinstance(reply, TaskFailure):
                raise UserError(reply.reason)
            self._limits = reply
            self._memory = allocate(self._connection, 3 * prod(reply))  # enough for any picture
        except (EOFError, OSError) as error:
            raise NetworkLostError(_DIED) from error

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Detect in an image, HxWx3 uint8 RGB; return all detections above the score floor.

        Raises:
            MemoryError: The GPU's memory does not hold it.
            RuntimeError: The network failed on it.
            NetworkLostError: There is no network any more.
        """
        picture = make_picture(image, self._limits)
        shape = picture.pixels.shape
        np.copyto(_view_pixels(self._memory, shape), picture.pixels)
        try:
            self._connection.send((shape, picture.scale, picture.height, picture.width))
            reply: Detections | Exception = self._connection.recv()
        except (EOFError, OSError) as error:
            raise NetworkLostError(_DIED) from error
        if isinstance(reply, Exception):
            raise reply
        return reply


def _view_pixels(memory: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return memory[: prod(shape)].reshape(shape)


@contextmanager
def start_server(build: Build) -> Iterator[InferenceServer]:
    """Start the network's process, which lives as long as the context.

    The network is loaded when the first worker connects: where all is cached, none does.

    Raises:
        UserError: It died at once.
    """
    pipe, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_serve, args=(build, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        try:
            address: ServerAddress = pipe.recv()
        except (EOFError, OSError) as error:
            raise UserError(_DIED) from error
        yield InferenceServer(address, pipe)
    finally:
        process.kill()
        process.join()
        pipe.close()


Request = tuple[Picture, Connection]


def _serve(build: Build, pipe: Connection) -> None:
    """Run the network's process until it is killed or its pipe closes."""
    follow_parent()
    use_threads(1)  # the cores are the workers'
    # An abstract address leaves no file behind, even if the process is killed.
    where = f"\0bgexp-{secrets.token_hex(16)}" if sys.platform == "linux" else None
    key = secrets.token_bytes(32)
    service = _Service(build, key)
    with Listener(where) as listener, suppress(OSError, EOFError):
        Thread(target=service.accept, args=(listener,), daemon=True).start()
        Thread(target=service.load_and_serve, daemon=True).start()
        pipe.send(ServerAddress(listener.address, key))
        while True:
            pipe.recv()
            pipe.send(service.stats)


class _Service:
    """The server's threads: one accepts workers, one per worker reads, one runs the network."""

    def __init__(self, build: Build, key: bytes) -> None:
        self._build, self._key = build, key
        self._needed = Event()
        self._limits: Future[Limits | TaskFailure] = Future()
        self._requests: SimpleQueue[Request] = SimpleQueue()
        self.stats = ServerStats()

    def accept(self, listener: Listener) -> None:
        while True:
            try:
                Thread(target=self._serve_worker, args=(listener.accept(),), daemon=True).start()
            except OSError:  # too many files are open
                sleep(_PAUSE_SECONDS)

    def _serve_worker(self, connection: Connection) -> None:
        # A worker killed while it connects, or a stranger; a silent one holds up no other.
        with suppress(OSError, EOFError, AuthenticationError):
            deliver_challenge(connection, self._key)
            answer_challenge(connection, self._key)
            self._needed.set()
            connection.send(self._limits.result())
            memory = attach(connection)
            while True:
                shape, *geometry = connection.recv()
                self._requests.put((Picture(_view_pixels(memory, shape), *geometry), connection))

    def load_and_serve(self) -> None:
        self._needed.wait()
        try:
            detector = self._build()
        except BaseException as error:
            self._limits.set_result(TaskFailure(str(error) or type(error).__name__))
            return
        self._limits.set_result(detector.limits)
        try:
            self._serve_requests(detector)
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # or the workers would wait for ever

    def _serve_requests(self, detector: MaskRCNNDetector) -> None:
        waiting = [self._requests.get()]
        began = perf_counter()
        while True:
            if not waiting:
                waiting.append(self._requests.get())
            with suppress(Empty):
                while True:
                    waiting.append(self._requests.get_nowait())
            batch = choose_batch([picture for picture, _ in waiting])
            requests = [waiting[n] for n in batch]
            waiting = [request for n, request in enumerate(waiting) if n not in batch]
            started = perf_counter()
            replies = detect_each(detector, [picture for picture, _ in requests])
            ended = perf_counter()
            self.stats = ServerStats(
                self.stats.pictures + len(requests),
                self.stats.batches + 1,
                self.stats.seconds + ended - started,
                ended - began,
            )
            for (_, connection), reply in zip(requests, replies, strict=True):
                with suppress(OSError):  # the worker is dead
                    connection.send(reply)


def choose_batch(pictures: Sequence[Picture]) -> list[int]:
    """Return the indices of a batch: the first picture, and those that are padded to its size."""
    first = _count_strides(pictures[0])
    return [n for n, p in enumerate(pictures) if _count_strides(p) == first][:MOST_AT_ONCE]


def _count_strides(picture: Picture, stride: int = 32) -> tuple[int, int]:
    height, width = picture.pixels.shape[:2]
    return -(-height // stride), -(-width // stride)


def detect_each(
    detector: MaskRCNNDetector, pictures: Sequence[Picture]
) -> Sequence[Detections | Exception]:
    """Detect in each of several pictures; return detections, or the exception of that picture."""
    failure: Exception
    try:
        return detector.detect_pictures(pictures)
    except torch.AcceleratorError:  # after it, this process cannot use the device any more
        raise
    except torch.OutOfMemoryError:
        failure = MemoryError("the GPU's memory does not hold it")
    except Exception as error:
        failure = RuntimeError(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    if len(pictures) == 1:
        return [failure]
    return [reply for picture in pictures for reply in detect_each(detector, [picture])]
