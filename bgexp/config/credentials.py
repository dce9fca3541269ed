"""User and password of a tracking address: used, and written nowhere."""

import os
import re
from urllib.parse import unquote

_CREDENTIALS = re.compile(r"(?<=://)([^/?#]*)@")


def strip_credentials(uri: str) -> str:
    """Return the address without user and password, as it may be shown and written.

    >>> strip_credentials("https://me:secret@host:5000/path")
    'https://host:5000/path'
    """
    return _CREDENTIALS.sub("", uri)


def use_credentials(uri: str) -> str:
    """Move user and password from an address into MLflow's environment variables."""
    match = _CREDENTIALS.search(uri)
    if match:
        user, _, password = match[1].partition(":")
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(user)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(password)
    return strip_credentials(uri)
