"""Each command but `bgexp run`: check its settings and call the function that does the work."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from bgexp.cli.run import refuse_beside_model, run
from bgexp.config.analyze import AnalyzeSettings
from bgexp.config.autotune import AutotuneSettings
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_places, check_runs_folder, check_settings
from bgexp.config.compare import CompareSettings
from bgexp.config.compose import resolve_config
from bgexp.config.doctor import DoctorSettings, UiSettings
from bgexp.config.export import ExportSettings
from bgexp.config.promote import PromoteSettings
from bgexp.config.review import ReviewSettings, SelectSettings
from bgexp.config.train import TrainSettings
from bgexp.config.verify import VerifySettings
from bgexp.errors import Interruption, RefusedError, UserError
from bgexp.system.terminal import make_printable
from bgexp.tracking.store import require_store

STREAM = "-"  # standard input or output

# Each command imports what it needs in its function, so that it starts without the others' imports.


def _run_compare(config: DictConfig, options: argparse.Namespace) -> int:
    settings = check_settings(CompareSettings, resolve_config(config))
    require_store(settings)
    from bgexp.compare.command import compare_runs, write_comparison
    from bgexp.compare.console import show_comparison
    from bgexp.compare.document import build_document

    folder = Path(config.hydra.run.dir).resolve()
    comparison = compare_runs(settings)
    write_comparison(comparison, folder, settings)
    options.document = build_document(comparison)
    show_comparison(comparison, folder, settings)
    return 0


def _run_analyze(config: DictConfig, _options: argparse.Namespace) -> int:
    settings = check_settings(AnalyzeSettings, resolve_config(config))
    check_places(settings)
    check_runs_folder(settings.runs_dir)
    from bgexp.quality.analyze import analyze_dataset, show_analysis

    analysis = analyze_dataset(settings, Path(config.hydra.run.dir).resolve())
    show_analysis(analysis, settings)
    return 0


def _run_batch(config: DictConfig, options: argparse.Namespace) -> int:
    settings = check_settings(BatchSettings, resolve_config(config))
    check_places(settings)
    if settings.model is not None:
        refuse_beside_model(options.overrides)
    from bgexp.batch.output_folder import resolve_places

    if STREAM in map(str, (*settings.input, settings.output)):
        return _run_stream(settings)
    resolve_places(settings)  # a wrong one is told before the seconds of imports below
    from bgexp.batch.command import batch_process_images, batch_process_with_quality_handling
    from bgexp.batch.console import build_document, show_batch, show_plan, show_share

    has_rules = settings.quality.enabled
    process_images = batch_process_with_quality_handling if has_rules else batch_process_images
    result = process_images(settings)
    options.document = {"output": str(settings.output), **build_document(result)}
    if settings.dry_run:
        show_plan(result.planned)
        return 0
    if result.work is not None:
        show_share(result.work, settings.part)
        return 0
    show_batch(result, settings)
    return 0 if result.summary["status"] == "finished" else 1


def _run_stream(settings: BatchSettings) -> int:
    if settings.input != (settings.output,):
        raise UserError(f"input={STREAM}: output={STREAM} belongs to it, and it to that")
    from bgexp.batch.stream import process_stream

    process_stream(settings, sys.stdin.buffer, sys.stdout.buffer)
    return 0


def _run_promote(config: DictConfig, options: argparse.Namespace) -> int:
    settings = check_settings(PromoteSettings, resolve_config(config))
    require_store(settings)
    from bgexp.promote.command import promote

    decision = promote(settings, Path(config.hydra.run.dir).resolve())
    options.document = decision.build_document()
    print(*map(make_printable, decision.lines), sep="\n")  # names of runs are strangers'
    if decision.refused:
        raise RefusedError(decision.refused)
    return 0


def _run_autotune(config: DictConfig, _options: argparse.Namespace) -> int:
    settings = check_settings(AutotuneSettings, resolve_config(config))
    check_places(settings)
    check_runs_folder(settings.runs_dir)
    from bgexp.autotune.command import autotune, show_tuning

    folder = Path(config.hydra.run.dir).resolve()
    show_tuning(autotune(settings, folder), settings, folder)
    return 0


def _run_train(config: DictConfig, options: argparse.Namespace) -> int:
    settings = check_settings(TrainSettings, resolve_config(config))
    check_places(settings)
    check_runs_folder(settings.runs_dir)
    from bgexp.train.command import train_network
    from bgexp.train.console import show_resumption, show_training

    folder = Path(config.hydra.run.dir).resolve()
    try:
        weights = train_network(settings, folder)
    except Interruption:
        show_resumption(folder, options.overrides, settings, options.config_dir)
        raise
    show_training(weights, settings)
    return 0


def _run_doctor(config: DictConfig, _options: argparse.Namespace) -> int:
    from bgexp.cli.doctor import run_doctor

    return run_doctor(check_settings(DoctorSettings, resolve_config(config)))


def _run_ui(config: DictConfig, _options: argparse.Namespace) -> int:
    from bgexp.cli.ui import serve_ui

    return serve_ui(check_settings(UiSettings, resolve_config(config)))


def _run_review(config: DictConfig, _options: argparse.Namespace) -> int:
    settings = check_settings(ReviewSettings, resolve_config(config))
    check_places(settings)
    require_store(settings)
    from bgexp.review.command import log_review, make_review
    from bgexp.review.console import show_made, show_votes

    folder = Path(config.hydra.run.dir).resolve()
    if settings.votes is None:
        show_made(*make_review(settings, folder), folder, settings)
    else:
        show_votes(*log_review(settings, folder))
    return 0


def _run_export(config: DictConfig, _options: argparse.Namespace) -> int:
    settings = check_settings(ExportSettings, resolve_config(config))
    require_store(settings)
    from bgexp.exchange.command import export_run
    from bgexp.exchange.console import show_export

    show_export(export_run(settings, Path(config.hydra.run.dir).resolve()), settings)
    return 0


def _run_verify(config: DictConfig, options: argparse.Namespace) -> int:
    settings = check_settings(VerifySettings, resolve_config(config))
    from bgexp.verify.command import verify_output
    from bgexp.verify.console import build_document, show_verification

    verification = verify_output(settings)
    options.document = build_document(verification)
    show_verification(verification)
    return 0 if verification.is_whole else 1


def _run_select(config: DictConfig, _options: argparse.Namespace) -> int:
    settings = check_settings(SelectSettings, resolve_config(config))
    require_store(settings)
    from bgexp.review.label import select_images, show_selection

    show_selection(*select_images(settings, Path(config.hydra.run.dir).resolve()), settings)
    return 0


START: dict[str, Callable[[DictConfig, argparse.Namespace], int]] = {
    "run": run,
    "compare": _run_compare,
    "review": _run_review,
    "select": _run_select,
    "export": _run_export,
    "analyze": _run_analyze,
    "promote": _run_promote,
    "batch": _run_batch,
    "verify": _run_verify,
    "autotune": _run_autotune,
    "train": _run_train,
    "doctor": _run_doctor,
    "ui": _run_ui,
}
