"""Write docs/api.md from the docstrings of what a program may call.

Usage: python docs/api/build.py          (`make docs`; a test says when the page is old)
"""

import re
from pathlib import Path

import griffe
from griffe2md import default_config, render_object_docs

PAGE = Path(__file__).parents[1] / "api.md"
SECTIONS = {
    "From an image to a cut-out": (
        "pipeline.remover.remove_background",
        "pipeline.remover.Remover",
        "pipeline.remove.RemovalResult",
        "config.load.load_settings",
    ),
    "The stages": (
        "images.decode.load_image",
        "detect.build.build_detector",
        "pipeline.remove.remove_background",
        "images.png.encode_png",
        "detect.detections.Detections",
        "pipeline.combine.select_detections",
        "pipeline.combine.combine_detections",
        "pipeline.combine.paste_mask",
        "pipeline.refine.refine_mask",
        "pipeline.refinement.Refinement",
        "pipeline.grabcut.refine_mask_grabcut",
        "pipeline.guided.refine_mask_guided",
        "pipeline.cutout.cut_out",
    ),
    "Their settings": (
        "config.stages.Combine",
        "config.stages.GrabCut",
        "config.stages.GuidedFilter",
        "config.stages.Cutout",
        "config.compose.compose_config",
        "config.check.check_settings",
    ),
    "Scores and checks": (
        "metrics.performance.evaluate_performance",
        "metrics.overlap",
        "metrics.saliency",
        "metrics.checks.check_mask",
        "metrics.aggregation.aggregate",
        "experiment.mask_ap.MaskAveragePrecision",
        "metrics.paired.compute_paired_change",
        "metrics.paired.estimate_images_to_decide",
        "metrics.paired.compute_rank_agreement",
    ),
    "Runs": (
        "datasets.read.read_dataset",
        "datasets.read.Item",
        "experiment.run.run_experiment",
        "experiment.results.ImageResult",
        "experiment.results.RunSummary",
    ),
    "A whole dataset": (
        "quality.analyze.analyze_dataset",
        "quality.analyze.Analysis",
        "batch.command.batch_process_images",
        "batch.command.batch_process_with_quality_handling",
        "batch.command.BatchResult",
        "batch.manifest.read_manifest",
        "batch.journal.Record",
    ),
    "Choosing": (
        "tracking.past_runs.find_runs",
        "tracking.past_runs.StoredRun",
        "compare.command.compare_runs",
        "metrics.win_rate.compute_win_rate",
        "metrics.bradley_terry.compute_bradley_terry",
        "promote.command.promote",
        "promote.gates.compute_gain",
        "tracking.registry.fetch",
        "tracking.bundle.load_bundle",
        "tracking.bundle.Bundle",
        "promote.serving.open_remover",
    ),
    "Errors": ("errors.UserError", "images.decode.ImageError"),
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

Written by `make docs` from the docstrings; [architecture](architecture.md) describes how the parts
fit together. Layouts are written as HxWx3: rows, columns, channels. The functions and classes of
the first section are also `bgexp.remove_background`, `bgexp.Remover`, `bgexp.RemovalResult` and
`bgexp.load_settings`.
"""


def build_page() -> str:
    """Render the page."""
    package = griffe.load("bgexp", docstring_parser="google")
    parts = [HEAD]
    for section, names in SECTIONS.items():
        parts.append(f"## {section}\n")
        parts += [render_object_docs(package[name], CONFIG).strip() + "\n" for name in names]
    return _LINK.sub(r"\1", "\n".join(parts))


if __name__ == "__main__":
    PAGE.write_text(build_page())
