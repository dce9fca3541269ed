"""The head of a page: what the run is, how it ended, and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from bgexp.report.labels import describe_section
from bgexp.report.render import format_number
from bgexp.report.wording import format_count
from bgexp.system.listing import describe_passed_over

_SECTIONS = (
    ("detector", "Detector", "name"),
    ("combine", "Instances", "instances"),
    ("refine", "Refinement", "name"),
)
LOCAL_UI = "http://127.0.0.1:5000"  # where `bgexp ui` serves the local store by default
_TONES = {"finished": "good", "failed": "problem", "interrupted": "warning"}


@dataclass(frozen=True)
class Banner:
    """A message above everything else on the page."""

    severity: Literal["problem", "warning", "note"]
    title: str
    evidence: str


@dataclass(frozen=True)
class Fact:
    """A name and its value, with a second line in small print; tone: a class of page.css."""

    name: str
    text: str
    detail: str = ""
    tone: str = ""


def build_banners(summary: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Banner]:
    """Return warnings that a run failed, was interrupted, or has the results of another one."""
    counts, error = summary.get("counts") or {}, summary.get("error") or ""
    banners = []
    if summary.get("status") == "failed":
        evidence = error
        if not error:
            evidence = f"{counts.get('failed', 0):,} of {counts.get('total', 0):,} images failed, "
            evidence += f"more than max_failed={settings.get('max_failed', 0):g} allows."
        banners.append(Banner("problem", "This run failed.", evidence))
    if summary.get("status") == "interrupted":
        done = counts.get("total", 0) - counts.get("skipped", 0)
        evidence = (
            f"{done:,} of {counts.get('total', 0):,} images were worked through; all numbers are "
        )
        banners.append(
            Banner("warning", "This run was interrupted.", f"{evidence}of these. {error}")
        )
    if summary.get("reused_from"):
        evidence = f"Run {summary['reused_from']} had the same settings, data, weights and code."
        banners.append(Banner("note", "The results are those of an earlier run.", evidence))
    return banners


def build_facts(
    summary: Mapping[str, Any], settings: Mapping[str, Any], when: datetime | None
) -> list[Fact]:
    """Return a run's facts, in a few words each; what is not known is left out."""
    status = str(summary.get("status", "unknown"))
    facts = [Fact("Status", status, tone=_TONES.get(status, "")), *describe_start(when)]
    facts += describe_data_and_device(summary)
    for key, name, main in _SECTIONS:
        if section := settings.get(key):
            facts.append(Fact(name, str(section.get(main, "")), describe_section(section, main)))
    if summary.get("images_per_s"):
        speed = f"{format_number(summary['images_per_s'], 2)} images/s"
        facts.append(Fact("Speed", speed, _describe_cached(summary)))
    return facts


def describe_metadata(summary: Mapping[str, Any]) -> list[Fact]:
    """Return which file of metadata was read, and as what."""
    metadata = (summary.get("dataset") or {}).get("metadata")
    if not metadata:
        return []
    return [Fact("Metadata", Path(metadata["file"]).name, f"read as {metadata['read_as']}")]


def describe_start(when: datetime | None) -> list[Fact]:
    """Return when a run began, where that is known."""
    return [] if when is None else [Fact("Started", f"{when:%Y-%m-%d %H:%M}", when.tzname() or "")]


def describe_data_and_device(summary: Mapping[str, Any]) -> list[Fact]:
    """Return the dataset and the device, where the summary has them."""
    facts = []
    if data := summary.get("dataset"):
        total = "" if data["n_images"] == data["n_population"] else f" of {data['n_population']:,}"
        truth = f"{data['n_with_truth']:,} with truth" if data["n_with_truth"] else "no truth"
        facts.append(Fact("Dataset", data["name"], f"{data['n_images']:,}{total} images, {truth}"))
        if passed_over := data.get("passed_over"):
            reasons = describe_passed_over(passed_over, "dataset.follow_links")
            facts.append(Fact("Passed over", f"{sum(passed_over.values()):,}", reasons))
        masks = data.get("masks")
        if masks and not masks["is_usual"]:
            facts.append(Fact("Masks", masks["meaning"], masks["description"]))
    if device := summary.get("device"):
        workers = summary.get("workers") or 1
        shared = f", {workers} workers" if workers > 1 else ""
        facts.append(Fact("Device", device["name"], device["used"] + shared))
    return facts


def _describe_cached(summary: Mapping[str, Any]) -> str:
    cached = (summary.get("detections") or {}).get("cached", 0)
    return f"detections of {format_count(cached, 'image')} from the cache" if cached else ""


def format_run_address(run_id: str | None, settings: Mapping[str, Any]) -> str:
    """Return the address of a run's page in the tracking UI; "" where there is none.

    That of the local store is the one of `bgexp ui` with its default port.

    Args:
        run_id: The run.
        settings: The command's settings as nested dicts.
    """
    base = (settings.get("tracking", {}).get("uri") or LOCAL_UI).rstrip("/")
    return f"{base}/#/runs/{quote(run_id)}" if run_id and base.startswith("http") else ""


def format_footer(summary: Mapping[str, Any]) -> str:
    """Return which code made the page, and the run's identity."""
    state = summary.get("bgexp") or {}
    version = state.get("version", "")
    commit = f", commit {state['git_commit'][:12]}" if state.get("git_commit") else ""
    changed = " with changes" if state.get("git_dirty") else ""
    run = f" Run {summary['run_id']}." if summary.get("run_id") else ""
    return f"Written by bgexp{f' {version}' if version else ''}{commit}{changed}.{run}"
