"""A few of the kills of `make test-faults`."""

import random

import pytest

from tests.faults.disk import read_state
from tests.faults.kills import VICTIMS, KilledBatch

pytestmark = pytest.mark.slow


def test_what_is_killed_at_any_moment_goes_on_and_loses_nothing(tmp_path):
    batch, rng = KilledBatch(tmp_path, 8), random.Random(0)
    seconds = batch.measure()
    batch.prepare()
    for victim in VICTIMS:
        assert batch.kill(victim, rng.uniform(0.3, 0.9) * seconds, rng)[1] == []
    assert batch.resume() == []
    lost = next(name for name in batch.expected if name.endswith(".png"))
    assert batch.find_differences(read_state(batch.root) | {lost: b"half"}) == [
        f"{lost} is another"
    ]
