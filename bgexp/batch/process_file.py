"""One input to its result, in a worker: read, cut out, write; whatever happens is a record."""

import errno
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from bgexp.batch.journal import Identity, Record
from bgexp.batch.planned import PlannedFile
from bgexp.batch.size_rules import Remove, SizeHandling, handle
from bgexp.config.batch import BatchSettings
from bgexp.detect.device import use_threads
from bgexp.detect.inference_server import NetworkLostError, ServerAddress
from bgexp.images.decode import ImageError, encode_mask, read_bytes
from bgexp.images.encode import Photo, decode_photo, encode_result
from bgexp.pipeline.remover import Remover
from bgexp.system.atomic import write_whole
from bgexp.system.hashing import sha256_bytes, sha256_file
from bgexp.system.listing import file_state
from bgexp.system.peak_memory import peak_memory, reset_peak_memory

# What says that the place for the results is unwell, and not the image.
STORAGE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
}


@dataclass(frozen=True)
class FileTask:
    """What a worker gets: an input, and what an earlier batch recorded of it."""

    planned: PlannedFile
    earlier: Record | None


@dataclass(frozen=True)
class BatchAborted:
    """No image can be worked on, for whatever reason: the batch has to stop."""

    reason: str


Outcome = Record | BatchAborted


def processor(
    settings: BatchSettings,
    output: Path,
    identity: Identity,
    network: ServerAddress | None,
    threads: int,
) -> Callable[[FileTask], Outcome]:
    """What a worker calls with each job; loads the networks.

    Args:
        settings: Of the batch.
        output: Where the results go, absolute.
        identity: What every record names: settings_hash, weights_sha256 and the like.
        network: That of the detector, where all workers share one.
        threads: Of this worker.
    """
    use_threads(threads)
    remove = load_remove(settings, network)

    def done(job: FileTask) -> Outcome:
        try:
            return process(job, settings, output, identity, remove)
        except NetworkLostError as error:
            return BatchAborted(f"{error}; run the same command again")

    return done


def load_remove(settings: BatchSettings, network: ServerAddress | None = None) -> Remove:
    """Loads the networks; what is returned takes an image to its cut-out.

    Where the detector's network is another process's, nothing here touches its device.
    """
    return Remover(settings, network)


def process(
    job: FileTask, settings: BatchSettings, output: Path, identity: Identity, remove: Remove
) -> Outcome:
    """Works on one input, unless its result is there and whole."""
    reset_peak_memory()
    planned, started = job.planned, perf_counter()
    record = started_record(planned, identity)
    try:
        data = _unchanged_bytes(planned)
        record = replace(record, input_sha256=sha256_bytes(data))
        if job.earlier is not None and _still_good(job.earlier, record, planned, output):
            return job.earlier
        photo = decode_photo(data, settings.max_megapixels, settings.keep)
    except ChangedError as error:
        return replace(record, status="failed", kind="", reason=str(error))
    except ImageError as error:
        reason = f"corrupt: {error}" if error.damaged else str(error)
        return replace(record, status="skipped", kind="", reason=reason)
    del data
    loaded = perf_counter()
    try:
        background = settings.cutout.background
        handled = handle(photo.pixels, planned.issues, settings.quality, remove, background)
        removed = perf_counter()
        files = _encoded(photo, handled, planned, settings)
    except (MemoryError, NetworkLostError):
        raise  # no fault of the image's: it is tried once more, alone, or the batch stops
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return replace(record, status="failed", kind="", reason=reason)
    encoded = perf_counter()
    if refused := _written(files, output):
        if refused.errno in STORAGE:
            failed = f"output: {output}: {refused.strerror}: {planned.output}"
            return BatchAborted(f"{failed}; make room and run the same command again")
        reason = f"cannot be written: {refused.strerror}"
        return replace(record, status="failed", kind="", reason=reason)
    seconds = {"load": loaded - started, "encode": encoded - removed}
    seconds["write"] = perf_counter() - encoded
    times = {stage: 1000 * spent for stage, spent in seconds.items()}
    confidence = handled.checks["confidence"]
    return replace(
        record,
        output=planned.output,
        mask=planned.mask,
        handling=handled.handling,
        output_sha256=sha256_bytes(files[planned.output]),
        mask_sha256=sha256_bytes(files[planned.mask]) if planned.mask else "",
        width=photo.pixels.shape[1],
        height=photo.pixels.shape[0],
        coverage=float(handled.mask.mean()),
        confidence=None if math.isnan(confidence) else confidence,
        flags=tuple(_flags(handled, settings)),
        timings_ms=times | handled.timings_ms,
        memory=peak_memory(),
    )


def started_record(planned: PlannedFile, identity: Identity) -> Record:
    """What is known before an input is worked on."""
    return Record(
        planned.path,
        planned.category,
        "done",
        kind=planned.kind,
        quality_issues=planned.issues,
        missing_metadata=planned.missing,
        settings_hash=identity.settings_hash,
        weights_sha256=identity.weights_sha256,
        model_name=identity.model_name,
        model_version=identity.model_version,
    )


def _written(files: dict[str, bytes], output: Path) -> OSError | None:
    """Writes each file whole; the error where that was not possible."""
    try:
        for name, content in files.items():
            write_whole(output / name, content)
    except OSError as error:
        return error
    return None


class ChangedError(Exception):
    """The input is not what it was when the batch was planned."""


def _unchanged_bytes(planned: PlannedFile) -> bytes:
    """The input's bytes.

    Raises:
        ChangedError: it vanished, or it is another file by now.
        ImageError: it cannot be read.
    """
    try:
        before = planned.file.lstat()
        if planned.state != file_state(before):
            raise ChangedError("changed after the batch had begun")
        data = read_bytes(planned.file)
        if file_state(planned.file.lstat()) != planned.state:
            raise ChangedError("changed while it was read")
    except FileNotFoundError:
        raise ChangedError("vanished after the batch had begun") from None
    except OSError as error:
        raise ChangedError(f"unreadable: {error.strerror}") from error
    return data


def _still_good(earlier: Record, now: Record, planned: PlannedFile, output: Path) -> bool:
    """Whether the earlier result is of this very work, in its place, and whole on the disk."""
    same = (
        earlier.status == "done"
        and earlier.input_sha256 == now.input_sha256
        and earlier.settings_hash == now.settings_hash
        and earlier.weights_sha256 == now.weights_sha256
        and (earlier.output, earlier.mask, earlier.kind)
        == (planned.output, planned.mask, planned.kind)
        and (earlier.quality_issues, earlier.missing_metadata) == (planned.issues, planned.missing)
    )
    files = {earlier.output: earlier.output_sha256, earlier.mask: earlier.mask_sha256}
    return same and all(_holds(output / name, sha256) for name, sha256 in files.items() if name)


def _holds(path: Path, sha256: str) -> bool:
    try:
        return not path.is_symlink() and path.is_file() and sha256_file(path) == sha256
    except OSError:
        return False


def _encoded(
    photo: Photo, handled: SizeHandling, planned: PlannedFile, settings: BatchSettings
) -> dict[str, bytes]:
    """The files of a result by their names; the mask comes first, the result last."""
    files = {planned.mask: encode_mask(handled.mask)} if planned.mask else {}
    return files | {planned.output: encode_result(handled.cutout, settings.format, photo)}


def _flags(handled: SizeHandling, settings: BatchSettings) -> list[str]:
    """Why somebody should look at a result; docs/batch.md tells what to do about each."""
    checks, limits = handled.checks, settings.flags
    found = {
        "nothing_found": checks["nothing_found"] > 0,
        "low_coverage": 0 < checks["coverage"] < limits.low_coverage,
        "high_coverage": checks["coverage"] > limits.high_coverage,
        "many_parts": checks["parts"] > limits.many_parts,
        "border_contact": checks["border_contact"] > limits.border_contact,
        "low_confidence": checks["confidence"] < limits.low_confidence,
        "refinement_refused": handled.refused,
        "unstable": not handled.stable,
    }
    return [name for name, applies in found.items() if applies]
