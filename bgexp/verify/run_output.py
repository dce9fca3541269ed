"""A run's folder: its rows, its masks and its inputs against each other."""

import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bgexp.images.decode import ImageError
from bgexp.system.stores import Address, read_place
from bgexp.tracking.mask_archive import MaskArchive
from bgexp.tracking.run_folder import CONFIG, MASKS, PAGE, ROWS, SUMMARY, RunFolder
from bgexp.verify.inputs import check_input, explain_unreachable
from bgexp.verify.verification import Damage, RowCheck, Verification, check_rows


@dataclass(frozen=True)
class RunRow:
    """A row of per_image.parquet, with the masks and where the dataset can be reached."""

    values: dict[str, Any]
    masks: MaskArchive | None
    root: Path | Address | None

    def check(self) -> RowCheck:
        """Read its mask and its image."""
        check, path = RowCheck(), str(self.values["path"])
        if self.masks is not None and self.values["status"] == "ok":
            check.n_results = 1
            problem = self._explain_mask(self.masks, path)
            check.damage += [Damage(f"{MASKS}/{path}.png", problem, path)] if problem else []
        if self.root is not None and self.values["sha256"]:
            check.n_inputs = 1
            damaged = check_input(self.root / path, self.values["sha256"], path)
            check.damage += [damaged] if damaged else []
        return check

    def _explain_mask(self, masks: MaskArchive, path: str) -> str:
        try:
            mask = masks.read(path)
        except KeyError:
            return "is missing"
        except (ImageError, zipfile.BadZipFile, OSError, ValueError) as error:
            return f"cannot be read: {error}"
        size = (self.values["height"], self.values["width"])
        if mask.shape != size or float(mask.mean()) != self.values["check.coverage"]:
            return "was changed"
        return ""


def verify_run(folder: RunFolder, subset: float | None) -> Verification:
    """Compare the rows of a run with its masks, its summary and its inputs.

    A row has no hash of its mask: the archive's checksum, the size and the share of foreground
    have to fit.
    """
    verification = Verification(str(folder.path))
    damage = verification.damage
    damage += [Damage(name, "is missing") for name in (CONFIG, PAGE) if not folder.has(name)]
    try:
        rows = folder.read_rows()
    except (OSError, ValueError) as error:
        damage.append(Damage(ROWS, f"cannot be read: {' '.join(str(error).split())[:200]}"))
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
    masks = _open_masks(folder, verification)
    root = _find_root(summary, verification)
    table = rows.to_dict("records")
    check_rows((RunRow(values, masks, root) for values in table), len(rows), subset, verification)
    if masks is not None:
        with masks:
            named = {f"{path}.png" for path in rows["path"][rows["status"] == "ok"]}
            damage += _list_strangers(masks, named)
    return verification


def _read_summary(folder: RunFolder, verification: Verification) -> dict[str, Any]:
    try:
        if summary := folder.read_summary():
            return summary
        problem = "is missing"
    except (OSError, ValueError, TypeError):
        problem = "cannot be read"
    verification.damage.append(Damage(SUMMARY, problem))
    return {}


def _open_masks(folder: RunFolder, verification: Verification) -> MaskArchive | None:
    try:
        return folder.open_masks()
    except FileNotFoundError:
        problem = "is missing"
    except (zipfile.BadZipFile, OSError) as error:
        problem = f"cannot be read: {error}"
    verification.damage.append(Damage(MASKS, problem))
    return None


def _find_root(summary: dict[str, Any], verification: Verification) -> Path | Address | None:
    dataset = summary.get("dataset", {})
    root = read_place(str(dataset.get("root", "")))
    place = root if isinstance(root, Address) else Path(root)
    if reason := explain_unreachable(place) if root else "the summary does not name them":
        verification.notes.append(f"the inputs were not looked at: {root}: {reason}")
        return None
    return place


def _list_strangers(masks: MaskArchive, named: set[str]) -> Iterator[Damage]:
    counts = Counter(masks.list_names())
    for name, n in counts.items():
        if name not in named:
            yield Damage(f"{MASKS}/{name}", "no row names it")
        elif n > 1:
            yield Damage(f"{MASKS}/{name}", "is there twice")
