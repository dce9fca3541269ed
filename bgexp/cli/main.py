"""`bgexp COMMAND overrides…`: composes and checks the settings, then hands over. Thin."""

import argparse
import gc
import math
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any

from bgexp import __version__
from bgexp.config.renamed import COMMANDS as RENAMED
from bgexp.errors import Interrupted, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

CLOSING_SECONDS = 10  # after a signal; others that come meanwhile are passed over
OVER_RUNS = {"compare", "review", "select", "promote"}  # words are runs: `bgexp compare last`
FREE_TEXT = {
    "filter",
    "run",
    "require",
    "baseline",
    "reference",
    "votes",
}  # whose values hold what Hydra's grammar would trip over
COMMANDS = {
    "run": "one tracked experiment; with -m a sweep: a parent run with a child a combination",
    "compare": "runs side by side on the same images, paired, with intervals",
    "review": "a page on which people compare results blindly; logs their votes",
    "select": "which images to label, with masks to edit",
    "analyze": "what is in a dataset, file by file, and what is wrong with it",
    "promote": "makes the best run the champion, which batch model=champion uses",
    "batch": "the production run over a whole folder, every file accounted for",
    "autotune": "the fastest settings of this machine whose masks are as good, as a config",
    "train": "trains a detector or the network of refine=unet",
    "doctor": "what this machine has, and what to do about what is missing",
    "ui": "opens the tracking UI on the local store",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code.

    0 all good; 1 finished but something failed; 2 wrong use or settings; 130 Ctrl-C; 143 SIGTERM.
    """
    stop = _interrupter()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        return _main(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        for line in str(error).splitlines():
            print(f"bgexp: {line}", file=sys.stderr)
        return error.exit_code
    except Interrupted as stop:
        print("bgexp: interrupted; what was finished is kept", file=sys.stderr)
        return stop.exit_code


def program() -> int:
    """Is `main` as a program of its own, which ends without looking for garbage: a second less."""
    code = main()
    gc.freeze()
    return code


def _interrupter() -> Callable[[int, FrameType | None], None]:
    last = -math.inf

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        # Closing runs takes moments; an impatient second Ctrl-C must not leave them open.
        if monotonic() - last > CLOSING_SECONDS:
            last = monotonic()
            raise Interrupted(128 + number)

    return stop


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"bgexp {__version__}")
        return 0
    command, *rest = arguments
    if command not in COMMANDS:
        hint = f"; did you mean {renamed}?" if (renamed := RENAMED.get(command)) else ""
        raise UserError(f"no such command: {command!r} (allowed: {', '.join(COMMANDS)}{hint})")
    options = _options(command, rest)
    if options.help:
        print(_help(command))
        return 0
    from bgexp.config.compose import compose_config

    config = compose_config(command, _shared(options), options.config_dir)
    if options.cfg:
        _show_config(config, options)
        return 0
    from bgexp.cli.commands import START

    return START[command](config, options)


def _options(command: str, arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(prog=f"bgexp {command}", add_help=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-c", "--cfg", choices=["job", "hydra", "all"])
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--config-dir", "-cd", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args(arguments)
    options.overrides = _settings(command, options.overrides)
    if options.config_dir is not None and not options.config_dir.is_dir():
        raise UserError(f"--config-dir: no such folder: {options.config_dir}")
    if options.multirun and command != "run":
        raise UserError(f"-m: only `bgexp run` sweeps, not `bgexp {command}`")
    if options.json and command != "compare":
        raise UserError(f"--json: only `bgexp compare` prints JSON, not `bgexp {command}`")
    return options


def _settings(command: str, words: list[str]) -> list[str]:
    """The overrides as Hydra reads them: words that name runs become `runs`, free text is quoted.

    Raises:
        UserError: a word where only settings can stand.
    """
    from bgexp.config.compose import quoted

    named = [word for word in words if "=" not in word and not word.startswith("~")]
    if named and command not in OVER_RUNS:
        raise UserError(f"{named[0]}: a setting is given as key=value")
    overrides = [_bare_uri(word) for word in words if word not in named]
    for place, override in enumerate(overrides):
        key, _, value = override.partition("=")
        if key in FREE_TEXT and value not in ("", "null") and value[0] not in "'\"[":
            overrides[place] = f"{key}={quoted(value)}"
    return overrides + [f"runs=[{','.join(map(quoted, named))}]"] * bool(named)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:  # noqa: ANN401
        raise UserError(f"{message} (see {self.prog} --help)")


def _bare_uri(override: str) -> str:
    """Takes credentials out of an address before Hydra or anyone writes it down."""
    if not override.lstrip("+").startswith("tracking") or "@" not in override:
        return override
    from bgexp.config.credentials import use_credentials

    return use_credentials(override)


def _shared(options: argparse.Namespace) -> list[str]:
    """The overrides to compose the first config from: all, but in a sweep where to put things.

    In a sweep another shared one may need a swept one (refine.iterations a refine): the jobs'.
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

    names = [str(name) for name in config]
    keys = [n for n in names if options.cfg in ("all", "hydra" if n == "hydra" else "job")]
    shown = OmegaConf.masked_copy(config, keys)
    try:
        print(OmegaConf.to_yaml(shown, resolve=options.resolve), end="")
    except OmegaConfBaseException as error:
        raise UserError(" ".join(str(error).split())) from error


def _overview() -> str:
    lines = [f"  {name:<8} {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        ["bgexp COMMAND KEY=VALUE …", "", *lines, "", "bgexp COMMAND --help tells the settings."]
    )


def _help(command: str) -> str:
    """Return the command's config and those of the groups in its defaults, comments included."""
    import yaml

    from bgexp.config.compose import conf_dir

    config = (conf_dir() / f"{command}.yaml").read_text()
    text = [f"bgexp {command} KEY=VALUE …: {COMMANDS[command]}", "", config]
    for default in yaml.safe_load(config)["defaults"]:
        for group in default if isinstance(default, dict) else ():
            for path in sorted((conf_dir() / group).glob("*.yaml")):
                text += [f"# -- {group}={path.stem} " + "-" * 40, path.read_text()]
    own = {"run": "-m (sweep)  ", "compare": "--json  "}.get(command, "")
    text += [f"Flags: {own}--cfg job (shows the composed settings)  --config-dir DIR"]
    return "\n".join(text)


if __name__ == "__main__":
    sys.exit(program())
