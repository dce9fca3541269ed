import base64
import math

import numpy as np
import pandas as pd
import pytest

from bgexp.config.stages import Cutout
from bgexp.experiment.difference import LEAKED, LOST
from bgexp.experiment.gallery import (
    BEST,
    BETWEEN,
    NAMED,
    WORST,
    Choice,
    choose_gallery,
    draw_picture,
    make_panels,
)
from bgexp.experiment.results import ImageResult
from bgexp.images.decode import decode_image
from bgexp.report.finding import Finding
from bgexp.report.pictures import PANEL, draw_cutout


def table(ious, **checks):
    rows = [
        ImageResult(f"{n}", "", "", "ok", metrics={} if iou is None else {"iou": iou},
            checks={key: values[n] for key, values in checks.items()})
        for n, iou in enumerate(ious)
    ]  # fmt: skip
    failed = ImageResult("failed", "", "", "failed", "empty: no bytes")
    return pd.DataFrame([row.to_columns() for row in [*rows, failed]])


def groups(chosen):
    groups_by_name = {}
    for choice in chosen:
        groups_by_name.setdefault(choice.group, []).append(int(choice.path))
    return groups_by_name


def test_worst_best_and_some_between():
    rows = table([0.9, 0.1, 0.8, 0.3, 0.7, 0.2, 0.6, 0.5, 0.4, 0.95, 0.65, 0.75])
    assert groups(choose_gallery(rows, 8)) == {
        WORST: [1, 5, 3, 8],
        BEST: [9, 0],
        BETWEEN: [6, 11],  # of 0.5 0.6 0.65 0.7 0.75 0.8 the middle of each half
    }
    assert groups(choose_gallery(rows, 1)) == {WORST: [1]}
    assert choose_gallery(rows, 0) == []


@pytest.mark.parametrize("count", range(16))
def test_as_many_as_asked_for_each_once(count):
    chosen = choose_gallery(table([n / 10 for n in range(11)]), count)
    assert len({choice.path for choice in chosen}) == len(chosen) == min(count, 11)


def test_images_of_findings_come_on_top():
    finding = Finding("note", "", "", ("2", "0", "failed", "3"))
    chosen = choose_gallery(table([0.5, 0.6, 0.7, 0.8, 0.9]), 1, [finding])
    assert groups(chosen) == {WORST: [0], NAMED: [2]}  # of its first three; no failed one
    many = [Finding("note", "", "", ("5", "6", "7")), Finding("note", "", "", ("8",))]
    rows = table([n / 10 for n in range(10)])
    assert groups(choose_gallery(rows, 4, many))[NAMED] == [6, 7]  # 5 is shown already


def test_empty_truth_and_empty_mask_are_not_among_the_worst():
    assert groups(choose_gallery(table([math.nan, 0.6, 0.7]), 1)) == {WORST: [1]}


def test_without_truth_nothing_found_and_little_confidence_come_first():
    rows = table(
        [None] * 4, confidence=[0.9, math.nan, 0.6, 0.7], nothing_found=[0.0, 1.0, 0.0, 0.0]
    )
    assert groups(choose_gallery(rows, 3)) == {WORST: [1, 2], BEST: [0]}


def test_no_rows():
    assert choose_gallery(pd.DataFrame(), 6) == []
    assert choose_gallery(table([]), 6) == []


# -- pictures ------------------------------------------------------------------------------------


def case():
    """8x10: object in columns 2 to 6, found in columns 4 to 8."""
    image = np.random.default_rng(0).integers(30, 256, (8, 10, 3), np.uint8)
    truth, mask = np.zeros((2, 8, 10), bool)
    truth[:, 2:7], mask[:, 4:9] = True, True
    return image, mask, truth


def test_pictures_of_a_case_worked_by_hand():
    image, mask, truth = case()
    picture = draw_picture(Choice("a", WORST), image, mask, truth)
    np.testing.assert_array_equal(picture.original, image)
    np.testing.assert_array_equal(picture.mask, 255 * mask)
    np.testing.assert_array_equal(picture.cutout, image * mask[..., None])
    assert (picture.difference[:, 2:4] == LOST).all()
    assert (picture.difference[:, 7:9] == LEAKED).all()
    right = ~(mask ^ truth)
    np.testing.assert_array_equal(picture.difference[right], image[right] // 3)
    assert draw_picture(Choice("a", WORST), image, mask).difference is None


def test_large_pictures_are_made_small():
    image, mask = np.zeros((1000, 500, 3), np.uint8), np.ones((1000, 500), bool)
    picture = draw_picture(Choice("a", WORST), image, mask, mask)
    for shrunk in (picture.original, picture.mask, picture.cutout, picture.difference):
        assert shrunk.shape[:2] == (PANEL, PANEL // 2)


def test_what_is_transparent_lies_on_a_checkerboard():
    image, mask, _ = case()
    cutout = draw_cutout(image, mask, Cutout(background="transparent", edge="hard"))
    np.testing.assert_array_equal(cutout[mask], image[mask])
    assert cutout.shape == image.shape
    assert (cutout[:, :4] == 255).all()
    assert (cutout[:, 9] == 204).all()  # the second square begins at column 8
    on_white = draw_cutout(image, mask, Cutout(background="white", edge="hard"))
    np.testing.assert_array_equal(on_white[~mask], 255)


def test_pictures_survive_the_way_into_the_page():
    image, mask, truth = case()
    smooth = np.full((8, 10, 3), (200, 100, 50), np.uint8)
    panels = make_panels(draw_picture(Choice("a", WORST), smooth, mask, truth))
    assert [panel.title for panel in panels] == ["original", "cut-out", "mask", "difference"]
    decoded = [decode_image(base64.b64decode(panel.source.partition(",")[2])) for panel in panels]
    assert np.abs(decoded[0].astype(int) - smooth).max() <= 3  # JPEG
    np.testing.assert_array_equal(decoded[2], np.repeat(255 * mask[..., None], 3, axis=2))
    assert {(panel.width, panel.height) for panel in panels} == {(10, 8)}
    assert len(make_panels(draw_picture(Choice("a", WORST), image, mask))) == 3
