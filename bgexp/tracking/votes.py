"""Votes of people: read from the file that a review's page exports, kept in the store, found again.

A review is a tracked run with the page and `review.json`, which alone says whose results stood
where; each exported file becomes a run below it. Logging a file twice, or a later file of the same
sitting, counts each pair once.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from bgexp.config.base import Section, Settings, TrackedSettings
from bgexp.config.check import check_settings
from bgexp.errors import UserError
from bgexp.metrics.win_rate import Choice, Vote, compute_self_agreement
from bgexp.system.atomic import make_folder, write_json
from bgexp.system.state_files import decode_json, read_state
from bgexp.system.terminal import make_printable
from bgexp.tracking.active_run import open_run
from bgexp.tracking.store import open_store
from bgexp.tracking.stored_files import fetch_files

if TYPE_CHECKING:
    from mlflow import MlflowClient

REVIEW = "review"  # value of the tag bgexp.command
PAGE, PLAN, VOTES = "review.html", "review.json", "votes.json"
COMPARED, LOGGED = "bgexp.compared", "bgexp.votes"  # tags: ids of the runs; how many votes
MAX_BYTES = 10_000_000  # of an exported file; one of 1,000 votes has 100,000
MAX_FILES = 1000  # exported files that are read from a store

Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class Pair(Section):
    """Two results of one image in a review: `repeat` where shown before with sides swapped."""

    pair: str
    image: str
    left: str
    right: str
    repeat: bool


class Review(Section):
    """`review.json`: which runs stood left and right, which the page does not tell."""

    format: Literal["bgexp-review"] = "bgexp-review"
    version: Literal[1] = 1
    review: Id
    runs: dict[str, str]  # names by id
    pairs: tuple[Pair, ...]


class Judgement(Section):
    """The judgement of a pair."""

    pair: Annotated[str, Field(max_length=20)]
    choice: Choice
    seconds: Seconds


class VoteFile(Section):
    """The file that the page exports."""

    format: Literal["bgexp-votes"]
    version: Literal[1]
    review: Id
    judge: Annotated[str, Field(pattern="^[0-9a-z-]{1,64}$")]
    votes: Annotated[tuple[Judgement, ...], Field(min_length=1)]


class VoteLog(Section):
    """`votes.json` in the store."""

    votes: tuple[Vote, ...]


def read_file(file: Path, settings: TrackedSettings) -> tuple[list[Vote], Review]:
    """Read the votes of an exported file, and the review that they are of.

    Raises:
        UserError: One line for what is wrong with it: no such file, not of this format, a review
            or a run that is not in the store, a pair that is not in the review or has two votes.
    """
    exported = _check_content(VoteFile, _read_json(file), file)
    client, experiment_id = open_store(settings)
    review = _find_review(client, experiment_id, exported.review, file)
    missing = [run_id for run_id in review.runs if not _run_tags(client, experiment_id, run_id)]
    if missing:
        names = ", ".join(f"{review.runs[run_id]} ({run_id[:8]})" for run_id in missing)
        raise UserError(f"votes: {file}: no longer in the store: {names}")
    return _build_votes(exported, review, file), review


def _build_votes(exported: VoteFile, review: Review, file: Path) -> list[Vote]:
    pairs = {pair.pair: pair for pair in review.pairs}
    votes: dict[str, Vote] = {}
    for judgement in exported.votes:
        if judgement.pair not in pairs:
            raise UserError(
                f"votes: {file}: no pair {make_printable(judgement.pair)!r} in this review"
            )
        if judgement.pair in votes:
            raise UserError(f"votes: {file}: two votes on pair {judgement.pair}")
        pair = pairs[judgement.pair]
        votes[judgement.pair] = Vote(
            image=pair.image,
            left=pair.left,
            right=pair.right,
            choice=judgement.choice,
            repeat=pair.repeat,
            seconds=judgement.seconds,
            judge=exported.judge,
        )
    return list(votes.values())


def log_votes(
    votes: Sequence[Vote], review: Review, settings: TrackedSettings, folder: Path
) -> str:
    """Log votes as a run below their review; return its id.

    Raises:
        UserError: The store cannot be reached.
    """
    make_folder(folder)
    write_json(folder / VOTES, VoteLog(votes=tuple(votes)).model_dump())
    name = f"votes of {votes[0].judge[:8]}"
    with open_run(settings, REVIEW, name, folder, review.review) as run:
        run.set_tags({COMPARED: " ".join(review.runs), LOGGED: str(len(votes))})
        run.log_metrics(
            {"votes": len(votes), "self_agreement": compute_self_agreement(votes).share}
        )
        run.log_file(folder / VOTES)
        return run.run_id


def read_votes(settings: TrackedSettings, run_ids: Collection[str]) -> list[Vote]:
    """Read all votes that were logged on two of these runs, whatever else the review compared.

    Of a pair that one sitting judged in several logged files, the newest counts.

    Raises:
        UserError: The store cannot be reached, or holds votes that cannot be read.
    """
    client, experiment_id = open_store(settings)
    votes: dict[tuple[object, ...], Vote] = {}
    for vote in _read_logged(client, experiment_id, set(run_ids)):
        votes.setdefault((vote.judge, vote.image, vote.left, vote.right, vote.repeat), vote)
    return [vote for vote in votes.values() if vote.sides <= set(run_ids)]


def _read_logged(client: "MlflowClient", experiment_id: str, run_ids: set[str]) -> Iterator[Vote]:
    """Yield the logged votes, the newest file first."""
    query = f"attributes.status = 'FINISHED' and tags.`bgexp.command` = '{REVIEW}'"
    newest = ["attributes.start_time DESC"]
    for run in client.search_runs([experiment_id], query, max_results=MAX_FILES, order_by=newest):
        tags = run.data.tags
        if LOGGED in tags and len(run_ids.intersection(tags.get(COMPARED, "").split())) > 1:
            file = _find_file(client, run.info.run_id, tags, VOTES)
            yield from _check_content(VoteLog, _read_json(file), file).votes


def _find_review(client: "MlflowClient", experiment_id: str, review: str, file: Path) -> Review:
    tags = _run_tags(client, experiment_id, review)
    if COMPARED not in tags or LOGGED in tags:
        raise UserError(f"votes: {file}: of a review that is not in the store (id {review})")
    plan = _find_file(client, review, tags, PLAN)
    return _check_content(Review, _read_json(plan), plan)


def _run_tags(client: "MlflowClient", experiment_id: str, run_id: str) -> Mapping[str, str]:
    """Return the tags of a run; {} where there is none."""
    runs = client.search_runs([experiment_id], f"attributes.run_id = '{run_id}'")
    return dict(runs[0].data.tags) if runs else {}


def _find_file(client: "MlflowClient", run_id: str, tags: Mapping[str, str], name: str) -> Path:
    path = Path(tags.get("bgexp.folder", "")) / name
    if path.is_file():
        return path
    return fetch_files(client, run_id, name)  # made on another machine


def _read_json(file: Path) -> Any:  # noqa: ANN401
    try:
        return decode_json(read_state(file, MAX_BYTES))
    except OSError as error:
        raise UserError(f"votes: {file}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(
            f"votes: {file}: not a file of votes: {make_printable(error)[:200]}"
        ) from error


def _check_content(kind: type[Settings], content: object, file: Path) -> Settings:
    """Check the content as that kind; of several mistakes the first is reported."""
    try:
        return check_settings(kind, content)
    except UserError as error:
        line = str(error).splitlines()[0]
        raise UserError(f"votes: {file}: {make_printable(line)[:300]}") from error
