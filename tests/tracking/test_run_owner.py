"""Whether the process of a run lives is decided in one place, by the run's tags."""

import pytest

from bgexp.tracking.run_owner import has_lost_owner, make_owner_tags


def make_tags(**changes):
    return make_owner_tags() | {f"bgexp.{key}": value for key, value in changes.items()}


@pytest.mark.parametrize(
    ("tags", "gone"),
    [
        (make_tags(), False),
        (make_tags(pid="999999999"), True),
        (make_tags(process_started="1000.0"), True),  # its number went to another process
        (make_tags(host="elsewhere", pid="999999999"), False),
        (make_tags(pid="no number"), True),
        ({}, False),  # not a run of bgexp
    ],
)
def test_whether_a_run_has_lost_its_process(tags, gone):
    assert has_lost_owner(tags) is gone
