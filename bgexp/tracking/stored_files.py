"""Files of runs and models that lie in a tracking store, as artifacts, wherever that keeps them."""

import atexit
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING

from bgexp.errors import STORAGE, UserError
from bgexp.system.addresses import read_file_uri
from bgexp.system.atomic import make_folder
from bgexp.tracking.store import explain_store_error, is_of_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FETCHED = "fetched"  # the folder below the runs folder; whoever needs the room may delete it


def fetch_run(client: "MlflowClient", run: "Run", runs_dir: Path) -> Path:
    """Return the folder of the files of a run that has ended.

    Those of a local store stay where they are; others are copied into the runs folder, once.

    Raises:
        UserError: They cannot be fetched.
    """
    run_id = run.info.run_id
    with explain_failed_fetch(f"run {run_id}"):
        if _is_local(run):
            return Path(client.download_artifacts(run_id, ""))
        # A run that went on has another end; a server may call its runs what it likes.
        target = runs_dir / FETCHED / re.sub(r"\W", "_", f"{run_id}_{run.info.end_time}")
        if not target.exists():
            make_folder(target.parent)
            with TemporaryDirectory(dir=target.parent, prefix=".") as folder:
                part = Path(folder, "files")
                make_folder(part)
                client.download_artifacts(run_id, "", str(part))
                try:
                    part.rename(target)
                except OSError:
                    if not target.exists():  # else another command has just fetched them
                        raise
        return target


def fetch_files(client: "MlflowClient", run_id: str, name: str = "") -> Path:
    """Return where files of a run can be read until this program ends.

    Args:
        client: Of the store.
        run_id: The run.
        name: Of one of its files or folders; "" for all.

    Raises:
        UserError: They cannot be fetched.
    """
    with explain_failed_fetch(f"run {run_id}"):
        if _is_local(client.get_run(run_id)):
            return Path(client.download_artifacts(run_id, name))
        target = mkdtemp(dir=_make_temporary_folder())
        return Path(client.download_artifacts(run_id, name, target))


@contextmanager
def explain_failed_fetch(owner: str) -> Iterator[None]:
    """Raise UserError where the files of a run or a model cannot be fetched from their store.

    Raises:
        OSError: It is this machine's disk that fails.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each kind of store has errors of its own libraries
        if isinstance(error, OSError) and error.errno in STORAGE:
            raise
        reason = explain_store_error(error)
        if not (isinstance(error, OSError | ImportError) or is_of_store(error)):
            reason = f"{type(error).__name__}: {reason}"
        raise UserError(f"{owner}: its files cannot be fetched ({reason})") from error


def _is_local(run: "Run") -> bool:
    return read_file_uri(run.info.artifact_uri) is not None


@cache
def _make_temporary_folder() -> Path:
    folder = TemporaryDirectory(prefix="bgexp-")
    atexit.register(folder.cleanup)
    return Path(folder.name)
