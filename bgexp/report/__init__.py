"""Pages to read in a browser: `report.html` of a run and of a sweep."""

from bgexp.report.gallery import Choice, Picture, choose_gallery, draw_cutout, draw_picture
from bgexp.report.run import render_run
from bgexp.report.sweep import choose_disagreeing, choose_variants, render_sweep

__all__ = [
    "Choice",
    "Picture",
    "choose_disagreeing",
    "choose_gallery",
    "choose_variants",
    "draw_cutout",
    "draw_picture",
    "render_run",
    "render_sweep",
]
