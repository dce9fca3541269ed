import pytest

from bgexp.config.analyze import QualityChecks
from bgexp.images.metadata import Metadata
from bgexp.quality.findings import quality_findings
from bgexp.quality.header import Header
from bgexp.quality.inspection import Inspection
from bgexp.quality.near_duplicates import Likeness
from bgexp.quality.table import quality_table

LOOKS = {"brightness": 120.0, "contrast": 50.0, "entropy": 7.0, "sharpness": 300.0}


def image(path, size=1000, sides=(400, 300), sha256="", structure=None, agrees=True, **looks):
    said = Metadata("JPEG", *sides, "RGB", 8, 1, 1, "")
    header = Header("image", "", False, said, *sides, agrees)
    told = {"sha256": sha256 or path, "width": sides[0], "height": sides[1], "looks": LOOKS | looks}
    if structure is not None:
        told["likeness"] = Likeness(structure, 0, (9, 9, 9), plain=False)
    return Inspection(path, path.rpartition("/")[0] or ".", size, header, True, **told)


def bad(path, reason, kind="image"):
    header = Header(kind, reason, corrupt=reason.startswith("corrupt"))
    return Inspection(path, ".", 9, header, False, reason, header.corrupt, path)


def find(*files, reconciliation=()):
    files = [*(image(f"a/{n}.jpg") for n in range(10)), *files]
    rows = quality_table(files, QualityChecks(), None)
    return quality_findings(rows, {"reconciliation": list(reconciliation)})


def test_a_good_dataset_says_nothing():
    assert find() == []
    assert find(bad("x.txt", "not an image", "other"), bad("y", "a link", "closed")) == []
    nothing = quality_table([bad("x.txt", "not an image", "other")], QualityChecks(), None)
    assert quality_findings(nothing, {"reconciliation": []}) == []


def test_damaged_images():
    files = [bad("b.jpg", "corrupt: empty: no bytes"), bad("c.jpg", "corrupt: truncated: a")]
    [found] = find(*files, bad("d.jpg", "corrupt: truncated: b"))
    assert (found.severity, found.title) == ("problem", "3 images cannot be decoded in full")
    assert found.evidence.startswith("truncated (2); empty (1). ")
    assert found.paths == ("b.jpg", "c.jpg", "d.jpg")
    assert found.weight == 3 / 13


def test_figures_that_differ():
    same = {"name": "images", "expected": 10, "found": 10, "explanation": "as found"}
    other = {"name": "size_outliers", "expected": 1, "found": 2, "explanation": "by another way"}
    assert find(reconciliation=[same]) == []
    [found] = find(reconciliation=[same, other])
    assert found.title == "1 figure of the report is not found"
    assert found.evidence == "size outliers: by another way."
    assert find(reconciliation=[other, other])[0].title.startswith("2 figures of the report are")


def test_duplicates():
    [found] = find(image("a/x.jpg", sha256="a/1.jpg"))
    assert (found.severity, found.title) == ("note", "1 image with the bytes of another")
    [found] = find(image("a/x.jpg", sha256="a/1.jpg"), image("b/x.jpg", sha256="a/1.jpg"))
    assert (found.severity, found.title) == ("warning", "2 images with the bytes of another")
    assert found.evidence.startswith("1 of them in another category.")
    [found] = find(image("a/x.jpg", structure=1), image("b/y.jpg", structure=0))
    assert (found.title, found.paths) == ("1 image looking like another", ("b/y.jpg",))


def test_outliers():
    [found] = find(image("b.jpg", size=10**6), image("c.jpg", 10**6, (9000, 300)))
    assert (found.severity, found.title) == ("note", "2 outliers")
    assert "bytes 2, longer side 1, aspect 1." in found.evidence
    assert found.paths == ("b.jpg", "c.jpg")


def test_extensions():
    [found] = find(image("b.jpg", agrees=False))
    assert found.title == "1 image with the extension of another format"
    assert found.paths == ("b.jpg",)


@pytest.mark.parametrize(
    ("looks", "title"),
    [
        ({"entropy": 0.9}, "1 image with hardly anything on them"),
        ({"brightness": 24.0}, "1 image very dark or very bright"),
        ({"brightness": 236.0}, "1 image very dark or very bright"),
    ],
)
def test_looks(looks, title):
    [found] = find(image("b.jpg", **looks))
    assert (found.severity, found.title, found.paths) == ("note", title, ("b.jpg",))
    assert find(image("b.jpg", entropy=1.0, brightness=25.0)) == []


def test_at_most_five_and_the_worst_first():
    other = {"name": "images", "expected": 1, "found": 2, "explanation": "x"}
    files = [bad("b.jpg", "corrupt: x"), image("c.jpg", sha256="a/1.jpg"), image("d.jpg", 10**6)]
    files += [image("e.jpg", agrees=False), image("f.jpg", entropy=0.0, brightness=0.0)]
    found = find(*files, reconciliation=[other])
    assert [one.severity for one in found] == ["problem", "warning", "warning", "note", "note"]
