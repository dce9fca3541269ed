"""`bgexp run`: one experiment, or the jobs of a sweep by Hydra's launcher or an optimiser."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bgexp.config.check import check_places, check_runs_folder, check_settings
from bgexp.config.compose import compose_config, list_combinations, quote, resolve_config
from bgexp.config.conf_dir import find_conf_dir
from bgexp.config.pipeline import STAGES
from bgexp.config.run import RunSettings
from bgexp.config.sweep import GridSweep, OptunaSweep, SweepSettings
from bgexp.errors import Interruption, UserError
from bgexp.system.cores import count_own_cores
from bgexp.system.workers import preload

# Errors of jobs in this process, whose folders cannot be written; None in any other process.
_broken: list[Exception] | None = None


def run(config: DictConfig, options: argparse.Namespace) -> int:
    """Run a job or a sweep; return the exit code."""
    sweep = options.multirun or config.hydra.mode == RunMode.MULTIRUN
    named = _read_sweep(config, sweep)
    if isinstance(named, OptunaSweep):
        return _optimize(named, config, options)
    jobs = [*list_combinations(config, options.overrides)] if sweep else [options.overrides]
    job_settings = [_compose_job(job, options) for job in jobs]
    check_runs_folder(job_settings[0].runs_dir)
    _preload_workers(job_settings)
    from bgexp.experiment.prepare import check_ready
    from bgexp.sweep.console import build_document, show_results
    from bgexp.sweep.jobs import check_plan, run_sweep
    from bgexp.tracking.run_folder import SHARED, SUMMARY, RunFolder

    key = "hydra.sweep.dir" if sweep else "hydra.run.dir"
    folder = Path(OmegaConf.select(config, key)).resolve()
    if named is not None:
        check_plan(job_settings, folder)
    elif any((folder / name).exists() for name in (SUMMARY, SHARED)):
        raise UserError(f"{key}: {folder} holds the results of an earlier run")
    for job in [folder / str(number) for number in range(len(jobs))] if sweep else [folder]:
        RunFolder(job).refuse_obstacles()
    check_ready(job_settings)
    # These were read already; the address goes on without its credentials.
    fixed = {key: str(folder)}
    if job_settings[0].tracking.uri is not None:
        fixed["tracking.uri"] = job_settings[0].tracking.uri
    if sweep:
        launcher = str(config.hydra.launcher._target_)
        attend = _attend_jobs(folder) if "submitit" in launcher else nullcontext()

        def launch() -> None:
            with attend:
                _run_hydra(options, fixed)

        folders = run_sweep(job_settings, folder, launch)
    else:
        _run_hydra(options, fixed)
        folders = [RunFolder(folder)]
    options.document = build_document(folders)
    return 0 if show_results(folders, job_settings[0], config_dir=options.config_dir) else 1


def _attend_jobs(sweep: Path) -> AbstractContextManager[None]:
    """Return a context in which submitit's jobs are awaited; one that died leaves its reason."""
    from bgexp.sweep.jobs import write_failed_job
    from bgexp.sweep.submitted_jobs import attend_jobs
    from bgexp.tracking.run_folder import SUMMARY, RunFolder

    def write_end(number: int, overrides: Sequence[str], line: str) -> None:
        folder = RunFolder(sweep / str(number))
        if not folder.has(SUMMARY):  # else it died after its work
            write_failed_job(folder, overrides, line)

    return attend_jobs(write_end)


def _preload_workers(jobs: Sequence[RunSettings]) -> None:
    """Let workers import what they need while this process imports the rest."""
    if any((job.workers or count_own_cores()) > 1 for job in jobs):
        preload("bgexp.experiment.evaluate_dataset")


def _compose_job(overrides: Sequence[str], options: argparse.Namespace) -> RunSettings:
    """Compose the settings of one job; `sweep` is none of them."""
    settings = _check_run(compose_config("run", overrides, options.config_dir), overrides)
    check_places(settings)
    return settings


def _check_run(composed: DictConfig, overrides: Sequence[str]) -> RunSettings:
    """Return the settings of a composed config, with those of a promoted model."""
    values = {
        key: value for key, value in resolve_config(composed, overrides).items() if key != "sweep"
    }
    settings = check_settings(RunSettings, values)
    if settings.model is None:
        return settings
    refuse_beside_model(overrides)
    from bgexp.tracking.registry import apply_model

    return apply_model(settings)[0]


def refuse_beside_model(overrides: Sequence[str]) -> None:
    """Check that a promoted model is run as it was promoted.

    Raises:
        UserError: An override of settings that the model brings.
    """
    model_keys = {*STAGES, "experiment"} - {"cutout"}
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] in model_keys:
            raise UserError(f"{key}: model=… brings its own (leave one of the two out)")


def _read_sweep(config: DictConfig, sweep: bool) -> GridSweep | OptunaSweep | None:
    """Return the settings of a sweep that has a name; None of any other, and of a run."""
    if config.get("sweep") is None:
        return None
    if not sweep:
        raise UserError(f"sweep={config.sweep.name}: a sweep is asked for by -m")
    return check_settings(SweepSettings, {"sweep": resolve_config(config)["sweep"]}).sweep


def _optimize(settings: OptunaSweep, config: DictConfig, options: argparse.Namespace) -> int:
    if not str(config.hydra.launcher._target_).endswith(".BasicLauncher"):
        raise UserError("hydra/launcher: with sweep=optuna the jobs run one after another")
    from bgexp.sweep.optuna_space import read_space
    from bgexp.sweep.optuna_trials import optimize

    space = read_space(config, options.overrides)
    corners = [_compose_job(corner, options) for corner in space.list_corners()]
    _preload_workers(corners)
    from bgexp.experiment.prepare import check_ready
    from bgexp.sweep.console import build_document, show_results

    check_ready(corners)
    folder = Path(config.hydra.sweep.dir).resolve()
    settings = settings.replace(study=folder.name)  # a time of now is another one each time
    compose = partial(_compose_job, options=options)
    jobs, best = optimize(settings, space, corners, folder, compose, options.config_dir)
    options.document = build_document(jobs)
    return 0 if show_results(jobs, corners[0], best) else 1


def _run_hydra(options: argparse.Namespace, fixed: dict[str, str]) -> None:
    """Let Hydra run the job or, by its launcher, the jobs, with `fixed` in place of overrides."""
    others = [o for o in options.overrides if o.partition("=")[0].lstrip("+") not in fixed]
    sys.argv = ["bgexp run", *others, *(f"{key}={quote(value)}" for key, value in fixed.items())]
    sys.argv += ["--multirun"] * options.multirun
    sys.argv += ["--config-dir", str(options.config_dir.resolve())] if options.config_dir else []
    global _broken
    _broken = []
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors of its own are raised here, and not printed there
    program = hydra.main(version_base="1.3", config_path=str(find_conf_dir()), config_name="run")
    try:
        program(_run_job)()
    except ValueError as error:
        if isinstance(error.__cause__, OSError):  # its log cannot be opened
            raise error.__cause__ from error
        raise
    if _broken:
        raise _broken[0]


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise Interruption(128 + number)


def _run_job(composed: DictConfig) -> None:
    try:
        _run_composed_job(composed)
    except (UserError, OSError) as error:
        if _broken is None:
            raise
        _broken.append(error)  # Hydra would print a traceback


def _run_composed_job(composed: DictConfig) -> None:
    from bgexp.detect.device import limit_threads
    from bgexp.sweep.jobs import run_job
    from bgexp.tracking.run_folder import RunFolder

    if "SUBMITIT_EXECUTOR" in os.environ:  # which would ignore it: Slurm's order to end
        signal.signal(signal.SIGTERM, _stop)
    limit_threads()
    hydra_config = HydraConfig.get()
    sweep = Path(hydra_config.sweep.dir) if hydra_config.mode == RunMode.MULTIRUN else None
    overrides = list(hydra_config.overrides.task)
    settings = _check_run(composed, overrides)
    run_job(settings, RunFolder(Path(hydra_config.runtime.output_dir)), overrides, sweep)
