"""By what runs are judged: the scores of every image, or what people said of them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from bgexp.config.promote import PromoteSettings
from bgexp.errors import RefusedError
from bgexp.metrics.bradley_terry import BradleyTerryScore, bradley_terry_scores
from bgexp.metrics.win_rate import Vote, win_rate
from bgexp.promote.gates import MARGIN, WIN_RATE, confidence, gain, read_metric
from bgexp.tracking.past_runs import StoredRun
from bgexp.tracking.votes import read_votes


def find_judge(settings: PromoteSettings) -> "Scores | Votes":
    """The one that the metric asks for.

    Raises:
        UserError: there is no such metric.
    """
    return Votes(settings) if settings.metric == WIN_RATE else Scores(settings)


class Scores:
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
        """The run with the best mean on the images to choose by."""
        means = {run.run_id: self.metric.of(choosing[run.run_id].to_numpy()) for run in runs}
        found = self.metric.better(means)
        return next(run for run in runs if run.run_id == found)

    def told(
        self, runs: Sequence[StoredRun], choosing: pd.DataFrame, winner: StoredRun
    ) -> list[str]:
        """A line a run: its mean, its name, and which is the best."""
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


class Votes:
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
        """The run that is preferred most often on the images to choose by."""
        if len(runs) == 1:
            return runs[0]
        found = max(self._strengths(runs, choosing), key=lambda one: one.rate)
        return next(run for run in runs if run.run_id == found.run_id)

    def _strengths(
        self, runs: Sequence[StoredRun], choosing: pd.DataFrame
    ) -> list[BradleyTerryScore]:
        votes = [vote for vote in self._votes(runs) if vote.image in choosing.index]
        found = bradley_terry_scores(votes, [run.run_id for run in runs])
        return [one for one in found if one.n]

    def told(
        self, runs: Sequence[StoredRun], choosing: pd.DataFrame, winner: StoredRun
    ) -> list[str]:
        """A line a run: how often it is preferred, its name, and which is the best."""
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
