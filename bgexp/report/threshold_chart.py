"""Scores over mask thresholds, as pages of runs and sweeps show them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bgexp.report.curves import Curve, CurveChart, draw_curves
from bgexp.report.render import format_number

SETTING = "combine.mask_threshold"
_LINES = (("precision", "precision"), ("foreground_recall", "recall"), ("iou", "IoU"))


def draw_threshold_scores(curve: Mapping[str, Any], threshold: float | None) -> CurveChart:
    """Draw precision, recall and IoU over the thresholds, and mark one of them, if it is known."""
    curves = [
        Curve(curve["thresholds"], _read(curve, key), name=name, kind=f"line-{key}")
        for key, name in _LINES
    ]
    return draw_curves(curves, mark=threshold)


def draw_threshold_ious(curves: Sequence[Mapping[str, Any]]) -> CurveChart:
    """Draw IoU over the thresholds of several runs, the first of them above the others."""
    kinds = ["line-iou", *["line-other"] * (len(curves) - 1)]
    lines = [
        Curve(curve["thresholds"], _read(curve, "iou"), kind=kind)
        for curve, kind in zip(curves, kinds, strict=True)
    ]
    return draw_curves(lines[::-1])


def describe_thresholds(curve: Mapping[str, Any], threshold: float | None) -> str:
    """Say at which threshold IoU is highest, and what it is at this one."""
    ious = _read(curve, "iou")
    best = int(np.nanargmax(ious))
    highest = f"Mean IoU before refinement is highest at {curve['thresholds'][best]:g}"
    highest = f"{highest}: {format_number(ious[best])}"
    if threshold is None:
        return f"{highest}."
    here = float(np.interp(threshold, curve["thresholds"], ious))
    return f"{highest}, against {format_number(here)} at {threshold:g}."


def has_thresholds(curve: Mapping[str, Any]) -> bool:
    """Return whether the threshold matters: the masks are soft, and there is truth."""
    ious = np.array(_read(curve, "iou")) if curve else np.array([])
    return bool(np.isfinite(ious).any() and np.nanmax(ious) > np.nanmin(ious))


def _read(curve: Mapping[str, Any], key: str) -> list[float]:
    return [float("nan") if value is None else value for value in curve[key]]
