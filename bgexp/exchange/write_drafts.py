"""First drafts as the files of one format."""

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from bgexp.config.export import Format
from bgexp.errors import UserError
from bgexp.exchange.coco_file import build_coco
from bgexp.exchange.cvat_file import build_cvat
from bgexp.exchange.draft import Draft
from bgexp.exchange.label_studio_file import build_interface, build_tasks
from bgexp.images.decode import encode_mask
from bgexp.system.atomic import write_whole

COCO, CVAT, TASKS, INTERFACE = "annotations.json", "annotations.xml", "tasks.json", "interface.xml"
MASKS = "masks"
LONGEST = 255  # bytes of a file's name


def refuse_used(output: Path) -> None:
    """Raise UserError where the output is there and not empty."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(
            f"output: {output} is not empty, and masks that were edited are never written over; "
            "name another folder"
        )


def name_mask(path: str) -> str:
    """Name a mask for `dataset=pairs`: the image's name and .png; if too long, stem and .png."""
    full = PurePosixPath(f"{path}.png")
    fits = len(full.name.encode()) <= LONGEST
    return str(full if fits else PurePosixPath(path).with_suffix(".png"))


def write_drafts(
    drafts: Iterable[Draft], output: Path, kind: Format, polygons: bool, folder: str
) -> Path:
    """Write drafts, and return the file of the annotations, or the folder of PNG masks.

    Args:
        drafts: The images, each in turn.
        output: The folder.
        kind: The format.
        polygons: Whether masks become polygons; PNG masks never do.
        folder: Name of the folder that the images' paths are relative to.

    Raises:
        UserError: PNG masks as polygons.
        OSError: A file cannot be written.
    """
    if kind == "png":
        if polygons:
            raise UserError("polygons: PNG masks have none (allowed with coco, labelstudio, cvat)")
        for draft in drafts:
            write_whole(output / MASKS / name_mask(draft.path), encode_mask(draft.mask))
        return output / MASKS
    if kind == "cvat":
        write_whole(output / CVAT, build_cvat(drafts, polygons))
        return output / CVAT
    if kind == "coco":
        write_whole(output / COCO, json.dumps(build_coco(drafts, polygons)).encode())
        return output / COCO
    write_whole(output / TASKS, json.dumps(build_tasks(drafts, polygons, folder)).encode())
    write_whole(output / INTERFACE, build_interface(polygons).encode())
    return output / TASKS
