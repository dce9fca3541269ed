"""`bgexp verify`: an output against all that was recorded of it."""

import os
from pathlib import Path

from bgexp.config.verify import VerifySettings
from bgexp.errors import UserError
from bgexp.system.folders import open_folder
from bgexp.system.stores import Address
from bgexp.tracking.run_folder import MASKS, ROWS, SHARED, RunFolder
from bgexp.verify.batch_output import verify_batch
from bgexp.verify.run_output import verify_run, verify_sweep
from bgexp.verify.verification import Verification


def verify_output(settings: VerifySettings) -> Verification:
    """Read an output, of a batch, a run or a sweep, and compare it with what was recorded.

    Raises:
        UserError: There is none, or its store does not answer.
    """
    verification = _verify(settings)
    verification.damage.sort(key=lambda damage: (damage.file, damage.row))
    return verification


def _verify(settings: VerifySettings) -> Verification:
    place = settings.output
    if isinstance(place, Address):
        return verify_batch(open_folder(place), settings.subset)
    if not place.is_dir():
        raise UserError(f"output: no such folder: {place}")
    folder = Path(os.path.realpath(place))
    if (folder / SHARED).exists():
        return verify_sweep(folder, settings.subset)
    if any((folder / name).exists() for name in (ROWS, MASKS)):
        return verify_run(RunFolder(folder), settings.subset)
    return verify_batch(open_folder(folder), settings.subset)
