import base64
import hashlib
import re

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from bgexp.report import render
from bgexp.report.render import (
    Cell,
    Table,
    format_number,
    make_change_cell,
    make_number_cell,
    render_page,
)
from bgexp.system.terminal import make_printable


@pytest.fixture(scope="session")
def page(parse):
    """A page without content, taken apart."""
    content = {"findings": [], "anchors": {}, "jobs": Table("Jobs", (), ()), "shared": ""}
    content |= {"parallel": None, "thresholds": None}
    content |= {"effects": [], "refinement": None, "ranks": None, "pictures": []}
    content |= {"tradeoff": type("Scatter", (), {"points": []})}
    head = {"kind": "k", "title": "<t>", "banners": [], "facts": [], "places": [], "links": {}}
    return parse(render_page("sweep.html", footer="", **head, **content))


def test_only_its_own_style_and_script_may_run(page):
    [policy] = [tag["content"] for tag in page.all("meta") if "http-equiv" in tag]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        digest = hashlib.sha256(page.inside[kind].encode()).digest()
        assert f"{kind}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


def test_a_page_says_what_it_is(page):
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("meta", name="viewport")
    assert "<t>" in page.text
    assert page.all("link") == [{"rel": "icon", "href": "data:,"}]  # none is asked for


def test_what_is_forgotten_is_an_error():
    with pytest.raises(UndefinedError):
        render_page("sweep.html", title="t")


def test_numbers():
    assert [format_number(value) for value in (0.88436, None, float("nan"))] == [
        "0.884",
        "\u2013",
        "\u2013",
    ]
    assert format_number(4431, 0) == "4,431"
    assert make_number_cell(0.5, bar=True) == Cell("0.500", 0.5, 0.5)
    assert make_number_cell(None, bar=True).bar is None
    assert make_change_cell(-0.1).text == "\u22120.100"
    assert make_change_cell(None).text == "\u2013"


def test_a_table_is_cut_off():
    table = Table("t", ("a", "b"), [[Cell(str(n)), Cell(str(n), n)] for n in range(60)])
    assert (len(table.shown), table.n_hidden) == (50, 10)
    assert table.is_numeric == [False, True]
    assert Table("t", ("a",), []).is_numeric == [False]


def test_the_rest_of_a_table_waits_for_the_script():
    rows = [[Cell(f"<{n}>\n", url="#a"), Cell("0.123", 0.1234567891, 0.5)] for n in range(3)]
    rows.append([Cell("", link="a b"), make_number_cell(float("nan"))])
    table = Table("t", ("a", "b"), rows, most=2)
    assert table.waiting == [
        [["<2>\\n", None, None, "#a"], ["0.123", 0.123457, 0.5]],
        [["", None, None, "a%20b"], ["\u2013"]],
    ]
    assert table.n_left_out == 0


def test_a_page_does_not_hold_millions_of_rows(monkeypatch):
    monkeypatch.setattr(render, "MAX_WAITING", 5)
    table = Table("t", ("a",), [[Cell(str(n))] for n in range(60)])
    assert (len(table.waiting), table.n_left_out) == (5, 5)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\nb\x00", "a\\nb\\x00"),
        ("\u202egpj", "\\u202egpj"),
        ("\udcff", "\\udcff"),
        ("\U0001f469\u200d\U0001f680 \u00e9", "\U0001f469\u200d\U0001f680 \u00e9"),
        (Markup("<b>"), "<b>"),
        (3, "3"),
    ],
)
def test_what_is_shown_of_a_text(text, seen):
    assert make_printable(text) == seen
    assert type(make_printable(text)) is str  # markup is no longer trusted


def test_colours_can_be_told_apart():
    """Text has a contrast of at least 4.5, a chart's line 3, light and dark (WCAG 2.2)."""
    from bgexp.report.render import _make_environment

    style = _make_environment().loader.get_source(_make_environment(), "page.css")[0]
    light, dark = style.split("prefers-color-scheme: dark")[:2]
    for block in (light, dark.split("}")[0]):
        colors = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block))
        assert len(colors) >= 15
        for name in ("ink", "soft", "accent", "problem", "warning", "note", "good"):
            for ground in ("ground", "wash"):
                assert contrast(colors[name], colors[ground]) >= 4.5, (name, ground)
        for name in ("s0", "s1", "s3", "s4", "better", "worse"):
            assert contrast(colors[name], colors["ground"]) >= 3, name


def contrast(first, other):
    """WCAG's contrast ratio of two #rrggbb colours."""

    def luminance(color):
        levels = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        r, g, b = ((v + 0.055) / 1.055 if v > 0.03928 else 0 for v in levels)
        linear = [
            x**2.4 if v > 0.03928 else v / 12.92 for x, v in zip((r, g, b), levels, strict=True)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(other)))
    return (high + 0.05) / (low + 0.05)
