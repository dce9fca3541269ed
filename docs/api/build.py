"""Writes docs/api.md from the docstrings of what a program may call.

Usage: python docs/api/build.py          (`make docs`; a test says when the page is old)
"""

import re
from pathlib import Path

import griffe
from griffe2md import default_config, render_object_docs

PAGE = Path(__file__).parents[1] / "api.md"
SECTIONS = {
    "From a picture to a cut-out": (
        "images.load_image",
        "detect.build_detector",
        "pipeline.remove_background",
        "pipeline.Removed",
        "png.encode_png",
    ),
    "The stages": (
        "detections.Detections",
        "combine.select_detections",
        "combine.combine_detections",
        "combine.paste_mask",
        "refine.refine_mask",
        "refine.refined.Refined",
        "refine.grabcut.refine_mask_grabcut",
        "refine.guided.refine_mask_guided",
        "cutout.cut_out",
    ),
    "Their settings": (
        "config.Combine",
        "config.GrabCut",
        "config.GuidedFilter",
        "config.Cutout",
        "compose.compose_config",
        "config.check_settings",
    ),
    "Scores and checks": (
        "metrics.evaluate_performance",
        "metrics.overlap",
        "metrics.saliency",
        "metrics.checks.mask_checks",
        "metrics.aggregation.aggregate",
        "average_precision.MaskAveragePrecision",
        "statistics.paired_change",
        "statistics.images_to_decide",
        "statistics.rank_agreement",
    ),
    "Runs": (
        "dataset.read_dataset",
        "dataset.Item",
        "experiment.run_experiment",
        "results.Row",
        "results.Summary",
    ),
    "A whole dataset": (
        "quality.analysis.analyze_dataset",
        "quality.analysis.Analysis",
        "batch.command.batch_process_images",
        "batch.command.batch_process_with_quality_handling",
        "batch.command.BatchResult",
        "batch.journal.Record",
    ),
    "Choosing": (
        "history.find_runs",
        "history.StoredRun",
        "compare.command.compare_runs",
        "preference.win_rate",
        "bradley_terry.strengths",
        "promote.command.promote",
        "promote.gates.gain",
        "registry.fetch",
        "bundle.load_bundle",
        "bundle.Bundle",
        "serving.open_remover",
    ),
    "Errors": ("errors.UserError", "images.ImageError"),
}
CONFIG = default_config | {
    "docstring_style": "google",
    "docstring_section_style": "list",
    "heading_level": 3,
    "show_root_full_path": True,
    "show_object_full_path": False,
    "separate_signature": True,
    "show_signature_annotations": True,
    "signature_crossrefs": False,
    "annotations_path": "brief",
    "summary": False,
    "filters": ["!^_"],
    "show_if_no_docstring": False,
    "line_length": 100,
}
_LINK = re.compile(r"\[([^\[\]]*)\]\(#[^)]*\)")  # most would lead to what is not on the page
HEAD = """\
# API

Written by `make docs` from the docstrings; [architecture](architecture.md) tells how the parts fit.
Layouts are written as HxWx3: rows, columns, channels.
"""


def page() -> str:
    """The page's text."""
    package = griffe.load("bgexp", docstring_parser="google")
    parts = [HEAD]
    for section, names in SECTIONS.items():
        parts.append(f"## {section}\n")
        parts += [render_object_docs(package[name], CONFIG).strip() + "\n" for name in names]
    return _LINK.sub(r"\1", "\n".join(parts))


if __name__ == "__main__":
    PAGE.write_text(page())
