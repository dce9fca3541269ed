"""Earlier runs as variants of one result: which they are, and the images that all of them have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bgexp.compare.common_images import match_images
from bgexp.config.base import RunSelection
from bgexp.datasets.read import Dataset, read_dataset
from bgexp.errors import UserError
from bgexp.sweep.run_result import RunResult
from bgexp.tracking.past_runs import StoredRun, find_runs
from bgexp.tracking.run_folder import MASKS, open_masks


@dataclass(frozen=True, eq=False)
class ComparableRuns:
    """Two runs or more over common images.

    Attributes:
        runs: Finished, with masks.
        paths: Of the images that all of them have a mask for, sorted, by path and contents.
        dataset: The dataset of these images.
        max_megapixels: Larger images are not decoded.
        left_out: Why runs that were named are not among them, a sentence each.
        reduced: A sentence on how the images were reduced; empty where they were not.
    """

    runs: Sequence[StoredRun]
    paths: Sequence[str]
    dataset: Dataset
    max_megapixels: float
    left_out: Sequence[str]
    reduced: str

    @property
    def names(self) -> dict[str, str]:
        """A unique name for each run, by id."""
        names = [run.name for run in self.runs]
        return {
            run.run_id: label_run(run) if names.count(run.name) > 1 else run.name
            for run in self.runs
        }


def find_comparable_runs(settings: RunSelection) -> ComparableRuns:
    """Return the runs that the settings name, and their common images.

    Raises:
        UserError: Fewer than two finished runs are meant, they have no image in common, or the
            images are gone.
    """
    named_runs = find_runs(settings, settings.runs, settings.filter)
    reasons = [(run, _explain_unusable(run)) for run in named_runs]
    left_out = [f"{label_run(run)} is left out: {reason}" for run, reason in reasons if reason]
    runs = [run for run, reason in reasons if not reason]
    if len(runs) < 2:
        names = "; ".join([label_run(run) for run in runs] + left_out[:3])
        raise UserError(
            f"runs: two finished runs are needed, not {len(runs)} ({names}); name runs or a sweep "
            "by the beginning of their ids"
        )
    results = [RunResult(label_run(run), [], run.summary, run.rows) for run in runs]
    matched = match_images(results)
    succeeded = [set(result.rows["path"][result.rows["status"] == "ok"]) for result in matched.runs]
    data = runs[0].present_settings.dataset
    dataset = read_dataset(data, runs[0].settings.seed)
    rows = matched.runs[0].rows
    digests = dict(zip(rows["path"], rows["sha256"], strict=True))
    unchanged = {item.path for item in dataset.items if digests.get(item.path) == item.sha256}
    paths = sorted(set.intersection(unchanged, *succeeded))
    if not paths:
        raise UserError(f"runs: no image of these runs is left as it was in {dataset.root}")
    return ComparableRuns(runs, paths, dataset, data.max_megapixels, left_out, matched.reduced)


def label_run(run: StoredRun) -> str:
    """Return a run's name and the beginning of its id."""
    return f"{run.name} ({run.run_id[:8]})"


def read_fingerprints(comparable: ComparableRuns) -> Mapping[str, Sequence[tuple[int, int]]]:
    """Return by path the checksum and size of each run's mask file: equal ones are equal masks."""
    with open_masks(run.folder for run in comparable.runs) as archives:
        return {
            path: [file.read_fingerprint(path) for file in archives] for path in comparable.paths
        }


def _explain_unusable(run: StoredRun) -> str:
    """Return why a run has nothing to show; empty where it has."""
    if run.status != "FINISHED":
        return f"it is {run.status.lower()}, not finished"
    has_files = len(run.rows) and run.folder.has(MASKS)
    return "" if has_files else f"its {MASKS} is gone"
