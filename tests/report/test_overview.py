import pytest

from bgexp.report.overview import format_run_address


@pytest.mark.parametrize(
    ("run_id", "uri", "expected"),
    [
        ("ab12", None, "http://127.0.0.1:5000/#/runs/ab12"),
        ("ab12", "https://server/mlflow/", "https://server/mlflow/#/runs/ab12"),
        ("ab12", "postgresql://host/db", ""),
        ("", None, ""),
        (None, None, ""),
    ],
)
def test_the_address_of_a_run(run_id, uri, expected):
    assert format_run_address(run_id, {"tracking": {"uri": uri}}) == expected
