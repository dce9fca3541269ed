"""`bgexp COMMAND overrides…`: compose and check the settings, then call the command."""

import argparse
import gc
import getpass
import logging
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from bgexp import __version__
from bgexp.config.renamed import COMMANDS as RENAMED
from bgexp.errors import STORAGE, STRANGE, HaltedError, Interruption, UserError
from bgexp.system.terminal import PrintableRecord, shorten_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

LINE_LENGTH = 1000  # characters of an error; what a stranger's file says may be longer
CLOSING_SECONDS = 10  # after a signal; further signals are ignored meanwhile
# What words without a key stand for: `bgexp compare last`.
WORDS = {
    **dict.fromkeys(("compare", "review", "select", "promote", "export"), "runs"),
    "verify": "output",
}
WITH_JSON = ("run", "compare", "promote", "batch", "verify")
# What a command's workers import, torch above all: begun while the settings are composed.
WORKERS = {"analyze": "bgexp.quality.inspection", "batch": "bgexp.batch.process_file"}
COMMANDS = {
    "run": "one tracked experiment; with -m a sweep: a parent run with a child a combination",
    "compare": "runs side by side on the same images, paired, with intervals",
    "review": "a page on which people compare results blindly; logs their votes",
    "select": "which images to label, with masks to edit",
    "export": "what a run found as annotations for a labelling tool",
    "analyze": "what is in a dataset, file by file, and what is wrong with it",
    "promote": "makes the best run the champion, which batch model=champion uses",
    "batch": "the production run over a whole folder, every file accounted for",
    "verify": "whether an output is whole: every file there and as it was recorded",
    "autotune": "the fastest settings of this machine whose masks are as good, as a config",
    "train": "trains a detector or the network of refine=unet",
    "doctor": "what this machine has, and what to do about what is missing",
    "ui": "opens the tracking UI on the local store",
}

# Of no settings: what editors and shells ask.
TOOLS = {
    "schema": "the JSON Schema of a command's configs, by which an editor completes and checks",
    "completion": "a script for bash, fish or zsh, which then complete commands, keys and values",
}
FLAGS = {
    command: ["--help", "--cfg", "--config-dir"]
    + ["-m"] * (command == "run")
    + ["--json"] * (command in WITH_JSON)
    for command in COMMANDS
} | {"schema": [*COMMANDS], "completion": ["bash", "fish", "zsh"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code.

    0 all good; 1 finished but something failed; 2 wrong use or settings; 130 Ctrl-C; 143 SIGTERM.
    """
    logging.setLogRecordFactory(PrintableRecord)
    stop = _make_handler()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        return _run_with_store_errors(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        from bgexp.config.credentials import hide_credentials

        lines = [line for line in hide_credentials(str(error)).splitlines() if line.strip()]
        for line in lines or [type(error.__cause__ or error).__name__]:
            print(f"bgexp: {shorten_line(line, LINE_LENGTH)}", file=sys.stderr)
        return error.exit_code
    except Interruption as stop:
        print("bgexp: interrupted; what was finished is kept", file=sys.stderr)
        return stop.exit_code


def _run_with_store_errors(arguments: list[str]) -> int:
    """Run a command; errors of the storage and of a tracking store are told in one line."""
    try:
        return _run_command(arguments)
    except OSError as error:
        if error.errno not in STORAGE | STRANGE:
            raise
        is_wrong = isinstance(error, PermissionError) or error.errno in STRANGE
        kind = UserError if is_wrong else HaltedError
        raise kind(f"{error.filename or 'files'}: {error.strerror}") from error
    except Exception as error:
        if "mlflow" not in sys.modules:
            raise
        from bgexp.tracking.store import describe_store_error

        if (store_error := describe_store_error(error)) is None:
            raise
        raise store_error from error


def program() -> int:
    """Run `main` as a program, which ends without garbage collection: a second less."""
    from bgexp.system import rare_collection  # noqa: F401
    from bgexp.system.standard_output import keep_standard_output

    # The processes that it starts import nothing of the folder that they happen to stand in.
    os.environ["PYTHONSAFEPATH"] = "1"
    _ignore_warning_options()
    _name_user()
    with keep_standard_output() as output:
        code = main()
    if output.error is not None:
        print(f"bgexp: standard output: {output.error.strerror}", file=sys.stderr)
        code = code or 1
    if workers := sys.modules.get("bgexp.system.workers"):
        workers.end_preload()
    if "triton" not in sys.modules:  # it prints a page about what is not collected at the end
        gc.freeze()
    return code


def _name_user() -> None:
    """Give libraries a name and a home folder where there is none: containers with --user."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"user-{os.getuid()}"
    if os.path.expanduser("~") == "~":  # noqa: PTH111
        os.environ["HOME"] = "/nonexistent"  # never a folder in which anyone can lay files


def _ignore_warning_options() -> None:
    """Take back PYTHONWARNINGS: with `error` the libraries' own warnings end every command."""
    if os.environ.pop("PYTHONWARNINGS", ""):
        sys.warnoptions.clear()
        warnings.resetwarnings()
        warnings.simplefilter("ignore")


def _make_handler() -> Callable[[int, FrameType | None], None]:
    last = -math.inf

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        # Closing runs takes moments; an impatient second Ctrl-C must not leave them open.
        if monotonic() - last > CLOSING_SECONDS:
            last = monotonic()
            raise Interruption(128 + number)

    return stop


def _run_command(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_list_commands())
        return 0
    if arguments[0] == "--version":
        print(f"bgexp {__version__}")
        return 0
    command, *rest = arguments
    if command in TOOLS:
        print(_make_tool_output(command, rest), end="")
        return 0
    if command not in COMMANDS:
        hint = f"; did you mean {renamed}?" if (renamed := RENAMED.get(command)) else ""
        raise UserError(
            f"no such command: {command!r} (allowed: {', '.join(COMMANDS | TOOLS)}{hint})"
        )
    options = _parse_options(command, rest)
    if options.help:
        print(_describe_command(command))
        return 0
    if command in WORKERS and not options.cfg:
        from bgexp.system.workers import preload

        preload(WORKERS[command])
    from bgexp.config.compose import compose_config

    config = compose_config(command, _select_shared(options), options.config_dir)
    if options.cfg:
        _show_config(config, options)
        return 0
    return _start(command, config, options)


def _make_tool_output(tool: str, words: list[str]) -> str:
    """Return a schema, a shell's script, or what can stand next on a line."""
    from bgexp.cli.complete import SHELLS, complete_line, read_script

    if tool == "completion" and len(words) == 2 and words[0] == "words":
        return "".join(f"{word}\n" for word in complete_line(words[1], FLAGS))
    allowed = COMMANDS if tool == "schema" else SHELLS
    if len(words) != 1 or words[0] not in allowed:
        got = " ".join(words) or "nothing"
        raise UserError(f"{tool}: give one of {', '.join(allowed)} (got {got})")
    if tool == "completion":
        return read_script(words[0])
    from bgexp.config.json_schema import format_schema

    return format_schema(words[0])


def _start(command: str, config: "DictConfig", options: argparse.Namespace) -> int:
    """Start a command; with --json its results are standard output, and its prints the other."""
    from bgexp.cli.commands import START

    if not options.json:
        return START[command](config, options)
    from bgexp.system.atomic import encode_json
    from bgexp.system.standard_output import print_to_standard_error

    options.document = None
    try:
        with print_to_standard_error():
            return START[command](config, options)
    finally:
        if options.document is not None:
            print(encode_json(options.document).decode(), end="")


def _parse_options(command: str, arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(prog=f"bgexp {command}", add_help=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-c", "--cfg", choices=["job", "hydra", "all"])
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--config-dir", "-cd", type=os.path.expanduser)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args(arguments)
    if options.help:  # overrides do not matter, and reading them takes Hydra's import
        return options
    sweep = options.multirun or "hydra.mode=MULTIRUN" in options.overrides
    options.overrides = _rewrite_overrides(command, options.overrides, sweep)
    if options.config_dir is not None:
        options.config_dir = Path(options.config_dir)
        if not options.config_dir.is_dir():
            raise UserError(f"--config-dir: no such folder: {options.config_dir}")
    if options.multirun and command != "run":
        raise UserError(f"-m: only `bgexp run` sweeps, not `bgexp {command}`")
    if options.json and command not in WITH_JSON:
        raise UserError(f"--json: not for `bgexp {command}` (allowed: {', '.join(WITH_JSON)})")
    return options


def _rewrite_overrides(command: str, words: list[str], sweep: bool) -> list[str]:
    """Rewrite overrides for Hydra: words become `runs` or `output`, free text is quoted.

    Raises:
        UserError: A word where only settings can stand.
    """
    from bgexp.config.compose import quote
    from bgexp.config.credentials import strip_override
    from bgexp.config.free_text import quote_free_text
    from bgexp.config.load import SETTINGS
    from bgexp.config.sweep import SweepSettings

    plain = [word for word in words if "=" not in word and not word.startswith("~")]
    key = WORDS.get(command)
    if plain and (key is None or (key != "runs" and len(plain) > 1)):
        raise UserError(f"{plain[-1]}: a setting is given as key=value")
    overrides = [strip_override(word) for word in words if word not in plain]
    quoted = quote_free_text([SETTINGS[command], SweepSettings], overrides, sweep)
    value = f"[{','.join(map(quote, plain))}]" if key == "runs" else "".join(map(quote, plain))
    return quoted + [f"{key}={value}"] * bool(plain)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def _select_shared(options: argparse.Namespace) -> list[str]:
    """Select overrides for the first config: all, but in a sweep only those of places.

    In a sweep another may need a swept one, as refine.iterations a refine: only jobs have both.
    """
    if not options.multirun:
        return list(options.overrides)
    from bgexp.config.compose import parse_overrides

    return [
        str(override.input_line)
        for override in parse_overrides(options.overrides)
        if str(override.input_line).startswith(("hydra", "runs_dir=", "experiment=", "sweep"))
        and not override.is_sweep_override()
    ]


def _show_config(config: "DictConfig", options: argparse.Namespace) -> None:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from bgexp.config.trust import raise_refusal, trust

    names = [str(name) for name in config]
    keys = [name for name in names if options.cfg in ("all", "hydra" if name == "hydra" else "job")]
    selection = OmegaConf.masked_copy(config, keys)
    try:
        with trust(options.overrides):
            print(OmegaConf.to_yaml(selection, resolve=options.resolve), end="")
    except OmegaConfBaseException as error:
        raise_refusal(error)
        raise UserError(" ".join(str(error).split())) from error


def _list_commands() -> str:
    lines = [f"  {name:<10} {purpose}" for name, purpose in (COMMANDS | TOOLS).items()]
    return "\n".join(
        ["bgexp COMMAND KEY=VALUE …", "", *lines, "", "bgexp COMMAND --help tells the settings."]
    )


def _describe_command(command: str) -> str:
    """Return a command's help: its config and the groups of its defaults, with their comments."""
    import yaml

    from bgexp.config.conf_dir import find_conf_dir

    config = _read_config(find_conf_dir() / f"{command}.yaml")
    parts = [f"bgexp {command} KEY=VALUE …: {COMMANDS[command]}", "", config]
    for default in yaml.safe_load(config)["defaults"]:
        for group in default if isinstance(default, dict) else ():
            for path in sorted((find_conf_dir() / group).glob("*.yaml")):
                parts += [f"# -- {group}={path.stem} " + "-" * 40, _read_config(path)]
    flags = "-m (sweep)  " * (command == "run") + "--json  " * (command in WITH_JSON)
    parts += [f"Flags: {flags}--cfg job (shows the composed settings)  --config-dir DIR"]
    return "\n".join(parts)


def _read_config(path: Path) -> str:
    """Read a config without the line that is for editors."""
    lines = path.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("# yaml-language-server:"))


if __name__ == "__main__":
    sys.exit(program())
