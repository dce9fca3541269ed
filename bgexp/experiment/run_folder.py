"""The files of a run's folder: what is read back from them."""

import json
from pathlib import Path
from typing import Any


def read_summary(folder: Path) -> dict[str, Any]:
    """A job's summary.json."""
    return dict(json.loads((folder / "summary.json").read_text()))


def read_overrides(folder: Path) -> list[str]:
    """What a job was given."""
    return list(json.loads((folder / OVERRIDES).read_text()))


OVERRIDES = "overrides.json"  # in a job's
