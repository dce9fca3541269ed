from dataclasses import asdict

import pytest

from bgexp.experiment.findings import find_run_findings
from bgexp.metrics.paired import compute_paired_change


@pytest.fixture
def find(row, table, settings):
    """The findings on images of which IoU before and after refinement are given."""

    def find_in_pairs(pairs, **fields):
        before, after = zip(*pairs, strict=True)
        rows = [
            row(n, iou, unrefined={"iou": was, "boundary_iou": was}, refined="applied", **fields)
            for n, (was, iou) in enumerate(pairs)
        ]
        did = {"iou": asdict(compute_paired_change(before, after)), "added_ms": 250.0}
        return find_run_findings(table(rows), {"refinement": did}, settings)

    return find_in_pairs


def test_what_helps_is_no_finding(find):
    assert find([(0.7, 0.8)] * 8) == []


def test_what_hurts_everywhere(find):
    findings, each = find([(0.9, 0.8)] * 8)
    assert findings.severity == "problem"
    assert "0.900 before and 0.800 after" in findings.evidence
    assert "worse on 8. It adds 250 ms an image" in findings.evidence
    assert (findings.setting, findings.weight) == ("refine=none", pytest.approx(0.1))
    assert each.title == "Refinement costs 8 images more than 0.05 of IoU"


def test_what_is_undecided(find):
    [finding] = find([(0.7, 0.72), (0.7, 0.68)] * 4)
    assert (finding.severity, finding.setting) == ("note", "refine=none")
    assert "better on 4, worse on 4" in finding.evidence
    assert find([(0.7, 0.72), (0.7, 0.68)] * 2) == []  # four images decide nothing


def test_whom_it_hurts(find):
    [finding] = find([(0.7, 0.8)] * 30 + [(0.9, 0.8), (0.9, 0.6)])
    assert finding.title == "Refinement costs 2 images more than 0.05 of IoU"
    assert finding.severity == "warning"  # more than one in twenty
    assert finding.paths == ("31.jpg", "30.jpg")
    assert "lose 0.200 on average and 0.300 at most" in finding.evidence
    assert "+0.081" in finding.evidence  # (30 * 0.1 - 0.4) / 32
    assert finding.setting == "refine.max_change=0.25"
    assert finding.weight == pytest.approx(0.4 / 32)
    assert find([(0.7, 0.8)] * 30 + [(0.9, 0.8)])[0].severity == "note"


def test_whom_it_was_refused_for(row, table, settings):
    reason = "it would change 80% of the mask"
    rows = [row(n, 0.8, refined="applied") for n in range(6)]
    rows += [row(6 + n, 0.8, refined="refused", fallback=reason) for n in range(2)]
    [finding] = find_run_findings(table(rows), {}, settings)
    assert finding.title == "Refinement was refused on 2 images"
    assert f"25% keep the detector's mask. Most often (2 times): {reason}." in finding.evidence
    assert finding.setting == "refine.max_change=1"
    assert (
        find_run_findings(table(rows[:7] + [row(n, 0.8) for n in range(7, 12)]), {}, settings) == []
    )


@pytest.mark.parametrize(("name", "setting"), [("unet", "grabcut"), ("guided", "none")])
def test_what_to_try_where_there_is_no_limit(row, table, settings, name, setting):
    pairs = [(0.7, 0.8)] * 30 + [(0.9, 0.6)]
    rows = [
        row(n, iou, unrefined={"iou": was, "boundary_iou": was}, refined="applied")
        for n, (was, iou) in enumerate(pairs)
    ]
    [finding] = find_run_findings(table(rows), {}, settings | {"refine": {"name": name}})
    assert finding.setting == f"refine={setting}"
