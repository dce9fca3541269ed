"""The files of a run's folder: what is read back from them."""

import json
from pathlib import Path
from typing import Any


def read_summary(folder: Path) -> dict[str, Any]:
    """Read a job's summary.json."""
    return dict(json.loads((folder / "summary.json").read_text()))


def read_overrides(folder: Path) -> list[str]:
    """Read the overrides of a job."""
    return list(json.loads((folder / OVERRIDES).read_text()))


OVERRIDES = "overrides.json"  # in a job's
