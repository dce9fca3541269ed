"""An old name gets one line with the new one as the hint."""

import pytest

from bgexp.config import renamed
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.run import RunSettings
from bgexp.errors import UserError

COMMANDS = {
    "which": "compare",
    "model": "train",
    "start": "train",
    "n": "review",
    "quality.handle": "batch",
    "processes": "run",
    "runs": "run",
    "seconds": "batch",
}


@pytest.mark.parametrize("old", renamed.SETTINGS)
def test_an_old_setting(old):
    group = old.partition(".")[0]
    command = COMMANDS.get(old) or {"flags": "batch", "analyze": "analyze"}[group]
    with pytest.raises(UserError) as caught:
        compose_config(command, [f"{old}=1"], None)
    hint = f"(did you mean {renamed.SETTINGS[old]}?)"
    assert str(caught.value) == f"{old}: no such setting {hint}"


@pytest.mark.parametrize(("group", "old"), renamed.CHOICES)
def test_an_old_choice(group, old):
    command = "train" if group == "training" else "run"
    choice = f"{'+' * (group == 'training')}{group}={old}"
    with pytest.raises(UserError, match=rf"\(did you mean {renamed.CHOICES[group, old]}\?\)$"):
        compose_config(command, [choice], None)


def test_an_old_value():
    config = resolve_config(compose_config("run", ["detector.backend=eager"], None))
    with pytest.raises(UserError, match=r"^detector.backend: .*\(did you mean torch\?\)$"):
        check_settings(RunSettings, config)


def test_an_old_command(bgexp_cli):
    code, _, err = bgexp_cli("tune")
    assert (code, "did you mean autotune?" in err) == (2, True)
