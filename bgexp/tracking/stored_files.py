"""Files of runs and models that lie in a tracking store, as artifacts, wherever that keeps them."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bgexp.errors import UserError
from bgexp.system.addresses import read_file_uri
from bgexp.system.atomic import make_folder
from bgexp.tracking.store import explain_store_error

if TYPE_CHECKING:
    from mlflow import MlflowClient


def fetch_files(client: "MlflowClient", run_id: str, name: str = "") -> Path:
    """Return where a run's files can be read.

    Those of a local store stay where they are; others are copied into a folder that is there until
    the program ends.

    Args:
        client: Of the store.
        run_id: The run.
        name: Of one of its files or folders; "" for all.

    Raises:
        UserError: They cannot be fetched.
    """
    with explain_failed_fetch(f"run {run_id}"):
        uri = client.get_run(run_id).info.artifact_uri
        if read_file_uri(uri) is not None:
            return Path(client.download_artifacts(run_id, name))
        target = _make_temporary_folder() / run_id
        make_folder(target)
        return Path(client.download_artifacts(run_id, name, str(target)))


@contextmanager
def explain_failed_fetch(owner: str) -> Iterator[None]:
    """Raise UserError where the files of a run or a model cannot be fetched from their store."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each kind of store has errors of its own libraries
        reason = explain_store_error(error)
        raise UserError(f"{owner}: its files cannot be fetched ({reason})") from error


@cache
def _make_temporary_folder() -> Path:
    folder = TemporaryDirectory(prefix="bgexp-")
    atexit.register(folder.cleanup)
    return Path(folder.name)
