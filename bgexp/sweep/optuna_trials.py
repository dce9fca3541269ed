"""`bgexp run -m sweep=optuna …`: trials one after another, each a job of one sweep."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import optuna
from optuna.distributions import distribution_to_json

from bgexp.config.command_line import write_command
from bgexp.config.run import RunSettings
from bgexp.config.sweep import OptunaSweep
from bgexp.datasets.read import read_dataset
from bgexp.errors import UserError
from bgexp.sweep.jobs import run_job, run_sweep, write_failed_job
from bgexp.sweep.optuna_space import Space
from bgexp.sweep.optuna_study import (
    ask_trial,
    count_ended,
    find_best_trials,
    find_interrupted_trials,
    open_study,
    requeue_trial,
    tell_result,
)
from bgexp.system.atomic import make_folder
from bgexp.system.log_file import LogFile
from bgexp.tracking.run_folder import LOG, RunFolder

Compose = Callable[[Sequence[str]], RunSettings]

# Overrides that make trials no less comparable.
_NOT_COMPARED = ("runs_dir=", "force=", "tracking.", "hydra", "cache.", "samples=")

log = logging.getLogger(__name__)


def optimize(
    settings: OptunaSweep,
    space: Space,
    corners: Sequence[RunSettings],
    folder: Path,
    compose: Compose,
    config_dir: Path | None,
) -> tuple[list[RunFolder], list[str]]:
    """Run trials of a study until `settings.trials` have ended.

    Args:
        settings: The settings of the sweep.
        space: The search space.
        corners: The settings at the ends of the space, checked.
        folder: The folder of the sweep; a trial is a job in the folder of its number.
        compose: Composes settings from overrides.
        config_dir: Of the user's own configs, which the overrides may name.

    Returns:
        The folders of the jobs, and lines that name the best.

    Raises:
        UserError: there is no truth to choose by, or the study was begun with something else.
    """
    dataset = read_dataset(corners[0].dataset, corners[0].seed)
    if not dataset.n_with_truth:
        raise UserError(
            "sweep=optuna: the images have no truth, and checks never choose "
            "(bgexp review compares runs without it, bgexp select names images to label)"
        )
    about = {
        "what is fixed": sorted(o for o in space.fixed if not o.startswith(_NOT_COMPARED)),
        "what is chosen": {key: distribution_to_json(v) for key, v in space.free.items()},
        "the images": dataset.digest,
    }
    with open_study(folder, settings, about) as study, _log_to_terminal():
        _close_open_trials(study, settings.objectives, folder)

        def run_trials() -> None:
            while count_ended(study) < settings.trials:
                _complete_trial(study, settings, space, corners[0].seed, folder, compose)

        jobs = run_sweep(corners, folder, run_trials)
        write = partial(write_command, "run", settings=corners[0], config_dir=config_dir)
        return jobs, _describe_best(study, settings, folder, write)


def _close_open_trials(study: optuna.Study, objectives: Sequence[str], folder: Path) -> None:
    """Close the trials that an earlier process left open."""
    for trial in find_interrupted_trials(study):
        summary = RunFolder(folder / str(trial.number)).read_summary()
        if summary.get("status") in ("finished", "failed"):  # only its end was not told
            tell_result(study, trial.number, objectives, summary)
        else:
            log.info("trial %d was cut off: it is done again", trial.number)
            requeue_trial(study, trial)


def _complete_trial(
    study: optuna.Study,
    settings: OptunaSweep,
    space: Space,
    seed: int,
    folder: Path,
    compose: Compose,
) -> None:
    count = f"{count_ended(study) + 1} of {settings.trials}"
    trial = ask_trial(study, space, seed)
    overrides = space.make_overrides(trial.params)
    log.info("trial %d (%s): %s", trial.number, count, " ".join(overrides[len(space.fixed) :]))
    job = RunFolder(folder / str(trial.number))
    with _log_to_file(job):
        _run_trial(overrides, job, folder, compose)
    tell_result(study, trial.number, settings.objectives, job.read_summary())


def _run_trial(overrides: Sequence[str], job: RunFolder, folder: Path, compose: Compose) -> None:
    try:
        settings = compose(overrides)
    except UserError as error:  # two values that are good alone and not together
        write_failed_job(job, overrides, str(error))
        return
    run_job(settings, job, overrides, folder)


def _describe_best(
    study: optuna.Study,
    settings: OptunaSweep,
    folder: Path,
    write: Callable[[Sequence[str]], str],
) -> list[str]:
    lines = []
    for trial in find_best_trials(study):
        values = zip(settings.objectives, trial.values, strict=True)
        lines.append(f"Best:    job {trial.number}: {', '.join(f'{k} {v:.4g}' for k, v in values)}")
        overrides = RunFolder(folder / str(trial.number)).read_overrides()
        lines.append(f"         {write(overrides)}")
    if len(settings.objectives) > 1 and lines:
        lines.append("         none of these is better than another in every objective")
    changes = f"sweep.study={settings.study} and a larger sweep.trials"
    return [*lines, f"Go on:   the same command with {changes}"]


@contextmanager
def _log_to_terminal() -> Iterator[None]:
    """Send the log to the terminal, as Hydra does in other sweeps."""
    root = logging.getLogger()
    handler, level = logging.StreamHandler(sys.stdout), root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


@contextmanager
def _log_to_file(job: RunFolder) -> Iterator[None]:
    make_folder(job.path)
    handler = LogFile(job.path / LOG)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
