import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.datasets.coco import read_coco
from bgexp.datasets.load import load_item
from bgexp.errors import UserError
from bgexp.images.decode import ImageError
from tests.datasets.coco_files import (
    delete_key,
    make_annotation,
    make_content,
    read_error,
    read_images,
    set_value,
    write_annotations,
    write_dataset,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        (b"\xff\xd8\xff", "Invalid JSON: expected value at line 1 column 1"),
        (b'{"images": [', "Invalid JSON: EOF while parsing a list at line 1 column 12"),
        (b"[" * 9999, "Invalid JSON: recursion limit exceeded at line 1 column 202"),
        (b"[]", "not a COCO file: : Input should be an object"),
        (b"{}", "not a COCO file: images: Field required (and 2 more)"),
    ],
)
def test_what_is_no_json_or_no_object(tmp_path, text, expected):
    assert (
        read_error(write_annotations(tmp_path, text))
        == f"dataset.annotations: {expected}: ROOT/truth.json"
    )


REQUIRED = "not a COCO file: {}: Field required"
INTEGER = "unable to parse string as an integer"
WRONG = [
    (delete_key("annotations"), REQUIRED.format("annotations")),
    (delete_key("categories"), REQUIRED.format("categories")),
    (delete_key("images", 1, "file_name"), REQUIRED.format("images.1.file_name")),
    (delete_key("images", 1, "height"), REQUIRED.format("images.1.height")),
    (delete_key("annotations", 2, "image_id"), REQUIRED.format("annotations.2.image_id")),
    (delete_key("annotations", 2, "id"), REQUIRED.format("annotations.2.id")),
    (
        set_value({}, "annotations"),
        "not a COCO file: annotations: Input should be a valid array",
    ),
    (
        set_value("x", "images", 0, "id"),
        f"not a COCO file: images.0.id: Input should be a valid integer, {INTEGER}",
    ),
    (
        set_value(0, "images", 0, "width"),
        "not a COCO file: images.0.width: Input should be greater than 0",
    ),
    (set_value([], "images"), "no images"),
    (set_value("c//b.png", "images", 0, "file_name"), "two images of one file_name: 'c/b.png'"),
    (set_value(3, "images", 0, "id"), "two images of one id: 3"),
    (set_value(1, "categories", 1, "id"), "two categories of one id: 1"),
    (set_value(1, "annotations", 3, "id"), "two annotations of one id: 1"),
    (set_value(4, "annotations", 3, "image_id"), "an annotation's image_id that no image has: 4"),
    (
        set_value(5, "annotations", 3, "category_id"),
        "an annotation's category_id that no category has: 5",
    ),
]


@pytest.mark.parametrize(("change", "expected"), WRONG, ids=[expected for _, expected in WRONG])
def test_what_contradicts_the_format_or_itself(tmp_path, change, expected):
    content = copy.deepcopy(make_content())
    change(content)
    assert (
        read_error(write_annotations(tmp_path, content))
        == f"dataset.annotations: {expected}: ROOT/truth.json"
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_marks_of_byte_order(tmp_path, encoding):
    text = json.dumps(make_content()).encode(encoding)
    root = write_annotations(tmp_path, text)
    images = read_coco(root / "truth.json", root / "images", None)[0]
    assert sorted(images) == ["a.png", "c/b.png", "c/empty.png"]


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (("images", 1, "height"), "its annotations name no height or width"),
        (("images", 1, "width"), "its annotations name no height or width"),
        (("annotations", 3, "id"), "an annotation has no id"),
        (("annotations", 3, "category_id"), "its annotation 4 has no category_id"),
        (("annotations", 3, "segmentation"), "its annotation 4: no mask"),
        (("annotations", 3, "area"), None),
        (("annotations", 3, "iscrowd"), None),
        (("annotations", 3, "bbox"), None),
        (("annotations", 4), None),  # it is of no image
    ],
)
@pytest.mark.parametrize("categories", [None, ("person", "dog")])
def test_null_costs_its_own_image(tmp_path, keys, reason, categories):
    content = make_content()
    content["annotations"] += [make_annotation(9, 7)]
    write_dataset(tmp_path, content)
    set_value(None, *keys)(content)
    items = {item.path: item for item in read_images(write_annotations(tmp_path, content),
                                                     categories).items}  # fmt: skip
    load_item(items["a.png"], 1)
    if reason is None:
        load_item(items["c/b.png"], 1)
        return
    with pytest.raises(ImageError, match=f"^{reason}$"):
        load_item(items["c/b.png"], 1)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (("annotations", 3), "an annotation of null, or without an image_id"),
        (("annotations", 3, "image_id"), "an annotation of null, or without an image_id"),
        (("images", 2), "an image of null, or without id or file_name"),
        (("images", 2, "id"), "an image of null, or without id or file_name"),
        (("images", 2, "file_name"), "an image of null, or without id or file_name"),
    ],
)
def test_an_entry_that_names_no_image_is_passed_over(tmp_path, keys, reason):
    content = make_content()
    write_dataset(tmp_path, content)
    set_value(None, *keys)(content)
    dataset = read_images(write_annotations(tmp_path, content), None)
    assert dataset.passed_over == ((reason, 1),)
    assert len(dataset.items) == 3 - (keys[0] == "images")
    assert all(load_item(item, 1) for item in dataset.items)


def test_names_in_a_message_are_one_line(tmp_path):
    content = make_content()
    content["categories"] = [{"id": 1, "name": "a\n\x1b[31m"}, {"id": 18, "name": "dog"}]
    expected = r"dataset.categories: unknown (got x; allowed: a\n\x1b[31m (1), dog (18))"
    assert read_error(write_annotations(tmp_path, content), categories=("x",)) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def list_paths(value, path=()):
    """Yield the paths to all values in nested lists and dicts."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from list_paths(inner, (*path, key))


@given(st.sampled_from(list(list_paths(make_content()))), JSON)
def test_whatever_stands_in_the_file_there_is_an_answer(tmp_path_factory, path, value):
    content = copy.deepcopy(make_content())
    set_value(value, *path)(content)
    root = tmp_path_factory.getbasetemp() / "anything"
    file = write_annotations(root, content) / "truth.json"
    try:
        images, passed_over = read_coco(file, root / "images", None)
    except UserError:
        return
    n_passed_over = passed_over["an image of null, or without id or file_name"]
    assert len(images) + n_passed_over == len(content["images"])
    assert all(len(image.sha256) == 64 for image in images.values())
