"""One network for all workers: a process of its own that looks at their pictures in batches.

For a GPU, which wants one process and many pictures at once, while reading, refining and writing
want many cores. A worker asks for one image at a time; what has piled up while the network
computed is its next batch, so nobody ever waits for a batch to fill. A worker's picture lies in
memory that the network's process sees too; what was found travels through a pipe.
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
from bgexp.detect.maskrcnn import Limits, MaskRCNNDetector, Picture, as_picture
from bgexp.errors import UserError
from bgexp.system.shared_memory import allocate, attach
from bgexp.system.workers import CONTEXT, TaskFailure, begin_service

MOST_AT_ONCE = 8  # pictures a batch
_DIED = "the process of the network died"
_ANSWER_SECONDS = 5.0
_LOADING_SECONDS = 600.0
_PAUSE_SECONDS = 0.1


# Makes the detector, in its process; to be pickled.
Build = Callable[[], MaskRCNNDetector]


@dataclass(frozen=True)
class ServerAddress:
    """Where the network is asked, and the word that lets one in."""

    where: str | tuple[str, int]
    key: bytes


@dataclass(frozen=True)
class ServerStats:
    """What a network had to do, from the first picture it was asked about to the last.

    Attributes:
        pictures: How many it looked at.
        batches: In how many batches.
        seconds: How long it looked.
        span: Seconds from the first question to the last answer.
    """

    pictures: int = 0
    batches: int = 0
    seconds: float = 0.0
    span: float = 0.0


@dataclass(frozen=True)
class InferenceServer:
    """The network's process, as the one that started it has it."""

    address: ServerAddress
    _pipe: Connection

    def load(self) -> ServerStats:
        """What it had to do until now; nothing, if it is dead."""
        with suppress(EOFError, OSError):
            self._pipe.send(None)
            if self._pipe.poll(_ANSWER_SECONDS):
                found: ServerStats = self._pipe.recv()
                return found
        return ServerStats()


class NetworkLostError(Exception):
    """The network's process is gone, so no image can be worked on."""


class SharedDetector:
    """Asks the network of another process; one for each worker.

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
            said: Limits | TaskFailure = self._connection.recv()
            if isinstance(said, TaskFailure):
                raise UserError(said.reason)
            self._limits = said
            self._memory = allocate(self._connection, 3 * prod(said))  # enough for any picture
        except (EOFError, OSError) as error:
            raise NetworkLostError(_DIED) from error

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """What the network finds above its score floor in an image, HxWx3 uint8 RGB.

        Raises:
            MemoryError: The GPU's memory does not hold it.
            RuntimeError: The network failed on it.
            NetworkLostError: There is no network any more.
        """
        picture = as_picture(image, self._limits)
        shape = picture.pixels.shape
        np.copyto(_as_pixels(self._memory, shape), picture.pixels)
        try:
            self._connection.send((shape, picture.scale, picture.height, picture.width))
            found: Detections | Exception = self._connection.recv()
        except (EOFError, OSError) as error:
            raise NetworkLostError(_DIED) from error
        if isinstance(found, Exception):
            raise found
        return found


def _as_pixels(memory: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return memory[: prod(shape)].reshape(shape)


@contextmanager
def shared_network(build: Build) -> Iterator[InferenceServer]:
    """Starts the network's process, which lives as long as the context.

    The network is loaded when the first worker comes: where all is known, none does.

    Raises:
        UserError: It died at once.
    """
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_serve, args=(build, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        try:
            address: ServerAddress = ours.recv()
        except (EOFError, OSError) as error:
            raise UserError(_DIED) from error
        yield InferenceServer(address, ours)
    finally:
        process.kill()
        process.join()
        ours.close()


Request = tuple[Picture, Connection]


def _serve(build: Build, pipe: Connection) -> None:
    """The life of the network's process."""
    begin_service()
    use_threads(1)  # the cores are the workers'
    # An abstract address leaves no file behind, however this ends.
    where = f"\0bgexp-{secrets.token_hex(16)}" if sys.platform == "linux" else None
    key = secrets.token_bytes(32)
    service = _Service(build, key)
    with Listener(where) as listener, suppress(OSError, EOFError):
        Thread(target=service.accept, args=(listener,), daemon=True).start()
        Thread(target=service.run, daemon=True).start()
        pipe.send(ServerAddress(listener.address, key))
        while True:
            pipe.recv()
            pipe.send(service.load)


class _Service:
    """Three kinds of threads: one lets workers in, one a worker hears it, one has the network."""

    def __init__(self, build: Build, key: bytes) -> None:
        self._build, self._key = build, key
        self._asked = Event()
        self._limits: Future[Limits | TaskFailure] = Future()
        self._requests: SimpleQueue[Request] = SimpleQueue()
        self.load = ServerStats()

    def accept(self, listener: Listener) -> None:
        while True:
            try:
                Thread(target=self._hear, args=(listener.accept(),), daemon=True).start()
            except OSError:  # too many files are open
                sleep(_PAUSE_SECONDS)

    def _hear(self, connection: Connection) -> None:
        # Killed while it knocked, or a stranger; one that says nothing holds up no other.
        with suppress(OSError, EOFError, AuthenticationError):
            deliver_challenge(connection, self._key)
            answer_challenge(connection, self._key)
            self._asked.set()
            connection.send(self._limits.result())
            memory = attach(connection)
            while True:
                shape, *seen = connection.recv()
                self._requests.put((Picture(_as_pixels(memory, shape), *seen), connection))

    def run(self) -> None:
        self._asked.wait()
        try:
            detector = self._build()
        except BaseException as error:
            self._limits.set_result(TaskFailure(str(error) or type(error).__name__))
            return
        self._limits.set_result(detector.limits)
        try:
            self._answer(detector)
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # or the workers would wait for ever

    def _answer(self, detector: MaskRCNNDetector) -> None:
        waiting = [self._requests.get()]
        began = perf_counter()
        while True:
            if not waiting:
                waiting.append(self._requests.get())
            with suppress(Empty):
                while True:
                    waiting.append(self._requests.get_nowait())
            batch = alike([picture for picture, _ in waiting])
            asked = [waiting[n] for n in batch]
            waiting = [one for n, one in enumerate(waiting) if n not in batch]
            started = perf_counter()
            found = look(detector, [picture for picture, _ in asked])
            ended = perf_counter()
            self.load = ServerStats(
                self.load.pictures + len(asked),
                self.load.batches + 1,
                self.load.seconds + ended - started,
                ended - began,
            )
            for (_, connection), answer in zip(asked, found, strict=True):
                with suppress(OSError):  # the worker is dead
                    connection.send(answer)


def alike(pictures: Sequence[Picture]) -> list[int]:
    """Which to look at together: the one that came first, and those that padding makes as large."""
    first = _padded(pictures[0])
    return [n for n, one in enumerate(pictures) if _padded(one) == first][:MOST_AT_ONCE]


def _padded(picture: Picture, stride: int = 32) -> tuple[int, int]:
    height, width = picture.pixels.shape[:2]
    return -(-height // stride), -(-width // stride)


def look(
    detector: MaskRCNNDetector, pictures: Sequence[Picture]
) -> Sequence[Detections | Exception]:
    """What is found in each of several pictures, or why it cannot be told of that one."""
    failure: Exception
    try:
        return detector.detect_pictures(pictures)
    except torch.AcceleratorError:  # nothing works on this device any more, in this process
        raise
    except torch.OutOfMemoryError:
        failure = MemoryError("the GPU's memory does not hold it")
    except Exception as error:
        failure = RuntimeError(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    if len(pictures) == 1:
        return [failure]
    return [answer for one in pictures for answer in look(detector, [one])]
