"""What a batch will do with every file, before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bgexp.batch.output_paths import output_paths
from bgexp.batch.planned import PlannedFile
from bgexp.batch.size_rules import shape_issues
from bgexp.config.batch import BatchSettings, QualityRules
from bgexp.images.encode import SUFFIX
from bgexp.quality.header import Header
from bgexp.quality.outliers import find_outliers, outlier_reasons
from bgexp.system.listing import FileEntry

REGULAR, OUTLIER, MASKS = "regular", "outliers", "masks"
_KINDS = {REGULAR: "regular", OUTLIER: "outlier"}


def plan_batch(
    found: Sequence[tuple[FileEntry, Header]],
    settings: BatchSettings,
    metadata: pd.DataFrame | None = None,
) -> list[PlannedFile]:
    """Each file with its output or the reason why it is skipped, in their order.

    Args:
        found: The files and what their headers say.
        settings: Of the batch.
        metadata: Columns by path, as `read_metadata_table` reads them.
    """
    rules = settings.quality
    outlying = _outlying(found, rules) if rules.enabled else {}
    planned = []
    for file, header in found:
        start = PlannedFile(file.path, file.category, file.file, file.state, reason=header.reason)
        if not header.reason and rules.enabled:
            issues = (*outlying.get(file.path, ()), *_issues(header, rules))
            missing = _missing(file.path, header, rules, metadata)
            start = replace(start, issues=issues, missing=missing)
        planned.append(start)
    tops = {
        one.path: OUTLIER if outlying.get(one.path) else REGULAR
        for one in planned
        if not one.reason
    }
    outputs = output_paths(tops, SUFFIX[settings.format])
    masks = output_paths(dict.fromkeys(tops, MASKS), ".png") if settings.masks else {}
    return [
        replace(
            one,
            output=outputs[one.path],
            mask=masks.get(one.path, ""),
            kind=_KINDS[tops[one.path]],
        )
        if one.path in tops
        else one
        for one in planned
    ]


def _outlying(
    found: Sequence[tuple[FileEntry, Header]], rules: QualityRules
) -> Mapping[str, tuple[str, ...]]:
    """By path what makes an image an outlier."""
    rows = pd.DataFrame(
        [
            (file.path, file.category, file.size, header.width, header.height)
            for file, header in found
            if not header.reason and header.width > 0
        ],
        columns=["path", "category", "bytes", "width", "height"],
    )
    if rows.empty:
        return {}
    sizes = find_outliers(rows["bytes"].astype(float), rows["category"], rules.outliers)
    sides = outlier_reasons(rows, rules.outliers)
    told = {}
    for path, size, names in zip(rows["path"], np.asarray(sizes), sides, strict=True):
        told[str(path)] = ("size_outlier",) * bool(size) + ("dimension_outlier",) * bool(names)
    return told


def _issues(header: Header, rules: QualityRules) -> list[str]:
    issues = shape_issues(header.width, header.height, rules) if header.width else []
    return [*issues, *(["wrong_extension"] if header.extension_agrees is False else [])]


def _missing(
    path: str, header: Header, rules: QualityRules, metadata: pd.DataFrame | None
) -> tuple[str, ...]:
    said = header.metadata.fields if header.metadata else {}
    names: list[str] = [name for name in rules.exif if not said.get(name)]
    if metadata is not None:
        row = metadata.loc[path] if path in metadata.index else {}
        names += [str(name) for name in metadata if not isinstance(row.get(name), str)]
    return tuple(names)
