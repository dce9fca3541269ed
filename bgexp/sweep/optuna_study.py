"""A study of Optuna that outlives its process: stored in SQLite, trials cut off are done again.

SQLite and not Optuna's journal, whose snapshots are pickles: what is read back is rows and JSON.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from bgexp.config.sweep import OptunaSweep
from bgexp.errors import UserError
from bgexp.metrics.performance import LOWER_IS_BETTER, METRICS
from bgexp.sweep.optuna_space import Space
from bgexp.system.addresses import make_sqlite_uri
from bgexp.system.atomic import make_folder

STORE = "study.db"
SPEED = "images_per_s"
STATISTICS = ("mean", "median", "p05", "p95")
REPLACES, ABOUT = "replaces", "about"  # keys of what is stored with a trial and with the study


@contextmanager
def open_study(
    folder: Path, settings: OptunaSweep, about: Mapping[str, Any]
) -> Iterator[optuna.Study]:
    """Open the study in a folder, new or earlier, and lock it against other processes.

    Args:
        folder: The folder of the sweep.
        settings: The name and the objectives.
        about: What must be the same for trials to be comparable, as JSON has it.

    Raises:
        UserError: another process works on it, or it was begun with something else.
    """
    directions = [_choose_direction(objective) for objective in settings.objectives]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    make_folder(folder)
    with _lock_study(folder, settings.study):
        study = optuna.create_study(
            storage=RDBStorage(make_sqlite_uri((folder / STORE).resolve())),
            study_name=settings.study,
            directions=directions,
            load_if_exists=True,
        )
        content = json.loads(json.dumps({**about, "objectives": settings.objectives}))
        earlier = study.user_attrs.get(ABOUT)
        if earlier is None:
            study.set_user_attr(ABOUT, content)
        elif earlier != content:
            differing = ", ".join(key for key in content if earlier.get(key) != content[key])
            raise UserError(
                f"sweep.study: {settings.study} was begun with something else ({differing}); "
                "only sweep.trials may change, or give another name"
            )
        yield study


@contextmanager
def _lock_study(folder: Path, name: str) -> Iterator[None]:
    try:
        with FileLock(folder / ".study.lock", timeout=0):
            yield
    except Timeout as error:
        raise UserError(f"sweep.study: another process works on {name}") from error


def ask_trial(study: optuna.Study, space: Space, seed: int) -> Trial:
    """Return the next trial: one that was interrupted, else what TPE proposes.

    Each proposal has a seed of its own, so that an interrupted study proposes what it would have
    proposed without the interruption.
    """
    [trial_seed] = np.random.SeedSequence([seed, count_ended(study)]).generate_state(1)
    study.sampler = TPESampler(seed=int(trial_seed))
    return study.ask(dict(space.free))


def find_interrupted_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that a dead process left unfinished."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def requeue_trial(study: optuna.Study, trial: FrozenTrial) -> None:
    """Close an interrupted trial; the next one has its values.

    A process killed in between finds the next one waiting and adds no second.
    """
    if trial.number not in _find_replaced_trials(study):
        study.enqueue_trial(trial.params, user_attrs={REPLACES: trial.number})
    study.tell(trial.number, state=TrialState.FAIL)


def tell_result(
    study: optuna.Study, number: int, objectives: Sequence[str], summary: Mapping[str, Any]
) -> None:
    """Tell the study how a trial's job ended, from its summary.json."""
    values = [read_objective(objective, summary) for objective in objectives]
    defined = [value for value in values if value is not None]
    if summary["status"] == "finished" and len(defined) == len(values):
        study.tell(number, defined)
    else:
        study.tell(number, state=TrialState.FAIL)


def count_ended(study: optuna.Study) -> int:
    """Count the trials that came to an end by themselves, good or bad."""
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    return len({trial.number for trial in ended} - _find_replaced_trials(study))


def _find_replaced_trials(study: optuna.Study) -> set[int]:
    """Return the numbers of the trials that were interrupted and queued again."""
    numbers = (trial.user_attrs.get(REPLACES) for trial in study.get_trials(deepcopy=False))
    return {number for number in numbers if number is not None}


def find_best_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the best trial; for several objectives, those that no other beats in all of them."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return []
    return [study.best_trial] if len(study.directions) == 1 else study.best_trials


def read_objective(objective: str, summary: Mapping[str, Any]) -> float | None:
    """Return an objective's value in a summary; None where it is undefined."""
    if objective == SPEED:
        value = summary.get(SPEED)
    else:
        metric, _, statistic = objective.partition(".")
        value = summary.get("metrics", {}).get(metric, {}).get(statistic)
    return None if value is None else float(value)


def _choose_direction(objective: str) -> Literal["minimize", "maximize"]:
    metric, _, statistic = objective.partition(".")
    if objective != SPEED and (metric not in METRICS or statistic not in STATISTICS):
        raise UserError(
            f"sweep.objectives: {objective}: no such objective (allowed: {SPEED}, or one of "
            f"{', '.join(METRICS)} with .{', .'.join(STATISTICS)})"
        )
    return "minimize" if metric in LOWER_IS_BETTER else "maximize"
