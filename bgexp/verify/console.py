"""What `bgexp verify` prints."""

from dataclasses import asdict
from typing import Any

from bgexp.system.terminal import make_printable
from bgexp.verify.verification import Damage, Verification

_SHOWN = 20


def show_verification(verification: Verification) -> None:
    """Print what is damaged, what could not be looked at, and the result in one line."""
    lines = [_describe(damage) for damage in verification.damage[:_SHOWN]]
    if len(verification.damage) > _SHOWN:
        lines.append(f"and {len(verification.damage) - _SHOWN:,} more (--json lists all)")
    lines += [f"Note: {note}" for note in verification.notes]
    lines.append(f"{verification.output}: {_summarize(verification)}")
    print("\n".join(map(make_printable, lines)))


def build_document(verification: Verification) -> dict[str, Any]:
    """Return everything, as `--json` prints it."""
    return {"whole": verification.is_whole, **asdict(verification)}


def _describe(damage: Damage) -> str:
    row = f" (row {damage.row})" if damage.row else ""
    return f"{damage.file}: {damage.problem}{row}"


def _summarize(verification: Verification) -> str:
    rows = f"{verification.n_rows:,} rows"
    if verification.n_sampled < verification.n_rows:
        rows += f", of which {verification.n_sampled:,} drawn"
    read = f"{verification.n_results:,} results and {verification.n_inputs:,} inputs read"
    n_damaged = len(verification.damage)
    outcome = (
        "whole"
        if verification.is_whole
        else f"DAMAGED: {n_damaged:,} fault{'s' * (n_damaged != 1)}"
    )
    return f"{outcome} ({rows}; {read})"
