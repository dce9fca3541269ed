"""Findings beside a report that someone was given: what explains each difference."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import combinations, product
from typing import Any, Literal

import pandas as pd

from bgexp.config.analyze import Outliers, ReportedFigures
from bgexp.quality.outliers import dimensions, find_outliers

# What other reports use, the most usual first.
LIMITS: dict[Literal["iqr", "zscore", "mad"], tuple[float, ...]] = {
    "iqr": (1.5, 3.0, 2.0, 2.5),
    "zscore": (3.0, 2.0, 2.5, 3.5, 4.0),
    "mad": (3.5, 3.0, 2.5),
}
MOST_FIELDS = 12  # of which sums are tried


@dataclass(frozen=True)
class Reconciliation:
    """One figure of the report.

    Attributes:
        name: As in summary.json's findings.
        expected, found: The report's count and ours.
        explanation: What makes them equal, or what was tried.
    """

    name: str
    expected: int
    found: int
    explanation: str


def reconcile(
    rows: pd.DataFrame, found: dict[str, int], expected: ReportedFigures, settings: Outliers
) -> list[Reconciliation]:
    """Each figure that was given, beside ours."""
    explain: dict[str, Callable[[int], str]] = {
        "images": lambda wanted: _images(rows, wanted),
        "categories": lambda wanted: _categories(rows, wanted),
        "missing_values": lambda wanted: _missing(rows, wanted),
        "size_outliers": lambda wanted: _outliers(rows, wanted, settings, "bytes"),
        "dimension_outliers": lambda wanted: _outliers(rows, wanted, settings, "dimensions"),
    }
    told = []
    for name, wanted in expected.model_dump().items():
        if wanted is None:
            continue
        if wanted == found[name]:
            text = f"as found{_as_found(name, rows, settings)}"
        elif name in explain:
            text = explain[name](wanted)
        else:
            text = f"{abs(wanted - found[name]):,} {'fewer' if wanted > found[name] else 'more'}"
            text += " than the report says, by the rules of this analysis"
        told.append(Reconciliation(name, wanted, found[name], text))
    return told


def _as_found(name: str, rows: pd.DataFrame, settings: Outliers) -> str:
    if name.endswith("outliers"):
        return f", by {_method(settings)}"
    if name == "missing_values":
        return f": {_by_field(rows)}" if _by_field(rows) else ""
    return ""


# -- counts of files ---------------------------------------------------------------------------


def _images(rows: pd.DataFrame, wanted: int) -> str:
    images = rows[rows["kind"] == "image"]
    less = {
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
    more = {
        "other files": int((rows["kind"] == "other").sum()),
        "links, hidden and special files": int((rows["kind"] == "closed").sum()),
    }
    return _sums(len(images), wanted, less, more)


def _categories(rows: pd.DataFrame, wanted: int) -> str:
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
        if count == wanted:
            return f"{wanted:,} are the {text}; here every folder with an image counts"
    tried = "; ".join(f"{count:,} {text}" for text, count in ways.items())
    return f"no way of counting gives {wanted:,}: {names.nunique():,} folders with images; {tried}"


def _sums(ours: int, wanted: int, less: dict[str, int], more: dict[str, int]) -> str:
    """Which of some groups, left out or counted too, make the difference."""
    parts = {f"without {n:,} {name}": -n for name, n in less.items() if n}
    parts |= {f"with {n:,} {name}": n for name, n in more.items() if n}
    for size in range(1, len(parts) + 1):
        for chosen in combinations(parts, size):
            if ours + sum(parts[name] for name in chosen) == wanted:
                return f"{wanted:,} are those {' and '.join(chosen)}"
    tried = ", ".join(parts) or "nothing to leave out"
    word = "missing here" if wanted > ours else "more here"
    return f"{abs(wanted - ours):,} {word}; no sum of these explains it: {tried}"


# -- missing values ----------------------------------------------------------------------------


def missing_by_field(rows: pd.DataFrame) -> "pd.Series[int]":
    """How many images lack each field, the most often missing first."""
    images = rows[rows["kind"] == "image"]
    names = images["missing_fields"].str.split(",").explode()
    return names[names != ""].value_counts()


def _by_field(rows: pd.DataFrame) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in missing_by_field(rows).items())


def _missing(rows: pd.DataFrame, wanted: int) -> str:
    images = rows[rows["kind"] == "image"]
    good = images[~images["corrupt"]]
    counts = {str(name): int(count) for name, count in missing_by_field(rows).items()}
    made_up = f"here {_by_field(rows)}" if counts else "here no field was asked for (exif)"
    groups = {"": rows, " of the images that are not corrupt": good}
    if (n := int((images["n_missing"] > 0).sum())) == wanted:
        return f"{n:,} images lack at least one value; {made_up}"
    for text, group in groups.items():
        each = {str(name): int(n) for name, n in missing_by_field(group).items()}
        names = list(each)[:MOST_FIELDS]
        for size in range(len(names), 0, -1):
            for chosen in combinations(names, size):
                if sum(each[name] for name in chosen) == wanted:
                    return f"{wanted:,} are {' + '.join(chosen)}{text}; {made_up}"
    said = _said_nowhere(images, set(counts), wanted - sum(counts.values()))
    return said or f"no sum of fields gives {wanted:,}; {made_up}"


def _said_nowhere(images: pd.DataFrame, asked: set[str], gap: int) -> str:
    """Fields of EXIF that were not asked for, whose missing values fill the gap."""
    lacking = {
        name.removeprefix("exif."): int((images[name] == "").sum())
        for name in images
        if name.startswith("exif.") and name.removeprefix("exif.") not in asked
    }
    for size in range(1, 4):
        for chosen in combinations(lacking, size):
            if gap > 0 and sum(lacking[name] for name in chosen) == gap:
                return f"{gap:,} more are missing in {' + '.join(chosen)}: add to exif"
    return ""


# -- outliers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class OutlierCount:
    """One way of finding outliers, and how many it finds."""

    text: str
    count: int


def outlier_ways(rows: pd.DataFrame, of: Literal["bytes", "dimensions"]) -> Iterator[OutlierCount]:
    """What each usual method, bound and scale finds, over all images and by category."""
    good = rows[rows["decodes"]]
    measures: dict[str, dict[str, pd.Series[float]]] = {"": {"bytes": good["bytes"].astype(float)}}
    if of == "dimensions":
        area = good["width"].astype(float) * good["height"]
        measures = {
            "": dimensions(good),
            " of width or height": {key: good[key].astype(float) for key in ("width", "height")},
            " of the area": {"area": area},
            " of the sides": dict(list(dimensions(good).items())[:2]),
            " of the aspect": {"aspect": good["aspect"]},
        }
    scales = (("logarithms", True), ("plain values", False))
    groups: tuple[Literal["all", "category"], ...] = ("all", "category")
    for (what, columns), by, (scale, log) in product(measures.items(), groups, scales):
        for method, limits in LIMITS.items():
            for limit in limits:
                settings = Outliers(method=method, limit=limit, by=by)
                outside = pd.Series(False, good.index)
                for values in columns.values():
                    outside |= find_outliers(values, good["category"], settings, log)
                yield OutlierCount(f"{_method(settings, scale)}{what}", int(outside.sum()))


def _outliers(
    rows: pd.DataFrame, wanted: int, settings: Outliers, of: Literal["bytes", "dimensions"]
) -> str:
    ways = list(outlier_ways(rows, of))
    exact = [way.text for way in ways if way.count == wanted]
    here = f"here {_method(settings)}"
    if exact:
        also = f" (so does {exact[1]})" if len(exact) > 1 else ""
        return f"{exact[0]} gives {wanted:,}{also}; {here}"
    nearest = sorted(ways, key=lambda way: abs(way.count - wanted))[:2]
    tried = ", ".join(f"{way.text} {way.count:,}" for way in nearest)
    return f"none of {len(ways)} ways gives {wanted:,}; nearest: {tried}; {here}"


def _method(settings: Outliers, scale: str = "logarithms") -> str:
    names = {"iqr": "IQR x", "mad": "MAD x", "zscore": "z-score > "}
    where = "over all" if settings.by == "all" else "by category"
    return f"{names[settings.method]}{settings.limit:g} {where} on {scale}"


def plain(told: list[Reconciliation]) -> list[dict[str, Any]]:
    """As summary.json holds it."""
    return [asdict(one) for one in told]
