"""Rows, runs and jobs by hand."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from bgexp.config.compose import compose_config, resolve_config
from bgexp.experiment.results import ImageResult
from bgexp.metrics.checks import CHECKS
from bgexp.metrics.performance import METRICS
from bgexp.sweep.run_result import RunResult


def _make_row(number: int, iou: float | None = None, **fields: Any) -> ImageResult:
    lost, leaked = fields.pop("lost", 0.1), fields.pop("leaked", 0.1)
    metrics = {} if iou is None else dict.fromkeys(METRICS, 0.5) | {"iou": iou}
    if metrics:
        metrics |= {"foreground_recall": 1 - lost, "background_leakage": leaked}
    checks = dict.fromkeys(CHECKS, 0.0) | {"coverage": 0.3, "parts": 1.0, "confidence": 0.9}
    checks |= fields.pop("checks", {})
    fields = {"category": "a", "sha256": "", "status": "ok"} | fields
    if fields["status"] == "failed":
        metrics = checks = {}
    return ImageResult(f"{number:02}.jpg", metrics=metrics, checks=checks, **fields)


def _table(rows: list[ImageResult]) -> pd.DataFrame:
    return pd.DataFrame([row.to_columns() for row in rows])


@pytest.fixture
def row() -> Callable[..., ImageResult]:
    """A row by number and IoU (None: no truth), and whatever else differs from a good one."""
    return _make_row


@pytest.fixture
def table() -> Callable[[list[ImageResult]], pd.DataFrame]:
    """Rows as the columns of per_image.parquet."""
    return _table


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    """The settings of a run with nothing overridden."""
    return resolve_config(compose_config("run", ["refine=grabcut"], None))


@pytest.fixture
def job() -> Callable[..., RunResult]:
    """A job by its overrides and the IoU (None: no truth) of each image."""

    def make(
        overrides: str, ious: list[float | None], speed: float = 2.0, **summary: Any
    ) -> RunResult:
        rows = _table([_make_row(number, iou) for number, iou in enumerate(ious)])
        job_summary = {"status": "finished", "images_per_s": speed} | summary
        return RunResult(
            overrides, overrides.split(), job_summary, rows, f"{overrides}/report.html"
        )

    return make
