"""The page of a review: what it shows, what it hides, and what it asks for: nothing."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from bgexp.images.decode import decode_image, decode_mask
from bgexp.report import render as renderer
from bgexp.review.page import SIDE, make_exhibit, render_review

REVIEW = "0123456789abcdef" * 2


def decode_uri(uri, decode):
    return decode(base64.b64decode(uri.partition(",")[2]))


@pytest.fixture(scope="module")
def pair():
    image = np.full((60, 80, 3), 90, np.uint8)
    left, right = np.zeros((60, 80), bool), np.zeros((60, 80), bool)
    left[10:50, 20:60], right[20:40, 5:75] = True, True
    return image, left, right


@pytest.fixture(scope="module")
def page(pair, parse):
    return parse(render_review(REVIEW, [make_exhibit(*pair)] * 3, {"version": "1.2.3"}))


def test_pictures_are_what_was_given(pair):
    image, left, right = pair
    exhibit = make_exhibit(*pair)
    assert (exhibit.width, exhibit.height) == (80, 60)
    assert np.abs(decode_uri(exhibit.original, decode_image).astype(int) - image).max() <= 2
    assert (decode_uri(exhibit.left, decode_mask) == left).all()
    assert (decode_uri(exhibit.right, decode_mask) == right).all()


def test_large_pictures_are_bounded():
    image, mask = np.zeros((300, 5000, 3), np.uint8), np.ones((300, 5000), bool)
    exhibit = make_exhibit(image, mask, mask)
    assert (exhibit.width, exhibit.height) == (SIDE, 72)
    assert decode_uri(exhibit.left, decode_mask).shape == (72, SIDE)


def test_each_pair_is_there_by_its_number(page):
    assert [tag["data-pair"] for tag in page.all("article")] == ["1", "2", "3"]
    assert page.all("section", id="judge")[0]["data-review"] == REVIEW
    for kind, form in (("original", "jpeg"), ("left", "png"), ("right", "png")):
        pictures = page.all("img", **{"class": kind})
        assert len(pictures) == 3
        assert all(tag["src"].startswith(f"data:image/{form};base64,") for tag in pictures)


def test_nothing_outside_is_asked_for_and_only_its_own_script_runs(page):
    [policy] = [tag["content"] for tag in page.all("meta") if "http-equiv" in tag]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not re.search(r"https?://|fetch\(|XMLHttpRequest|import\(", page.inside["script"])
    assert all(tag.get("src", "data:").startswith("data:") for _, tag in page.tags)
    assert page.all("a") == []


def test_its_script_speaks_the_format_that_is_read_back(page):
    script = page.inside["script"]
    assert 'format: "bgexp-votes", version: 1, review: judge.dataset.review' in script
    choices = {tag["data-choice"] for tag in page.all("button") if "data-choice" in tag}
    assert choices == {"left", "right", "tie", "both_bad"}
    for choice in choices:
        assert f'choose("{choice}")' in script  # by a key too
    for action in ("back", "zoom", "original", "ground", "save"):
        assert [tag for tag in page.all("button") if tag.get("data-do") == action]


def test_other_pages_have_nothing_of_it():
    assert renderer._read_source("run", "js") == renderer._read_source("run", "css") == ""
    assert "bgexp-review" in renderer._read_source("review", "js")
    assert (Path(renderer.__file__).parent / "templates" / "review.css").is_file()
