import math
import re

import pandas as pd
import pytest

from bgexp.config.analyze import Outliers, QualityChecks
from bgexp.errors import UserError
from bgexp.images.metadata import FIELDS, Metadata
from bgexp.quality.header import Header
from bgexp.quality.inspection import Inspection
from bgexp.quality.near_duplicates import Likeness
from bgexp.quality.table import (
    LOOKS,
    by_category,
    findings,
    formats,
    quality_table,
    read_metadata_table,
)

PLAIN = QualityChecks()


def image(path, size=1000, sides=(400, 300), sha256="", structure=None, agrees=True, **fields):
    said = Metadata("JPEG", *sides, "RGB", 8, 1, 1, "sRGB", fields)
    header = Header("image", "", False, said, *sides, agrees)
    seen = None if structure is None else Likeness(structure, 0, (9, 9, 9), plain=False)
    looks = dict.fromkeys(LOOKS, 100.0)
    category = path.rpartition("/")[0] or "."
    told = {"sha256": sha256 or path, "width": sides[0], "height": sides[1], "looks": looks}
    return Inspection(path, category, size, header, True, likeness=seen, **told)


def corrupt(path):
    header = Header("image", "corrupt: empty: no bytes", corrupt=True)
    return Inspection(path, ".", 0, header, False, header.reason, True, "e3b0")


def other(path, kind="other", reason="not an image"):
    return Inspection(path, ".", 20, Header(kind, reason), reason=reason, sha256="same")


def table(*found, settings=PLAIN, metadata=None):
    return quality_table(found, settings, metadata)


def test_a_row_a_file():
    rows = table(image("a/x.jpg", make="Canon"), corrupt("y.jpg"), other("z"))
    assert list(rows["path"]) == ["a/x.jpg", "y.jpg", "z"]
    assert list(rows["kind"]) == ["image", "image", "other"]
    assert list(rows["decodes"]) == [True, False, False]
    assert list(rows["corrupt"]) == [False, True, False]
    one = rows.iloc[0]
    assert (one["category"], one["format"], one["mode"], one["icc"]) == ("a", "JPEG", "RGB", "sRGB")
    assert (one["width"], one["height"], one["megapixels"]) == (400, 300, 0.12)
    assert one["aspect"] == one["elongation"] == pytest.approx(4 / 3)
    assert (one["bits"], one["frames"], one["orientation"]) == (8, 1, 1)
    assert (one["exif.make"], one["exif.model"]) == ("Canon", "")
    assert set(rows) >= {f"exif.{name}" for name in FIELDS} | set(LOOKS)
    for column in ("aspect", "elongation", *LOOKS):
        assert rows[column].isna().tolist() == [False, True, True]
    assert table(image("upright.jpg", sides=(300, 400)))["elongation"][0] == pytest.approx(4 / 3)


def test_missing_values_of_exif():
    settings = QualityChecks(exif=("make", "gps"))
    files = [image("a.jpg", make="Canon", gps="yes"), image("b.jpg", make="Canon"), image("c.jpg")]
    rows = table(*files, corrupt("d.jpg"), other("e"), settings=settings)
    assert list(rows["missing_fields"]) == ["", "gps", "make,gps", "make,gps", ""]
    assert list(rows["n_missing"]) == [0, 1, 2, 2, 0]
    assert findings(rows)["missing_values"] == 5


def test_missing_values_of_a_csv(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text('path,owner, n\n./a/x.jpg,"me",0\na\\y.jpg,  ,\nNA.jpg,NA,1\nnone.jpg,x,2\n')
    metadata = read_metadata_table(path, ["a/x.jpg", "b.jpg"])
    assert list(metadata.index[:2]) == ["a/x.jpg", "a/y.jpg"]
    files = [image("a/x.jpg"), image("a/y.jpg"), image("b.jpg")]
    settings = QualityChecks(exif=("make",))
    rows = table(*files, other("e"), settings=settings, metadata=metadata)
    expected = ["make", "make,owner,n", "make,owner,n", ""]
    assert list(rows["missing_fields"]) == expected
    assert rows["metadata.owner"][0] == "me"
    assert rows["metadata.n"][0] == "0"
    assert rows["metadata.owner"][1:].isna().all()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "No columns"),
        ("name,x\na,b\n", "no column `path` (there are: name, x)"),
        ("path,x\na,1\nb,2\n./a,3\n", "1 paths twice, a first"),
        ('path,x\n"a,1\n', "EOF inside string"),
        ("path,x\nb/x.jpg,1\n", "none of its paths is here (it has 'b/x.jpg', here 'a/x.jpg')"),
        ("path,x\n", "none of its paths is here (it has no rows, here 'a/x.jpg')"),
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


def test_exact_duplicates():
    files = [image("a.jpg", sha256="1"), image("b.jpg", sha256="2"), image("c/a.jpg", sha256="1")]
    files += [image("d.jpg", sha256="1"), other("e"), other("f"), corrupt("g"), corrupt("h")]
    rows = table(*files)
    assert list(rows["exact_duplicate_of"]) == ["", "", "a.jpg", "a.jpg", "", "", "", ""]
    assert findings(rows)["exact_duplicates"] == 2


def test_near_duplicates():
    files = [image("a.jpg", sha256="1", structure=0), image("b.jpg", sha256="1", structure=0)]
    files += [image("c.jpg", structure=0b11), image("d.jpg", structure=2**60 - 1), corrupt("e")]
    rows = table(*files)
    assert list(rows["near_duplicate_of"]) == ["", "", "a.jpg", "", ""]
    assert list(rows["exact_duplicate_of"]) == ["", "a.jpg", "", "", ""]
    strict = table(*files, settings=QualityChecks(max_hash_distance=1))
    assert list(strict["near_duplicate_of"]) == [""] * 5


def test_outliers():
    files = [image(f"{n}.jpg") for n in range(9)]
    files += [image("big.jpg", size=10**6), image("wide.jpg", sides=(4000, 300)), corrupt("x")]
    rows = table(*files, settings=QualityChecks(outliers=Outliers(method="mad", limit=3.5)))
    assert list(rows["path"][rows["size_outlier"]]) == ["big.jpg"]
    assert list(rows["path"][rows["dimension_outlier"]]) == ["wide.jpg"]
    assert list(rows["outlier_of"][9:]) == ["bytes", "longer side,aspect", ""]


def test_findings():
    files = [image("a/x.jpg", agrees=False), image("b/y.jpg"), image("b/z.jpg"), corrupt("z.jpg")]
    rows = table(*files, other("e"), other("f", "closed", "a link"))
    assert findings(rows) == {
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
    assert formats(rows) == {"JPEG": 3}
    found = by_category(rows)
    assert list(found) == [".", "a", "b"]
    assert (found["b"]["images"], found["b"]["median_bytes"]) == (2, 1000)
    assert (found["."]["corrupt"], math.isnan(found["."]["median_bytes"])) == (1, True)


@pytest.mark.parametrize("files", [[other("e")], [corrupt("g")], [other("f", "closed", "a link")]])
def test_without_an_image_that_decodes(files):
    rows = table(*files)
    assert len(rows) == 1
    assert findings(rows)["images"] == int(rows["corrupt"].sum())
    assert by_category(rows).keys() == ({"."} if rows["corrupt"].any() else set())
    assert isinstance(rows, pd.DataFrame)
