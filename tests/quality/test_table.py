import math
import re

import pandas as pd
import pytest

from bgexp.config.analyze import Outliers, QualityChecks
from bgexp.errors import UserError
from bgexp.images.metadata import FIELDS, Metadata
from bgexp.quality.header import Header
from bgexp.quality.inspection import Inspection
from bgexp.quality.near_duplicates import PictureFeatures
from bgexp.quality.table import (
    LOOKS,
    build_table,
    count_findings,
    count_formats,
    describe_metadata_table,
    read_metadata_table,
    summarize_categories,
)

PLAIN = QualityChecks()


def make_image(path, size=1000, sides=(400, 300), sha256="", structure=None, agrees=True, **fields):
    metadata = Metadata("JPEG", *sides, "RGB", 8, 1, 1, "sRGB", fields)
    header = Header("image", "", False, metadata, *sides, agrees)
    likeness = None if structure is None else PictureFeatures(structure, 0, (9, 9, 9), plain=False)
    looks = dict.fromkeys(LOOKS, 100.0)
    category = path.rpartition("/")[0] or "."
    values = {"sha256": sha256 or path, "width": sides[0], "height": sides[1], "looks": looks}
    return Inspection(path, category, size, header, True, likeness=likeness, **values)


def make_corrupt(path):
    header = Header("image", "corrupt: empty: no bytes", corrupt=True)
    return Inspection(path, ".", 0, header, False, header.reason, True, "e3b0")


def make_other(path, kind="other", reason="not an image"):
    return Inspection(path, ".", 20, Header(kind, reason), reason=reason, sha256="same")


def make_table(*inspections, settings=PLAIN, metadata=None):
    return build_table(inspections, settings, metadata)


def test_a_row_a_file():
    rows = make_table(make_image("a/x.jpg", make="Canon"), make_corrupt("y.jpg"), make_other("z"))
    assert list(rows["path"]) == ["a/x.jpg", "y.jpg", "z"]
    assert list(rows["kind"]) == ["image", "image", "other"]
    assert list(rows["decodes"]) == [True, False, False]
    assert list(rows["corrupt"]) == [False, True, False]
    row = rows.iloc[0]
    assert (row["category"], row["format"], row["mode"], row["icc"]) == ("a", "JPEG", "RGB", "sRGB")
    assert (row["width"], row["height"], row["megapixels"]) == (400, 300, 0.12)
    assert row["aspect"] == row["elongation"] == pytest.approx(4 / 3)
    assert (row["bits"], row["frames"], row["orientation"]) == (8, 1, 1)
    assert (row["exif.make"], row["exif.model"]) == ("Canon", "")
    assert set(rows) >= {f"exif.{name}" for name in FIELDS} | set(LOOKS)
    for column in ("aspect", "elongation", *LOOKS):
        assert rows[column].isna().tolist() == [False, True, True]
    assert make_table(make_image("upright.jpg", sides=(300, 400)))["elongation"][
        0
    ] == pytest.approx(4 / 3)


def test_missing_values_of_exif():
    settings = QualityChecks(exif=("make", "gps"))
    files = [
        make_image("a.jpg", make="Canon", gps="yes"),
        make_image("b.jpg", make="Canon"),
        make_image("c.jpg"),
    ]
    rows = make_table(*files, make_corrupt("d.jpg"), make_other("e"), settings=settings)
    assert list(rows["missing_fields"]) == ["", "gps", "make,gps", "make,gps", ""]
    assert list(rows["n_missing"]) == [0, 1, 2, 2, 0]
    assert count_findings(rows)["missing_values"] == 5


def test_missing_values_of_a_csv(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text('path,owner, n\n./a/x.jpg,"me",0\na\\y.jpg,  ,\nNA.jpg,NA,1\nnone.jpg,x,2\n')
    metadata = read_metadata_table(path, ["a/x.jpg", "b.jpg"])
    assert list(metadata.index[:2]) == ["a/x.jpg", "a/y.jpg"]
    files = [make_image("a/x.jpg"), make_image("a/y.jpg"), make_image("b.jpg")]
    settings = QualityChecks(exif=("make",))
    rows = make_table(*files, make_other("e"), settings=settings, metadata=metadata)
    expected = ["make", "make,owner,n", "make,owner,n", ""]
    assert list(rows["missing_fields"]) == expected
    assert rows["metadata.owner"][0] == "me"
    assert rows["metadata.n"][0] == "0"
    assert rows["metadata.owner"][1:].isna().all()


def test_a_csv_of_many_empty_columns(tmp_path):
    path, n = tmp_path / "metadata.csv", 1000
    names = [f"c{number}" for number in range(n)]
    path.write_text(f"path,owner{',' * n}\nx.jpg,me{',' * n}\n")  # as a spreadsheet leaves them
    assert list(read_metadata_table(path, ["x.jpg"])) == ["owner"]
    path.write_text(f"path,{','.join(names)}\nx.jpg{',' * n}\n")
    metadata = read_metadata_table(path, ["x.jpg"])
    rows = make_table(make_image("x.jpg"), make_image("y.jpg"), metadata=metadata)
    assert list(rows["missing_fields"]) == 2 * [",".join(names)]
    path.write_text("path,owner\n")  # no rows
    with pytest.raises(UserError, match="it has no rows"):
        read_metadata_table(path, ["x.jpg"])


def test_a_delimiter_at_the_end_of_each_line_is_no_cell(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text("path,owner\na/x.jpg,Ana,\nb.jpg,Jo,\n")
    table = read_metadata_table(path, ["a/x.jpg"])
    assert table["owner"].to_dict() == {"a/x.jpg": "Ana", "b.jpg": "Jo"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("first", ["", "sep=", "quoted"])
def test_what_spreadsheets_write(tmp_path, capfd, encoding, delimiter, first):
    lines = ["owner,path,n", 'Jérôme,a/x.jpg,"1"', "Ana,café.jpg,"]
    text = "\r\n".join(lines).replace(",", delimiter)
    if first == "sep=":
        text = f"sep={delimiter}\r\n{text}"
    if first == "quoted":
        text = text.replace("owner", '"owner"').replace("path", '"path"')
    path = tmp_path / "metadata.csv"
    path.write_bytes(text.encode(encoding))
    table = read_metadata_table(path, ["a/x.jpg"])
    assert list(table.index) == ["a/x.jpg", "café.jpg"]
    assert list(table["owner"]) == ["Jérôme", "Ana"]
    assert (table["n"].iloc[0], table["n"].isna().iloc[1]) == ("1", True)
    usual = delimiter == "," and encoding.startswith("utf-8")
    told = {";": "semicolons", "\t": "tabs", ",": "commas"}[delimiter]
    assert capfd.readouterr().err.endswith("" if usual else f"columns divided by {told}\n")
    form = describe_metadata_table(path)["metadata"]
    assert form["file"] == str(path)
    names = {"utf-8-sig": "UTF-8", "cp1252": "Windows-1252"}
    expected = f"{names.get(encoding, encoding.upper())}, columns divided by {told}"
    assert form["read_as"] == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "No columns"),
        ("name,x\na,b\n", "no column `path` (there are: name, x)"),
        ("path,x\na,1\nb,2\n./a,3\n", "1 paths twice, a first"),
        ('path,x\n"a,1\n', "EOF inside string"),
        ("path,x\nb/x.jpg,1\n", "none of its paths is here (it has 'b/x.jpg', here 'a/x.jpg')"),
        ("path,x\n", "none of its paths is here (it has no rows, here 'a/x.jpg')"),
        ("path,x\na/x.jpg,1,2\n", "lines have more cells than the first line has columns"),
        ("path,x\na/x.jpg" + "," * 50_000, "lines have more cells than the first line has"),
    ],
)
def test_a_csv_that_does_not_fit(tmp_path, text, reason):
    path = tmp_path / "metadata.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(reason)) as error:
        read_metadata_table(path, ["a/x.jpg"])
    assert str(error.value).startswith(f"metadata: {path}: ")
    assert "\n" not in str(error.value)


def test_no_csv(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_metadata_table(tmp_path / "none.csv", ["a.jpg"])
    assert read_metadata_table(None, []) is None
    assert describe_metadata_table(None) == {}


def test_exact_duplicates():
    files = [
        make_image("a.jpg", sha256="1"),
        make_image("b.jpg", sha256="2"),
        make_image("c/a.jpg", sha256="1"),
    ]
    files += [
        make_image("d.jpg", sha256="1"),
        make_other("e"),
        make_other("f"),
        make_corrupt("g"),
        make_corrupt("h"),
    ]
    rows = make_table(*files)
    assert list(rows["exact_duplicate_of"]) == ["", "", "a.jpg", "a.jpg", "", "", "", ""]
    assert count_findings(rows)["exact_duplicates"] == 2


def test_near_duplicates():
    files = [
        make_image("a.jpg", sha256="1", structure=0),
        make_image("b.jpg", sha256="1", structure=0),
    ]
    files += [
        make_image("c.jpg", structure=0b11),
        make_image("d.jpg", structure=2**60 - 1),
        make_corrupt("e"),
    ]
    rows = make_table(*files)
    assert list(rows["near_duplicate_of"]) == ["", "", "a.jpg", "", ""]
    assert list(rows["exact_duplicate_of"]) == ["", "a.jpg", "", "", ""]
    strict = make_table(*files, settings=QualityChecks(max_hash_distance=1))
    assert list(strict["near_duplicate_of"]) == [""] * 5


def test_outliers():
    files = [make_image(f"{n}.jpg") for n in range(9)]
    files += [
        make_image("big.jpg", size=10**6),
        make_image("wide.jpg", sides=(4000, 300)),
        make_corrupt("x"),
    ]
    rows = make_table(*files, settings=QualityChecks(outliers=Outliers(method="mad", limit=3.5)))
    assert list(rows["path"][rows["size_outlier"]]) == ["big.jpg"]
    assert list(rows["path"][rows["dimension_outlier"]]) == ["wide.jpg"]
    assert list(rows["outlier_of"][9:]) == ["bytes", "longer side,aspect", ""]


def test_findings():
    files = [
        make_image("a/x.jpg", agrees=False),
        make_image("b/y.jpg"),
        make_image("b/z.jpg"),
        make_corrupt("z.jpg"),
    ]
    rows = make_table(*files, make_other("e"), make_other("f", "closed", "a link"))
    assert count_findings(rows) == {
        "files": 6,
        "images": 4,
        "categories": 3,
        "corrupt": 1,
        "wrong_extension": 1,
        "missing_values": 0,
        "size_outliers": 0,
        "dimension_outliers": 0,
        "exact_duplicates": 0,
        "near_duplicates": 0,
    }
    assert count_formats(rows) == {"JPEG": 3}
    categories = summarize_categories(rows)
    assert list(categories) == [".", "a", "b"]
    assert (categories["b"]["images"], categories["b"]["median_bytes"]) == (2, 1000)
    assert (categories["."]["corrupt"], math.isnan(categories["."]["median_bytes"])) == (1, True)


@pytest.mark.parametrize(
    "files", [[make_other("e")], [make_corrupt("g")], [make_other("f", "closed", "a link")]]
)
def test_without_an_image_that_decodes(files):
    rows = make_table(*files)
    assert len(rows) == 1
    assert count_findings(rows)["images"] == int(rows["corrupt"].sum())
    assert summarize_categories(rows).keys() == ({"."} if rows["corrupt"].any() else set())
    assert isinstance(rows, pd.DataFrame)
