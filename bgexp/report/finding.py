"""What the findings of a run and of a sweep have in common."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

POOR_IOU = 0.5  # an IoU below it: more is wrong than right
CLEAR_DIFFERENCE = 0.05  # a difference of mean IoU, or a share of the images, that is worth a word
MAX_FINDINGS = 5  # findings on a page: more are not read
_ORDER = ("problem", "result", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """A finding in the numbers of a run, a sweep or a comparison, and what to try about it.

    Attributes:
        severity: A problem spoils the result, a warning may, a note is worth knowing; a result
            is the answer to the question.
        title: One line without a full stop.
        evidence: The numbers behind it, in sentences.
        paths: The images concerned, worst first.
        setting: An override to try, such as `detector.score_threshold=0.5`; empty for none.
        weight: Its rank within its severity: mean IoU lost, or the share of the images.
    """

    severity: Literal["problem", "result", "warning", "note"]
    title: str
    evidence: str
    paths: tuple[str, ...] = ()
    setting: str = ""
    weight: float = 0.0


def rank_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Return at most five findings, by severity and then by weight."""
    ranked = sorted(findings, key=lambda finding: (_ORDER.index(finding.severity), -finding.weight))
    return ranked[:MAX_FINDINGS]


def get_column(rows: pd.DataFrame, key: str) -> "pd.Series[float]":
    """Return a column of numbers; NaN in every row where an earlier version did not write it."""
    if key in rows:
        return rows[key].astype(float)
    return pd.Series(float("nan"), rows.index, dtype=float)
