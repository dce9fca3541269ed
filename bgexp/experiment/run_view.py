"""A run as its findings see it: its rows, its summary, and its settings, for what to try next."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bgexp.report.finding import get_column


@dataclass(frozen=True, eq=False)
class RunView:
    """The rows, the summary and the settings of a run, as findings use them."""

    rows: pd.DataFrame
    summary: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def succeeded(self) -> pd.DataFrame:
        """Rows with a result."""
        return self.rows[self.rows["status"] == "ok"]

    @property
    def scored(self) -> pd.DataFrame:
        """Rows with an IoU, the worst first; none without truth."""
        return self.succeeded.dropna(subset=["iou"]).sort_values("iou", kind="stable")

    def get(self, key: str) -> Any:  # noqa: ANN401
        """Return a setting by its dotted name; None where there is none."""
        value: Any = self.settings
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def shift_setting(self, key: str, step: float) -> str:
        """Return an override that shifts a share by a step, within 0.05 to 0.95; "" for none."""
        value = self.get(key)
        if value is None:
            return ""
        new = round(min(max(value + step, 0.05), 0.95), 2)
        return f"{key}={new:g}" if (new - value) * step > 0 else ""


def compute_mean_iou(rows: pd.DataFrame) -> float:
    """Return the mean IoU of some rows; NaN without truth."""
    return float(rows["iou"].mean())


def compute_mean_errors(rows: pd.DataFrame) -> tuple[float, float]:
    """Return the mean shares of foreground that is lost, and of kept pixels that are background."""
    lost = 1 - get_column(rows, "foreground_recall").mean()
    return float(lost), float(get_column(rows, "background_leakage").mean())


def suggest_override(view: RunView, lost: float, leaked: float) -> str:
    """Return an override against the larger of the two errors."""
    if lost > leaked:
        return view.shift_setting("combine.mask_threshold", -0.15)
    return view.shift_setting("detector.score_threshold", 0.2)
