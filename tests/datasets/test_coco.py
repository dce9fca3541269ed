import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from bgexp.datasets import read as dataset
from bgexp.datasets.coco import read_coco
from bgexp.datasets.load import load_item
from bgexp.images.decode import ImageError
from bgexp.system.hashing import hash_bytes
from tests.datasets.coco_files import (
    CATEGORIES,
    delete_key,
    draw_truths,
    make_annotation,
    make_content,
    make_image,
    read_error,
    read_images,
    set_value,
    write_annotations,
    write_dataset,
)

# -- what is read ----------------------------------------------------------------------------


def test_images_and_their_truth(tmp_path):
    data = read_images(write_dataset(tmp_path, make_content()))
    assert (data.name, data.n_population, data.n_with_truth) == ("coco", 3, 3)
    assert [(item.path, item.category) for item in data.items] == [
        ("a.png", "."),
        ("c/b.png", "c"),
        ("c/empty.png", "c"),
    ]
    assert all(item.file == tmp_path / "images" / item.path for item in data.items)
    assert all(item.sha256 == hash_bytes(item.file.read_bytes()) for item in data.items)
    assert all(item.mask is None for item in data.items)
    assert draw_truths(data) == {
        # The crowd is the last column: it is no background.
        "a.png": ["##...#", "####.#", ".###.#", ".....#", ".....#"],
        "c/b.png": ["......", ".###..", ".###..", "......", "......"],
        "c/empty.png": ["......"] * 5,
    }


@pytest.mark.parametrize("categories", [("dog",), (18,), ("dog", 18)])
def test_categories_that_count(tmp_path, categories):
    data = read_images(write_dataset(tmp_path, make_content()), categories)
    assert data.n_with_truth == 3
    assert draw_truths(data)["a.png"] == ["##....", "##....", "......", "......", "......"]
    assert (
        read_images(tmp_path, ("dog", "person")).digest
        == read_images(tmp_path).digest
        != data.digest
    )


@pytest.mark.parametrize(("categories", "unknown"), [(("cat", "dog", 2), "cat, 2"), ((), "none")])
def test_unknown_categories(tmp_path, categories, unknown):
    expected = f"dataset.categories: unknown (got {unknown}; allowed: person (1), dog (18))"
    assert read_error(write_dataset(tmp_path, make_content()), categories=categories) == expected


def test_names_that_two_categories_share(tmp_path):
    content = make_content()
    content["categories"] = [{"id": 1, "name": "dog"}, {"id": 18, "name": "dog"}]
    assert (
        read_images(write_dataset(tmp_path, content), ("dog",)).digest
        == read_images(tmp_path).digest
    )
    assert read_images(tmp_path, (18,)).digest != read_images(tmp_path).digest


def test_what_other_programs_write_is_taken(tmp_path):
    """Accept numbers as text or floats, true for 1, unknown keys, absent optional ones."""
    content = make_content()
    write_dataset(tmp_path, content)
    content["images"][0] |= {"id": "7", "width": 6.0, "license": None}
    content["annotations"][2] |= {"iscrowd": True, "area": None, "attributes": {"occluded": 0}}
    assert draw_truths(read_images(write_annotations(tmp_path, content)))["a.png"][0] == "##...#"


def test_a_subset(tmp_path):
    data = read_images(write_dataset(tmp_path, make_content()), subset=2)
    assert [item.category for item in data.items] == [".", "c"]
    assert (data.n_population, data.n_with_truth) == (3, 2)


def test_names_are_those_of_the_files(tmp_path):
    content = make_content()
    for image, name in zip(
        content["images"], ["./é\n.png", "c//b.png", "50%/<x>.png"], strict=True
    ):
        image["file_name"] = name
    data = read_images(write_dataset(tmp_path, content))
    assert [item.path for item in data.items] == ["50%/<x>.png", "c/b.png", "é\n.png"]
    assert all(item.sha256 for item in data.items)


# -- images that are not as listed -----------------------------------------------------------


def load_error(item):
    with pytest.raises(ImageError) as caught:
        load_item(item, 1)
    return str(caught.value)


def test_a_missing_image_stays_in_the_dataset(tmp_path):
    data = read_images(write_dataset(tmp_path, make_content(), missing=["c/b.png"]))
    assert [item.sha256 == "" for item in data.items] == [False, True, False]
    assert load_error(data.items[1]) == "unreadable: 'No such file or directory'"
    assert data.n_with_truth == 3


def test_what_is_no_file_is_never_opened(tmp_path, monkeypatch):
    write_dataset(tmp_path, make_content(), missing=["a.png", "c/b.png"])
    os.mkfifo(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "c" / "b.png").mkdir()
    hashed_names = []
    monkeypatch.setattr(dataset, "hash_file", lambda path: hashed_names.append(path.name) or "x")
    data = read_images(tmp_path)
    assert [item.sha256 for item in data.items] == ["", "", "x"]
    assert hashed_names == ["empty.png"]
    assert [load_error(item) for item in data.items[:2]] == ["not a regular file"] * 2


def test_an_image_of_another_size_than_its_annotations(tmp_path):
    data = read_images(write_dataset(tmp_path, make_content()))
    Image.new("RGB", (5, 6)).save(data.items[0].file)
    expected = "its annotations are of 6x5 pixels, the upright image 5x6"
    assert load_error(read_images(tmp_path).items[0]) == expected


def test_a_bad_mask_costs_its_own_image_only(tmp_path):
    content = make_content()
    content["annotations"][1]["segmentation"] = [[0, 0, 2, 0]]
    data = read_images(write_dataset(tmp_path, content))
    expected = "its annotation 2: a polygon that is no list of three or more x, y"
    assert load_error(data.items[0]) == expected
    assert load_item(data.items[1], 1)[1].foreground.sum() == 6


def test_folders_and_files_that_are_not_there(tmp_path):
    write_dataset(tmp_path, make_content())
    (tmp_path / "images").rename(tmp_path / "photos")
    assert read_error(tmp_path) == "dataset.images: no such folder: ROOT/images"
    (tmp_path / "images").write_bytes(b"PK")
    assert read_error(tmp_path).startswith(
        "dataset.images: not a folder (if it is a zip file, unzip it"
    )
    (tmp_path / "images").unlink()
    (tmp_path / "images").mkdir()
    assert read_error(tmp_path) == "dataset.images: no image of ROOT/truth.json is in ROOT/images"
    (tmp_path / "truth.json").unlink()
    expected = "dataset.annotations: unreadable: 'No such file or directory': ROOT/truth.json"
    assert read_error(tmp_path) == expected
    os.mkfifo(tmp_path / "truth.json")
    assert read_error(tmp_path) == "dataset.annotations: not a regular file: ROOT/truth.json"


# -- digest ----------------------------------------------------------------------------------


def renumber(content):
    for image in content["images"]:
        image["id"] += 100
    for annotation in content["annotations"]:
        annotation["image_id"] += 100
        annotation["id"] += 50
        annotation["category_id"] += 1
    content["categories"] = [
        {**category, "id": category["id"] + 1} for category in content["categories"]
    ]


@pytest.mark.parametrize(
    "change",
    [
        renumber,
        set_value({"year": 2027}, "info"),
        set_value([{"id": 9, "name": "unused"}, *CATEGORIES], "categories"),
        set_value([1.0, 1.0], "annotations", 0, "bbox"),
        set_value(0, "annotations", 0, "iscrowd"),  # absent before
        lambda content: content["images"].reverse(),
    ],
)
def test_the_digest_is_not_of_numbers_and_what_has_no_say(tmp_path, change):
    content = make_content()
    digest = read_images(write_dataset(tmp_path / "one", content)).digest
    change(content)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert read_images(write_annotations(tmp_path / "two", content)).digest == digest


@pytest.mark.parametrize(
    "change",
    [
        set_value(4.001, "annotations", 0, "segmentation", 0, 2),
        set_value([24, 6], "annotations", 2, "segmentation", "counts"),
        set_value(0, "annotations", 2, "iscrowd"),
        set_value(4.25, "annotations", 1, "area"),
        set_value(18, "annotations", 0, "category_id"),
        set_value("cat", "categories", 1, "name"),
        set_value(3, "annotations", 0, "image_id"),
        set_value(9, "images", 2, "width"),
        delete_key("annotations", 3),
        delete_key("images", 2),
    ],
)
def test_the_digest_is_of_all_that_truth_and_scores_depend_on(tmp_path, change):
    content = make_content()
    before = read_images(write_dataset(tmp_path, content))
    change(content)
    after = read_images(write_annotations(tmp_path, content))
    assert after.digest != before.digest
    assert {item.sha256 for item in after.items} <= {item.sha256 for item in before.items}


def test_many_annotations_are_read_in_bounded_memory(tmp_path):
    """Expect text in memory: Python's numbers would take 32 bytes each."""
    numbers = np.random.default_rng(0).uniform(0, 99, (200, 400)).round(2).tolist()
    content = make_content() | {
        "annotations": [
            make_annotation(number, 7, 1, [polygon]) for number, polygon in enumerate(numbers)
        ]
    }
    image = read_coco(write_annotations(tmp_path, content) / "truth.json", tmp_path, None)[0][
        "a.png"
    ]
    assert len(image.annotations) == 200
    assert sum(len(annotation.segmentation) for annotation in image.annotations) < 200 * 400 * 7
    assert [json.loads(annotation.segmentation)[0] for annotation in image.annotations] == numbers


def test_what_cvat_exports(tmp_path):
    """COCO 1.0 after docs.cvat.ai: masks are runs without text, and marked as crowds."""
    image = {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
    runs = {"counts": [5, 2, 3, 2, 18], "size": [5, 6]}
    extent = {"area": 4.0, "bbox": [1.0, 0.0, 2.0, 2.0]}
    attributes = {"attributes": {"occluded": False, "rotation": 0.0}}
    content = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "version": ""},
        "categories": [{"id": 1, "name": "cat", "supercategory": ""}],
        "images": [
            make_image(1, "pets/a.png") | image,
            make_image(2, "pets/b.png") | image,
            make_image(3, "none.png") | image,
        ],
        "annotations": [
            make_annotation(1, 1, 1, runs, iscrowd=1) | extent | attributes,
            make_annotation(2, 2, 1, [[1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]], iscrowd=0)
            | extent
            | attributes,
        ],
    }
    truths = draw_truths(read_images(write_dataset(tmp_path, content)))
    assert truths["pets/a.png"] == [".##...", ".##...", "......", "......", "......"]
    assert truths["pets/b.png"] == ["......", ".###..", ".###..", "......", "......"]
    assert set("".join(truths["none.png"])) == {"."}


def test_what_label_studio_exports(tmp_path):
    """All ids from 0, images in their folder by names of Windows, `ignore` in place of nothing."""
    content = {
        "images": [make_image(0, "images\\1f2e3d4c-a.png"), make_image(1, "images/5b6a-b.png")],
        "categories": [{"id": 0, "name": "foreground"}],
        "annotations": [
            {
                "id": 0,
                "image_id": 0,
                "category_id": 0,
                "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]],
                "bbox": [1, 1, 3, 2],
                "ignore": 0,
                "iscrowd": 0,
                "area": 6,
            }
        ],
        "info": {"year": 2026, "version": "1.0", "contributor": "Label Studio", "url": ""},
    }
    for image in content["images"]:
        path = tmp_path / "images" / image["file_name"].replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5)).save(path)
    truths = draw_truths(read_images(write_annotations(tmp_path, content)))
    assert truths["images/1f2e3d4c-a.png"][1] == ".###.."
    assert set("".join(truths["images/5b6a-b.png"])) == {"."}
