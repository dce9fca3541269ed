"""What a batch will do with every file, before anything is written."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress, repeat
from typing import Generic, TypeVar

import numpy as np
import pandas as pd

from bgexp.batch.output_paths import ALPHAS, MASKS, OUTLIER, REGULAR, plan_output_paths
from bgexp.batch.planned_file import PlannedFile
from bgexp.config.batch import BatchSettings, QualityRules
from bgexp.images.encode import SUFFIX
from bgexp.quality.outliers import find_outlier_reasons, find_outliers

T = TypeVar("T")

_TOPS = {"regular": REGULAR, "outlier": OUTLIER}


@dataclass(frozen=True)
class _Repeatable(Generic[T]):
    """What can be gone through several times and is in memory never."""

    start: Callable[[], Iterator[T]]

    def __iter__(self) -> Iterator[T]:
        return self.start()


def plan_files(
    drafts: Iterable[PlannedFile], settings: BatchSettings, metadata: pd.DataFrame | None = None
) -> Iterator[PlannedFile]:
    """Plan each file: its output or the reason why it is skipped, in the order of the files.

    Args:
        drafts: The files with what is known of each by itself; gone through several times, so no
            iterator. Held in memory are some numbers for each, and no names.
        settings: The batch's settings.
        metadata: Columns by path, as `read_metadata_table` reads them.
    """
    rules = settings.quality
    outliers = _find_outlier_issues(drafts, rules) if rules.enabled else ()
    table = metadata if rules.enabled else None
    judged = _Repeatable(lambda: _judge_files(drafts, outliers, table))
    images = _Repeatable(lambda: (file for file in judged if not file.reason))
    tops = _Repeatable(lambda: ((file.path, _TOPS[file.kind]) for file in images))
    name_output = plan_output_paths(tops, SUFFIX[settings.format])

    def plan_planes(top: str, wanted: bool) -> Callable[[str, str], str]:
        tops = _Repeatable(lambda: ((file.path, top) for file in images))
        return plan_output_paths(tops, ".png") if wanted else lambda *_: ""

    name_mask, name_alpha = plan_planes(MASKS, settings.masks), plan_planes(ALPHAS, settings.alphas)
    for file in judged:
        if file.reason:
            yield file
            continue
        output = name_output(file.path, _TOPS[file.kind])
        mask, alpha = name_mask(file.path, MASKS), name_alpha(file.path, ALPHAS)
        yield replace(file, output=output, mask=mask, alpha=alpha)


def _judge_files(
    drafts: Iterable[PlannedFile],
    outliers: Sequence[tuple[str, ...]],
    metadata: pd.DataFrame | None,
) -> Iterator[PlannedFile]:
    """Yield the files with what is known of them beside the others."""
    find_missing = _make_missing_finder(metadata)
    for file, names in zip(drafts, outliers or repeat(()), strict=False):
        if file.reason:
            yield file
            continue
        missing = (*file.missing, *find_missing(file.path))
        kind = "outlier" if names else "regular"
        yield replace(file, kind=kind, issues=(*names, *file.issues), missing=missing)


def _find_outlier_issues(
    drafts: Iterable[PlannedFile], rules: QualityRules
) -> Sequence[tuple[str, ...]]:
    """Return why each file is an outlier among the images; () for most."""
    sizes, widths, heights = array("d"), array("d"), array("d")
    categories: list[str] = []
    known: dict[str, str] = {}  # one string for each category
    positions = array("q")
    n_files = 0
    for n_files, file in enumerate(drafts, 1):
        if not file.reason and file.width > 0:
            positions.append(n_files - 1)
            categories.append(known.setdefault(file.category, file.category))
            for column, value in ((sizes, file.size), (widths, file.width), (heights, file.height)):
                column.append(value)
    issues: list[tuple[str, ...]] = [()] * n_files
    if not positions:
        return issues
    rows = pd.DataFrame(
        {
            "category": pd.Categorical(categories),
            "bytes": np.asarray(sizes),
            "width": np.asarray(widths),
            "height": np.asarray(heights),
        }
    )
    has_odd_size = find_outliers(rows["bytes"], rows["category"], rules.outliers)
    odd_sides = find_outlier_reasons(rows, rules.outliers)
    for position, size, names in zip(positions, np.asarray(has_odd_size), odd_sides, strict=True):
        if size or names:
            issues[position] = ("size_outlier",) * bool(size) + ("dimension_outlier",) * bool(names)
    return issues


def _make_missing_finder(metadata: pd.DataFrame | None) -> Callable[[str], Iterable[str]]:
    """Return the function from a path to the columns that have nothing for it."""
    if metadata is None:
        return lambda _path: ()
    columns, is_missing = list(map(str, metadata)), metadata.isna().to_numpy()

    def find_missing(path: str) -> Iterable[str]:
        if path not in metadata.index:
            return columns
        return compress(columns, is_missing[metadata.index.get_loc(path)])

    return find_missing
