"""That the defences that `make test-defences` takes out are there."""

import pytest

from tests.faults.defences import DEFENCES, ROOT


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.attack)
def test_a_defence_and_the_test_of_its_attack_are_there(defence):
    assert (ROOT / defence.module).read_text().count(defence.code) == 1
    file, _, name = defence.test.partition("::")
    assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).is_file()
