"""How runs are judged: by the scores of every image, or by people's votes."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from bgexp.config.command_line import write_command
from bgexp.config.promote import PromoteSettings
from bgexp.errors import RefusedError
from bgexp.metrics.bradley_terry import BradleyTerryScore, compute_bradley_terry
from bgexp.metrics.win_rate import Vote, compute_win_rate
from bgexp.promote.gates import MARGIN, WIN_RATE, compute_confidence, compute_gain, read_metric
from bgexp.tracking.past_runs import StoredRun
from bgexp.tracking.votes import read_votes

Runs = Sequence[StoredRun]


def find_judge(settings: PromoteSettings) -> "Scores | Votes":
    """Return the judge for the metric of the settings.

    Raises:
        UserError: there is no such metric.
    """
    return Votes(settings) if settings.metric == WIN_RATE else Scores(settings)


class Scores:
    """A judge by a metric of every image."""

    def __init__(self, settings: PromoteSettings) -> None:
        self.metric = read_metric(settings.metric)

    def __str__(self) -> str:
        return str(self.metric)

    def collect_scores(self, runs: Runs) -> pd.DataFrame:
        """Return a row for each image that all runs scored, a column for each run's id."""
        columns = {run.run_id: run.rows.set_index("path")[self.metric.key] for run in runs}
        table = pd.DataFrame(columns, dtype=float)
        if table.notna().any().any():
            return table.dropna()
        raise RefusedError(
            f"metric: {self.metric} does not exist without truth, and these images have none: "
            "judge by eye (bgexp review, then metric=win_rate) or label some (bgexp select)"
        )

    def choose_best(self, runs: Runs, choosing: pd.DataFrame) -> StoredRun:
        """Return the run with the best mean on the images to choose by."""
        means = {run.run_id: self.metric.aggregate(choosing[run.run_id].to_numpy()) for run in runs}
        best_id = self.metric.find_best(means)
        return next(run for run in runs if run.run_id == best_id)

    def describe_runs(self, runs: Runs, choosing: pd.DataFrame, winner: StoredRun) -> list[str]:
        """Return a line for each run: its mean, its name, and which is the best."""
        rows = [(self.metric.aggregate(choosing[run.run_id].to_numpy()), run) for run in runs]
        return [
            f"{score:.3f}  {run.name} ({run.run_id[:8]}){'  <- best' if run is winner else ''}"
            for score, run in rows
        ]

    def compare(
        self, champion: StoredRun, winner: StoredRun, confirming: pd.DataFrame, variants: int
    ) -> tuple[bool, str, dict[str, Any]]:
        """Return whether the winner may replace the champion, in words and in numbers."""
        old = champion.rows.set_index("path")[self.metric.key].reindex(confirming.index)
        new = confirming[winner.run_id]
        level = compute_confidence(variants)
        result = compute_gain(old.to_numpy(), new.to_numpy(), self.metric, level)
        message = (
            f"{self.metric} {result.before:.3f} -> {result.after:.3f} on {result.n} images: "
            f"{result.gain:+.4f} ({result.low:+.4f} to {result.high:+.4f}, "
            f"{100 * result.confidence:.3g} % interval)"
        )
        if not result.enough:
            message += f"; its lower end has to be above {-MARGIN:g}"
        return result.enough, message, asdict(result)


class Votes:
    """A judge by people's votes in reviews."""

    def __init__(self, settings: PromoteSettings) -> None:
        self._settings = settings

    def __str__(self) -> str:
        return "votes"

    def _read_votes(self, runs: Runs) -> list[Vote]:
        return read_votes(self._settings, [run.run_id for run in runs])

    def collect_scores(self, runs: Runs) -> pd.DataFrame:
        """Return a row for each image that has votes."""
        images = sorted({vote.image for vote in self._read_votes(runs)})
        if not images and len(runs) > 1:
            raise RefusedError("metric: win_rate: nobody has voted on these runs (bgexp review)")
        return pd.DataFrame(index=pd.Index(images, dtype=object))

    def choose_best(self, runs: Runs, choosing: pd.DataFrame) -> StoredRun:
        """Return the run that is preferred most often on the images to choose by."""
        if len(runs) == 1:
            return runs[0]
        best = max(self._score_runs(runs, choosing), key=lambda score: score.rate)
        return next(run for run in runs if run.run_id == best.run_id)

    def _score_runs(self, runs: Runs, choosing: pd.DataFrame) -> list[BradleyTerryScore]:
        votes = [vote for vote in self._read_votes(runs) if vote.image in choosing.index]
        scores = compute_bradley_terry(votes, [run.run_id for run in runs])
        return [score for score in scores if score.n]

    def describe_runs(self, runs: Runs, choosing: pd.DataFrame, winner: StoredRun) -> list[str]:
        """Return a line for each run: how often it is preferred, its name, which is the best."""
        names = {run.run_id: f"{run.name} ({run.run_id[:8]})" for run in runs}
        return [
            f"{s.rate:.2f} ({s.low:.2f} to {s.high:.2f}, {s.n} votes)  {names[s.run_id]}"
            + "  <- best" * (s.run_id == winner.run_id)
            for s in (self._score_runs(runs, choosing) if len(runs) > 1 else [])
        ]

    def compare(
        self, champion: StoredRun, winner: StoredRun, confirming: pd.DataFrame, variants: int
    ) -> tuple[bool, str, dict[str, Any]]:
        """Return whether the winner is surely preferred to the champion, in words and numbers."""
        votes = self._read_votes([champion, winner])
        if variants > 1:
            votes = [vote for vote in votes if vote.image in confirming.index]
        rate = compute_win_rate(votes, winner.run_id, champion.run_id)
        enough = rate.low > 0.5
        message = f"preferred in {rate.rate:.0%} ({rate.low:.0%} to {rate.high:.0%}) of {rate.n}"
        if not rate.n:
            ids = [winner.run_id, champion.run_id]
            message = f"nobody voted between them ({write_command('review', ids, self._settings)})"
        elif not enough:
            message += "; its lower end has to be above 50 %"
        return enough, message, asdict(rate)
