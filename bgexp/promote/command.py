"""Runs to a champion: who wins, whether that is good enough against the champion, and its entry."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from bgexp.config.command_line import write_command
from bgexp.config.promote import PromoteSettings
from bgexp.errors import RefusedError, UserError
from bgexp.promote.eligibility import select_eligible
from bgexp.promote.gates import hold_out, read_constraints
from bgexp.promote.judges import Scores, Votes, find_judge
from bgexp.promote.save_bundle import save_bundle
from bgexp.system.atomic import make_folder, write_json
from bgexp.tracking.active_run import open_run
from bgexp.tracking.bundle import select_stages
from bgexp.tracking.past_runs import StoredRun, find_runs
from bgexp.tracking.registry import (
    BUNDLE,
    CHAMPION,
    NAME,
    PREVIOUS,
    RETURNING,
    Version,
    fetch,
    find_version,
    finish_change,
    register,
    set_champion,
)

LOCK_SECONDS = 120
DECISION = "promotion.json"


@dataclass
class Decision:
    """The outcome of a promotion, and the reasons.

    Attributes:
        lines: The lines to print.
        winner: The run's id; "" of a rollback.
        refused: The reason for a refusal; "" where it was promoted, or would be.
        version: The version that is the champion now; None of a dry run or a refusal.
        numbers: The numbers behind the decision.
    """

    lines: list[str] = field(default_factory=list)
    winner: str = ""
    refused: str = ""
    version: Version | None = None
    numbers: dict[str, Any] = field(default_factory=dict)

    def add(self, label: str, text: str) -> None:
        """Add a line with a label in its own column."""
        self.lines.append(f"{f'{label}:' if label else '':<10}{text}")

    def build_document(self) -> dict[str, Any]:
        """Return the decision as `--json` prints it."""
        version = asdict(self.version) if self.version else None
        decision = {"winner": self.winner, "refused": self.refused, "version": version}
        return decision | {"numbers": self.numbers}


def promote(settings: PromoteSettings, folder: Path) -> Decision:
    """Make the best run the champion, where it is good enough; one promotion at a time.

    Args:
        settings: Which runs, the metric, and the rules.
        folder: The folder of its own tracked run.

    Raises:
        UserError: runs, a metric or a condition that do not exist.
        RefusedError: no run may be promoted, or none has scores.
    """
    make_folder(settings.runs_dir)
    try:
        with FileLock(settings.runs_dir.resolve() / ".promote.lock", timeout=LOCK_SECONDS):
            finished = "" if settings.dry_run else finish_change(settings, settings.name)
            if settings.rollback:
                return _roll_back(settings, is_begun=finished == RETURNING)
            return _promote(settings, folder)
    except Timeout:
        raise UserError(f"runs_dir: another promotion goes on in {settings.runs_dir}") from None


def _roll_back(settings: PromoteSettings, *, is_begun: bool) -> Decision:
    """Change champion and previous; where a killed command had begun to, it is done by now."""
    champion = find_version(settings, f"{settings.name}@{CHAMPION}")
    previous = find_version(settings, f"{settings.name}@{PREVIOUS}")
    if champion is None:
        raise RefusedError(f"rollback: {settings.name} has no champion")
    if previous is None or champion.number == previous.number:
        raise RefusedError(f"rollback: {settings.name} has no previous champion")
    if is_begun:
        champion, previous = previous, champion
    fetch(settings, f"{settings.name}/{previous.number}")  # it is there and whole
    decision = Decision()
    if settings.dry_run:
        decision.add("Dry run", f"{previous} would be the champion again, in place of {champion}")
        return decision
    if not is_begun:
        set_champion(settings, previous, RETURNING)
    decision.version = previous
    decision.add("Champion", f"{previous} again; {champion} is kept as previous")
    return decision


def _promote(settings: PromoteSettings, folder: Path) -> Decision:
    constraints = read_constraints(settings.require)
    judge = find_judge(settings)
    selected = [settings.run] if settings.run is not None else settings.runs
    runs, left_out = select_eligible(find_runs(settings, selected, settings.filter), constraints)
    decision = Decision()
    for name, reason in left_out.items():
        decision.add("Left out", f"{name}: {reason}")
    scores = judge.collect_scores(runs)
    held_out = hold_out(scores.index, settings.holdout, settings.seed) if len(runs) > 1 else set()
    choosing = scores[~scores.index.isin(held_out)]
    winner = judge.choose_best(runs, choosing)
    decision.winner = winner.run_id
    data = winner.summary["dataset"]
    split = f"chosen on {len(choosing)}, confirmed on the other {len(held_out)}"
    decision.add(
        "Runs",
        f"{len(runs)} over {data['name']}, {len(scores)} images with {judge}; "
        f"{split if held_out else 'all used'}",
    )
    for line in judge.describe_runs(runs, choosing, winner):
        decision.add("", line)
    confirming = scores[scores.index.isin(held_out)] if held_out else scores
    _compare_with_champion(settings, decision, judge, winner, confirming, len(runs))
    if decision.refused or settings.dry_run:
        if not decision.refused:
            decision.add("Dry run", "it would be promoted; nothing was changed")
        return decision
    return _register(settings, decision, winner, folder)


# -- against the champion ----------------------------------------------------------------------


def _compare_with_champion(  # all that the gate looks at
    settings: PromoteSettings,
    decision: Decision,
    judge: Scores | Votes,
    winner: StoredRun,
    confirming: pd.DataFrame,
    variants: int,
) -> None:
    """Add lines on winner and champion; set `refused` where the winner is not good enough."""
    champion = find_version(settings, f"{settings.name}@{CHAMPION}")
    if champion is None:
        decision.add("Champion", "none yet")
        return
    version, bundle = fetch(settings, f"{settings.name}/{champion.number}")
    stages = {**bundle.settings}
    if _has_same_stages(stages, winner) and _has_same_weights(bundle.weights, winner):
        decision.refused = f"{version} has these very settings and weights: nothing to promote"
        return
    run = _find_champion_run(settings, version, stages, bundle.weights, winner)
    if run is None:
        data = winner.summary["dataset"]
        words = [f"model={version.name}@{CHAMPION}", "dataset=NAME"]
        command = write_command("run", words, settings)
        decision.refused = (
            f"{version} has no finished run over dataset {data['digest'][:12]} ({data['root']}), "
            f"so nothing can be compared: {command}"
        )
        return
    enough, comparison, numbers = judge.compare(run, winner, confirming, variants)
    decision.numbers = numbers
    decision.add("Champion", f"{version} ({run.run_id[:8]}); {comparison}")
    if not enough:
        decision.refused = f"not enough better than {version}: {comparison}"


def _has_same_stages(stages: Mapping[str, Any], run: StoredRun) -> bool:
    with suppress(UserError):
        return _strip_stages(stages) == _strip_stages(select_stages(run.settings))
    return False


def _strip_stages(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stages without file names and without `cutout`, which changes no mask."""
    return {
        name: {k: v for k, v in stage.items() if k != "weights"}
        if isinstance(stage, dict)
        else stage
        for name, stage in stages.items()
        if name != "cutout"
    }


def _has_same_weights(weights: Mapping[str, str], run: StoredRun) -> bool:
    recorded = run.summary.get("weights", {})
    return sorted(weights.values()) == sorted(
        recorded[key] for key in ("sha256", "refiner_sha256") if key in recorded
    )


def _find_champion_run(
    settings: PromoteSettings,
    version: Version,
    stages: Mapping[str, Any],
    weights: Mapping[str, str],
    winner: StoredRun,
) -> StoredRun | None:
    """Find a finished run of the champion's settings on the same images: its own or a later one."""
    finished = find_runs(settings, [], "attributes.status = 'FINISHED'")
    digest = winner.summary["dataset"]["digest"]
    runs = [run for run in finished if run.summary.get("dataset", {}).get("digest") == digest]
    own_runs = [run for run in runs if run.run_id == version.run_id]
    alike = [r for r in runs if _has_same_weights(weights, r) and _has_same_stages(stages, r)]
    return next(iter(own_runs + alike), None)


# -- the entry ---------------------------------------------------------------------------------


def _register(
    settings: PromoteSettings, decision: Decision, winner: StoredRun, folder: Path
) -> Decision:
    previous = find_version(settings, f"{settings.name}@{CHAMPION}")
    source = {
        "run_id": winner.run_id,
        "run_name": winner.name,
        "dataset_digest": winner.summary["dataset"]["digest"],
        "metric": settings.metric,
        "bgexp": winner.summary["bgexp"]["version"],
        "source_hash": winner.summary["bgexp"]["source_hash"],
        "git_commit": winner.summary["bgexp"]["git_commit"] or "",
    }
    make_folder(folder)
    with open_run(settings, "promote", f"promote {winner.name}", folder) as run:
        with TemporaryDirectory() as temporary:
            bundle = save_bundle(winner.present_settings, Path(temporary) / BUNDLE, source)
            tags = {f"bgexp.{key}": value for key, value in source.items()}
            version = register(settings, settings.name, bundle, tags)
        run.set_tags({"bgexp.promoted": winner.run_id, "bgexp.version": str(version)})
        fetch(settings, f"{settings.name}/{version.number}")  # it reads back before it counts
        set_champion(settings, version)
        decision.version = version
        decision.add(
            "Promoted",
            f"{version} is the champion"
            + (f"; {previous} is kept as previous" if previous else ""),
        )
        model = CHAMPION if settings.name == NAME else f"{settings.name}@{CHAMPION}"
        words = [f"model={model}", "input=DIR", "output=DIR"]
        decision.add("Next", write_command("batch", words, settings))
        write_json(folder / DECISION, asdict(decision))
        run.log_file(folder / DECISION)
    return decision
