import pytest

from bgexp.config.analyze import Outliers, QualityChecks, ReportedFigures
from bgexp.images.metadata import Metadata
from bgexp.quality.header import Header
from bgexp.quality.inspection import Inspection
from bgexp.quality.reconcile import (
    convert_to_dicts,
    count_missing_by_field,
    count_outliers_by_method,
    reconcile,
)
from bgexp.quality.table import build_table, count_findings


def make_image(path, size=1000, sides=(400, 300), sha256="", agrees=True, **fields):
    metadata = Metadata("JPEG", *sides, "RGB", 8, 1, 1, "", fields)
    header = Header("image", "", False, metadata, *sides, agrees)
    values = {"sha256": sha256 or path, "width": sides[0], "height": sides[1]}
    return Inspection(path, path.rpartition("/")[0] or ".", size, header, True, **values)


def make_bad(path, reason="corrupt: x", kind="image"):
    header = Header(kind, reason, corrupt=reason.startswith("corrupt"))
    category = path.rpartition("/")[0] or "."
    return Inspection(path, category, 9, header, False, reason, header.corrupt, path)


FILES = [
    *(make_image(f"a/{n}.jpg", make="Canon") for n in range(10)),
    make_image("a/big.jpg", size=10**6, make="Canon"),
    make_image("A/wide.jpg", sides=(9000, 300), agrees=False),
    make_image("b/c/same.jpg", sha256="a/1.jpg"),
    make_image("top.jpg"),
    *(make_bad(f"corrupt/{n}.jpg") for n in range(3)),
    make_bad("x.psd.jpg", "format not accepted: PSD"),
    *(make_bad(f"notes/{n}.txt", "not an image", "other") for n in range(7)),
    make_bad("link.jpg", "a link", "closed"),
]
ANALYZE = QualityChecks(exif=("make", "gps"))
ROWS = build_table(FILES, ANALYZE, None)
COUNTS = count_findings(ROWS)


def explain(name, expected, rows=ROWS):
    [figure] = reconcile(
        rows, count_findings(rows), ReportedFigures(**{name: expected}), Outliers()
    )
    assert (figure.name, figure.expected, figure.found) == (
        name,
        expected,
        count_findings(rows)[name],
    )
    return figure.explanation


def test_what_was_found():
    assert {name: count for name, count in COUNTS.items() if count} == {
        "files": 26,
        "images": 18,
        "categories": 5,
        "corrupt": 3,
        "wrong_extension": 1,
        "missing_values": 18 + 7,  # gps everywhere, make in all but eleven
        "size_outliers": 1,
        "dimension_outliers": 1,
        "exact_duplicates": 1,
    }


def test_nothing_is_said_where_nothing_was_expected():
    assert reconcile(ROWS, COUNTS, ReportedFigures(), Outliers()) == []
    figures = reconcile(ROWS, COUNTS, ReportedFigures(images=18, corrupt=0), Outliers())
    assert convert_to_dicts(figures) == [
        {"name": "images", "expected": 18, "found": 18, "explanation": "as found"},
        {
            "name": "corrupt",
            "expected": 0,
            "found": 3,
            "explanation": "3 more than the report says, by the rules of this analysis",
        },
    ]


@pytest.mark.parametrize(
    ("name", "figure", "text"),
    [
        ("images", 18, "as found"),
        ("images", 15, "15 are those without 3 corrupt files"),
        ("images", 17, "17 are those without 1 exact duplicates"),
        ("images", 14, "14 are those without 3 corrupt files and without 1 exact duplicates"),
        ("images", 25, "25 are those with 7 other files"),
        (
            "images",
            26,
            "26 are those with 7 other files and with 1 links, hidden and special files",
        ),
        ("categories", 4, "4 are the folders with an image that decodes"),
        ("categories", 6, "6 are the folders with any file"),
        ("corrupt", 5, "2 fewer than the report says"),
        ("exact_duplicates", 0, "1 more than the report says"),
        ("missing_values", 25, "as found: gps 18, make 7"),
        ("missing_values", 18, "18 images lack at least one value; here gps 18, make 7"),
        ("missing_values", 7, "7 are make; here gps 18, make 7"),
        ("missing_values", 19, "19 are gps + make of the images that are not corrupt"),
        ("missing_values", 16, "no sum of fields gives 16; here gps 18, make 7"),
        ("missing_values", 25 + 18, "18 more are missing in model: add to exif"),
        ("size_outliers", 1, "as found, by IQR x3 over all on logarithms"),
        ("size_outliers", 0, "gives 0"),
    ],
)
def test_explanations(name, figure, text):
    assert text in explain(name, figure)


def test_missing_values_of_images_that_are_not_corrupt():
    files = [
        make_image("a.jpg", make="x"),
        make_image("b.jpg"),
        make_image("c.jpg"),
        make_bad("d.jpg"),
        make_bad("e.jpg"),
    ]
    rows = build_table(files, QualityChecks(exif=("make", "gps")), None)
    assert count_missing_by_field(rows).to_dict() == {"gps": 5, "make": 4}
    assert explain("missing_values", 3, rows).startswith("3 are gps of the images that are not")
    none = build_table(files, QualityChecks(), None)
    assert "no field was asked for" in explain("missing_values", 1, none)


def test_figures_that_nothing_explains():
    text = explain("images", 1000)
    assert text.startswith("982 missing here; no sum of these explains it: without 3 corrupt files")
    assert explain("images", 1).startswith("17 more here; ")
    text = explain("categories", 99)
    assert text.startswith("no way of counting gives 99: 5 folders with images; 4 folders with an")
    text = explain("size_outliers", 11)
    assert "ways gives 11; nearest: " in text
    assert text.endswith("here IQR x3 over all on logarithms")


def test_ways_are_those_of_the_analysis():
    for of, name in (("bytes", "size_outliers"), ("dimensions", "dimension_outliers")):
        ways = list(count_outliers_by_method(ROWS, of))
        assert len({way.text for way in ways}) == len(ways)
        for way in ways:
            if way.text in ("IQR x3 over all on logarithms", "MAD x3.5 by category on logarithms"):
                method, limit, by = (
                    ("iqr", 3, "all") if "IQR" in way.text else ("mad", 3.5, "category")
                )
                settings = QualityChecks(outliers=Outliers(method=method, limit=limit, by=by))
                assert way.count == count_findings(build_table(FILES, settings, None))[name]


def test_another_way_is_named():
    """Take 1.2 times the others: beyond 1.1 ** 1.5, within 1.1 ** 3."""
    sizes = [1000] * 20 + [1200]
    rows = build_table(
        [make_image(f"{n}.jpg", size) for n, size in enumerate(sizes)], QualityChecks(), None
    )
    assert count_findings(rows)["size_outliers"] == 0
    text = explain("size_outliers", 1, rows)
    assert text.startswith("IQR x1.5 over all on logarithms gives 1 (so does ")
    assert text.endswith("; here IQR x3 over all on logarithms")
