import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from bgexp.metrics.pareto import find_pareto_front

POINTS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12)


@given(POINTS)
def test_the_front_is_what_nothing_beats(points):
    is_on_front = find_pareto_front([(float(s), float(q)) for s, q in points])
    for on_front, (seconds, score) in zip(is_on_front, points, strict=True):
        beaten = any(s <= seconds and q >= score and (s < seconds or q > score) for s, q in points)
        assert on_front != beaten
    front = sorted({point for point, on in zip(points, is_on_front, strict=True) if on})
    assert front
    for (quick, low), (slow, high) in itertools.pairwise(front):
        assert quick < slow
        assert low < high


def test_what_has_no_score_is_not_on_the_front():
    assert find_pareto_front([(math.nan, 0.9), (1.0, math.nan)]) == [False, False]
