"""Settings of `bgexp export`."""

from typing import Literal

from bgexp.config.base import RunSelection, UserPath

Format = Literal["coco", "png", "labelstudio", "cvat"]


class ExportSettings(RunSelection):
    """Settings of `bgexp export`.

    Attributes:
        format: What is written: a COCO file, PNG masks, tasks of Label Studio, CVAT's XML.
        polygons: Whether masks become polygons, which overlap them by an IoU of 0.99 at least; else
            they are bit for bit those of the run.
        output: A folder that is not there yet, or is empty; null: one in the runs folder.
    """

    format: Format
    polygons: bool
    output: UserPath | None
