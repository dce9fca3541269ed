import copy
import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bgexp.config.datasets import Coco
from bgexp.datasets import read as dataset
from bgexp.datasets.coco import read_coco
from bgexp.datasets.load import load_item
from bgexp.datasets.read import read_dataset
from bgexp.errors import UserError
from bgexp.images.decode import ImageError
from bgexp.system.hashing import sha256_bytes

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
        "categories": CATEGORIES,
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
        rows[item.path] = ["".join(".#"[int(pixel)] for pixel in row) for row in truth]
    return rows


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
    assert all(item.sha256 == sha256_bytes(item.file.read_bytes()) for item in data.items)
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
    monkeypatch.setattr(dataset, "sha256_file", lambda path: hashed_names.append(path.name) or "x")
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
    assert load_item(data.items[1], 1)[1].sum() == 6


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


# -- names that lead out ---------------------------------------------------------------------

OUTSIDE = [
    "../secret.png",
    "c/../../secret.png",
    "c/..",
    "/etc/hostname",
    "//host/share/x.png",
    "C:/x.png",
    "c:x.png",
    r"C:\x.png",
    r"..\secret.png",
    r"\\host\share\x.png",
    r"c\b.png",
    "",
    ".",
    "a\0.png",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    content = make_content()
    content["images"][1]["file_name"] = name
    Image.new("RGB", (6, 5)).save(tmp_path / "secret.png")
    expected = f"a file_name that leads out of dataset.images: {name!r}"
    assert (
        read_error(write_annotations(tmp_path, content))
        == f"dataset.annotations: {expected}: ROOT/truth.json"
    )


def test_names_that_lead_out_are_counted(tmp_path):
    content = make_content()
    content["images"] = [make_image(n, name) for n, name in enumerate([*OUTSIDE, "a.png"])]
    content["annotations"] = []
    expected = f"dataset.images: {OUTSIDE[0]!r} (and {len(OUTSIDE) - 1} more): ROOT/truth.json"
    assert read_error(write_annotations(tmp_path, content)).endswith(expected)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("images/a.png", "outside/a.png"),
        ("images/c", "outside"),
        ("images/c", "images-too"),  # its name begins as the root's does
        ("images/a.png", "nowhere"),
    ],
)
def test_links_that_lead_out_are_refused(tmp_path, link, target):
    write_dataset(tmp_path, make_content())
    for name in ("outside", "images-too"):
        shutil.copytree(tmp_path / "images", tmp_path / name)
    path = tmp_path / link
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(tmp_path / target)
    assert "a file_name that leads out of dataset.images: '" in read_error(tmp_path)


def test_links_that_stay_inside_are_followed(tmp_path):
    write_dataset(tmp_path, make_content(), missing=["a.png"])
    (tmp_path / "images" / "a.png").symlink_to("c/b.png")
    (tmp_path / "images" / "c").rename(tmp_path / "images" / "real")
    (tmp_path / "images" / "c").symlink_to("real")
    assert all(item.sha256 for item in read_images(tmp_path).items)
    # The root itself may be a link: it is what the user named.
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    (tmp_path / "images").symlink_to("elsewhere")
    assert all(item.sha256 for item in read_images(tmp_path).items)


# -- files that are no COCO files ------------------------------------------------------------


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
    try:
        images = read_coco(write_annotations(root, content) / "truth.json", root / "images", None)
    except UserError:
        return
    assert len(images) == len(content["images"])
    assert all(len(image.sha256) == 64 for image in images.values())


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
    image = read_coco(write_annotations(tmp_path, content) / "truth.json", tmp_path, None)["a.png"]
    assert len(image.annotations) == 200
    assert sum(len(annotation.segmentation) for annotation in image.annotations) < 200 * 400 * 7
    assert [json.loads(annotation.segmentation)[0] for annotation in image.annotations] == numbers
