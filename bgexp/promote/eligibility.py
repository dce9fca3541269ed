"""Which runs may stand for promotion, each other's reason why not, and what is known of them."""

import math
from collections.abc import Sequence

from bgexp.config.check import flatten_settings
from bgexp.errors import RefusedError, UserError
from bgexp.promote.gates import Constraint
from bgexp.promote.save_bundle import find_run_weights
from bgexp.tracking.bundle import REFINER
from bgexp.tracking.past_runs import StoredRun
from bgexp.tracking.store import get_first_line


def select_eligible(
    runs: Sequence[StoredRun], constraints: Sequence[Constraint]
) -> tuple[list[StoredRun], dict[str, str]]:
    """Select the runs that may be promoted; return them, and the reason for each other run by name.

    Raises:
        UserError: a condition names a number that no run has.
        RefusedError: none may be promoted, or those that may were made with different images.
    """
    for constraint in constraints:
        if not any(constraint.key in run.metrics for run in runs):
            raise UserError(
                f"require: {constraint.key}: no run has such a number (as in summary.json, "
                "for example iou.mean, foreground_recall.p05, images_per_s)"
            )
    reasons = {run.run_id: _find_reason(run, constraints) for run in runs}
    eligible_runs = [run for run in runs if not reasons[run.run_id]]
    left_out = {f"{run.name} ({run.run_id[:8]})": reasons[run.run_id] for run in runs}
    left_out = {name: reason for name, reason in left_out.items() if reason}
    if not eligible_runs:
        reasons_text = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:4])
        suffix = f"; and {len(left_out) - 4} more" if len(left_out) > 4 else ""
        raise RefusedError(f"nothing can be promoted: {reasons_text}{suffix}")
    digests = {run.summary["dataset"]["digest"][:12] for run in eligible_runs}
    if len(digests) > 1:
        raise RefusedError(
            f"these runs saw different datasets ({', '.join(sorted(digests))}): "
            "name runs over one of them"
        )
    return eligible_runs, left_out


def _find_reason(run: StoredRun, constraints: Sequence[Constraint]) -> str:
    """Find the reason why a run may not be promoted; "" where it may."""
    if run.params.get("detector.name") == "rembg":
        return "detector=rembg is a peer to compare with, not one to promote"
    if run.params.get("detector.name") == "masks":
        return "detector=masks judges masks that are there: there is no network to promote"
    if run.status != "FINISHED" or run.summary.get("status") != "finished":
        return f"it is {run.status.lower()}, not finished"
    if run.summary["bgexp"].get("git_dirty"):
        return "it was made with changes in bgexp that are in no commit"
    unmet = [str(c) for c in constraints if not c.is_met(run.metrics.get(c.key, math.nan))]
    if unmet:
        return f"{', '.join(unmet)} does not hold"
    try:
        _check_settings(run)
        _check_weights(run)
    except UserError as error:
        return get_first_line(error)
    return ""


def _check_settings(run: StoredRun) -> None:
    """Check that the run's config.yaml still has the settings that were logged when it ran."""
    values = {key: str(value) for key, value in flatten_settings(run.settings).items()}
    for key, value in values.items():
        if key in run.params and run.params[key] != value[: len(run.params[key])]:
            raise UserError(f"{key}: config.yaml says {value}, the run had {run.params[key]}")


def _check_weights(run: StoredRun) -> None:
    """Check that the weights are still those that it ran with."""
    recorded = run.summary["weights"]
    for name, weights in find_run_weights(run.present_settings).items():
        sha256 = recorded.get("refiner_sha256" if name == REFINER else "sha256")
        if sha256 is not None and weights.sha256 != sha256:
            raise UserError(
                f"{weights.key}: {weights.path} is another file than the run's: its SHA-256 "
                f"begins with {weights.sha256[:16]} and not with {sha256[:16]}"
            )
