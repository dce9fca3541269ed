"""What the table of an analysis says: what to do about the files."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bgexp.report.finding import Finding, counted, worst_first

PLAIN_ENTROPY = 1.0  # bits; below it a picture holds hardly anything
DARK, BRIGHT = 25.0, 235.0  # mean luminance, of 255


def quality_findings(rows: pd.DataFrame, summary: Mapping[str, Any]) -> list[Finding]:
    """At most five, the worst first.

    Args:
        rows: The columns of quality.parquet.
        summary: summary.json as a dict.
    """
    images = rows[rows["kind"] == "image"]
    looks = (_corrupt, _differs, _duplicates, _outliers, _extensions, _plain)
    return worst_first(finding for look in looks for finding in look(images, summary))


def _corrupt(images: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    corrupt = images[images["corrupt"]]
    if len(corrupt):
        reasons = corrupt["reason"].str.removeprefix("corrupt: ").str.partition(":")[0]
        named = "; ".join(f"{r} ({n:,})" for r, n in reasons.value_counts().head(4).items())
        yield Finding(
            "problem",
            f"{counted(len(corrupt), 'image')} cannot be decoded in full",
            f"{named}. A batch skips them, each with its reason; fetch them anew if they matter.",
            tuple(corrupt["path"]),
            weight=len(corrupt) / len(images),
        )


def _differs(_images: pd.DataFrame, summary: Mapping[str, Any]) -> Iterator[Finding]:
    other = [one for one in summary["reconciliation"] if one["expected"] != one["found"]]
    if other:
        told = "; ".join(f"{one['name'].replace('_', ' ')}: {one['explanation']}" for one in other)
        yield Finding(
            "warning",
            f"{counted(len(other), 'figure')} of the report {'is' if len(other) == 1 else 'are'} "
            "not found",
            f"{told}.",
            weight=1.0,
        )


def _duplicates(images: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    for column, what in (
        ("exact_duplicate_of", "with the bytes of another"),
        ("near_duplicate_of", "looking like another"),
    ):
        double = images[images[column] != ""]
        if len(double):
            across = double["path"].str.rpartition("/")[0] != double[column].str.rpartition("/")[0]
            yield Finding(
                "warning" if across.any() else "note",
                f"{counted(len(double), 'image')} {what}",
                f"{int(across.sum()):,} of them in another category. Doubles count twice in every "
                "mean, and on both sides of a split.",
                tuple(double["path"]),
                weight=len(double) / len(images),
            )


def _outliers(images: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    out = images[images["size_outlier"] | images["dimension_outlier"]]
    if len(out):
        kinds = out["outlier_of"].str.split(",").explode().value_counts()
        named = ", ".join(f"{name} {n:,}" for name, n in kinds.items())
        yield Finding(
            "note",
            f"{counted(len(out), 'outlier')}",
            f"By what they differ in: {named}. A batch writes their results to outliers/.",
            tuple(out["path"]),
            weight=len(out) / len(images),
        )


def _extensions(images: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    wrong = images[images["extension_agrees"].eq(False)]
    if len(wrong):
        yield Finding(
            "note",
            f"{counted(len(wrong), 'image')} with the extension of another format",
            "bgexp reads them by their content; other programs may refuse them.",
            tuple(wrong["path"]),
            weight=len(wrong) / len(images),
        )


def _plain(images: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    empty = images[images["entropy"] < PLAIN_ENTROPY]
    if len(empty):
        yield Finding(
            "note",
            f"{counted(len(empty), 'image')} with hardly anything on them",
            f"Their luminance has less than {PLAIN_ENTROPY:g} bit of entropy: blank, or nearly.",
            tuple(empty["path"]),
            weight=len(empty) / len(images),
        )
    dim = images[(images["brightness"] < DARK) | (images["brightness"] > BRIGHT)]
    if len(dim):
        yield Finding(
            "note",
            f"{counted(len(dim), 'image')} very dark or very bright",
            f"Mean luminance below {DARK:g} or above {BRIGHT:g} of 255.",
            tuple(dim["path"]),
            weight=len(dim) / len(images),
        )
