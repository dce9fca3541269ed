"""A seeded part of `make test-faults`, by real commands on a real disk."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.calls import COMPILER
from tests.faults.commands import COMMANDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs a C compiler"),
]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_power_cut_and_no_call_that_goes_wrong_loses_anything(name):
    command = [sys.executable, "-m", "tests.faults.run", "--images=1", "--cuts=20", "--resumed=2"]
    process = subprocess.run(
        [*command, "--calls=14", name],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stdout
    cuts = r"calls, ([\d,]+) states, [1-9]\d* of them resumed: 0 losses"
    [n_states] = re.findall(cuts, process.stdout)
    assert int(n_states.replace(",", "")) > 100
    [n_tried] = re.findall(r"with a fault (\d+) tried in \d+ s: 0 bad", process.stdout)
    assert int(n_tried) >= 12, process.stdout  # a call or two come only now and then
