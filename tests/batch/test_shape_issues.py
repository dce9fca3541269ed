import pytest

from bgexp.batch.shape_issues import find_shape_issues
from bgexp.config.batch import QualityRules

RULES = QualityRules(huge_megapixels=0.01, tiny_side=32, elongation=4)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 100), []),  # 0.01 megapixels are not more than 0.01
        ((101, 100), ["huge"]),
        ((31, 31), ["tiny"]),
        ((32, 8), []),
        ((33, 8), ["elongated"]),
        ((8, 33), ["elongated"]),
        ((31, 7), ["tiny", "elongated"]),
        ((1000, 100), ["huge", "elongated"]),
    ],
)
def test_shape_issues(size, expected):
    assert find_shape_issues(*size, RULES) == expected
