import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.system.safe_csv import encode_safe_csv

HOSTILE = {
    "=1+1": "'=1+1",
    "+1": "'+1",
    "-rf": "'-rf",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": r"\t=1",
    "a\nb\rc": r"a\nb\rc",
    "\x1b[31mred": r"\x1b[31mred",
    "\u202egpj.exe": r"\u202egpj.exe",
    "\udcff": r"\udcff",
    'a"b,c': 'a"b,c',
    "\u00e9 \U0001f469": "\u00e9 \U0001f469",
}


def parse_csv(data):
    return list(csv.reader(io.StringIO(data.decode())))


@pytest.mark.parametrize("dtype", [object, "str"])
def test_hostile_names(dtype):
    # Text of pandas' own type holds no lone surrogates.
    names = {k: v for k, v in HOSTILE.items() if dtype is object or k != "\udcff"}
    table = pd.DataFrame({"path": pd.Series([*names], dtype=dtype), "n": range(len(names))})
    before = table.copy()
    rows = parse_csv(encode_safe_csv(table))
    assert rows[0] == ["path", "n"]
    assert [path for path, _ in rows[1:]] == list(names.values())
    assert [int(n) for _, n in rows[1:]] == list(range(len(names)))
    pd.testing.assert_frame_equal(table, before)


def test_headings_are_cells_too():
    table = pd.DataFrame({"=cmd": ["a"], "b\nc": ["b"]})
    assert parse_csv(encode_safe_csv(table))[0] == ["'=cmd", r"b\nc"]


def test_numbers_and_gaps_stay():
    table = pd.DataFrame({"x": [-1.5, float("nan")], "ok": [True, None], "t": ["", None]})
    assert parse_csv(encode_safe_csv(table)) == [
        ["x", "ok", "t"],
        ["-1.5", "True", ""],
        ["", "", ""],
    ]


@given(st.lists(st.text(st.characters()), max_size=5))
def test_no_cell_is_a_formula_or_breaks_its_line(names):
    data = encode_safe_csv(
        pd.DataFrame({"n": range(len(names)), "path": pd.Series(names, dtype=object)})
    )
    assert data.count(b"\n") == len(names) + 1
    assert not any(byte < 32 and byte != 10 for byte in data)
    for _, path in parse_csv(data)[1:]:
        assert not path.startswith(("=", "+", "-", "@"))
