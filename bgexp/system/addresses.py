"""Paths as addresses, in which `%`, `?` and `#` mean something, and back."""

import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

_MEANT = re.compile(r"[#?%\x00-\x1f\x7f]")
_NOT_KEPT = re.compile(r"[#?%=\\\x00-\x1f\x7f]")


def make_sqlite_uri(database: Path) -> str:
    """Return the address of an SQLite database by its absolute path.

    Where it needs escapes it names the driver too: of an address that begins with `sqlite:///`
    MLflow makes the folder, escapes and all.

    >>> make_sqlite_uri(Path("/my project/a.db")), make_sqlite_uri(Path("/my%20project/a.db"))
    ('sqlite:////my project/a.db', 'sqlite+pysqlite:////my%2520project/a.db')
    """
    path = _MEANT.sub(lambda match: quote(match[0]), str(database))
    return f"sqlite:///{path}" if path == str(database) else f"sqlite+pysqlite:///{path}"


def make_file_uri(path: Path) -> str:
    """Return the address of a file or folder by its absolute path.

    >>> make_file_uri(Path("/my%20project/#1"))
    'file:///my%2520project/%231'
    """
    return path.as_uri()


def read_file_uri(uri: str) -> Path | None:
    """Return the path of a local file's address, or of a path without a scheme; else None.

    >>> read_file_uri("file:///my%2520project/%231"), read_file_uri("s3://bucket/a")
    (PosixPath('/my%20project/#1'), None)
    """
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def make_artifact_name(name: str) -> str:
    """Return a name under which a tracking server keeps a file: MLflow's client escapes none.

    >>> make_artifact_name("a#1 b%20c.jpg")
    'a=231 b=2520c.jpg'
    """
    return _NOT_KEPT.sub(lambda match: f"={ord(match[0]):02X}", name)
