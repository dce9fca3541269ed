"""What a batch asks its workers for, so that torch is imported there and not in its own process.

The process that deals out the work would wait seconds for an import of its own.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from bgexp.config.batch import BatchSettings

if TYPE_CHECKING:
    from pathlib import Path

    from bgexp.batch.file_task import FileTask, Outcome
    from bgexp.batch.journal import Identity, Origin
    from bgexp.detect.inference_server import ServerAddress
    from bgexp.system.folders import Folder
    from bgexp.system.stores import Address
    from bgexp.tracking.registry import Version

MODULE = "bgexp.batch.process_file"  # for `preload`: all that the workers import


def compute_origin(
    settings: BatchSettings, version: "Version | None", source: "Path | Address"
) -> "Origin":
    """Call `batch.identity.compute_origin`."""
    from bgexp.batch.identity import compute_origin

    return compute_origin(settings, version, source)


def make_processor(
    settings: BatchSettings,
    output: "Folder",
    identity: "Identity",
    network: "ServerAddress | None",
    threads: int,
) -> "Callable[[FileTask], Outcome]":
    """Call `batch.process_file.make_processor`."""
    from bgexp.batch.process_file import make_processor

    return make_processor(settings, output, identity, network, threads)
