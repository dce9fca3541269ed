"""One input to its result, in a worker: read, cut out, write; every outcome is a record."""

import math
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from bgexp.batch.file_task import BatchAborted, FileTask, Outcome, make_record
from bgexp.batch.journal import Identity, Record
from bgexp.batch.planned_file import PlannedFile, judge_reason
from bgexp.batch.size_rules import Remove, SizeHandling, handle_size
from bgexp.config.batch import BatchSettings
from bgexp.detect.device import use_threads
from bgexp.detect.inference_server import NetworkLostError, ServerAddress
from bgexp.errors import STORAGE
from bgexp.images.decode import ImageError, encode_mask, read_bytes
from bgexp.images.encode import Photo, decode_photo, encode_result
from bgexp.images.png import encode_png
from bgexp.pipeline.remover import Remover
from bgexp.system.folders import Folder
from bgexp.system.hashing import hash_bytes
from bgexp.system.listing import read_file_state, read_object_state
from bgexp.system.peak_memory import read_peak_memory, reset_peak_memory
from bgexp.system.stores import Address, StoreError, read_object


def make_processor(
    settings: BatchSettings,
    output: Folder,
    identity: Identity,
    network: ServerAddress | None,
    threads: int,
) -> Callable[[FileTask], Outcome]:
    """Load the networks and return the function that a worker calls with each task.

    Args:
        settings: The batch's settings.
        output: Where the results go.
        identity: Settings' hash, weights' hash and model, for every record.
        network: Address of the detector's network, where all workers share one.
        threads: Number of threads of this worker.
    """
    use_threads(threads)
    remove = load_remove(settings, network)

    def process_task(job: FileTask) -> Outcome:
        try:
            return process(job, settings, output, identity, remove)
        except NetworkLostError as error:
            return BatchAborted(f"{error}; run the same command again")
        except StoreError as error:
            return BatchAborted(f"{error.filename}: {error.strerror}; run the same command again")

    return process_task


def load_remove(settings: BatchSettings, network: ServerAddress | None = None) -> Remove:
    """Load the networks; return the function that cuts out an image, HxWx3 uint8 RGB.

    Where the detector's network is another process's, nothing here touches its device. The results
    have the image's size: the size rules go by it, and they are cropped last.
    """
    whole = settings.replace(cutout=settings.cutout.replace(crop=None))
    return Remover(whole, network)


def process(
    job: FileTask, settings: BatchSettings, output: Folder, identity: Identity, remove: Remove
) -> Outcome:
    """Process one input, unless its result is there and whole."""
    reset_peak_memory()
    planned, started_at = job.planned, perf_counter()
    record = make_record(planned, identity)
    try:
        data = _read_unchanged(planned)
        record = replace(record, input_sha256=hash_bytes(data))
        if job.earlier is not None and _is_still_good(job.earlier, record, planned, output):
            return job.earlier
        photo = decode_photo(data, settings.max_megapixels, settings.keep)
    except ChangedError as error:
        return replace(record, status="failed", kind="", reason=str(error))
    except ImageError as error:
        reason = f"corrupt: {error}" if error.damaged else str(error)
        return replace(record, status=judge_reason(reason), kind="", reason=reason)
    del data
    loaded_at = perf_counter()
    try:
        rules, cutout_settings = settings.quality, settings.cutout
        result = handle_size(photo.pixels, planned.issues, rules, remove, cutout_settings)
        removed_at = perf_counter()
        cutout, files = _encode_files(result, planned, settings, photo)
    except (MemoryError, NetworkLostError):
        raise  # no fault of the image's: it is tried once more, alone, or the batch stops
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return replace(record, status="failed", kind="", reason=reason)
    encoded_at = perf_counter()
    if write_error := _write_files(files, output):
        if write_error.errno in STORAGE:
            message = f"output: {output}: {write_error.strerror}: {planned.output}"
            make_room = "" if isinstance(write_error, StoreError) else "make room and "
            return BatchAborted(f"{message}; {make_room}run the same command again")
        reason = f"cannot be written: {write_error.strerror}"
        return replace(record, status="failed", kind="", reason=reason)
    seconds = {"load": loaded_at - started_at, "encode": encoded_at - removed_at}
    seconds["write"] = perf_counter() - encoded_at
    timings_ms = {stage: 1000 * duration for stage, duration in seconds.items()}
    confidence = result.checks["confidence"]
    hashes = {name: hash_bytes(content) for name, content in files.items()}
    return replace(
        record,
        output=planned.output,
        mask=planned.mask,
        alpha=planned.alpha,
        handling=result.handling,
        output_sha256=hashes[planned.output],
        mask_sha256=hashes.get(planned.mask, ""),
        alpha_sha256=hashes.get(planned.alpha, ""),
        width=cutout.shape[1],
        height=cutout.shape[0],
        coverage=float(result.mask.mean()),
        confidence=None if math.isnan(confidence) else confidence,
        flags=tuple(_find_flags(result, settings)),
        timings_ms=timings_ms | result.timings_ms,
        memory=read_peak_memory(),
    )


def _encode_files(
    result: SizeHandling, planned: PlannedFile, settings: BatchSettings, photo: Photo
) -> tuple[NDArray[np.uint8], dict[str, bytes]]:
    """Return the cut-out as it is written, and all files by their names; the result comes last."""
    cutout, mask, alpha = result.crop(settings.cutout.crop)
    files = {planned.mask: encode_mask(mask)} if planned.mask else {}
    if planned.alpha and alpha is not None:
        files[planned.alpha] = encode_png(alpha)
    files[planned.output] = encode_result(cutout, settings.format, photo)
    return cutout, files


def _write_files(files: dict[str, bytes], output: Folder) -> OSError | None:
    """Write each file whole; return the error where that was not possible."""
    try:
        for name, content in files.items():
            output.write(name, content)
    except OSError as error:
        return error
    return None


class ChangedError(Exception):
    """The input is not what it was when the batch was planned."""


def _read_unchanged(planned: PlannedFile) -> bytes:
    """Return the input's bytes.

    Raises:
        ChangedError: It vanished, or it is another file by now.
        ImageError: It cannot be read.
        StoreError: Its store does not answer, or refuses.
    """
    try:
        if isinstance(planned.file, Address):
            data, found = read_object(planned.file)
            if planned.state != read_object_state(found):
                raise ChangedError("changed after the batch had begun")
            return data
        status = planned.file.stat()
        if planned.state != read_file_state(status):
            raise ChangedError("changed after the batch had begun")
        data = read_bytes(planned.file)
        if read_file_state(planned.file.stat()) != planned.state:
            raise ChangedError("changed while it was read")
    except FileNotFoundError:
        raise ChangedError("vanished after the batch had begun") from None
    except StoreError:
        raise
    except OSError as error:
        raise ChangedError(f"unreadable: {error.strerror}") from error
    return data


def _is_still_good(earlier: Record, record: Record, planned: PlannedFile, output: Folder) -> bool:
    """Return whether the earlier result is of this very work, in its place and whole."""
    same = (
        earlier.status == "done"
        and earlier.input_sha256 == record.input_sha256
        and earlier.settings_hash == record.settings_hash
        and earlier.weights_sha256 == record.weights_sha256
        and (earlier.output, earlier.mask, earlier.alpha, earlier.kind)
        == (planned.output, planned.mask, planned.alpha, planned.kind)
        and (earlier.quality_issues, earlier.missing_metadata) == (planned.issues, planned.missing)
    )
    return same and all(output.hash(name) == sha256 for name, sha256 in earlier.results.items())


def _find_flags(result: SizeHandling, settings: BatchSettings) -> list[str]:
    """Return why to look at a result; docs/batch.md tells what to do about each flag."""
    checks, limits = result.checks, settings.flags
    flags = {
        "nothing_found": checks["nothing_found"] > 0,
        "low_coverage": 0 < checks["coverage"] < limits.low_coverage,
        "high_coverage": checks["coverage"] > limits.high_coverage,
        "many_parts": checks["parts"] > limits.many_parts,
        "border_contact": checks["border_contact"] > limits.border_contact,
        "low_confidence": checks["confidence"] < limits.low_confidence,
        "refinement_refused": result.refused,
        "unstable": not result.stable,
    }
    return [name for name, applies in flags.items() if applies]
