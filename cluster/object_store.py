"""An S3-speaking store: `python -m cluster.object_store FOLDER PORT [BUCKET …]`.

It reads AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Of the servers that were tried, LocalBucket
alone keeps its objects when it is killed and honours `If-None-Match: *`: s3rver, nanio and rclone
accept a second such put, moto keeps everything in memory. It checks no credentials, so that is done
here: requests are signed (version 4), and a second user may only read.
"""

import hashlib
import hmac
import os
import re
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from cluster.service import LOOPBACK, Service, answers, read_secret, run_until_signal

REGION = "us-east-1"
READER_ID, READER_SECRET = "BGEXP_S3_READER_ID", "BGEXP_S3_READER_SECRET"  # of a second user
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<user>[^/]+)/(?P<scope>[^,]+),\s*"
    r"SignedHeaders=(?P<headers>[^,]+),\s*Signature=(?P<signature>\w+)"
)


class ObjectStore(Service):
    """An S3-speaking server with a user who may do everything and one who may only read.

    Attributes:
        address: Its address, for `MLFLOW_S3_ENDPOINT_URL` and `AWS_ENDPOINT_URL`.
    """

    def __init__(
        self,
        folder: Path,
        writer: tuple[str, str],
        reader: tuple[str, str] | None = None,
        buckets: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        super().__init__(folder, port)
        self._writer, self._reader, self._buckets = writer, reader, buckets
        self.address = f"http://{LOOPBACK}:{self.port}"

    @property
    def client_environment(self) -> dict[str, str]:
        """What a client's environment needs to read and write."""
        return self._make_client_environment(self._writer)

    @property
    def reader_environment(self) -> dict[str, str]:
        """What a client's environment needs to read only."""
        assert self._reader is not None
        return self._make_client_environment(self._reader)

    def _make_client_environment(self, keys: tuple[str, str]) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": keys[0],
            "AWS_SECRET_ACCESS_KEY": keys[1],
            "AWS_ENDPOINT_URL": self.address,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",  # for clients that refuse it otherwise
        }

    def prepare(self) -> None:
        """Make the folder of each bucket."""
        for bucket in self._buckets:
            (self.folder / "data" / bucket).mkdir(parents=True)

    def make_command(self) -> Sequence[str]:
        """Return the command: this module, as the server."""
        return [
            *(sys.executable, "-m", "cluster.object_store", "--serve"),
            *(str(self.folder / "data"), str(self.port)),
        ]

    def make_environment(self) -> Mapping[str, str]:
        """Return the keys of its users, and the path on which this module is found."""
        reader = dict(zip((READER_ID, READER_SECRET), self._reader or (), strict=False))
        path = str(Path(__file__).parents[1])
        return {**self.client_environment, **reader, "PYTHONPATH": path}

    def is_ready(self) -> bool:
        """Return whether it listens."""
        return answers(self.port)


def serve(data: Path, port: int, users: Mapping[str, str], readers: Sequence[str]) -> None:
    """Serve the buckets below a folder for ever.

    Args:
        data: The folder with a folder for each bucket.
        port: The port on loopback.
        users: Secret keys by access key.
        readers: The access keys that may only read.
    """
    from localbucket import S3Error, S3Handler

    class CheckingHandler(S3Handler):  # type: ignore[misc]
        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            refusal = find_refusal(self.command, self.path, self.headers, users, readers)
            if refusal is None:
                return True
            self._send_error(S3Error(HTTPStatus.FORBIDDEN, *refusal))
            return False

    data.mkdir(parents=True, exist_ok=True)
    CheckingHandler.data_root = data
    server = ThreadingHTTPServer((LOOPBACK, port), CheckingHandler)
    server.daemon_threads = True
    server.serve_forever()


def find_refusal(
    method: str,
    target: str,
    headers: Mapping[str, str],
    users: Mapping[str, str],
    readers: Sequence[str],
) -> tuple[str, str] | None:
    """Return S3's code and message for a request that is not allowed; None for any other.

    Signatures are those of AWS's version 4, in the header and with the hash that the client says
    of the body; addresses that were signed beforehand are not accepted.
    """
    match = _AUTHORIZATION.fullmatch(headers.get("Authorization", ""))
    if match is None:
        return "AccessDenied", "Access Denied"
    if match["user"] not in users:
        return "InvalidAccessKeyId", "The access key is not known here."
    expected = _sign(method, target, headers, users[match["user"]], match)
    if not hmac.compare_digest(expected, match["signature"]):
        return "SignatureDoesNotMatch", "The signature is of another secret key."
    if match["user"] in readers and method not in ("GET", "HEAD"):
        return "AccessDenied", "Access Denied"
    return None


def _sign(
    method: str,
    target: str,
    headers: Mapping[str, str],
    secret: str,
    match: re.Match[str],
) -> str:
    url = urlsplit(target)
    query = sorted(
        (quote(key, safe="-_.~"), quote(value, safe="-_.~"))
        for key, value in parse_qsl(url.query, keep_blank_values=True)
    )
    signed = match["headers"].split(";")
    canonical = [
        method,
        quote(unquote(url.path), safe="/-_.~"),
        "&".join(f"{key}={value}" for key, value in query),
        *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed),
        "",
        match["headers"],
        headers.get("x-amz-content-sha256", ""),
    ]
    request = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", headers.get("x-amz-date", ""), match["scope"], request])
    key = b"AWS4" + secret.encode()
    for part in match["scope"].split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _read_users() -> tuple[dict[str, str], list[str]]:
    users = {os.environ["AWS_ACCESS_KEY_ID"]: os.environ["AWS_SECRET_ACCESS_KEY"]}
    reader = os.environ.get(READER_ID)
    return users | ({reader: os.environ[READER_SECRET]} if reader else {}), [reader or ""]


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(Path(sys.argv[2]), int(sys.argv[3]), *_read_users())
    key, secret = read_secret("AWS_ACCESS_KEY_ID"), read_secret("AWS_SECRET_ACCESS_KEY")
    store = ObjectStore(
        Path(sys.argv[1]), (key, secret), buckets=sys.argv[3:], port=int(sys.argv[2])
    )
    run_until_signal(store, [f"AWS_ENDPOINT_URL={store.address}"])
