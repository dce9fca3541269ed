"""Runs to a champion: who wins, whether that is good enough against the champion, and its entry."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from bgexp.bradley_terry import strengths
from bgexp.bundle import save_bundle, stages_of
from bgexp.config import PromoteSettings
from bgexp.errors import RefusedError, UserError
from bgexp.files import write_json
from bgexp.history import StoredRun, find_runs
from bgexp.preference import Vote, win_rate
from bgexp.promote.eligible import eligible
from bgexp.promote.gates import (
    MARGIN,
    WIN_RATE,
    confidence,
    gain,
    held_out,
    read_constraints,
    read_metric,
)
from bgexp.registry import BUNDLE, CHAMPION, PREVIOUS, Version, crown, fetch, find_version, register
from bgexp.tracking import tracked_run
from bgexp.votes import read_votes

LOCK_SECONDS = 120
DECISION = "promotion.json"


@dataclass
class Decision:
    """What was decided and why.

    Attributes:
        lines: What people read.
        winner: The run's id; "" of a rollback.
        refused: Why not; "" where it was promoted, or would be.
        version: The version that is the champion now; None of a dry run or a refusal.
        numbers: What the decision rests on.
    """

    lines: list[str] = field(default_factory=list)
    winner: str = ""
    refused: str = ""
    version: Version | None = None
    numbers: dict[str, Any] = field(default_factory=dict)

    def say(self, label: str, text: str) -> None:
        """Adds a line."""
        self.lines.append(f"{f'{label}:' if label else '':<10}{text}")


def promote(settings: PromoteSettings, folder: Path) -> Decision:
    """Makes the best run the champion, where it is good enough; one promotion at a time.

    Args:
        settings: Which runs, by what, and the rules.
        folder: For what is recorded of it.

    Raises:
        UserError: runs, a metric or a condition that there are not.
        RefusedError: no run may stand, or nobody knows their scores.
    """
    settings.runs.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.runs.resolve() / ".promote.lock", timeout=LOCK_SECONDS):
            if settings.rollback:
                return _roll_back(settings)
            return _promote(settings, folder)
    except Timeout:
        raise UserError(f"runs: another promotion goes on in {settings.runs}") from None


def _roll_back(settings: PromoteSettings) -> Decision:
    champion = find_version(settings, f"{settings.name}@{CHAMPION}")
    previous = find_version(settings, f"{settings.name}@{PREVIOUS}")
    if champion is None or previous is None or champion.number == previous.number:
        raise RefusedError(f"rollback: {settings.name} has no previous champion")
    fetch(settings, f"{settings.name}/{previous.number}")  # it is there and whole
    decision = Decision()
    if settings.dry_run:
        decision.say("Dry run", f"{previous} would be the champion again, in place of {champion}")
        return decision
    crown(settings, previous)
    decision.version = previous
    decision.say("Champion", f"{previous} again; {champion} is kept as previous")
    return decision


def _promote(settings: PromoteSettings, folder: Path) -> Decision:
    constraints = read_constraints(settings.require)
    judge = _judge(settings)
    which = [settings.run] if settings.run is not None else settings.which
    runs, left_out = eligible(find_runs(settings, which, settings.filter), constraints)
    decision = Decision()
    for name, reason in left_out.items():
        decision.say("Left out", f"{name}: {reason}")
    scores = judge.scores(runs)
    held = held_out(scores.index, settings.holdout, settings.seed) if len(runs) > 1 else set()
    choosing = scores[~scores.index.isin(held)]
    winner = judge.best(runs, choosing)
    decision.winner = winner.run_id
    data = winner.summary["dataset"]
    used = f"chosen on {len(choosing)}, confirmed on the other {len(held)}" if held else "all used"
    decision.say(
        "Runs",
        f"{len(runs)} over {data['name']}, {len(scores)} images with {judge}; {used}",
    )
    for line in judge.told(runs, choosing, winner):
        decision.say("", line)
    confirming = scores[scores.index.isin(held)] if held else scores
    _against_champion(settings, decision, judge, winner, confirming, len(runs))
    if decision.refused or settings.dry_run:
        if not decision.refused:
            decision.say("Dry run", "it would be promoted; nothing was changed")
        return decision
    return _register(settings, decision, winner, folder)


# -- by what is judged -------------------------------------------------------------------------


def _judge(settings: PromoteSettings) -> "_Scores | _Votes":
    return _Votes(settings) if settings.metric == WIN_RATE else _Scores(settings)


class _Scores:
    """Judges by a metric of every image."""

    def __init__(self, settings: PromoteSettings) -> None:
        self.metric = read_metric(settings.metric)

    def __str__(self) -> str:
        return str(self.metric)

    def scores(self, runs: Sequence[StoredRun]) -> pd.DataFrame:
        """A row an image that all runs scored, a column a run's id."""
        columns = {run.run_id: run.rows.set_index("path")[self.metric.key] for run in runs}
        table = pd.DataFrame(columns, dtype=float)
        if table.notna().any().any():
            return table.dropna()
        raise RefusedError(
            f"metric: {self.metric} does not exist without truth, and these images have none: "
            "judge by eye (bgexp review, then metric=win_rate) or label some (bgexp select)"
        )

    def best(self, runs: Sequence[StoredRun], choosing: pd.DataFrame) -> StoredRun:
        means = {run.run_id: self.metric.of(choosing[run.run_id].to_numpy()) for run in runs}
        found = self.metric.better(means)
        return next(run for run in runs if run.run_id == found)

    def told(
        self, runs: Sequence[StoredRun], choosing: pd.DataFrame, winner: StoredRun
    ) -> list[str]:
        rows = [(self.metric.of(choosing[run.run_id].to_numpy()), run) for run in runs]
        return [
            f"{score:.3f}  {run.name} ({run.run_id[:8]}){'  <- best' if run is winner else ''}"
            for score, run in rows
        ]

    def compare(
        self, champion: StoredRun, winner: StoredRun, confirming: pd.DataFrame, variants: int
    ) -> tuple[bool, str, dict[str, Any]]:
        """Whether the winner may take the champion's place, in words and in numbers."""
        old = champion.rows.set_index("path")[self.metric.key].reindex(confirming.index)
        new = confirming[winner.run_id]
        found = gain(old.to_numpy(), new.to_numpy(), self.metric, confidence(variants))
        said = (
            f"{self.metric} {found.before:.3f} -> {found.after:.3f} on {found.n} images: "
            f"{found.gain:+.4f} ({found.low:+.4f} to {found.high:+.4f}, "
            f"{100 * found.confidence:.3g} % interval)"
        )
        if not found.enough:
            said += f"; its lower end has to be above {-MARGIN:g}"
        return found.enough, said, asdict(found)


class _Votes:
    """Judges by what people said in reviews."""

    def __init__(self, settings: PromoteSettings) -> None:
        self._settings = settings

    def __str__(self) -> str:
        return "votes"

    def _votes(self, runs: Sequence[StoredRun]) -> list[Vote]:
        return read_votes(self._settings, [run.run_id for run in runs])

    def scores(self, runs: Sequence[StoredRun]) -> pd.DataFrame:
        """A row an image that somebody voted on."""
        images = sorted({vote.image for vote in self._votes(runs)})
        if not images and len(runs) > 1:
            raise RefusedError("metric: win_rate: nobody has voted on these runs (bgexp review)")
        return pd.DataFrame(index=pd.Index(images, dtype=object))

    def best(self, runs: Sequence[StoredRun], choosing: pd.DataFrame) -> StoredRun:
        if len(runs) == 1:
            return runs[0]
        found = max(self._strengths(runs, choosing), key=lambda one: one.rate)
        return next(run for run in runs if run.run_id == found.run_id)

    def _strengths(self, runs: Sequence[StoredRun], choosing: pd.DataFrame) -> list[Any]:
        votes = [vote for vote in self._votes(runs) if vote.image in choosing.index]
        found = strengths(votes, [run.run_id for run in runs])
        return [one for one in found if one.n]

    def told(
        self, runs: Sequence[StoredRun], choosing: pd.DataFrame, winner: StoredRun
    ) -> list[str]:
        names = {run.run_id: f"{run.name} ({run.run_id[:8]})" for run in runs}
        return [
            f"{one.rate:.2f} ({one.low:.2f} to {one.high:.2f}, {one.n} votes)  {names[one.run_id]}"
            + "  <- best" * (one.run_id == winner.run_id)
            for one in (self._strengths(runs, choosing) if len(runs) > 1 else [])
        ]

    def compare(
        self, champion: StoredRun, winner: StoredRun, confirming: pd.DataFrame, variants: int
    ) -> tuple[bool, str, dict[str, Any]]:
        """Whether the winner is surely preferred to the champion, in words and in numbers."""
        votes = self._votes([champion, winner])
        if variants > 1:
            votes = [vote for vote in votes if vote.image in confirming.index]
        found = win_rate(votes, winner.run_id, champion.run_id)
        enough = found.low > 0.5
        said = f"preferred in {found.rate:.0%} ({found.low:.0%} to {found.high:.0%}) of {found.n}"
        if not found.n:
            said = f"nobody voted between them (bgexp review {winner.run_id} {champion.run_id})"
        elif not enough:
            said += "; its lower end has to be above 50 %"
        return enough, said, asdict(found)


# -- against the champion ----------------------------------------------------------------------


def _against_champion(  # all that the gate looks at
    settings: PromoteSettings,
    decision: Decision,
    judge: _Scores | _Votes,
    winner: StoredRun,
    confirming: pd.DataFrame,
    variants: int,
) -> None:
    """Says how the winner stands to the champion; sets `refused` where that is not enough."""
    champion = find_version(settings, f"{settings.name}@{CHAMPION}")
    if champion is None:
        decision.say("Champion", "none yet")
        return
    version, bundle = fetch(settings, f"{settings.name}/{champion.number}")
    stages = {**bundle.settings}
    if _same_stages(stages, winner) and _same_weights(bundle.weights, winner):
        decision.refused = f"{version} has these very settings and weights: nothing to promote"
        return
    run = _champions_run(settings, version, stages, bundle.weights, winner)
    if run is None:
        data = winner.summary["dataset"]
        decision.refused = (
            f"{version} has no finished run over dataset {data['digest'][:12]} ({data['root']}), "
            f"so nothing can be compared: bgexp run model={version.name}@{CHAMPION} dataset=…"
        )
        return
    enough, said, numbers = judge.compare(run, winner, confirming, variants)
    decision.numbers = numbers
    decision.say("Champion", f"{version} ({run.run_id[:8]}); {said}")
    if not enough:
        decision.refused = f"not better enough than {version}: {said}"


def _same_stages(stages: Mapping[str, Any], run: StoredRun) -> bool:
    with suppress(UserError):
        return _bare(stages) == _bare(stages_of(run.settings))
    return False


def _bare(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Without the names of files, and without what lies behind the foreground."""
    return {
        name: {k: v for k, v in stage.items() if k != "weights"}
        if isinstance(stage, dict)
        else stage
        for name, stage in stages.items()
        if name != "cutout"
    }


def _same_weights(weights: Mapping[str, str], run: StoredRun) -> bool:
    then = run.summary.get("weights", {})
    return sorted(weights.values()) == sorted(
        then[key] for key in ("sha256", "refiner_sha256") if key in then
    )


def _champions_run(
    settings: PromoteSettings,
    version: Version,
    stages: Mapping[str, Any],
    weights: Mapping[str, str],
    winner: StoredRun,
) -> StoredRun | None:
    """A finished run of the champion's settings over the same images: its own or a later one."""
    finished = find_runs(settings, [], "attributes.status = 'FINISHED'")
    digest = winner.summary["dataset"]["digest"]
    there = [run for run in finished if run.summary.get("dataset", {}).get("digest") == digest]
    own = [run for run in there if run.run_id == version.run_id]
    return next(
        iter(own + [r for r in there if _same_weights(weights, r) and _same_stages(stages, r)]),
        None,
    )


# -- the entry ---------------------------------------------------------------------------------


def _register(
    settings: PromoteSettings, decision: Decision, winner: StoredRun, folder: Path
) -> Decision:
    before = find_version(settings, f"{settings.name}@{CHAMPION}")
    source = {
        "run_id": winner.run_id,
        "run_name": winner.name,
        "dataset_digest": winner.summary["dataset"]["digest"],
        "metric": settings.metric,
        "bgexp": winner.summary["bgexp"]["version"],
        "source_hash": winner.summary["bgexp"]["source_hash"],
        "git_commit": winner.summary["bgexp"]["git_commit"] or "",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tracked_run(settings, "promote", f"promote {winner.name}", folder) as run:
        with TemporaryDirectory() as temporary:
            bundle = save_bundle(winner.settings, Path(temporary) / BUNDLE, source)
            tags = {f"bgexp.{key}": value for key, value in source.items()}
            version = register(settings, settings.name, bundle, run.run_id, tags)
        run.set_tags({"bgexp.promoted": winner.run_id, "bgexp.version": str(version)})
        fetch(settings, f"{settings.name}/{version.number}")  # it reads back before it counts
        crown(settings, version)
        decision.version = version
        decision.say(
            "Promoted",
            f"{version} is the champion" + (f"; {before} is kept as previous" if before else ""),
        )
        decision.say("Next", "bgexp batch model=champion input=DIR output=DIR")
        write_json(folder / DECISION, asdict(decision))
        run.log_file(folder / DECISION)
    return decision
