"""What is wrong with the truths of a run: all empty or full, inverted, turned."""

from collections.abc import Iterator, Mapping
from typing import Any

from bgexp.report.finding import Finding
from bgexp.report.wording import format_count

_CLEAR = 0.2  # of phi: no poor detector explains such a difference
_FEWEST = 2  # images: one alone may be an accident


def find_truth_findings(summary: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with the truths, by a run's summary; it leads all other findings."""
    dataset = summary.get("dataset") or {}
    truth, masks = dataset.get("truth") or {}, dataset.get("masks") or {}
    read_as = f" The masks are read so: {masks['description']}." if masks else ""
    n = truth.get("n", 0)
    for key, name, other in (("n_empty", "empty", "background"), ("n_full", "full", "object")):
        if n >= _FEWEST and truth[key] == n:
            yield _make_finding(
                f"The truth is {name} in all {format_count(n, 'image')}",
                f"All of it is {other}, so the scores say nothing.{read_as}",
                "dataset.mask_values=nonzero" if masks and name == "empty" else "",
            )
    for name, fit in (truth.get("fits") or {}).items():
        is_clear = fit["after"] > max(fit["before"], 0) + _CLEAR
        if fit["n"] >= _FEWEST and is_clear and 3 * fit["n_better"] > 2 * fit["n"]:
            yield _make_finding(
                f"The truths fit better {name}",
                f"The correlation of mask and truth is {fit['before']:.2f} as they are, and "
                f"{fit['after']:.2f} with the truth {name} (means over "
                f"{format_count(fit['n'], 'image')}). "
                f"White has to mean keep, and a mask has to lie as its image does.{read_as}",
            )
    if n_turned := truth.get("n_turned"):
        yield _make_finding(
            f"The truth is turned by 90 degrees in {format_count(n_turned, 'image')}",
            "Width and height of mask and upright image are swapped: one of the two was turned "
            "without the other, often by a camera's EXIF orientation.",
        )


def describe_truth_findings(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield the findings as warnings, a line each."""
    for finding in find_truth_findings(summary):
        yield f"Warning: {finding.title}. {finding.evidence}"


def _make_finding(title: str, evidence: str, setting: str = "") -> Finding:
    return Finding("problem", title, evidence, setting=setting, weight=10.0)
