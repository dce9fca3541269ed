"""The pairs of mask and truth that all metrics are tried on."""

import runpy
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pysod():
    """The names of pysod_values.py, which has to stand alone and is therefore not imported."""
    return runpy.run_path(str(Path(__file__).with_name("pysod_values.py")))


@pytest.fixture(scope="session")
def pairs(pysod):
    """More than 200 random and 40 degenerate pairs, by name."""
    return pysod["degenerate_pairs"]() | pysod["random_pairs"](210)
