"""A run's folder: its rows, its masks and its inputs against each other."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bgexp.errors import UserError
from bgexp.images.decode import ImageError
from bgexp.system.hashing import hash_bytes
from bgexp.system.stores import Address, locate_recorded
from bgexp.tracking.mask_archive import MaskArchive
from bgexp.tracking.run_folder import ALPHAS, CONFIG, HASHES, PAGE, ROWS, SUMMARY, RunFolder
from bgexp.verify.inputs import check_input, explain_unreachable
from bgexp.verify.verification import Damage, RowCheck, Verification, check_rows


@dataclass(frozen=True)
class RunRow:
    """A row of per_image.parquet, with the archives and where the dataset can be reached."""

    values: dict[str, Any]
    archives: dict[str, MaskArchive]
    root: Path | Address | None

    def check(self) -> RowCheck:
        """Read its mask, its alpha and its image."""
        check, path = RowCheck(), str(self.values["path"])
        for name, archive in self.archives.items():
            if not (sha256 := self.values[HASHES[name]]):
                continue
            check.n_results += 1
            problem = _explain_file(archive, path, sha256)
            check.damage += [Damage(f"{name}/{path}.png", problem, path)] if problem else []
        if self.root is not None and self.values["sha256"]:
            check.n_inputs = 1
            damaged = check_input(self.root / path, self.values["sha256"], path)
            check.damage += [damaged] if damaged else []
        return check


def _explain_file(archive: MaskArchive, path: str, sha256: str) -> str:
    if f"{path}.png" not in archive:
        return "is missing"
    try:
        png = archive.read_png(path)
    except ImageError as error:
        return f"cannot be read: {error}"
    return "" if hash_bytes(png) == sha256 else "was changed"


def verify_run(folder: RunFolder, subset: float | None) -> Verification:
    """Compare the rows of a run with its masks, its alphas, its summary and its inputs."""
    verification = Verification(str(folder.path))
    damage = verification.damage
    damage += [Damage(name, "is missing") for name in (CONFIG, PAGE, ROWS) if not folder.has(name)]
    if not folder.has(ROWS):
        verification.notes.append("without rows nothing else was looked at")
        return verification
    try:
        rows = folder.read_rows()
    except UserError as error:
        damage.append(Damage(ROWS, _describe_cause(error)))
        return verification
    verification.n_rows = len(rows)
    damage += [
        Damage(ROWS, "has this row twice", p) for p in rows["path"][rows["path"].duplicated()]
    ]
    summary = _read_summary(folder, verification)
    counts = {"total": len(rows), **{s: int((rows["status"] == s).sum()) for s in ("ok", "failed")}}
    recorded = summary.get("counts", counts)
    if wrong := [name for name in counts if recorded.get(name) != counts[name]]:
        damage.append(Damage(SUMMARY, f"its counts are not those of the rows: {', '.join(wrong)}"))
    damage += _list_changed(folder, summary)
    root = _find_root(summary, verification)
    table = rows.to_dict("records")
    with ExitStack() as stack:
        archives = dict(_open_archives(folder, rows, verification, stack))
        rows_to_check = (RunRow(values, archives, root) for values in table)
        check_rows(rows_to_check, len(rows), subset, verification)
        for name, archive in archives.items():
            named = {f"{path}.png" for path in rows["path"][rows[HASHES[name]] != ""]}
            damage += _list_strangers(name, archive, named)
    return verification


def verify_sweep(folder: Path, subset: float | None) -> Verification:
    """Verify each job of a sweep as a run; the number of its folder stands before its files."""
    verification = Verification(str(folder))
    numbers = {int(path.name) for path in folder.iterdir() if path.name.isdecimal()}
    for number in sorted(numbers.union(range(len(numbers)))):
        job = verify_run(RunFolder(folder / str(number)), subset)
        verification.n_rows += job.n_rows
        verification.n_sampled += job.n_sampled
        verification.n_results += job.n_results
        verification.n_inputs += job.n_inputs
        verification.damage += [replace(d, file=f"{number}/{d.file}") for d in job.damage]
        verification.notes += [f"{number}: {note}" for note in job.notes]
    return verification


def _list_changed(folder: RunFolder, summary: dict[str, Any]) -> Iterator[Damage]:
    hashes = folder.hash_files()
    for name, sha256 in summary.get("files", {}).items():
        if name in hashes and hashes[name] != sha256:
            yield Damage(name, "was changed")
        elif name not in hashes and name not in (CONFIG, PAGE):  # told above
            yield Damage(name, "is missing")


def _describe_cause(error: UserError) -> str:
    return f"cannot be read: {' '.join(str(error.__cause__).split())[:200]}"


def _read_summary(folder: RunFolder, verification: Verification) -> dict[str, Any]:
    try:
        if summary := folder.read_summary():
            return summary
        problem = "is missing"
    except UserError:
        problem = "cannot be read"
    verification.damage.append(Damage(SUMMARY, problem))
    return {}


def _open_archives(
    folder: RunFolder, rows: pd.DataFrame, verification: Verification, stack: ExitStack
) -> Iterator[tuple[str, MaskArchive]]:
    """Open the masks, and the alphas where a row has one."""
    for name, column in HASHES.items():
        if name == ALPHAS and not folder.has(name) and not (rows[column] != "").any():
            continue
        if not folder.has(name):
            verification.damage.append(Damage(name, "is missing"))
            continue
        try:
            yield name, stack.enter_context(folder.open_archive(name))
        except UserError as error:
            verification.damage.append(Damage(name, _describe_cause(error)))


def _find_root(summary: dict[str, Any], verification: Verification) -> Path | Address | None:
    dataset = summary.get("dataset", {})
    root = str(dataset.get("root", ""))
    try:
        place = locate_recorded(root)
        reason = explain_unreachable(place) if root else "the summary does not name them"
    except UserError as error:
        reason = str(error)
    if reason:
        verification.notes.append(f"the inputs were not looked at: {root}: {reason}")
        return None
    return place


def _list_strangers(name: str, archive: MaskArchive, named: set[str]) -> Iterator[Damage]:
    counts = Counter(archive.list_names())
    for file, n in counts.items():
        if file not in named:
            yield Damage(f"{name}/{file}", "no row names it")
        elif n > 1:
            yield Damage(f"{name}/{file}", "is there twice")
