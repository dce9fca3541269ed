from pathlib import Path

import pandas as pd
import pytest

from bgexp.batch.drafts import draft_file
from bgexp.batch.plan import plan_files
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.images.metadata import Metadata
from bgexp.quality.header import Header
from bgexp.system.listing import FileEntry


def make_settings(*overrides):
    config = compose_config("batch", ["input=in", "output=out", *overrides], None)
    return check_settings(BatchSettings, resolve_config(config))


def make_image(path, size=1000, width=400, height=300, agrees=True, **fields):
    metadata = Metadata("JPEG", width, height, "RGB", 8, 1, 1, "", fields)
    header = Header("image", "", False, metadata, width, height, agrees)
    return FileEntry(path, Path("/in") / path, (size, 1, 2)), header


def make_other(path, reason, kind="other"):
    return FileEntry(path, Path("/in") / path, (9, 1, 2)), Header(kind, reason)


def plan_batch(files, settings, metadata=None):
    """Plan files that are given with their headers."""
    drafts = [draft_file(entry, header, settings.quality) for entry, header in files]
    return list(plan_files(drafts, settings, metadata))


def test_where_everything_goes():
    files = [make_image("a/x.jpg"), make_other("a/notes.txt", "not an image"), make_image("y.webp")]
    files.append(make_other("z.jpg", "a link", "closed"))
    first, notes, second, link = plan_batch(files, make_settings())
    assert (first.output, first.mask, first.kind, first.reason) == (
        "regular/a/x.png",
        "",
        "regular",
        "",
    )
    assert (first.path, first.category, first.file) == ("a/x.jpg", "a", Path("/in/a/x.jpg"))
    assert first.state == (1000, 1, 2)
    assert second.output == "regular/y.png"
    for skipped, reason in ((notes, "not an image"), (link, "a link")):
        assert (skipped.reason, skipped.output, skipped.kind, skipped.issues, skipped.missing) == (
            reason,
            "",
            "",
            (),
            (),
        )
    assert plan_batch([], make_settings()) == []


@pytest.mark.parametrize(("format", "suffix"), [("webp", ".webp"), ("jpeg", ".jpg")])
def test_formats_and_masks(format, suffix):
    files = [make_image("x.jpg"), make_image("x.png")]
    first, second = plan_batch(files, make_settings(f"format={format}", "masks=true"))
    assert (first.output, second.output) == (f"regular/x.jpg{suffix}", f"regular/x.png{suffix}")
    assert (first.mask, second.mask) == ("masks/x.jpg.png", "masks/x.png.png")


def test_outliers_by_hand():
    """Plant outliers beyond 1.1 ** 3 times the median of twenty equal files."""
    files = [make_image(f"{n:02}.jpg") for n in range(20)]
    files += [make_image("large.jpg", size=1332), make_image("wide.jpg", width=1300)]
    files += [make_image("inside.jpg", size=1330), make_image("upright.jpg", width=300, height=400)]
    planned = {file.path: file for file in plan_batch(files, make_settings())}
    assert (planned["large.jpg"].kind, planned["large.jpg"].issues) == (
        "outlier",
        ("size_outlier",),
    )
    assert planned["large.jpg"].output == "outliers/large.png"
    assert planned["wide.jpg"].issues == ("dimension_outlier", "elongated")
    for path in ("00.jpg", "inside.jpg", "upright.jpg"):
        assert (planned[path].kind, planned[path].issues) == ("regular", ())


def test_what_is_skipped_counts_for_no_outlier():
    files = [make_image(f"{n}.jpg") for n in range(9)]
    broken = (files[0][0], Header("image", "corrupt: x", corrupt=True))
    planned = plan_batch([*files[1:], broken], make_settings())
    assert [file.kind for file in planned] == ["regular"] * 8 + [""]


def test_issues_of_shape():
    files = {
        "huge": make_image("a.jpg", width=6001, height=4000),
        "tiny": make_image("b.jpg", width=95, height=60),
        "elongated": make_image("c.jpg", width=401, height=100),
        "wrong_extension": make_image("d.jpg", agrees=False),
        "": make_image("e.jpg", width=6000, height=4000),
    }
    for issue, file in files.items():
        [planned] = plan_batch([file], make_settings())
        assert planned.issues == ((issue,) if issue else ())
    assert plan_batch([make_image("f.jpg", width=96, height=24)], make_settings())[0].issues == ()


def test_without_rules_all_are_alike():
    files = [make_image(f"{n}.jpg") for n in range(9)] + [
        make_image("x.jpg", 10**6, 90, 2, agrees=False)
    ]
    settings = make_settings("quality.enabled=false", "quality.exif=[make]")
    for planned in plan_batch(files, settings):
        assert (planned.kind, planned.issues, planned.missing) == ("regular", (), ())


def test_missing_metadata():
    metadata = pd.DataFrame(
        {"owner": ["me", float("nan")], "place": ["here", "there"]}, index=["a.jpg", "b.jpg"]
    )
    files = [make_image("a.jpg", make="Canon"), make_image("b.jpg", iso="100"), make_image("c.jpg")]
    planned = plan_batch(files, make_settings("quality.exif=[make,iso]"), metadata)
    assert [file.missing for file in planned] == [
        ("iso",),
        ("make", "owner"),
        ("make", "iso", "owner", "place"),
    ]
    assert [file.missing for file in plan_batch(files, make_settings())] == [(), (), ()]
