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
from bgexp.errors import Interrupted, RefusedError, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bgexp.config import RunSettings

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
    "tune": "the fastest settings of this machine whose masks are as good, as a config",
    "train": "trains a detector or the network of refine=network",
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
        raise UserError(f"no such command: {command!r} (allowed: {', '.join(COMMANDS)})")
    options = _options(command, rest)
    if options.help:
        print(_help(command))
        return 0
    from bgexp.compose import compose_config

    config = compose_config(command, _shared(options), options.config_dir)
    if options.cfg:
        _show_config(config, options)
        return 0
    return _START[command](config, options)


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
    """The overrides as Hydra reads them: words that name runs become `which`, free text is quoted.

    Raises:
        UserError: a word where only settings can stand.
    """
    from bgexp.compose import quoted

    named = [word for word in words if "=" not in word and not word.startswith("~")]
    if named and command not in OVER_RUNS:
        raise UserError(f"{named[0]}: a setting is given as key=value")
    overrides = [_bare_uri(word) for word in words if word not in named]
    for place, override in enumerate(overrides):
        key, _, value = override.partition("=")
        if key in FREE_TEXT and value not in ("", "null") and value[0] not in "'\"[":
            overrides[place] = f"{key}={quoted(value)}"
    return overrides + [f"which=[{','.join(map(quoted, named))}]"] * bool(named)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:  # noqa: ANN401
        raise UserError(f"{message} (see {self.prog} --help)")


def _bare_uri(override: str) -> str:
    """Takes credentials out of an address before Hydra or anyone writes it down."""
    if not override.lstrip("+").startswith("tracking") or "@" not in override:
        return override
    from bgexp.tracking import use_credentials

    return use_credentials(override)


def _shared(options: argparse.Namespace) -> list[str]:
    """The overrides to compose the first config from: all, but in a sweep where to put things.

    In a sweep another shared one may need a swept one (refine.iterations a refine): the jobs'.
    """
    if not options.multirun:
        return list(options.overrides)
    from bgexp.compose import parse_overrides

    return [
        str(override.input_line)
        for override in parse_overrides(options.overrides)
        if str(override.input_line).startswith(("hydra", "runs=", "experiment=", "sweep"))
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
    """The command's settings are its config with the comments in it, and those of its groups."""
    from bgexp.compose import conf_dir

    text = [f"bgexp {command} KEY=VALUE …: {COMMANDS[command]}", ""]
    text += [(conf_dir() / f"{command}.yaml").read_text()]
    if command in ("run", "batch"):
        for path in sorted(conf_dir().glob("*/*.yaml")):
            text += [f"# -- {path.parent.name}={path.stem} " + "-" * 40, path.read_text()]
    text += ["Flags: -m (sweep)  --cfg job (shows the composed settings)  --config-dir DIR"]
    return "\n".join(text)


# -- the commands ------------------------------------------------------------------------------


def _run(config: "DictConfig", options: argparse.Namespace) -> int:
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from bgexp.compose import combinations

    sweep = options.multirun or config.hydra.mode == RunMode.MULTIRUN
    if config.get("sweep") is not None:
        return _optimize(config, options, sweep)
    jobs = combinations(config, options.overrides) if sweep else [options.overrides]
    checked = [_run_settings(job, options) for job in jobs]
    _expect_workers(checked)
    from bgexp.experiment import check_ready
    from bgexp.sweep import run_sweep, show_results

    key = "hydra.sweep.dir" if sweep else "hydra.run.dir"
    folder = Path(OmegaConf.select(config, key)).resolve()
    if any((folder / name).exists() for name in ("summary.json", "sweep.json")):
        raise UserError(f"{key}: {folder} holds the results of an earlier run")
    check_ready(checked)
    # What the configs say of these was read already: an address without its credentials.
    given = {key: str(folder)}
    if checked[0].tracking.uri is not None:
        given["tracking.uri"] = checked[0].tracking.uri
    if sweep:
        folders = run_sweep(checked, folder, lambda: _hydra(options, given))
    else:
        _hydra(options, given)
        folders = [folder]
    return 0 if show_results(folders, checked[0]) else 1


def _expect_workers(jobs: "Sequence[RunSettings]") -> None:
    """Lets them import what they need while this process imports the rest."""
    from bgexp.workers import import_early, share_of_cores

    if any((job.processes or share_of_cores()) > 1 for job in jobs):
        import_early("bgexp.evaluate")


def _run_settings(overrides: Sequence[str], options: argparse.Namespace) -> "RunSettings":
    """The settings of one job; `sweep` is none of them."""
    from bgexp.compose import compose_config

    return _checked_run(compose_config("run", overrides, options.config_dir), overrides)


def _checked_run(composed: "DictConfig", overrides: Sequence[str]) -> "RunSettings":
    from bgexp.compose import plain
    from bgexp.config import RunSettings, check_settings

    values = {key: value for key, value in plain(composed).items() if key != "sweep"}
    settings = check_settings(RunSettings, values)
    if settings.model is None:
        return settings
    _refuse_beside_model(overrides)
    from bgexp.registry import with_model

    return with_model(settings)[0]


def _optimize(config: "DictConfig", options: argparse.Namespace, sweep: bool) -> int:
    from bgexp.compose import plain
    from bgexp.config import SweepSettings, check_settings

    if not sweep:
        raise UserError("sweep=optuna: a sweep is asked for by -m")
    if not str(config.hydra.launcher._target_).endswith(".BasicLauncher"):
        raise UserError("hydra/launcher: with sweep=optuna the jobs run one after another")
    settings = check_settings(SweepSettings, {"sweep": plain(config)["sweep"]}).sweep
    from bgexp.optimize import optimize, read_space

    space = read_space(config, options.overrides)
    corners = [_run_settings(corner, options) for corner in space.corners()]
    _expect_workers(corners)
    from bgexp.experiment import check_ready
    from bgexp.sweep import show_results

    check_ready(corners)
    folder = Path(config.hydra.sweep.dir).resolve()
    jobs, best = optimize(settings, space, corners, folder, lambda job: _run_settings(job, options))
    return 0 if show_results(jobs, corners[0], best) else 1


def _hydra(options: argparse.Namespace, given: dict[str, str]) -> None:
    """Lets Hydra run the job or, by its launcher, the jobs; `given` overrides what was given."""
    import hydra

    from bgexp.compose import conf_dir, quoted

    kept = [o for o in options.overrides if o.partition("=")[0].lstrip("+") not in given]
    sys.argv = ["bgexp run", *kept, *(f"{key}={quoted(value)}" for key, value in given.items())]
    sys.argv += ["--multirun"] * options.multirun
    sys.argv += ["--config-dir", str(options.config_dir.resolve())] if options.config_dir else []
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="run")(_job)()


def _job(composed: "DictConfig") -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from bgexp.device import limit_threads
    from bgexp.sweep import run_job

    limit_threads()
    hydra_config = HydraConfig.get()
    sweep = Path(hydra_config.sweep.dir) if hydra_config.mode == RunMode.MULTIRUN else None
    overrides = list(hydra_config.overrides.task)
    settings = _checked_run(composed, overrides)
    run_job(settings, Path(hydra_config.runtime.output_dir), overrides, sweep)


def _compare(config: "DictConfig", options: argparse.Namespace) -> int:
    from bgexp.compose import plain
    from bgexp.config import CompareSettings, check_settings

    settings = check_settings(CompareSettings, plain(config))
    from bgexp.compare import compare_runs, print_json, show_comparison, write_comparison

    folder = Path(config.hydra.run.dir).resolve()
    comparison = compare_runs(settings)
    write_comparison(comparison, folder, settings)
    if options.json:
        print_json(folder)
    else:
        show_comparison(comparison, folder)
    return 0


def _analyze(config: "DictConfig", _options: argparse.Namespace) -> int:
    from bgexp.compose import plain
    from bgexp.config import AnalyzeSettings, check_settings

    settings = check_settings(AnalyzeSettings, plain(config))
    from bgexp.workers import import_early

    import_early("bgexp.quality.inspect")
    from bgexp.quality.analysis import analyze_dataset, show_analysis

    show_analysis(analyze_dataset(settings, Path(config.hydra.run.dir).resolve()))
    return 0


def _refuse_beside_model(overrides: Sequence[str]) -> None:
    """A promoted model is run as it was promoted.

    Raises:
        UserError: other settings for what it brings itself.
    """
    own = ("detector", "combine", "refine", "seed", "experiment")
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] in own:
            raise UserError(f"{key}: model=… brings its own (leave one of the two out)")


def _batch(config: "DictConfig", options: argparse.Namespace) -> int:
    from bgexp.compose import plain
    from bgexp.config import BatchSettings, check_settings

    settings = check_settings(BatchSettings, plain(config))
    if settings.model is not None:
        _refuse_beside_model(options.overrides)
    from bgexp.workers import import_early

    import_early("bgexp.batch.process")
    from bgexp.batch.command import batch_process_images, batch_process_with_quality_handling
    from bgexp.batch.told import show_batch, show_plan

    handled = settings.quality.handle
    run = batch_process_with_quality_handling if handled else batch_process_images
    result = run(settings)
    if settings.dry_run:
        show_plan(result.planned)
        return 0
    show_batch(result, settings)
    return 0 if result.summary["status"] == "finished" else 1


def _promote(config: "DictConfig", _options: argparse.Namespace) -> int:
    from bgexp.compose import plain
    from bgexp.config import PromoteSettings, check_settings

    settings = check_settings(PromoteSettings, plain(config))
    from bgexp.promote.command import promote

    decision = promote(settings, Path(config.hydra.run.dir).resolve())
    print("\n".join(decision.lines))
    if decision.refused:
        raise RefusedError(decision.refused)
    return 0


def _tune(config: "DictConfig", _options: argparse.Namespace) -> int:
    from bgexp.compose import plain
    from bgexp.config import TuneSettings, check_settings

    settings = check_settings(TuneSettings, plain(config))
    from bgexp.tune import show_tuning, tune

    folder = Path(config.hydra.run.dir).resolve()
    show_tuning(tune(settings, folder), settings, folder)
    return 0


def _train(config: "DictConfig", _options: argparse.Namespace) -> int:
    from bgexp.compose import plain
    from bgexp.config import TrainSettings, check_settings

    settings = check_settings(TrainSettings, plain(config))
    from bgexp.train.command import train_network

    weights = train_network(settings, Path(config.hydra.run.dir).resolve())
    chosen = (
        f"detector={settings.detector.name} detector.weights={weights}"
        if settings.model == "detector"
        else f"refine=network refine.weights={weights}"
    )
    print(f"Weights: {weights}")
    print(f"Next:    bgexp run {chosen}")
    return 0


def _doctor(config: "DictConfig", _options: argparse.Namespace) -> int:
    from bgexp.compose import plain
    from bgexp.config import DoctorSettings, check_settings
    from bgexp.doctor import run_doctor

    return run_doctor(check_settings(DoctorSettings, plain(config)))


def _ui(config: "DictConfig", _options: argparse.Namespace) -> int:
    from bgexp.compose import plain
    from bgexp.config import UiSettings, check_settings
    from bgexp.ui import serve_ui

    return serve_ui(check_settings(UiSettings, plain(config)))


def _review(config: "DictConfig", _options: argparse.Namespace) -> int:
    from bgexp.compose import plain
    from bgexp.config import ReviewSettings, check_settings

    settings = check_settings(ReviewSettings, plain(config))
    from bgexp.review import log_review, make_review, show_made, show_votes

    folder = Path(config.hydra.run.dir).resolve()
    if settings.votes is None:
        show_made(*make_review(settings, folder), folder)
    else:
        show_votes(*log_review(settings, folder))
    return 0


def _select(config: "DictConfig", _options: argparse.Namespace) -> int:
    from bgexp.compose import plain
    from bgexp.config import SelectSettings, check_settings

    settings = check_settings(SelectSettings, plain(config))
    from bgexp.select import select_images, show_selection

    show_selection(*select_images(settings, Path(config.hydra.run.dir).resolve()), settings)
    return 0


_START: "dict[str, Callable[[DictConfig, argparse.Namespace], int]]" = {
    "run": _run,
    "compare": _compare,
    "review": _review,
    "select": _select,
    "analyze": _analyze,
    "promote": _promote,
    "batch": _batch,
    "tune": _tune,
    "train": _train,
    "doctor": _doctor,
    "ui": _ui,
}


if __name__ == "__main__":
    sys.exit(program())
