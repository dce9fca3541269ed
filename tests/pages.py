"""Pages of made-up runs, and what a browser would find on a page."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bgexp.experiment.aggregate import (
    average_threshold_scores,
    check_ranks,
    compare_refinement,
    count_statuses,
    summarize,
    summarize_categories,
    summarize_timings,
)
from bgexp.experiment.gallery import choose_gallery, draw_picture
from bgexp.experiment.results import ImageResult
from bgexp.metrics.checks import CHECKS
from bgexp.metrics.performance import METRICS
from bgexp.metrics.thresholds import CURVES, THRESHOLDS

VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """A page taken apart; refuses one whose tags do not match."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.inside: dict[str, str] = {}  # of script and style
        self.waiting: list[Any] = []  # rows for the script, a list a table
        self._open: list[str] = []
        self.feed(data.decode())
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"] and self.tags[-1][1].get("type") == "application/json":
            self.waiting.append(json.loads(data))
        elif self._open[-1:] in (["script"], ["style"]):
            self.inside[self._open[-1]] = data
        else:
            self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """The attributes of all elements of a kind."""
        matching = [attributes for name, attributes in self.tags if name == tag]
        return [
            attributes_of_tag
            for attributes_of_tag in matching
            if all(attributes_of_tag.get(key) == wanted[key] for key in wanted)
        ]

    @property
    def skeleton(self) -> list[tuple[str, tuple[str, ...]]]:
        """The kinds of all elements and the names of their attributes."""
        return [(tag, tuple(attributes)) for tag, attributes in self.tags]

    @property
    def places(self) -> list[str]:
        """All ids, in order."""
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]


def make_rows(
    n: int, truth: bool = True, names: Callable[[int], str] | None = None
) -> list[ImageResult]:
    """Rows of a run with refinement: IoU rises from image to image, every seventh failed."""
    rows = []
    for number in range(n):
        path = names(number) if names else f"c{number % 3}/{number:04}.jpg"
        share = (number + 1) / (n + 1)
        if number % 7 == 6:
            rows.append(ImageResult(path, f"c{number % 3}", "", "failed", "empty: no bytes"))
            continue
        metrics = dict.fromkeys(METRICS, share) if truth else {}
        checks = dict.fromkeys(CHECKS, share) | {"nothing_found": float(number == 0)}
        unrefined = {"iou": share**2, "boundary_iou": share**2} if truth else {}
        scores = {key: [share * (1 - (t - 0.4) ** 2) for t in THRESHOLDS] for key in CURVES}
        status = (
            ("refused", "it would change 80% of the mask") if number % 5 == 4 else ("applied", "")
        )
        times = {
            "load": 3.0,
            "detect": 100.0 + number,
            "combine": 1.0,
            "refine": 50.0,
            "cutout": 1.0,
        }
        fields = dict(zip(("refined", "fallback"), status, strict=True))
        rows.append(
            ImageResult(path, f"c{number % 3}", "", "ok", "", 40, 30, metrics, checks, unrefined,
                threshold_scores=scores if truth else {}, **fields, timings_ms=times)
        )  # fmt: skip
    return rows


def make_summary(rows: list[ImageResult], **changed: Any) -> dict[str, Any]:
    """The summary of such rows."""
    summary = {
        "command": "run",
        "status": "finished",
        "run_id": "0123",
        "reused_from": None,
        "bgexp": {"version": "0.1.0", "git_commit": "abcdef0123456789", "git_dirty": False},
        "device": {"requested": "auto", "used": "cpu", "name": "a CPU"},
        "dataset": {
            "name": "pairs",
            "n_images": len(rows),
            "n_with_truth": sum(bool(row.metrics) for row in rows),
            "n_population": len(rows),
        },
        "counts": count_statuses(rows, len(rows)),
        "metrics": summarize(rows, "metrics"),
        "checks": summarize(rows, "checks"),
        "categories": summarize_categories(rows),
        "refinement": compare_refinement(rows),
        "check_ranks": check_ranks(rows),
        "threshold_curve": average_threshold_scores(rows),
        "mask_ap": {},
        "detections": {"computed": len(rows), "cached": 0},
        "timings": summarize_timings(rows),
        "images_per_s": 2.5,
        "error": "",
    }
    return summary | changed


def make_pictures(table: pd.DataFrame, count: int, truth: bool = True) -> list[Any]:
    """The pictures of a run's gallery."""
    image, mask = np.full((30, 40, 3), 90, np.uint8), np.zeros((30, 40), bool)
    mask[5:20, 10:30] = True
    return [
        draw_picture(choice, image, mask, mask.T.reshape(30, 40) if truth else None)
        for choice in choose_gallery(table, count)
    ]


@pytest.fixture(scope="session")
def run_parts() -> Callable[..., tuple[dict[str, Any], pd.DataFrame, list[Any]]]:
    """Summary, rows and pictures of a run of so many images."""

    def make(
        n: int,
        truth: bool = True,
        count: int = 6,
        names: Callable[[int], str] | None = None,
        **changed: Any,
    ) -> tuple[dict[str, Any], pd.DataFrame, list[Any]]:
        rows = make_rows(n, truth, names)
        table = pd.DataFrame(
            [row.to_columns() for row in rows],
            columns=list(ImageResult("", "", "", "ok").to_columns()),
        )
        return make_summary(rows, **changed), table, make_pictures(table, count, truth)

    return make


@pytest.fixture(scope="session")
def parse() -> type[Page]:
    """Takes a page apart."""
    return Page


def leads_outside(link: str) -> bool:
    """Whether a link leads away from the files, other than to the run in the tracking UI."""
    if re.fullmatch(r"http://127\.0\.0\.1:5000/#/runs/[\w%/.~-]+", link):
        return False
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//", link) is not None
