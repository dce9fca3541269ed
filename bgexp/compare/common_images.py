"""Runs brought to the same images: a path with the same contents, and the same truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from bgexp.errors import UserError
from bgexp.report.wording import format_count
from bgexp.sweep.run_result import RunResult

Image = tuple[str, str]  # path and SHA-256


@dataclass(frozen=True, eq=False)
class CommonImages:
    """Runs with only the images that all of them have.

    Attributes:
        runs: Their rows sorted by path; counts and speed in their summaries are of these rows.
        n: The number of common images.
        had: By a run's name, its number of images before.
        n_changed: Paths that all have, of which the contents are not the same in all.
    """

    runs: Sequence[RunResult]
    n: int
    had: Mapping[str, int]
    n_changed: int

    @property
    def reduced(self) -> str:
        """A sentence on how the images were reduced; empty where they were not.

        >>> CommonImages([], 12, {"a": 24, "b": 12}, 0).reduced
        'Compared on the 12 images that all have (a has 24).'
        """
        larger = [f"{name} has {n:,}" for name, n in self.had.items() if n > self.n]
        if not larger:
            return ""
        rest = f" and {len(larger) - 3} others have more" if len(larger) > 3 else ""
        sentence = f"Compared on the {format_count(self.n, 'image')} that all have "
        sentence += f"({', '.join(larger[:3])}{rest})"
        if self.n_changed:
            sentence += (
                f"; {format_count(self.n_changed, 'image')} under one path differs in contents"
            )
        return f"{sentence}."


def match_images(runs: Sequence[RunResult]) -> CommonImages:
    """Reduce the runs to the images that all of them have, by path and contents.

    Raises:
        UserError: No image is common to all, or the same images were judged by another truth.
    """
    images = [_collect_images(run) for run in runs]
    common = set.intersection(*images)
    paths = set.intersection(*({path for path, _ in keys} for keys in images))
    if not common:
        raise UserError(_describe_no_common(runs, images, paths))
    _refuse_other_truth(runs, images)
    had = {run.name: len(keys) for run, keys in zip(runs, images, strict=True)}
    matched = [_keep_common(run, common) for run in runs]
    return CommonImages(matched, len(common), had, len(paths) - len({path for path, _ in common}))


def _collect_images(run: RunResult) -> set[Image]:
    return set(zip(run.rows["path"], run.rows["sha256"], strict=True))


def _describe_no_common(
    runs: Sequence[RunResult], images: Sequence[set[Image]], paths: set[str]
) -> str:
    counts = ", ".join(
        f"{run.name}: {len(keys):,}" for run, keys in zip(runs[:4], images, strict=False)
    )
    if paths:
        return (
            f"runs: the runs have {format_count(len(paths), 'path')} in common, and under each the "
            f"images differ in contents; there is nothing to compare ({counts})"
        )
    return f"runs: no image is common to all {len(runs)} runs ({counts})"


def _refuse_other_truth(runs: Sequence[RunResult], images: Sequence[set[Image]]) -> None:
    """Refuse equal images under unequal dataset digests: a digest covers the truth too."""
    for (a, images_a), (b, images_b) in combinations(zip(runs, images, strict=True), 2):
        data = [run.summary.get("dataset") or {} for run in (a, b)]
        scored = all(dataset.get("n_with_truth") for dataset in data)
        if scored and images_a == images_b and data[0].get("digest") != data[1].get("digest"):
            raise UserError(
                f"runs: {a.name} and {b.name} have the same images with another truth; "
                "their scores cannot be compared"
            )


def _keep_common(run: RunResult, common: set[Image]) -> RunResult:
    keys = zip(run.rows["path"], run.rows["sha256"], strict=True)
    rows = run.rows[[key in common for key in keys]].sort_values("path", ignore_index=True)
    succeeded = rows[rows["status"] == "ok"]
    seconds = succeeded.filter(regex=r"^ms\.").sum(axis=1).sum() / 1000
    counts = {"total": len(rows), "ok": len(succeeded), "failed": len(rows) - len(succeeded)}
    workers = run.summary.get("workers") or 1
    speed = {"images_per_s": workers * len(succeeded) / seconds if seconds else None}
    return replace(run, rows=rows, summary={**run.summary, "counts": counts, **speed})
