"""Tables of strangers' file names as CSV that is safe to open in a spreadsheet or a terminal."""

import pandas as pd

from bgexp.system.terminal import make_printable


def encode_safe_csv(table: pd.DataFrame, header: bool = True) -> bytes:
    """Return a CSV in which no cell is a formula, a line break or a terminal's escape.

    A cell that a spreadsheet would take for a formula gets an apostrophe in front, and what does
    not print is escaped; the Parquet file has the names as they are.
    """
    plain = table.copy()
    for name in plain:
        if plain[name].dtype == object or str(plain[name].dtype).startswith("str"):
            plain[name] = plain[name].map(
                lambda cell: _make_safe(cell) if isinstance(cell, str) else cell
            )
    plain.columns = pd.Index([_make_safe(str(name)) for name in plain])
    text: str = plain.to_csv(index=False, header=header)
    return text.encode(errors="backslashreplace")


def _make_safe(text: str) -> str:
    plain = make_printable(text)
    return f"'{plain}" if plain[:1] in ("=", "+", "-", "@") else plain
