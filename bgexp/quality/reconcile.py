"""The findings beside the figures of an earlier report, with what explains each difference."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import combinations, product
from typing import Any, Literal

import pandas as pd

from bgexp.config.analyze import Outliers, ReportedFigures
from bgexp.quality.outliers import collect_dimensions, find_outliers

# The limits that reports commonly use, the most usual first: the first match is shown.
LIMITS: dict[Literal["iqr", "zscore", "mad"], tuple[float, ...]] = {
    "iqr": (1.5, 3.0, 2.0, 2.5),
    "zscore": (3.0, 2.0, 2.5, 3.5, 4.0),
    "mad": (3.5, 3.0, 2.5),
}
MOST_FIELDS = 12  # whose sums are tried: 4095 combinations


@dataclass(frozen=True)
class Reconciliation:
    """One figure of the report.

    Attributes:
        name: As in summary.json's findings.
        expected, found: The report's count and this analysis's.
        explanation: Which way of counting makes them equal, or which ways were tried.
    """

    name: str
    expected: int
    found: int
    explanation: str


def reconcile(
    rows: pd.DataFrame, counts: dict[str, int], expected: ReportedFigures, settings: Outliers
) -> list[Reconciliation]:
    """Compare each figure of the report with the one of this analysis."""
    explain: dict[str, Callable[[int], str]] = {
        "images": lambda count: _explain_images(rows, count),
        "categories": lambda count: _explain_categories(rows, count),
        "missing_values": lambda count: _explain_missing(rows, count),
        "size_outliers": lambda count: _explain_outliers(rows, count, settings, "bytes"),
        "dimension_outliers": lambda count: _explain_outliers(rows, count, settings, "dimensions"),
    }
    reconciliations = []
    for name, count in expected.model_dump().items():
        if count is None:
            continue
        if count == counts[name]:
            text = f"as found{_describe_rule(name, rows, settings)}"
        elif name in explain:
            text = explain[name](count)
        else:
            text = f"{abs(count - counts[name]):,} {'fewer' if count > counts[name] else 'more'}"
            text += " than the report says, by the rules of this analysis"
        reconciliations.append(Reconciliation(name, count, counts[name], text))
    return reconciliations


def _describe_rule(name: str, rows: pd.DataFrame, settings: Outliers) -> str:
    if name.endswith("outliers"):
        return f", by {_name_method(settings)}"
    if name == "missing_values":
        return f": {_list_missing(rows)}" if _list_missing(rows) else ""
    return ""


# -- counts of files ---------------------------------------------------------------------------


def _explain_images(rows: pd.DataFrame, expected: int) -> str:
    images = rows[rows["kind"] == "image"]
    left_out = {
        "corrupt files": int(images["corrupt"].sum()),
        "exact duplicates": int((images["exact_duplicate_of"] != "").sum()),
        "near duplicates": int((images["near_duplicate_of"] != "").sum()),
        "files whose extension is another format's": int(
            images["extension_agrees"].eq(False).sum()
        ),
        "files of formats that are not accepted": int(
            images["reason"].str.startswith("format not accepted").sum()
        ),
    }
    added = {
        "other files": int((rows["kind"] == "other").sum()),
        "links, hidden and special files": int((rows["kind"] == "closed").sum()),
    }
    return _explain_sum(len(images), expected, left_out, added)


def _explain_categories(rows: pd.DataFrame, target: int) -> str:
    images = rows[rows["kind"] == "image"]
    names = images["category"]
    top = names.str.partition("/")[0]
    ways = {
        "folders with an image that decodes": images[images["decodes"]]["category"].nunique(),
        "folders at the top level": top[names != "."].nunique(),
        "folders with any file": rows["category"].nunique(),
        "folders, the top level itself left out": names[names != "."].nunique(),
        "names of folders, wherever they lie": names.str.rpartition("/")[2].nunique(),
        "folders, upper and lower case taken as one": names.str.casefold().nunique(),
    }
    for text, count in ways.items():
        if count == target:
            return f"{target:,} are the {text}; here every folder with an image counts"
    tried = "; ".join(f"{count:,} {text}" for text, count in ways.items())
    return f"no way of counting gives {target:,}: {names.nunique():,} folders with images; {tried}"


def _explain_sum(found: int, expected: int, left_out: dict[str, int], added: dict[str, int]) -> str:
    """Find which groups of files, left out or counted too, make the difference."""
    changes = {f"without {count:,} {name}": -count for name, count in left_out.items() if count}
    changes |= {f"with {count:,} {name}": count for name, count in added.items() if count}
    for size in range(1, len(changes) + 1):
        for names in combinations(changes, size):
            if found + sum(changes[name] for name in names) == expected:
                return f"{expected:,} are those {' and '.join(names)}"
    tried = ", ".join(changes) or "nothing to leave out"
    where = "missing here" if expected > found else "more here"
    return f"{abs(expected - found):,} {where}; no sum of these explains it: {tried}"


# -- missing values ----------------------------------------------------------------------------


def count_missing_by_field(rows: pd.DataFrame) -> "pd.Series[int]":
    """Count the images that lack each field, the most often missing first."""
    images = rows[rows["kind"] == "image"]
    names = images["missing_fields"].str.split(",").explode()
    return names[names != ""].value_counts()


def _list_missing(rows: pd.DataFrame) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in count_missing_by_field(rows).items())


def _explain_missing(rows: pd.DataFrame, expected: int) -> str:
    images = rows[rows["kind"] == "image"]
    good = images[~images["corrupt"]]
    counts = {str(name): int(count) for name, count in count_missing_by_field(rows).items()}
    ours = f"here {_list_missing(rows)}" if counts else "here no field was asked for (exif)"
    groups = {"": rows, " of the images that are not corrupt": good}
    if (incomplete := int((images["n_missing"] > 0).sum())) == expected:
        return f"{incomplete:,} images lack at least one value; {ours}"
    for text, group in groups.items():
        missing = {str(name): int(count) for name, count in count_missing_by_field(group).items()}
        names = list(missing)[:MOST_FIELDS]
        for size in range(len(names), 0, -1):
            for fields in combinations(names, size):
                if sum(missing[name] for name in fields) == expected:
                    return f"{expected:,} are {' + '.join(fields)}{text}; {ours}"
    explanation = _explain_exif(images, set(counts), expected - sum(counts.values()))
    return explanation or f"no sum of fields gives {expected:,}; {ours}"


def _explain_exif(images: pd.DataFrame, required: set[str], gap: int) -> str:
    """Find fields of EXIF that were not required, whose missing values fill the gap."""
    missing = {
        name.removeprefix("exif."): int((images[name] == "").sum())
        for name in images
        if name.startswith("exif.") and name.removeprefix("exif.") not in required
    }
    for size in range(1, 4):
        for fields in combinations(missing, size):
            if gap > 0 and sum(missing[name] for name in fields) == gap:
                return f"{gap:,} more are missing in {' + '.join(fields)}: add to exif"
    return ""


# -- outliers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class OutlierCount:
    """One way of finding outliers, and how many it finds."""

    text: str
    count: int


def count_outliers_by_method(
    rows: pd.DataFrame, of: Literal["bytes", "dimensions"]
) -> Iterator[OutlierCount]:
    """Yield how many outliers each usual method, limit and scale finds."""
    good = rows[rows["decodes"]]
    measures: dict[str, dict[str, pd.Series[float]]] = {"": {"bytes": good["bytes"].astype(float)}}
    if of == "dimensions":
        area = good["width"].astype(float) * good["height"]
        measures = {
            "": collect_dimensions(good),
            " of width or height": {key: good[key].astype(float) for key in ("width", "height")},
            " of the area": {"area": area},
            " of the sides": dict(list(collect_dimensions(good).items())[:2]),
            " of the aspect": {"aspect": good["aspect"]},
        }
    scales = (("logarithms", True), ("plain values", False))
    groups: tuple[Literal["all", "category"], ...] = ("all", "category")
    for (measure, columns), by, (scale, log) in product(measures.items(), groups, scales):
        for method, limits in LIMITS.items():
            for limit in limits:
                settings = Outliers(method=method, limit=limit, by=by)
                outside = pd.Series(False, good.index)
                for values in columns.values():
                    outside |= find_outliers(values, good["category"], settings, log)
                yield OutlierCount(f"{_name_method(settings, scale)}{measure}", int(outside.sum()))


def _explain_outliers(
    rows: pd.DataFrame, expected: int, settings: Outliers, of: Literal["bytes", "dimensions"]
) -> str:
    ways = list(count_outliers_by_method(rows, of))
    exact = [way.text for way in ways if way.count == expected]
    ours = f"here {_name_method(settings)}"
    if exact:
        second = f" (so does {exact[1]})" if len(exact) > 1 else ""
        return f"{exact[0]} gives {expected:,}{second}; {ours}"
    nearest = sorted(ways, key=lambda way: abs(way.count - expected))[:2]
    tried = ", ".join(f"{way.text} {way.count:,}" for way in nearest)
    return f"none of {len(ways)} ways gives {expected:,}; nearest: {tried}; {ours}"


def _name_method(settings: Outliers, scale: str = "logarithms") -> str:
    names = {"iqr": "IQR x", "mad": "MAD x", "zscore": "z-score > "}
    where = "over all" if settings.by == "all" else "by category"
    return f"{names[settings.method]}{settings.limit:g} {where} on {scale}"


def convert_to_dicts(reconciliations: list[Reconciliation]) -> list[dict[str, Any]]:
    """Return the reconciliations as summary.json holds them."""
    return [asdict(figure) for figure in reconciliations]
