"""User and password of a tracking address: used, and written nowhere."""

import os
import re
from urllib.parse import unquote

_CREDENTIALS = re.compile(r"(?<=://)([^/?#]*)@")


def without_credentials(uri: str) -> str:
    """The address without user and password, as it may be shown and written.

    >>> without_credentials("https://me:secret@host:5000/path")
    'https://host:5000/path'
    """
    return _CREDENTIALS.sub("", uri)


def use_credentials(uri: str) -> str:
    """Moves user and password from an address into MLflow's environment variables."""
    found = _CREDENTIALS.search(uri)
    if found:
        user, _, password = found[1].partition(":")
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(user)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(password)
    return without_credentials(uri)
