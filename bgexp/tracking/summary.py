"""summary.json, a contract that other programs read (docs/architecture.md): its parts and order."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bgexp.config.check import flatten
from bgexp.system.provenance import SCHEMA_VERSION, describe_bgexp, find_package_versions
from bgexp.system.state_files import explain_first

Status = Literal["finished", "failed", "interrupted"]
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Numbers = dict[str, float | None]
ORDER = (  # of the keys of all commands
    *("schema_version", "command", "status", "run_id", "parent_run_id", "reused_from", "identity"),
    *("bgexp", "versions", "device", "weights", "dataset", "counts"),
    *("issues", "missing_metadata", "flags", "skipped"),
    *("findings", "formats", "missing", "bounds", "reconciliation"),
    *("metrics", "checks", "categories", "refinement", "check_ranks"),
    *("threshold_curve", "mask_ap", "detections"),
    *("timings", "workers", "network", "seconds", "reused", "images_per_s"),
    *("peak_rss_bytes", "error", "files"),
)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The summary of a command's work, as far as all commands have one."""

    command: str
    status: Status
    dataset: dict[str, Any]
    counts: dict[str, int]
    categories: dict[str, Any]
    images_per_s: float
    peak_rss_bytes: int
    run_id: str = ""
    bgexp: dict[str, Any] = field(default_factory=describe_bgexp)
    versions: dict[str, str] = field(default_factory=find_package_versions)
    schema_version: int = SCHEMA_VERSION

    def to_document(self) -> dict[str, Any]:
        """Return the content of the file, in its order."""
        fields = asdict(self)
        return {key: fields[key] for key in sorted(fields, key=ORDER.index)}


@dataclass(frozen=True, kw_only=True)
class RemovalSummary(Summary):
    """The summary of a command that removes backgrounds."""

    parent_run_id: str | None = None
    reused_from: str | None = None
    identity: str
    device: dict[str, str]
    weights: dict[str, str]
    metrics: dict[str, dict[str, float]]
    checks: dict[str, dict[str, float]]
    timings: dict[str, dict[str, float]]
    error: str = ""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _State(_Part):
    version: str
    source_hash: str
    git_commit: str | None


class _Data(_Part):
    name: str
    root: str
    digest: str


class _Counts(_Part):
    total: _Count
    ok: _Count
    failed: _Count


class _Document(_Part):
    """What is taken from a summary that was read; undefined numbers are null."""

    status: Status
    run_id: str = ""
    reused_from: str | None = None
    bgexp: _State = _State.model_construct()
    device: dict[str, str] = {}
    weights: dict[str, str] = {}
    dataset: _Data = _Data.model_construct()
    counts: _Counts = _Counts.model_construct()
    metrics: dict[str, _Numbers] = {}
    checks: dict[str, _Numbers] = {}
    check_ranks: dict[str, _Numbers] = {}
    timings: dict[str, _Numbers] = {}
    mask_ap: _Numbers = {}
    categories: dict[str, dict[str, Any]] = {}
    refinement: dict[str, Any] = {}
    threshold_curve: dict[str, Any] = {}
    detections: dict[str, _Count] = {}
    workers: _Count | None = None
    images_per_s: float | None = None
    error: str = ""
    files: dict[str, str] = {}


_OF_FINISHED = {"run_id", "bgexp", "weights", "dataset", "counts", "images_per_s"}


def check_summary(content: object) -> dict[str, Any]:
    """Return a run's summary that was read; its other keys may hold anything.

    Raises:
        ValueError: Something in it is missing or of another kind.
    """
    try:
        document = _Document.model_validate(content)
    except ValidationError as error:
        raise ValueError(explain_first(error)) from error
    missing = _OF_FINISHED - document.model_fields_set
    if document.status == "finished" and missing:
        raise ValueError(f"{min(missing)} is missing")
    assert isinstance(content, dict)
    return content


def flatten_numbers(parts: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a summary by dotted names, for a tracking store; no undefined ones.

    >>> flatten_numbers({"counts": {"ok": 2, "failed": 1}, "network": None, "seconds": 1.5})
    {'counts.ok': 2.0, 'counts.failed': 1.0, 'seconds': 1.5}
    """
    return {name: float(value) for name, value in flatten(parts).items() if value is not None}
