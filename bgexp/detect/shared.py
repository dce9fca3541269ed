"""One network for all workers: a process of its own that looks at their pictures in batches.

For a GPU, which wants one process and many pictures at once, while reading, refining and writing
want many cores. A worker asks for one image at a time; what has piled up while the network
computed is its next batch, so nobody ever waits for a batch to fill.
"""

import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from queue import Empty, SimpleQueue
from threading import Thread

import numpy as np
import torch
from numpy.typing import NDArray

from bgexp.detect.maskrcnn import Limits, MaskRCNNDetector, Picture, as_picture
from bgexp.detections import Detections, Selection
from bgexp.errors import UserError
from bgexp.workers import CONTEXT, Lost, begin_service, cause_of_death

MOST_AT_ONCE = 8  # pictures a batch
_DIED = "the process of the network died"
_ANSWER_SECONDS = 5.0  # for a process that is dead to say how it died


# Makes the detector, in its process; to be pickled.
Build = Callable[[], MaskRCNNDetector]


@dataclass(frozen=True)
class Address:
    """Where the network is asked, with the word that lets one in, and what it takes pictures of."""

    where: str | tuple[str, int]
    key: bytes
    limits: Limits


class NetworkLostError(Exception):
    """The network's process is gone, so no image can be worked on."""


class SharedDetector:
    """Asks the network of another process; one for each worker.

    Attributes:
        selection: Which detections count.

    Raises:
        NetworkLostError: There is no network any more.
    """

    def __init__(self, address: Address, selection: Selection) -> None:
        self.selection, self._limits = selection, address.limits
        try:
            self._connection = Client(address.where, authkey=address.key)
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
        try:
            self._connection.send(picture)
            found: Detections | Exception = self._connection.recv()
        except (EOFError, OSError) as error:
            raise NetworkLostError(_DIED) from error
        if isinstance(found, Exception):
            raise found
        return found


@contextmanager
def shared_network(build: Build) -> Iterator[Address]:
    """Starts the network's process, which lives as long as the context.

    Raises:
        UserError: It could not start.
    """
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_serve, args=(build, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        try:
            said: Address | Lost = ours.recv()
        except EOFError:
            process.join(_ANSWER_SECONDS)
            said = Lost(f"the network could not start: {cause_of_death(process.exitcode)}")
        if isinstance(said, Lost):
            raise UserError(said.reason)
        yield said
    finally:
        process.kill()
        process.join()
        ours.close()


Request = tuple[Picture, Connection]


def _serve(build: Build, pipe: Connection) -> None:
    """The life of the network's process."""
    begin_service()
    try:
        detector = build()
    except Exception as error:
        pipe.send(Lost(str(error) or type(error).__name__))
        return
    # An abstract address leaves no file behind, however this ends.
    where = f"\0bgexp-{secrets.token_hex(16)}" if sys.platform == "linux" else None
    key = secrets.token_bytes(32)
    requests: SimpleQueue[Request] = SimpleQueue()
    with Listener(where, authkey=key) as listener:
        Thread(target=_accept, args=(listener, requests), daemon=True).start()
        pipe.send(Address(listener.address, key, detector.limits))
        _answer(requests, detector)


def _accept(listener: Listener, requests: "SimpleQueue[Request]") -> None:
    while True:
        with suppress(
            OSError, EOFError, AuthenticationError
        ):  # killed while it knocked, a stranger
            Thread(target=_receive, args=(listener.accept(), requests), daemon=True).start()


def _receive(connection: Connection, requests: "SimpleQueue[Request]") -> None:
    with suppress(OSError, EOFError):
        while True:
            requests.put((connection.recv(), connection))


def _answer(requests: "SimpleQueue[Request]", detector: MaskRCNNDetector) -> None:
    waiting: list[Request] = []
    while True:
        if not waiting:
            waiting.append(requests.get())
        with suppress(Empty):
            while True:
                waiting.append(requests.get_nowait())
        batch = alike([picture for picture, _ in waiting])
        asked = [waiting[n] for n in batch]
        waiting = [one for n, one in enumerate(waiting) if n not in batch]
        found = look(detector, [picture for picture, _ in asked])
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
    except torch.OutOfMemoryError:
        failure = MemoryError("the GPU's memory does not hold it")
    except Exception as error:
        failure = RuntimeError(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    if len(pictures) == 1:
        return [failure]
    return [answer for one in pictures for answer in look(detector, [one])]
