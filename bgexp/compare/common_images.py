"""Runs brought to the same images: a path with the same contents, and the same truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from bgexp.errors import UserError
from bgexp.report.finding import RunResult, counted

Image = tuple[str, str]  # path and SHA-256


@dataclass(frozen=True, eq=False)
class CommonImages:
    """Jobs with only the images that all of them have.

    Attributes:
        jobs: Their rows sorted by path; counts and speed in their summaries are of these rows.
        n: How many images that are.
        had: By a job's name, how many images it had before.
        n_changed: Paths that all have, of which the contents are not the same in all.
    """

    jobs: Sequence[RunResult]
    n: int
    had: Mapping[str, int]
    n_changed: int

    @property
    def reduced(self) -> str:
        """That and by how much the images were reduced, in a sentence; empty where they were not.

        >>> CommonImages([], 12, {"a": 24, "b": 12}, 0).reduced
        'Compared on the 12 images that all have (a has 24).'
        """
        more = [f"{name} has {n:,}" for name, n in self.had.items() if n > self.n]
        if not more:
            return ""
        rest = f" and {len(more) - 3} others have more" if len(more) > 3 else ""
        said = f"Compared on the {counted(self.n, 'image')} that all have "
        said += f"({', '.join(more[:3])}{rest})"
        if self.n_changed:
            said += f"; {counted(self.n_changed, 'image')} under one path differs in contents"
        return f"{said}."


def match_images(jobs: Sequence[RunResult]) -> CommonImages:
    """The jobs on the images that all of them have, by path and contents.

    Raises:
        UserError: No image is common to all, or the same images were judged by another truth.
    """
    images = [_images(job) for job in jobs]
    common = set.intersection(*images)
    paths = set.intersection(*({path for path, _ in own} for own in images))
    if not common:
        raise UserError(_nothing_common(jobs, images, paths))
    _refuse_other_truth(jobs, images)
    had = {job.name: len(own) for job, own in zip(jobs, images, strict=True)}
    reduced = [_reduced(job, common) for job in jobs]
    return CommonImages(reduced, len(common), had, len(paths) - len({path for path, _ in common}))


def _images(job: RunResult) -> set[Image]:
    return set(zip(job.rows["path"], job.rows["sha256"], strict=True))


def _nothing_common(
    jobs: Sequence[RunResult], images: Sequence[set[Image]], paths: set[str]
) -> str:
    counts = ", ".join(
        f"{job.name}: {len(own):,}" for job, own in zip(jobs[:4], images, strict=False)
    )
    if paths:
        return (
            f"runs: the runs have {counted(len(paths), 'path')} in common, and under each the "
            f"images differ in contents; there is nothing to compare ({counts})"
        )
    return f"runs: no image is common to all {len(jobs)} runs ({counts})"


def _refuse_other_truth(jobs: Sequence[RunResult], images: Sequence[set[Image]]) -> None:
    """A dataset's digest covers its truth, so that of the same images tells whether it changed."""
    for (one, own), (other, others) in combinations(zip(jobs, images, strict=True), 2):
        data = [job.summary.get("dataset") or {} for job in (one, other)]
        scored = all(found.get("n_with_truth") for found in data)
        if scored and own == others and data[0].get("digest") != data[1].get("digest"):
            raise UserError(
                f"runs: {one.name} and {other.name} have the same images with another truth; "
                "their scores cannot be compared"
            )


def _reduced(job: RunResult, common: set[Image]) -> RunResult:
    kept = [image in common for image in zip(job.rows["path"], job.rows["sha256"], strict=True)]
    rows = job.rows[kept].sort_values("path", ignore_index=True)
    done = rows[rows["status"] == "ok"]
    seconds = done.filter(regex=r"^ms\.").sum(axis=1).sum() / 1000
    counts = {"total": len(rows), "ok": len(done), "failed": len(rows) - len(done)}
    workers = job.summary.get("workers") or 1
    speed = {"images_per_s": workers * len(done) / seconds if seconds else None}
    return replace(job, rows=rows, summary={**job.summary, "counts": counts, **speed})
