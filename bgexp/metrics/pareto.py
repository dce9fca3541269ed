"""Which of many are worth their time: the Pareto front."""

import math
from collections.abc import Sequence


def find_pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Return for each point (seconds, score) whether no other one dominates it.

    A point with a NaN is not on the front, and keeps no other off it.

    >>> find_pareto_front([(1.0, 0.5), (2.0, 0.9), (3.0, 0.9), (0.5, float("nan"))])
    [True, True, False, False]
    """
    defined = [point for point in points if not math.isnan(sum(point))]
    return [
        point in defined
        and not any(
            quick <= point[0] and good >= point[1] and (quick, good) != point
            for quick, good in defined
        )
        for point in points
    ]
