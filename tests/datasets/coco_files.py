"""COCO files by hand."""

import json
from copy import deepcopy

import pytest
from PIL import Image

from bgexp.config.datasets import Coco
from bgexp.datasets.load import load_item
from bgexp.datasets.read import read_dataset
from bgexp.errors import UserError

SQUARE = [[1, 1, 4, 1, 4, 3, 1, 3]]
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]


def make_image(number, name, width=6, height=5):
    return {"id": number, "file_name": name, "width": width, "height": height}


def make_annotation(number, image, category=1, segmentation=SQUARE, **changes):
    values = {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
    }
    return values | changes


def make_content():
    """Make three images: two objects and a crowd, one object, none."""
    return {
        "info": {"year": 2026},
        "images": [make_image(7, "a.png"), make_image(3, "c/b.png"), make_image(5, "c/empty.png")],
        "annotations": [
            make_annotation(1, 7),
            make_annotation(2, 7, 18, [[0, 0, 2, 0, 2, 2, 0, 2]], area=4.5, iscrowd=0),
            make_annotation(3, 7, 1, {"size": [5, 6], "counts": [25, 5]}, iscrowd=1),
            make_annotation(4, 3, 18),
        ],
        "categories": deepcopy(CATEGORIES),
    }


def write_dataset(root, content, missing=()):
    """Write the annotation file and the images that it names."""
    for image in content["images"]:
        path = root / "images" / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if image["file_name"] not in missing:
            Image.new("RGB", (image["width"], image["height"]), "teal").save(path)
    return write_annotations(root, content)


def write_annotations(root, content):
    (root / "images").mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (root / "truth.json").write_bytes(text)
    return root


def read_images(root, categories=None, subset=None):
    settings = Coco(
        name="coco",
        images=root / "images",
        annotations=root / "truth.json",
        categories=categories,
        subset=subset,
    )
    return read_dataset(settings, 0)


def read_error(root, **settings):
    """Return the one line of the UserError that reading raises."""
    with pytest.raises(UserError) as caught:
        read_images(root, **settings)
    text = str(caught.value)
    assert text.isprintable()
    return text.replace(str(root), "ROOT")


def draw_truths(data):
    """Draw the truth of each image as rows of # and ."""
    rows = {}
    for item in data.items:
        _, truth = load_item(item, 1)
        rows[item.path] = ["".join(".#"[int(pixel)] for pixel in row) for row in truth.foreground]
    return rows


def delete_key(*path):
    def change(content):
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


def set_value(value, *path):
    def change(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change
