"""A seeded part of `make test-faults`, by real commands on a real disk."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.calls import COMPILER

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs a C compiler"),
]


def test_no_power_cut_and_no_call_that_goes_wrong_loses_anything():
    command = [sys.executable, "-m", "tests.faults.run", "--images=1", "--cuts=20", "--resumed=2"]
    process = subprocess.run(
        [*command, "--calls=3"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stdout
    states = re.findall(
        r"calls, ([\d,]+) states, [1-9]\d* of them resumed: 0 losses", process.stdout
    )
    assert len(states) == 3, process.stdout  # of a batch, a promotion and a run
    assert min(int(count.replace(",", "")) for count in states) > 100
    tried = re.findall(r"with a fault (\d+) tried in \d+ s: 0 bad", process.stdout)
    assert sum(map(int, tried)) >= 7, process.stdout  # a call or two come only now and then
