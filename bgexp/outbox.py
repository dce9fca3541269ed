"""Records of work that is done, on their way to a tracking store that may be away."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from typing import Any

from filelock import FileLock

from bgexp.config import Tracked
from bgexp.files import write_json
from bgexp.tracking import MAX_KEY_LENGTH, SOURCE_TAGS, Run, first_line, open_store

OUTBOX = "outbox"  # in the runs folder: records that no store has yet
SENDING_SECONDS = 60.0  # for all of them, before a store counts as away


@dataclass(frozen=True)
class Post:
    """All that a store gets of a piece of work that has ended; it is sent whole or again."""

    name: str
    experiment: str
    status: str  # FINISHED or FAILED
    began_ms: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    files: Sequence[str]


def send_posts(settings: Tracked, post: Post, tell: Callable[[str], None]) -> str:
    """Sends a record, and those that could not be sent before; returns its run's id.

    A store that is away, slow or broken costs SENDING_SECONDS at most: the record is kept in the
    runs folder, and sent once, by the next call. The id is then "".
    """
    outbox = settings.runs.resolve() / OUTBOX
    name = f"{post.began_ms}-{os.urandom(4).hex()}.json"
    try:
        write_json(outbox / name, asdict(post))
    except OSError as error:
        tell(f"runs: {outbox}: {error.strerror}; this is recorded in no tracking store")
        return ""
    ours, theirs = get_context("spawn").Pipe(duplex=False)
    child = get_context("spawn").Process(target=_send_all, args=(settings, outbox, theirs))
    child.start()
    theirs.close()
    sent: dict[str, str] = {}
    reason = f"no answer within {SENDING_SECONDS:g} s"
    deadline = monotonic() + SENDING_SECONDS
    with suppress(EOFError):
        while ours.poll(max(0.0, deadline - monotonic())):
            said = ours.recv()
            sent |= said if isinstance(said, dict) else {}
            if isinstance(said, tuple) and said[0] in ("", name):
                reason = said[1]
    child.kill()
    child.join()
    if name not in sent:
        tell(f"tracking: {reason}; the record is kept in {outbox} and sent later")
    return sent.get(name, "")


def _send_all(settings: Tracked, outbox: Path, pipe: Connection) -> None:
    """In a process of its own, which can be killed at any moment."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    try:
        with FileLock(outbox / ".lock", timeout=SENDING_SECONDS):
            for path in sorted(outbox.glob("*.json")):
                try:
                    pipe.send({path.name: _send(settings, path)})
                except Exception as error:  # one that no store takes must not hold up the others
                    pipe.send((path.name, first_line(error)))
    except Exception as error:  # of all of them
        pipe.send(("", first_line(error)))


def _send(settings: Tracked, file: Path) -> str:
    """Sends one record and deletes its file; what an interrupted attempt left is removed first."""
    said, name = json.loads(file.read_text()), file.name
    tracking = settings.tracking.model_copy(update={"experiment": said["experiment"]})
    run_id = _sent(settings.model_copy(update={"tracking": tracking}), said, name)
    file.unlink()
    return run_id


def _sent(settings: Tracked, said: Mapping[str, Any], name: str) -> str:
    client, experiment_id = open_store(settings)
    for earlier in client.search_runs([experiment_id], f"tags.`bgexp.post` = '{name}'"):
        if earlier.info.status != "RUNNING":
            return str(earlier.info.run_id)
        client.delete_run(earlier.info.run_id)
    entity = client.create_run(
        experiment_id,
        start_time=said["began_ms"],
        tags={**said["tags"], "bgexp.post": name, **SOURCE_TAGS},
        run_name=said["name"][:MAX_KEY_LENGTH],
    )
    run = Run(client, entity)
    run.log_params(said["params"])
    run.log_metrics(said["metrics"])
    for path in map(Path, said["files"]):
        if path.is_file():
            run.log_file(path)
    client.set_terminated(run.run_id, said["status"])
    return run.run_id
