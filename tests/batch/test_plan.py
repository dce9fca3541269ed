from pathlib import Path

import pandas as pd
import pytest

from bgexp.batch.plan import plan_batch
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, plain
from bgexp.images.metadata import Metadata
from bgexp.quality.header import Header
from bgexp.system.listing import FileEntry


def batch(*overrides):
    config = compose_config("batch", ["input=in", "output=out", *overrides], None)
    return check_settings(BatchSettings, plain(config))


def image(path, size=1000, width=400, height=300, agrees=True, **fields):
    said = Metadata("JPEG", width, height, "RGB", 8, 1, 1, "", fields)
    header = Header("image", "", False, said, width, height, agrees)
    return FileEntry(path, Path("/in") / path, (size, 1, 2)), header


def other(path, reason, kind="other"):
    return FileEntry(path, Path("/in") / path, (9, 1, 2)), Header(kind, reason)


def test_where_everything_goes():
    files = [image("a/x.jpg"), other("a/notes.txt", "not an image"), image("y.webp")]
    files.append(other("z.jpg", "a link", "closed"))
    first, notes, second, link = plan_batch(files, batch())
    assert (first.output, first.mask, first.kind, first.reason) == (
        "regular/a/x.png",
        "",
        "regular",
        "",
    )
    assert (first.path, first.category, first.file) == ("a/x.jpg", "a", Path("/in/a/x.jpg"))
    assert first.state == (1000, 1, 2)
    assert second.output == "regular/y.png"
    for one, reason in ((notes, "not an image"), (link, "a link")):
        assert (one.reason, one.output, one.kind, one.issues, one.missing) == (
            reason,
            "",
            "",
            (),
            (),
        )
    assert plan_batch([], batch()) == []


@pytest.mark.parametrize(("format", "suffix"), [("webp", ".webp"), ("jpeg", ".jpg")])
def test_formats_and_masks(format, suffix):
    files = [image("x.jpg"), image("x.png")]
    one, two = plan_batch(files, batch(f"format={format}", "masks=true"))
    assert (one.output, two.output) == (f"regular/x.jpg{suffix}", f"regular/x.png{suffix}")
    assert (one.mask, two.mask) == ("masks/x.jpg.png", "masks/x.png.png")


def test_outliers_by_hand():
    """Among twenty equal ones: beyond 1.1 ** 3 times the median."""
    files = [image(f"{n:02}.jpg") for n in range(20)]
    files += [image("large.jpg", size=1332), image("wide.jpg", width=1300)]
    files += [image("inside.jpg", size=1330), image("upright.jpg", width=300, height=400)]
    planned = {one.path: one for one in plan_batch(files, batch())}
    assert (planned["large.jpg"].kind, planned["large.jpg"].issues) == (
        "outlier",
        ("size_outlier",),
    )
    assert planned["large.jpg"].output == "outliers/large.png"
    assert planned["wide.jpg"].issues == ("dimension_outlier", "elongated")
    for path in ("00.jpg", "inside.jpg", "upright.jpg"):
        assert (planned[path].kind, planned[path].issues) == ("regular", ())


def test_what_is_skipped_counts_for_no_outlier():
    files = [image(f"{n}.jpg") for n in range(9)]
    broken = (files[0][0], Header("image", "corrupt: x", corrupt=True))
    planned = plan_batch([*files[1:], broken], batch())
    assert [one.kind for one in planned] == ["regular"] * 8 + [""]


def test_issues_of_shape():
    files = {
        "huge": image("a.jpg", width=6001, height=4000),
        "tiny": image("b.jpg", width=95, height=60),
        "elongated": image("c.jpg", width=401, height=100),
        "wrong_extension": image("d.jpg", agrees=False),
        "": image("e.jpg", width=6000, height=4000),
    }
    for issue, file in files.items():
        [one] = plan_batch([file], batch())
        assert one.issues == ((issue,) if issue else ())
    assert plan_batch([image("f.jpg", width=96, height=24)], batch())[0].issues == ()


def test_without_rules_all_are_alike():
    files = [image(f"{n}.jpg") for n in range(9)] + [image("x.jpg", 10**6, 90, 2, agrees=False)]
    settings = batch("quality.enabled=false", "quality.exif=[make]")
    for one in plan_batch(files, settings):
        assert (one.kind, one.issues, one.missing) == ("regular", (), ())


def test_missing_metadata():
    metadata = pd.DataFrame(
        {"owner": ["me", float("nan")], "place": ["here", "there"]}, index=["a.jpg", "b.jpg"]
    )
    files = [image("a.jpg", make="Canon"), image("b.jpg", iso="100"), image("c.jpg")]
    planned = plan_batch(files, batch("quality.exif=[make,iso]"), metadata)
    assert [one.missing for one in planned] == [
        ("iso",),
        ("make", "owner"),
        ("make", "iso", "owner", "place"),
    ]
    assert [one.missing for one in plan_batch(files, batch())] == [(), (), ()]
