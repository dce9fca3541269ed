"""What a setting of numbers does, as curves: a score over its values, with intervals."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from bgexp.report.curves import Curve, CurveChart, draw_curves
from bgexp.report.labels import get_display_name
from bgexp.report.render import format_number
from bgexp.sweep.effects import Effect, compare_with_best


@dataclass(frozen=True)
class EffectChart:
    """A score over the values of a setting."""

    title: str
    note: str
    chart: CurveChart


def read_number(text: str) -> float:
    """Read a setting's value as a number; NaN where it is none.

    >>> read_number("0.5"), read_number("1e3"), read_number("unet"), read_number("inf")
    (0.5, 1000.0, nan, nan)
    """
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def is_numeric(values: Iterable[str]) -> bool:
    """Return whether a setting's values, but for those that are not given, are numbers.

    >>> is_numeric(["0.5", "0.7"]), is_numeric(["", "1", "2"]), is_numeric(["none", "unet"])
    (True, True, False)
    """
    given = {value for value in values if value not in ("", "null")}
    return len(given) > 1 and not any(math.isnan(read_number(value)) for value in given)


def draw_effect(effect: Effect) -> list[EffectChart]:
    """Draw each score over the values of a setting, if these are numbers; else []."""
    if not is_numeric(effect.values["value"]):
        return []
    scores = [key for key in effect.values if key not in ("value", "n_jobs")]
    return [_draw_score(effect, score) for score in scores]


def _draw_score(effect: Effect, score: str) -> EffectChart:
    title = get_display_name(score.removeprefix("check."))
    means = dict(zip(effect.values["value"], effect.values[score], strict=True))
    values = sorted((v for v in means if not math.isnan(read_number(v))), key=read_number)
    positions = [read_number(value) for value in values]
    changes = compare_with_best(effect, score)
    if not changes:
        is_joined = not effect.per_image[score].empty
        curve = Curve(positions, [means[v] for v in values], kind="line-iou", is_joined=is_joined)
        return EffectChart(title, "", draw_curves([curve]))
    best, level = next((value, change.before) for value, change in changes.items())
    shown = [changes[value] for value in values]
    curve = Curve(
        positions,
        [level + change.change for change in shown],
        [level + change.low for change in shown],
        [level + change.high for change in shown],
        kind="line-iou",
    )
    note = f"best at {best}: {format_number(level)}" if best else ""
    return EffectChart(title, note, draw_curves([curve], level))
