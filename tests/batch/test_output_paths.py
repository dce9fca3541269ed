import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bgexp.batch.output_paths import LONGEST, plan_output_paths


def name_by_top(tops, suffix=".png"):
    """Return each input's output by its path; `tops`: the top folder by path."""
    name_output = plan_output_paths(tops.items(), suffix)
    return {path: name_output(path, top) for path, top in tops.items()}


def name_outputs(*paths, top="regular", suffix=".png"):
    return name_by_top(dict.fromkeys(paths, top), suffix)


def test_the_tree_is_mirrored():
    assert name_outputs("cat/x.jpg", "dog/sub/y.webp", "z.PNG") == {
        "cat/x.jpg": "regular/cat/x.png",
        "dog/sub/y.webp": "regular/dog/sub/y.png",
        "z.PNG": "regular/z.png",
    }
    assert name_outputs("a.b.jpg", suffix=".webp") == {"a.b.jpg": "regular/a.b.webp"}
    assert name_by_top({"a.jpg": "outliers", "b/a.jpg": "regular"}) == {
        "a.jpg": "outliers/a.png",
        "b/a.jpg": "regular/b/a.png",
    }
    assert name_outputs() == {}


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
    outputs = name_outputs(*paths)
    if len(paths) == 3:  # x.jpg.gif has x.jpg.png for itself: that is decided first
        assert outputs["x.jpg.gif"] == "regular/x.jpg.png"
        assert outputs["x.webp"] == "regular/x.webp.png"
        assert outputs["x.jpg"].startswith("regular/x.jpg~")
        return
    assert outputs == {path: f"regular/{path}.png" for path in paths}
    assert sorted(outputs.values()) == sorted(f"regular/{name}" for name in expected)


def test_tops_do_not_meet():
    assert name_by_top({"x.jpg": "regular", "x.webp": "outliers"}) == {
        "x.jpg": "regular/x.png",
        "x.webp": "outliers/x.png",
    }


def test_names_that_differ_in_case_alone_get_a_hash():
    outputs = name_outputs("a/x.jpg", "A/X.JPG")
    assert sorted(path.lower()[: len("regular/a/x.jpg~")] for path in outputs.values()) == [
        "regular/a/x.jpg~",
        "regular/a/x.jpg~",
    ]


def test_a_folder_of_that_name_goes_first():
    outputs = name_outputs("x.jpg", "x.png/y.jpg")
    assert outputs == {"x.jpg": "regular/x.jpg.png", "x.png/y.jpg": "regular/x.png/y.png"}
    outputs = name_outputs("x.jpg", "X.PNG/y.jpg", "x.jpg.png/z.jpg")
    assert outputs["X.PNG/y.jpg"] == "regular/X.PNG/y.png"
    assert outputs["x.jpg"].startswith("regular/x.jpg~")


def test_long_names_are_cut_between_letters():
    long = "\u00e4" * 125 + ".jpg"  # 254 bytes, and with .png in place of .jpg too
    assert name_outputs(long) == {long: "regular/" + "\u00e4" * 125 + ".png"}
    longer = "%FF" * 100 + ".jpg"  # of a hundred bytes in the file's own name
    [output] = name_outputs(longer).values()
    name = output.removeprefix("regular/")
    assert len(name.encode()) == LONGEST
    assert name.startswith("%FF" * 80)
    wide = "\u00e4" * 200
    [output] = name_outputs(f"{wide}/{wide}/x.jpg").values()
    first, second = output.split("/")[1:3]
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


def fold_name(name):
    """Yield the forms in which file systems compare a name."""
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
    tree = {path for path in paths if not any(longer.startswith(f"{path}/") for longer in paths)}
    tops = {path: data.draw(st.sampled_from(["regular", "outliers"])) for path in sorted(tree)}
    outputs = name_by_top(tops)
    assert set(outputs) == tree
    for names in zip(*(fold_name(name) for name in outputs.values()), strict=True):
        assert len(set(names)) == len(names)
    folder_keys = {
        key
        for name in outputs.values()
        for folder in PurePosixPath(name).parents
        for key in fold_name(folder.as_posix())
    }
    for path, name in outputs.items():
        assert not set(fold_name(name)) & folder_keys
        assert name.endswith(".png")
        assert name.startswith(f"{tops[path]}/")
        assert all(0 < len(part.encode()) <= LONGEST for part in name.split("/"))
        assert len(name.split("/")) == len(path.split("/")) + 1
    order = data.draw(st.permutations(sorted(tree)))
    assert name_by_top({path: tops[path] for path in order}) == outputs


@given(PATHS)
def test_files_of_other_folders_change_nothing(paths):
    tree = {path for path in paths if not any(longer.startswith(f"{path}/") for longer in paths)}
    alone = name_outputs(*(f"in/{path}" for path in tree))
    both = name_outputs(*(f"in/{path}" for path in tree), *(f"other/{path}" for path in tree))
    assert {path: both[path] for path in alone} == alone


def test_a_folder_whose_name_is_as_long_as_may_be_keeps_it():
    folder = "x" * LONGEST
    assert name_outputs(f"{folder}/a.jpg") == {f"{folder}/a.jpg": f"regular/{folder}/a.png"}


@pytest.mark.parametrize("name", ["\u00e4" * 200, "x" + "\u00e4" * 200])
def test_no_name_is_cut_within_a_letter(name):
    [output] = name_outputs(f"{name}/a.jpg").values()
    kept, _, _ = output.split("/")[1].partition("~")
    assert len(kept) > 100
    assert name.startswith(kept)
