"""User and password of a tracking address: used, and written nowhere.

Settings hold an address without them (`Tracking.uri`), so no file, page, parameter or message has
them. They go into environment variables, which worker processes inherit.
"""

import os
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote

STORE_ADDRESS = "BGEXP_STORE_ADDRESS"  # the whole address of an SQL store
_HELD = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_LONGEST_ADDRESS = 4000  # characters
_SHORTEST_SECRET = 4  # characters; shorter ones occur in any text

# Up to the last @: people type passwords that hold / and @. Only a host before a path has neither
# : nor @, as in https://host/a@b.
_USER = re.compile(r"(?<=://)(?=[^/?#]*[:@])(.*)@", re.DOTALL)
_SECRET_PARAMETER = re.compile(
    r"(?i)([?&][^=&#]*(?:pass|pwd|secret|token|key|odbc_connect)[^=&#]*=)[^&#]*"
)
_QUOTED_OR_BARE = re.compile(
    r"(?<=')[^']*://[^']*|(?<=\")[^\"]*://[^\"]*|[A-Za-z][\w+.-]*://[^\s,}'\"]*"
)


def strip_credentials(uri: str) -> str:
    """Return the address without user, password and secret parameters, as it may be shown.

    >>> strip_credentials("https://me:se/cret@host:5000/path")
    'https://host:5000/path'
    """
    return _SECRET_PARAMETER.sub(r"\1", _USER.sub("", uri))


def use_credentials(uri: str) -> str:
    """Move user and password from an address into environment variables; return the rest."""
    shown = strip_credentials(uri)
    match = _USER.search(uri)
    if not uri.lower().startswith("http"):
        if shown != uri:
            os.environ[STORE_ADDRESS] = uri
    elif match:
        user, _, password = match[1].partition(":")
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(user)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(password)
    return shown


def restore_credentials(uri: str) -> str:
    """Return the address of an SQL store with its user and password, to connect with."""
    whole = os.environ.get(STORE_ADDRESS, "")
    return whole if strip_credentials(whole) == uri else uri


def strip_override(override: str) -> str:
    """Take credentials out of an override before Hydra or anyone writes it down.

    >>> strip_override("tracking.uri='sqlite:///a.db'")
    "tracking.uri='sqlite:///a.db'"
    """
    key, equals, value = override.partition("=")
    if key.lstrip("+").partition(".")[0] != "tracking" or "://" not in value:
        return override
    if key.endswith(".uri"):
        mark = value[0] if value[0] in "'\"" else ""
        address = value.removeprefix(mark).removesuffix(mark)
        rest = use_credentials(address.replace(f"\\{mark}", mark) if mark else address)
        return f"{key}{equals}{mark}{rest}{mark}"
    return key + equals + _QUOTED_OR_BARE.sub(lambda match: use_credentials(match[0]), value)


def hide_credentials(text: str) -> str:
    """Return a message without the credentials of any address in it, nor those in use."""
    text = re.sub(r"\S+", lambda match: _hide_in_word(match[0]), text)
    for secret in sorted(_list_secrets(), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _hide_in_word(word: str) -> str:
    if "://" not in word:
        return word
    # Looking through a word takes as long as its length squared: no address has so many characters.
    return strip_credentials(word) if len(word) <= _LONGEST_ADDRESS else "***"


def _list_secrets() -> Iterator[str]:
    """Yield the passwords that this process has, in each form that a library may print."""
    addresses = [v for k, v in os.environ.items() if k.lower().endswith("_proxy")]
    addresses.append(os.environ.get(STORE_ADDRESS, ""))
    users = [address.partition("://")[2] or address for address in addresses]
    passwords = [user.rpartition("@")[0].partition(":")[2] for user in users]
    for held in [*passwords, *(os.environ.get(name, "") for name in _HELD)]:
        plain = unquote(held)
        for form in {held, plain, quote(plain, safe=""), quote(plain), quote_plus(plain)}:
            if len(form) >= _SHORTEST_SECRET:
                yield form
