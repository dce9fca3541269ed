"""Makes the page of a review, and counts the votes that it brought."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bgexp.compare.comparable_runs import ComparableRuns, find_comparable_runs, read_fingerprints
from bgexp.config.check import flatten_settings
from bgexp.config.review import ReviewSettings
from bgexp.errors import UserError
from bgexp.experiment.saved_masks import read_masked_images
from bgexp.metrics.win_rate import Vote
from bgexp.review.page import PairPicture, make_exhibit, render_review
from bgexp.review.pairs import ReviewPair, plan_pairs
from bgexp.system.atomic import write_json, write_whole
from bgexp.system.progress import show_progress
from bgexp.system.provenance import describe_bgexp
from bgexp.tracking.active_run import open_run
from bgexp.tracking.past_runs import SWEEP
from bgexp.tracking.run_folder import RunFolder
from bgexp.tracking.votes import (
    COMPARED,
    PAGE,
    PLAN,
    REVIEW,
    Pair,
    Review,
    log_votes,
    read_file,
    read_votes,
)

MOST_VARIANTS = 6  # 15 couples of runs: with 40 pairs fewer than three each


def make_review(settings: ReviewSettings, folder: Path) -> tuple[Review, ComparableRuns]:
    """Write review.html, to be opened in a browser, and review.json, which lists its pairs.

    Raises:
        UserError: Fewer than two runs or more than six are meant, or they differ on no image.
    """
    comparable = find_comparable_runs(settings)
    runs = comparable.runs
    if len(runs) > MOST_VARIANTS:
        raise UserError(
            f"runs: {len(runs)} runs are too many to judge by eye (allowed: {MOST_VARIANTS}); "
            "name those between which it is to be decided, or narrow them by filter=…"
        )
    ids = [run.run_id for run in runs]
    review_pairs = plan_pairs(
        ids, read_fingerprints(comparable), settings.n_pairs, settings.repeats, settings.seed
    )
    if not review_pairs:
        raise UserError("runs: these runs have the same masks on every image")
    RunFolder(folder).write_settings(settings)
    with open_run(settings, REVIEW, f"review of {len(runs)} runs", folder) as run:
        run.log_params(flatten_settings(settings))
        run.set_tags({COMPARED: " ".join(ids)})
        run.log_metrics({"pairs": len(review_pairs)})
        exhibits = list(_make_exhibits(review_pairs, comparable))
        pairs = [
            Pair(pair=str(n), image=p.image, left=p.left, right=p.right, repeat=p.repeat)
            for n, (p, _) in enumerate(exhibits, 1)
        ]
        review = Review(review=run.run_id, runs=comparable.names, pairs=tuple(pairs))
        page = render_review(run.run_id, [exhibit for _, exhibit in exhibits], describe_bgexp())
        write_whole(folder / PAGE, page)
        write_json(folder / PLAN, review.model_dump())
        run.log_folder(folder)
    return review, comparable


def _make_exhibits(
    review_pairs: Sequence[ReviewPair], comparable: ComparableRuns
) -> Iterator[tuple[ReviewPair, PairPicture]]:
    """Make the exhibit of each pair; pairs whose images cannot be read any more are left out."""
    folders = {run.run_id: run.folder for run in comparable.runs}
    with show_progress("pairs", len(review_pairs)) as step:
        for pair in review_pairs:
            sides = [folders[pair.left], folders[pair.right]]
            images = read_masked_images(
                [pair.image], sides, comparable.dataset, comparable.max_megapixels
            )
            for masked in images:
                left, right = (masked.masks[side] for side in sides)
                yield pair, make_exhibit(masked.image, left, right)
            step(0)


def log_review(settings: ReviewSettings, folder: Path) -> tuple[list[Vote], Review]:
    """Log the file of votes; return all votes on the runs of its review, and the review.

    Raises:
        UserError: The file cannot be read, is of no review in the store, or runs were named too.
    """
    if settings.votes is None or list(settings.runs) != [SWEEP] or settings.filter is not None:
        raise UserError("votes: the file says of which runs it is; name none beside it")
    votes, review = read_file(settings.votes, settings)
    log_votes(votes, review, settings, folder)
    return read_votes(settings, review.runs), review
