"""Write the table of flags in docs/batch.md from the table that the code itself uses.

Usage: python docs/api/flags.py          (`make docs`; a test says when the page is old)
"""

import re
from pathlib import Path

from bgexp.batch.findings import FLAGS
from bgexp.config.batch import Flags

PAGE = Path(__file__).parents[1] / "batch.md"
OPENING, CLOSING = "<!-- flags: written by `make docs` -->", "<!-- /flags -->"


def build_table() -> str:
    """Return the table: each flag with its default limit, its meaning and what to try."""
    limits = Flags().model_dump()
    lines = ["| flag | limit | means | try |", "|---|---|---|---|"]
    for name, (meaning, setting) in FLAGS.items():
        advice = f"`{setting}`" if setting else "look at the result"
        lines.append(f"| `{name}` | {limits.get(name, '')} | {meaning} | {advice} |")
    return "\n".join(lines)


def build_page() -> str:
    """Return the text of docs/batch.md with the table between its markers."""
    between = re.compile(f"{re.escape(OPENING)}.*?{re.escape(CLOSING)}", re.DOTALL)
    text, count = between.subn(
        lambda _: f"{OPENING}\n{build_table()}\n{CLOSING}", PAGE.read_text(encoding="utf-8")
    )
    if count != 1:
        raise ValueError(f"{PAGE.name}: {OPENING} … {CLOSING} once, got {count}")
    return text


if __name__ == "__main__":
    PAGE.write_text(build_page(), encoding="utf-8")
