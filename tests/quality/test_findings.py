import pytest

from bgexp.config.analyze import QualityChecks
from bgexp.images.metadata import Metadata
from bgexp.quality.findings import find_quality_findings
from bgexp.quality.header import Header
from bgexp.quality.inspection import Inspection
from bgexp.quality.near_duplicates import PictureFeatures
from bgexp.quality.table import build_table

LOOKS = {"brightness": 120.0, "contrast": 50.0, "entropy": 7.0, "sharpness": 300.0}


def make_image(path, size=1000, sides=(400, 300), sha256="", structure=None, agrees=True, **looks):
    metadata = Metadata("JPEG", *sides, "RGB", 8, 1, 1, "")
    header = Header("image", "", False, metadata, *sides, agrees)
    values = {
        "sha256": sha256 or path,
        "width": sides[0],
        "height": sides[1],
        "looks": LOOKS | looks,
    }
    if structure is not None:
        values["likeness"] = PictureFeatures(structure, 0, (9, 9, 9), plain=False)
    return Inspection(path, path.rpartition("/")[0] or ".", size, header, True, **values)


def make_bad(path, reason, kind="image"):
    header = Header(kind, reason, corrupt=reason.startswith("corrupt"))
    return Inspection(path, ".", 9, header, False, reason, header.corrupt, path)


def find_findings(*files, reconciliation=()):
    files = [*(make_image(f"a/{n}.jpg") for n in range(10)), *files]
    rows = build_table(files, QualityChecks(), None)
    return find_quality_findings(rows, {"reconciliation": list(reconciliation)})


def test_a_good_dataset_says_nothing():
    assert find_findings() == []
    assert (
        find_findings(make_bad("x.txt", "not an image", "other"), make_bad("y", "a link", "closed"))
        == []
    )
    nothing = build_table([make_bad("x.txt", "not an image", "other")], QualityChecks(), None)
    assert find_quality_findings(nothing, {"reconciliation": []}) == []


def test_damaged_images():
    files = [
        make_bad("b.jpg", "corrupt: empty: no bytes"),
        make_bad("c.jpg", "corrupt: truncated: a"),
    ]
    [finding] = find_findings(*files, make_bad("d.jpg", "corrupt: truncated: b"))
    assert (finding.severity, finding.title) == ("problem", "3 images cannot be decoded in full")
    assert finding.evidence.startswith("truncated (2); empty (1). ")
    assert finding.paths == ("b.jpg", "c.jpg", "d.jpg")
    assert finding.weight == 3 / 13


def test_figures_that_differ():
    same = {"name": "images", "expected": 10, "found": 10, "explanation": "as found"}
    different = {
        "name": "size_outliers",
        "expected": 1,
        "found": 2,
        "explanation": "by another way",
    }
    assert find_findings(reconciliation=[same]) == []
    [finding] = find_findings(reconciliation=[same, different])
    assert finding.title == "1 figure of the report is not found"
    assert finding.evidence == "size outliers: by another way."
    assert find_findings(reconciliation=[different, different])[0].title.startswith(
        "2 figures of the report are"
    )


def test_duplicates():
    [finding] = find_findings(make_image("a/x.jpg", sha256="a/1.jpg"))
    assert (finding.severity, finding.title) == ("note", "1 image with the bytes of another")
    [finding] = find_findings(
        make_image("a/x.jpg", sha256="a/1.jpg"), make_image("b/x.jpg", sha256="a/1.jpg")
    )
    assert (finding.severity, finding.title) == ("warning", "2 images with the bytes of another")
    assert finding.evidence.startswith("1 of them in another category.")
    [finding] = find_findings(
        make_image("a/x.jpg", structure=1), make_image("b/y.jpg", structure=0)
    )
    assert (finding.title, finding.paths) == ("1 image looking like another", ("b/y.jpg",))


def test_outliers():
    [finding] = find_findings(
        make_image("b.jpg", size=10**6), make_image("c.jpg", 10**6, (9000, 300))
    )
    assert (finding.severity, finding.title) == ("note", "2 outliers")
    assert "bytes 2, longer side 1, aspect 1." in finding.evidence
    assert finding.paths == ("b.jpg", "c.jpg")


def test_extensions():
    [finding] = find_findings(make_image("b.jpg", agrees=False))
    assert finding.title == "1 image with the extension of another format"
    assert finding.paths == ("b.jpg",)


@pytest.mark.parametrize(
    ("looks", "title"),
    [
        ({"entropy": 0.9}, "1 image with hardly anything on them"),
        ({"brightness": 24.0}, "1 image very dark or very bright"),
        ({"brightness": 236.0}, "1 image very dark or very bright"),
    ],
)
def test_looks(looks, title):
    [finding] = find_findings(make_image("b.jpg", **looks))
    assert (finding.severity, finding.title, finding.paths) == ("note", title, ("b.jpg",))
    assert find_findings(make_image("b.jpg", entropy=1.0, brightness=25.0)) == []


def test_at_most_five_and_the_worst_first():
    figure = {"name": "images", "expected": 1, "found": 2, "explanation": "x"}
    files = [
        make_bad("b.jpg", "corrupt: x"),
        make_image("c.jpg", sha256="a/1.jpg"),
        make_image("d.jpg", 10**6),
    ]
    files += [make_image("e.jpg", agrees=False), make_image("f.jpg", entropy=0.0, brightness=0.0)]
    findings = find_findings(*files, reconciliation=[figure])
    assert [finding.severity for finding in findings] == [
        "problem",
        "warning",
        "warning",
        "note",
        "note",
    ]
