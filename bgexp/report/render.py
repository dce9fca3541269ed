"""The one renderer of all pages: templates to one self-contained HTML file, and what they share."""

import base64
import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bgexp.report.finding import Finding
from bgexp.report.wording import format_signed
from bgexp.system.terminal import make_printable
from bgexp.tracking.run_folder import ROWS

MAX_ROWS = 50  # of a table, where it does not say otherwise
MAX_WAITING = 20_000  # rows that a page holds besides: 4 MB, which a browser reads in half a second


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: The text of the cell.
        sort: The sort key; None: its text.
        bar: A share from 0 to 1, drawn as a small bar; None: no bar.
        link: A path relative to the page; empty for none.
        url: The address of another page, made by bgexp alone; empty for none.
        strong: Whether it is set in bold.
        swatch: The colour in front of it, a class of page.css; empty for none.
        anchor: In the first cell, the row's place on the page, to link to; empty for none.
    """

    text: str
    sort: float | None = None
    bar: float | None = None
    link: str = ""
    url: str = ""
    strong: bool = False
    swatch: str = ""
    anchor: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted and searched, of which a page without script has the first rows.

    Attributes:
        caption: For screen readers.
        columns: Their headings; numbers stand on the right.
        rows: As many cells each as there are columns.
        rest: The file with the rows that are cut off.
        most: How many rows are shown at most; the page's script has the others too.
        sorting: The column by which the rows are sorted, and "ascending" or "descending"; None: by
            none.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    rest: str = ROWS
    most: int = MAX_ROWS
    sorting: tuple[int, str] | None = None

    @property
    def shown(self) -> Sequence[Sequence[Cell]]:
        """The rows on the page."""
        return self.rows[: self.most]

    @property
    def n_hidden(self) -> int:
        """The number of rows that are cut off."""
        return len(self.rows) - len(self.shown)

    @property
    def n_left_out(self) -> int:
        """The number of rows that the script does not have either."""
        return max(0, self.n_hidden - MAX_WAITING)

    @property
    def waiting(self) -> list[list[list[object]]]:
        """The hidden rows for the script: text, sort key, bar and address of each cell."""
        return [
            [_pack_cell(cell) for cell in row]
            for row in self.rows[self.most : self.most + MAX_WAITING]
        ]

    @cached_property
    def is_numeric(self) -> list[bool]:
        """Whether each column holds numbers."""
        return [
            bool(self.rows) and all(row[n].sort is not None for row in self.rows)
            for n in range(len(self.columns))
        ]


def _pack_cell(cell: Cell) -> list[object]:
    """Return a cell without what it lacks at its end; numbers with six digits, NaN as None."""
    sort, bar = (
        None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
        for value in (cell.sort, cell.bar)
    )
    packed: list[object] = [make_printable(cell.text), sort, bar]
    packed.append(_format_link(cell.link) if cell.link else cell.url or None)
    while packed[-1] is None:
        packed.pop()
    return packed


def format_number(value: float | None, digits: int = 3) -> str:
    """Format a number with so many decimals; a dash where it is undefined.

    >>> format_number(0.88436), format_number(4431, 0), format_number(float("nan"))
    ('0.884', '4,431', '–')
    """  # noqa: RUF002
    if value is None or math.isnan(value):
        return "\u2013"
    return f"{value:,.{digits}f}"


def make_number_cell(value: float | None, digits: int = 3, bar: bool = False) -> Cell:
    """Return the cell of a number; with `bar`, of a share with its bar."""
    undefined = value is None or math.isnan(value)
    return Cell(
        format_number(value, digits),
        math.nan if undefined else value,
        value if bar and not undefined else None,
    )


def make_change_cell(value: float | None, strong: bool = False) -> Cell:
    """Return the cell of a change, with its sign."""
    value = math.nan if value is None else value
    return Cell(format_signed(value), value, strong=strong)


def list_sections(
    content: Mapping[str, object], candidates: Sequence[tuple[str, str, str]]
) -> list[tuple[str, str]]:
    """Return (place, name) of the sections that have content, from (place, name, content's key)."""
    return [(place, name) for place, name, key in candidates if content[key]]


def _format_link(path: str) -> str:
    """Quote a path as a link relative to the page; no name makes a scheme or another host of it."""
    return quote(path.lstrip("/"), errors="surrogateescape")


@functools.cache
def _make_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bgexp.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., object]] = {
        "number": format_number,
        "shown": make_printable,
        "link": _format_link,
    }
    environment.filters.update(filters)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def _read_source(stem: str, suffix: str) -> str:
    """Return a style or a script; "" where there is none of this name."""
    name, environment = f"{stem}.{suffix}", _make_environment()
    if name not in environment.list_templates():
        return ""
    return environment.loader.get_source(environment, name)[0]  # type: ignore[union-attr]


def render_page(template: str, **content: object) -> bytes:
    """Render a template that extends page.html to UTF-8 HTML that loads nothing from outside.

    Everything in `content` is escaped; style and script are bgexp's own, pinned by their hashes.
    A template may have more of both beside it, under its own name.
    """
    environment = _make_environment()
    inlined: dict[str, object] = {}
    for kind, suffix in (("style", "css"), ("script", "js")):
        source = _read_source("page", suffix) + _read_source(template.rpartition(".")[0], suffix)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        inlined |= {kind: Markup(source), f"{kind}_hash": f"'sha256-{digest}'"}
    page = environment.get_template(template).render(inlined | content)
    return page.encode(errors="backslashreplace")


def find_anchors(anchors: Mapping[str, str], findings: Sequence[Finding]) -> dict[str, str]:
    """Return the anchor of each image that a finding names; "" where the page does not show it."""
    return {path: anchors.get(path, "") for finding in findings for path in finding.paths[:6]}
