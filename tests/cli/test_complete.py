"""What a shell offers at the Tab key, and that its script passes it on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bgexp.cli.complete import SHELLS, complete_line, read_script
from bgexp.cli.main import COMMANDS, FLAGS, main
from bgexp.config.load import load_settings
from bgexp.errors import UserError

MASK_NAMES = ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2", "masks"]


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("bgexp ru", ["run"]),
        ("bgexp  re", ["review"]),
        ("bgexp run det", ["detector=", "detector."]),
        ("bgexp run refine.ba", ["refine.band="]),
        ("bgexp batch quality.outliers.m", ["quality.outliers.method="]),
        ("bgexp run seed=1 refine=u", ["refine=unet"]),
        ("bgexp run -m refine=none,gu", ["refine=none,guided"]),
        ("bgexp batch engine=", ["engine=local", "engine=ray", "engine=slurm"]),
        ("bgexp run detector=ma", [f"detector={name}" for name in MASK_NAMES]),
        ("bgexp batch detector=ma", [f"detector={name}" for name in MASK_NAMES[:2]]),
        ("bgexp run device=c", ["device=cpu", "device=cuda"]),
        ("bgexp run force=", ["force=true", "force=false"]),
        ("bgexp batch model=", ["model=champion", "model=previous", "model=null"]),
        ("bgexp train training=u", ["training=unet"]),
        ("bgexp run --c", ["--cfg", "--config-dir"]),
        ("bgexp batch --j", ["--json"]),
        ("bgexp train --j", []),
        ("bgexp schema ba", ["batch"]),
        ("bgexp completion z", ["zsh"]),
        ("bgexp batch input=", []),
        ("bgexp nothing x", []),
        ("bgexp run nothing=", []),
        ("bgexp run nothing.x=", []),
    ],
)
def test_what_can_come_next(line, candidates):
    assert complete_line(line, FLAGS) == candidates


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_of_a_command_is_offered(command):
    for top in complete_line(f"bgexp {command} ", FLAGS):
        assert top.endswith(("=", ".")), top
        assert not top.endswith(".") or complete_line(f"bgexp {command} {top}", FLAGS)


@pytest.mark.parametrize("command", ["batch", "doctor", "autotune", "train"])
def test_a_choice_that_only_other_commands_take(command):
    with pytest.raises(
        UserError, match=r"^detector: no such choice here .got masks; allowed: demo"
    ):
        load_settings(command, ["detector=masks"])


def test_the_values_that_are_offered_are_taken():
    for value in complete_line("bgexp batch format=", FLAGS):
        load_settings("batch", ["input=a", "output=b", value])


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shells_script_is_printed(capsys, shell):
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == read_script(shell)


def test_no_such_shell(capsys):
    assert main(["completion", "csh"]) == 2
    expected = "bgexp: completion: give one of bash, fish, zsh (got csh)\n"
    assert capsys.readouterr().err == expected


def ask_shell(shell, script, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(read_script(shell))
    command = tmp_path / "bgexp"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bgexp.cli.main "$@"\n')
    command.chmod(0o755)
    paths = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    paths["PYTHONPATH"] = str(Path(__file__).parents[2])
    (tmp_path / "file.jpg").touch()
    process = subprocess.run(
        [shell, "-c", script], cwd=tmp_path, env=os.environ | paths, capture_output=True, text=True
    )
    return process.stdout.split()


def test_bash_takes_what_stands_after_the_sign_as_a_word(tmp_path):
    script = """
    source ./script
    COMP_LINE="bgexp run -m refine=none,g"; COMP_POINT=${#COMP_LINE}
    _bgexp 2> /dev/null
    echo "${COMPREPLY[@]}"
    """
    assert ask_shell("bash", script, tmp_path) == ["none,grabcut", "none,guided"]


def test_fish_completes_paths_where_there_are_no_words(tmp_path):
    script = "source script; complete -C 'bgexp run refine=g'; complete -C 'bgexp batch input=fi'"
    words = ["refine=grabcut", "refine=guided", "input=file.jpg"]
    assert ask_shell("fish", script, tmp_path) == words
