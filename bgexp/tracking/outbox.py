"""Records of work that is done, on their way to a tracking store that may be away."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Literal

from filelock import FileLock
from pydantic import TypeAdapter

from bgexp.config.base import TrackedSettings
from bgexp.system.atomic import write_json
from bgexp.system.state_files import decode_json, read_state
from bgexp.system.stores import Address, read_object, read_place
from bgexp.tracking.active_run import MAX_KEY_LENGTH, SOURCE_TAGS, Run
from bgexp.tracking.store import get_first_line, import_store, open_store

OUTBOX = "outbox"  # in the runs folder: records that no store has yet
SENDING_SECONDS = 60.0  # for all of them, before a store counts as away


@dataclass(frozen=True)
class RunRecord:
    """The record of a piece of work that has ended; it is sent whole or again."""

    name: str
    experiment: str
    status: Literal["FINISHED", "FAILED"]
    began_ms: int
    params: Mapping[str, str]
    metrics: Mapping[str, float | None]  # None: undefined
    tags: Mapping[str, str]


_RECORD = TypeAdapter(RunRecord)


@contextmanager
def open_outbox(
    settings: TrackedSettings, artifacts: Sequence[str], tell: Callable[[str], None]
) -> Iterator[Callable[[RunRecord], str]]:
    """Yield a function that sends a record, with those kept earlier, and returns its run's id.

    MLflow is imported meanwhile, in a process that can be killed at any moment. A store that is
    away, slow or broken costs SENDING_SECONDS at most: the record is kept in the runs folder, and
    sent once, by the next call. The id is then "".

    Args:
        settings: Where runs folder and store are.
        artifacts: The names of the files in a record's folder that go with it. No record says them:
            one that somebody put into the runs folder could name any file.
        tell: Is told why a record was kept.
    """
    folder = settings.runs_dir.resolve() / OUTBOX
    context = get_context("spawn")
    parent_end, child_end = context.Pipe()
    child = context.Process(
        target=_serve_outbox, args=(settings, artifacts, folder, child_end), daemon=True
    )
    child.start()
    child_end.close()

    def send(post: RunRecord) -> str:
        name = f"{post.began_ms}-{os.urandom(4).hex()}.json"
        try:
            write_json(folder / name, asdict(post))
        except OSError as error:
            tell(f"runs: {folder}: {error.strerror}; this is recorded in no tracking store")
            return ""
        sent, reason = _request_sending(parent_end, name)
        if name not in sent:
            tell(f"tracking: {reason}; the record is kept in {folder} and sent later")
        return sent.get(name, "")

    try:
        yield send
    finally:
        child.kill()
        child.join()
        parent_end.close()


def _request_sending(pipe: Connection, name: str) -> tuple[dict[str, str], str]:
    """Ask for all records to be sent; return run ids by record name, and why one is missing."""
    sent: dict[str, str] = {}
    reason = f"no answer within {SENDING_SECONDS:g} s"
    deadline = monotonic() + SENDING_SECONDS
    with suppress(EOFError, OSError):
        pipe.send(None)
        while pipe.poll(max(0.0, deadline - monotonic())):
            message = pipe.recv()
            sent |= message if isinstance(message, dict) else {}
            if isinstance(message, tuple) and message[0] in ("", name):
                reason = message[1]
    return sent, reason


def _serve_outbox(
    settings: TrackedSettings, artifacts: Sequence[str], folder: Path, pipe: Connection
) -> None:
    """Import MLflow in a process of its own, and open the store and send when asked to."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the record is kept, and nothing printed
    with suppress(Exception):  # told where it is needed
        import_store(settings)
    with suppress(EOFError, ConnectionError):  # nothing is to be sent, or nobody asks any more
        pipe.recv()
        _send_all(settings, artifacts, folder, pipe)


def _send_all(
    settings: TrackedSettings, artifacts: Sequence[str], folder: Path, pipe: Connection
) -> None:
    try:
        with FileLock(folder / ".lock", timeout=SENDING_SECONDS):
            for path in sorted(folder.glob("*.json")):
                try:
                    answer: object = {path.name: _send(settings, artifacts, path)}
                except Exception as error:  # one that no store takes must not hold up the others
                    answer = (path.name, get_first_line(error))
                pipe.send(answer)
    except Exception as error:  # of all of them
        pipe.send(("", get_first_line(error)))


def _send(settings: TrackedSettings, artifacts: Sequence[str], file: Path) -> str:
    """Send one record and delete its file; what an interrupted attempt left is removed first."""
    post, name = _RECORD.validate_python(decode_json(read_state(file))), file.name
    tracking = settings.tracking.replace(experiment=post.experiment)
    run_id = _create_run(settings.replace(tracking=tracking), artifacts, post, name)
    file.unlink()
    return run_id


def _create_run(
    settings: TrackedSettings, artifacts: Sequence[str], post: RunRecord, name: str
) -> str:
    client, experiment_id = open_store(settings)
    for earlier in client.search_runs([experiment_id], f"tags.`bgexp.post` = '{name}'"):
        if earlier.info.status != "RUNNING":
            return str(earlier.info.run_id)
        client.delete_run(earlier.info.run_id)
    entity = client.create_run(
        experiment_id,
        start_time=post.began_ms,
        tags={**post.tags, "bgexp.post": name, **SOURCE_TAGS},
        run_name=post.name[:MAX_KEY_LENGTH],
    )
    run = Run(client, entity)
    run.log_params(post.params)
    run.log_metrics(post.metrics)
    place = read_place(post.tags.get("bgexp.folder", ""))
    with TemporaryDirectory() as copies:
        folder = Path(place)
        if isinstance(place, Address):
            folder = _copy(place, artifacts, Path(copies))
        for path in (folder / artifact for artifact in artifacts if place):
            if path.is_file() and not path.is_symlink():
                run.log_file(path)
    client.set_terminated(run.run_id, post.status)
    return run.run_id


def _copy(folder: Address, artifacts: Sequence[str], target: Path) -> Path:
    """Copy the artifacts of a record from an object store to a folder, and return that."""
    for artifact in artifacts:
        with suppress(FileNotFoundError):
            (target / artifact).write_bytes(read_object(folder / artifact)[0])
    return target
