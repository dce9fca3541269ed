import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bgexp.batch.output_paths import LONGEST, output_paths


def named(*paths, top="regular", suffix=".png"):
    return output_paths(dict.fromkeys(paths, top), suffix)


def test_the_tree_is_mirrored():
    assert named("cat/x.jpg", "dog/sub/y.webp", "z.PNG") == {
        "cat/x.jpg": "regular/cat/x.png",
        "dog/sub/y.webp": "regular/dog/sub/y.png",
        "z.PNG": "regular/z.png",
    }
    assert named("a.b.jpg", suffix=".webp") == {"a.b.jpg": "regular/a.b.webp"}
    assert output_paths({"a.jpg": "outliers", "b/a.jpg": "regular"}, ".png") == {
        "a.jpg": "outliers/a.png",
        "b/a.jpg": "regular/b/a.png",
    }
    assert named() == {}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["x.jpg", "x.webp"], ["x.jpg.png", "x.webp.png"]),
        (["x.jpg", "X.webp"], ["x.jpg.png", "X.webp.png"]),
        (["x.jpg", "x.webp", "x.jpg.gif"], ["x.jpg.gif.png", "x.jpg.png", "x.webp.png"]),
        (["caf\u00e9.jpg", "cafe\u0301.gif"], ["cafe\u0301.gif.png", "caf\u00e9.jpg.png"]),
        (["stra\u00dfe.jpg", "STRASSE.gif"], ["STRASSE.gif.png", "stra\u00dfe.jpg.png"]),
    ],
)
def test_two_that_would_meet_keep_their_suffix(paths, expected):
    found = named(*paths)
    if len(paths) == 3:  # x.jpg.gif has x.jpg.png for itself: that is decided first
        assert found["x.jpg.gif"] == "regular/x.jpg.png"
        assert found["x.webp"] == "regular/x.webp.png"
        assert found["x.jpg"].startswith("regular/x.jpg~")
        return
    assert found == {path: f"regular/{path}.png" for path in paths}
    assert sorted(found.values()) == sorted(f"regular/{name}" for name in expected)


def test_tops_do_not_meet():
    assert output_paths({"x.jpg": "regular", "x.webp": "outliers"}, ".png") == {
        "x.jpg": "regular/x.png",
        "x.webp": "outliers/x.png",
    }


def test_names_that_differ_in_case_alone_get_a_hash():
    found = named("a/x.jpg", "A/X.JPG")
    assert sorted(path.lower()[: len("regular/a/x.jpg~")] for path in found.values()) == [
        "regular/a/x.jpg~",
        "regular/a/x.jpg~",
    ]


def test_a_folder_of_that_name_goes_first():
    found = named("x.jpg", "x.png/y.jpg")
    assert found == {"x.jpg": "regular/x.jpg.png", "x.png/y.jpg": "regular/x.png/y.png"}
    found = named("x.jpg", "X.PNG/y.jpg", "x.jpg.png/z.jpg")
    assert found["X.PNG/y.jpg"] == "regular/X.PNG/y.png"
    assert found["x.jpg"].startswith("regular/x.jpg~")


def test_long_names_are_cut_between_letters():
    long = "\u00e4" * 125 + ".jpg"  # 254 bytes, and with .png in place of .jpg too
    assert named(long) == {long: "regular/" + "\u00e4" * 125 + ".png"}
    longer = "%FF" * 100 + ".jpg"  # of a hundred bytes in the file's own name
    [found] = named(longer).values()
    name = found.removeprefix("regular/")
    assert len(name.encode()) == LONGEST
    assert name.startswith("%FF" * 80)
    wide = "\u00e4" * 200
    [found] = named(f"{wide}/{wide}/x.jpg").values()
    first, second = found.split("/")[1:3]
    assert first != second  # each has the hash of its own path
    assert all(len(part.encode()) <= LONGEST for part in (first, second))
    assert first.startswith("\u00e4" * 100)


WORDS = [
    "a",
    "A",
    "x.jpg",
    "X.JPG",
    "x.png",
    "x",
    "\u00e9",
    "e\u0301",
    "\u00df",
    "ss",
    "\u0130",
    "i",
]
WORDS += [
    "i\u0307",
    "\ufb01",
    "fi",
    "\u212b",
    "\u00e5",
    "\u0345",
    "%FF",
    ".png",
    ".jpg.png",
    " ",
    "~",
]
PART = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map("".join)
PART |= st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=5)
PART |= st.builds(lambda word, n: word * n, st.sampled_from(["\u00e4", "x", "%FF"]), st.just(260))
PART = PART.filter(lambda part: part not in (".", ".."))
PATHS = st.sets(st.lists(PART, min_size=1, max_size=3).map("/".join), max_size=12)


def keys(name):
    """What file systems take a name for."""
    yield name
    for form in ("NFC", "NFD"):
        normal = unicodedata.normalize(form, name)
        yield normal
        yield unicodedata.normalize(form, normal.casefold())
        yield unicodedata.normalize(form, normal.lower())
        yield unicodedata.normalize(form, normal.upper())


@settings(max_examples=40, phases=[Phase.generate])
@given(PATHS, st.data())
def test_no_two_results_meet_on_any_file_system(paths, data):
    # Of a tree: no path is a folder on the way of another.
    tree = {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}
    tops = {path: data.draw(st.sampled_from(["regular", "outliers"])) for path in sorted(tree)}
    found = output_paths(tops, ".png")
    assert set(found) == tree
    for names in zip(*(keys(name) for name in found.values()), strict=True):
        assert len(set(names)) == len(names)
    on_the_way = {
        key
        for name in found.values()
        for folder in PurePosixPath(name).parents
        for key in keys(folder.as_posix())
    }
    for path, name in found.items():
        assert not set(keys(name)) & on_the_way
        assert name.endswith(".png")
        assert name.startswith(f"{tops[path]}/")
        assert all(0 < len(part.encode()) <= LONGEST for part in name.split("/"))
        assert len(name.split("/")) == len(path.split("/")) + 1
    order = data.draw(st.permutations(sorted(tree)))
    assert output_paths({path: tops[path] for path in order}, ".png") == found


@given(PATHS)
def test_files_of_other_folders_change_nothing(paths):
    tree = {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}
    alone = named(*(f"in/{path}" for path in tree))
    both = named(*(f"in/{path}" for path in tree), *(f"other/{path}" for path in tree))
    assert {path: both[path] for path in alone} == alone
