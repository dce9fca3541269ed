"""What `bgexp export` prints: what was written, and how a tool gets it."""

from bgexp.config.command_line import write_command, write_override
from bgexp.config.export import ExportSettings
from bgexp.exchange.command import Export
from bgexp.exchange.write_drafts import INTERFACE
from bgexp.report.wording import format_count
from bgexp.system.terminal import make_printable

_STEPS = {
    "coco": ["the names are relative to the folder of images"],
    "png": [],
    "cvat": ["a task with the images under these names; then Upload annotations, CVAT 1.1"],
    "labelstudio": [
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true "
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={parent}",
        f"a project with {INTERFACE}, local storage of the images, and Import of the tasks",
    ],
}


def show_export(export: Export, settings: ExportSettings) -> None:
    """Print the file, where its images are, and the next steps."""
    without = f", {export.n_without:,} without a mask left out" if export.n_without else ""
    print(f"{format_count(export.n_images, 'image')} of {make_printable(export.run.name)}{without}")
    print(f"Written: {make_printable(export.file)}")
    print(f"Images:  {make_printable(export.images)}")
    for step in _STEPS[settings.format]:
        parent = make_printable(str(export.images).rpartition("/")[0])
        print(f"Needs:   {step.format(parent=parent)}")
    if settings.format in ("coco", "png"):
        key = {"coco": "dataset.annotations", "png": "dataset.masks"}[settings.format]
        places = {"dataset.images": export.images, key: export.file}
        words = [write_override("run", name, place) for name, place in places.items()]
        name = {"coco": "coco", "png": "pairs"}[settings.format]
        print(f"Read it: {write_command('run', [f'dataset={name}', *words], settings)}")
