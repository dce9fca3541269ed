"""bench.json as a plot and as the tables of docs/benchmark.md.

python -m tests.bench.present FOLDER puts them into the document, between its markers.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.bench.scenes import OBJECTS

ROOT = Path(__file__).parents[2]
OPENING, CLOSING = "<!-- bench -->", "<!-- /bench -->"
OURS, NAIVE, MUTED = "#2a6f97", "#c8553d", "#8d99ae"


def format_comparison(results):
    """Format the comparison with the naive script, Markdown."""
    lines = [
        "| photograph | naive script | bgexp | times as fast | without refinement | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for case in _select_cases(results, refine="grabcut", naive=True):
        lines.append(_format_row((f"{case['megapixels']:g} MP", *_compare_cells(results, case))))
    return "\n".join([*lines, "", _describe_conditions(results)])


def _compare_cells(results, case):
    """Return cells of a case with GrabCut beside the naive script, and without refinement."""
    keys = ("megapixels", "objects", "backend", "precision")
    [plain] = _select_cases(results, refine="none", naive=True, **{key: case[key] for key in keys})
    return (
        f"{case['naive_s']:.1f} s",
        f"{case['ours_s']:.2f} s",
        f"**{case['ratio']['total']:.1f}** ({_format_span(case['ratio'])})",
        f"{plain['ratio']['total']:.1f} ({_format_span(plain['ratio'])})",
        f"{_in_gigabytes(case, 'naive_peak_rss_bytes')} → {_in_gigabytes(case, 'peak_rss_bytes')}",
    )


def format_details(results):
    """Format all that the document on the benchmark shows, Markdown."""
    quality = [
        "| photograph | refine | unrefined | bgexp | naive script | bgexp to naive |",
        "|---" * 6,
    ]
    quality[1] += "|"
    for case in _select_cases(results, naive=True, refine="grabcut"):
        scores = (case["iou_vs_truth"][key] for key in ("unrefined", "ours", "naive"))
        cells = (f"{case['megapixels']:g} MP", "grabcut", *map("{:.3f}".format, scores))
        quality.append(_format_row((*cells, f"{case['iou_vs_naive']:.3f}")))
    return "\n\n".join(
        [
            format_comparison(results),
            *filter(None, [format_batches(results)]),
            "In each arithmetic of this machine, and with other numbers of objects found:",
            "\n".join(_format_other_rows(results)),
            "The dense part alone (backbone, FPN, RPN head) for an image of 1088x800: GFLOP/s of "
            "two processes of one thread each, beside the largest convolution of the network by "
            "torch (which has none in int8):",
            "\n".join(_format_dense_rows(results)),
            "The shipped detector's masks compared with those of torch in fp32, on the sample "
            "images at a megapixel, without refinement:",
            "\n".join(_format_exact_rows(results)),
            "IoU with the exact truth, and of the two results with each other (medians):",
            "\n".join(quality),
            "Where bgexp's time goes, milliseconds per photograph (medians):",
            "\n".join(_format_stage_rows(results)),
        ]
    )


def _format_other_rows(results):
    cases = [case for case in results["cases"] if _is_single(case) and case["refine"] == "grabcut"]
    cases = [case for case in cases if not _is_standard(case)]
    head = ("photograph", "objects", "arithmetic", "naive script", "bgexp", "times as fast")
    yield _format_row((*head, "without refinement", "peak memory"))
    yield f"{'|---' * 8}|"
    for case in cases:
        place = f"{case['megapixels']:g} MP", str(case["objects"]), _name_arithmetic(case)
        yield _format_row((*place, *_compare_cells(results, case)))


def _format_dense_rows(results):
    yield "| arithmetic | seconds | GFLOP/s | convolution | share |"
    yield "|---|---|---|---|---|"
    for result in results["dense"]:
        cells = _name_arithmetic(result), f"{result['seconds']:.2f}", f"{result['gflops']:.0f}"
        convolution = f"{result['convolution_gflops']:.0f}", f"{result['share']:.0%}"
        yield _format_row((*cells, *(convolution if result["precision"] != "int8" else ("", ""))))


def _format_exact_rows(results):
    yield "| arithmetic | milliseconds | the same detections | mask IoU, mean | lowest |"
    yield "|---|---|---|---|---|"
    for case in results["cases"]:
        if case["detector"] == "demo" and case["refine"] == "none":
            exact, milliseconds = case["vs_fp32"], f"{1000 * case['ours_s']:.0f}"
            scores = f"{exact['iou_mean']:.4f}", f"{exact['iou_min']:.4f}"
            yield _format_row(
                (_name_arithmetic(case), milliseconds, f"{exact['same_detections']:.0%}", *scores)
            )


def _name_arithmetic(case):
    return f"{'torch' if case['backend'] == 'torch' else 'OpenVINO'} {case['precision']}"


def format_batches(results):
    """Format whole batches beside the naive script, Markdown; "" where none was measured."""
    cases = [case for case in results["cases"] if "beside_s" in case]
    if not cases:
        return ""
    lines = [
        "| photograph | workers | arithmetic | refine | naive script | `bgexp batch` "
        "| times as fast | start and end in it | peak memory |",
        f"{'|---' * 9}|",
    ]
    for case in cases:
        cells = (
            f"{case['megapixels']:g} MP",
            str(case["workers"]),
            _name_arithmetic(case),
            case["refine"],
            f"{case['naive_s']:.1f} s",
            f"{case['ours_s']:.2f} s",
            f"**{case['ratio']['total']:.1f}** ({_format_span(case['ratio'])})",
            f"{case['beside_s'] / case['photographs']['ours']:.2f} s",
            _in_gigabytes(case, "peak_rss_bytes"),
        )
        lines.append(_format_row(cells))
    return "\n".join([*lines, "", _describe_batch_conditions(results["batch"], cases[0])])


def _describe_batch_conditions(measured, case):
    load_before, load_after = measured["machine"]["load_average"], measured["load_average_after"]
    return (
        f"Whole batches of {case['photographs']['ours']} photographs, including the program's "
        "start and end; mean seconds per photograph, in brackets the slowest and the fastest "
        "batch. The naive script's own start is not counted. "
        f"Load average {load_before:.1f} before and {load_after:.1f} after: above 2, other work "
        "ran beside both and slowed them down."
    )


def draw_plot(results, path):
    """Draw seconds per photograph, ratios, and bgexp's stages, as one PNG."""
    figure = Figure(figsize=(11, 3.6), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    seconds, ratios, stages = figure.subplots(1, 3)
    cases = _select_cases(results, refine="grabcut", naive=True)
    names = [f"{case['megapixels']:g} MP" for case in cases]
    _draw_seconds(seconds, cases, names)
    _draw_ratios(ratios, results, names)
    _draw_stages(stages, cases, names)
    for axes in (seconds, ratios, stages):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def replace_block(text, block):
    """Replace what stands between the markers of a text."""
    pattern = re.compile(f"{OPENING}.*{CLOSING}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no {OPENING} … {CLOSING}")
    return pattern.sub(lambda _: f"{OPENING}\n{block}\n{CLOSING}", text)


def _draw_seconds(axes, cases, names):
    for side, color, shift in (("naive", NAIVE, -0.2), ("ours", OURS, 0.2)):
        places = [n + shift for n in range(len(cases))]
        heights = [case[f"{side}_s"] for case in cases]
        label = "naive script" if side == "naive" else "bgexp"
        bars = axes.bar(places, heights, 0.38, color=color, label=label)
        axes.bar_label(bars, [f"{height:.1f}" for height in heights], fontsize=8)
    axes.set_xticks(range(len(names)), names)
    axes.set_title("seconds per photograph, with GrabCut", fontsize=10)
    axes.set_ylim(0, 1.12 * max(case["naive_s"] for case in cases))
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _draw_ratios(axes, results, names):
    for refine, color, shift in (("grabcut", OURS, -0.08), ("none", MUTED, 0.08)):
        case_ratios = [case["ratio"] for case in _select_cases(results, refine=refine, naive=True)]
        middle = [ratio["total"] for ratio in case_ratios]
        below = [ratio["total"] - ratio["min"] for ratio in case_ratios]
        above = [ratio["max"] - ratio["total"] for ratio in case_ratios]
        label = "with GrabCut" if refine == "grabcut" else "without refinement"
        places = [n + shift for n in range(len(case_ratios))]
        axes.errorbar(places, middle, [below, above], fmt="o", color=color, label=label, capsize=4)
        for place, value in zip(places, middle, strict=True):
            axes.annotate(
                f"{value:.1f}", (place, value), (9, -3), textcoords="offset points", fontsize=8
            )
    axes.set_yscale("log")
    axes.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axes.minorticks_off()
    axes.set_ylim(bottom=1)
    axes.set_xlim(-0.5, len(names) - 0.4)
    axes.set_xticks(range(len(names)), names)
    axes.set_title("times as fast (median, min to max)", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _draw_stages(axes, cases, names):
    left = [0.0] * len(cases)
    for stage in cases[0]["stages_ms"]:
        widths = [case["stages_ms"][stage] / 1000 for case in cases]
        if max(w / case["ours_s"] for w, case in zip(widths, cases, strict=True)) > 0.005:
            axes.barh(names, widths, 0.6, left=left, label=stage)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_title("where bgexp's seconds go, with GrabCut", fontsize=10)
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.1))


def _format_stage_rows(results):
    cases = [case for case in results["cases"] if _is_single(case) and _is_standard(case)]
    stages = list(cases[0]["stages_ms"])
    yield _format_row(("photograph", "detector", "refine", *stages, "whole", "refinement adds"))
    yield "|---" * (len(stages) + 5) + "|"
    for case in cases:
        times = (f"{case['stages_ms'][stage]:.0f}" for stage in stages)
        adds = "" if case["refine"] == "none" else f"{case['refine_adds']:.0%}"
        place = f"{case['megapixels']:g} MP", case["detector"], case["refine"]
        yield _format_row((*place, *times, f"{1000 * case['ours_s']:.0f}", adds))


def _describe_conditions(results):
    machine, versions = results["machine"], results["versions"]
    speed = results["matmul_gflops"]["fp32"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, no GPU used, {speed:.0f} GFLOP/s in fp32 "
        f"products; torch {versions['torch']}, OpenCV {versions['opencv-python']}. "
        "Mask R-CNN R50-FPN in fp32, seven objects found, GrabCut, PNG written; median seconds, "
        "the ratio of the total times, in brackets the lowest and the highest of a pair."
    )


def _select_cases(results, *, refine, naive, **values):
    """Select cases with this refinement that were, or were not, run beside the naive script."""
    values = {"refine": refine, **values}
    return [
        case
        for case in results["cases"]
        if _is_single(case)
        and (_is_standard(case) or "backend" in values)
        and (case["naive_s"] is not None) == naive
        and all(case[key] == value for key, value in values.items())
    ]


def _is_single(case):
    """Return whether a case is one of single pictures, not a batch."""
    return "beside_s" not in case


def _is_standard(case):
    """Return whether a case has the usual objects and the default settings' arithmetic."""
    exact = case["backend"] == "torch" and case["precision"] == "fp32"
    return exact and case["objects"] in (OBJECTS, None)


def _format_span(ratio):
    return f"{ratio['min']:.1f} to {ratio['max']:.1f}"


def _in_gigabytes(case, key):
    return "?" if case[key] is None else f"{case[key] / 1e9:.1f} GB"


def _format_row(cells):
    return f"| {' | '.join(cells)} |"


def main(folder):
    results = json.loads((folder / "bench.json").read_text())
    page = ROOT / "docs" / "benchmark.md"
    page.write_text(replace_block(page.read_text(), format_details(results)))
    shutil.copyfile(folder / "bench.png", ROOT / "docs/images/bench.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
