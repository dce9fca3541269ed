"""What the table of an analysis says: what to do about the files."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bgexp.report.finding import Finding, rank_findings
from bgexp.report.wording import format_count

PLAIN_ENTROPY = 1.0  # bits; a picture with less holds hardly anything
DARK, BRIGHT = 25.0, 235.0  # mean luminance, of 255


def find_quality_findings(rows: pd.DataFrame, summary: Mapping[str, Any]) -> list[Finding]:
    """Return at most five findings, the worst first.

    Args:
        rows: The columns of quality.parquet.
        summary: The content of summary.json.
    """
    images = rows[rows["kind"] == "image"]
    finders = (
        _find_corrupt,
        _find_wrong_figures,
        _find_duplicates,
        _find_outliers,
        _find_extensions,
        _find_plain,
    )
    return rank_findings(finding for find in finders for finding in find(images, summary))


def _find_corrupt(images: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    corrupt = images[images["corrupt"]]
    if len(corrupt):
        reasons = corrupt["reason"].str.removeprefix("corrupt: ").str.partition(":")[0]
        causes = "; ".join(
            f"{reason} ({count:,})" for reason, count in reasons.value_counts().head(4).items()
        )
        yield Finding(
            "problem",
            f"{format_count(len(corrupt), 'image')} cannot be decoded in full",
            f"{causes}. A batch skips them, each with its reason; fetch them anew if they matter.",
            tuple(corrupt["path"]),
            weight=len(corrupt) / len(images),
        )


def _find_wrong_figures(_images: pd.DataFrame, summary: Mapping[str, Any]) -> Iterator[Finding]:
    wrong = [
        figure for figure in summary["reconciliation"] if figure["expected"] != figure["found"]
    ]
    if wrong:
        explanations = "; ".join(
            f"{figure['name'].replace('_', ' ')}: {figure['explanation']}" for figure in wrong
        )
        yield Finding(
            "warning",
            f"{format_count(len(wrong), 'figure')} of the report "
            f"{'is' if len(wrong) == 1 else 'are'} not found",
            f"{explanations}.",
            weight=1.0,
        )


def _find_duplicates(images: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    for column, meaning in (
        ("exact_duplicate_of", "with the bytes of another"),
        ("near_duplicate_of", "looking like another"),
    ):
        duplicates = images[images[column] != ""]
        if len(duplicates):
            across = (
                duplicates["path"].str.rpartition("/")[0]
                != duplicates[column].str.rpartition("/")[0]
            )
            yield Finding(
                "warning" if across.any() else "note",
                f"{format_count(len(duplicates), 'image')} {meaning}",
                f"{int(across.sum()):,} of them in another category. Doubles count twice in every "
                "mean, and on both sides of a split.",
                tuple(duplicates["path"]),
                weight=len(duplicates) / len(images),
            )


def _find_outliers(images: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    outliers = images[images["size_outlier"] | images["dimension_outlier"]]
    if len(outliers):
        kinds = outliers["outlier_of"].str.split(",").explode().value_counts()
        kind_counts = ", ".join(f"{name} {count:,}" for name, count in kinds.items())
        yield Finding(
            "note",
            f"{format_count(len(outliers), 'outlier')}",
            f"By what they differ in: {kind_counts}. A batch writes their results to outliers/.",
            tuple(outliers["path"]),
            weight=len(outliers) / len(images),
        )


def _find_extensions(images: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    wrong = images[images["extension_agrees"].eq(False)]
    if len(wrong):
        yield Finding(
            "note",
            f"{format_count(len(wrong), 'image')} with the extension of another format",
            "bgexp reads them by their content; other programs may refuse them.",
            tuple(wrong["path"]),
            weight=len(wrong) / len(images),
        )


def _find_plain(images: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    empty = images[images["entropy"] < PLAIN_ENTROPY]
    if len(empty):
        yield Finding(
            "note",
            f"{format_count(len(empty), 'image')} with hardly anything on them",
            f"Their luminance has less than {PLAIN_ENTROPY:g} bit of entropy: blank, or nearly.",
            tuple(empty["path"]),
            weight=len(empty) / len(images),
        )
    extreme = images[(images["brightness"] < DARK) | (images["brightness"] > BRIGHT)]
    if len(extreme):
        yield Finding(
            "note",
            f"{format_count(len(extreme), 'image')} very dark or very bright",
            f"Mean luminance below {DARK:g} or above {BRIGHT:g} of 255.",
            tuple(extreme["path"]),
            weight=len(extreme) / len(images),
        )
