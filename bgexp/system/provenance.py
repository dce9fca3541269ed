"""What a run was computed with: versions, the state of bgexp's own sources, memory."""

import functools
import platform
import re
import subprocess
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bgexp import __version__
from bgexp.system.atomic import source_hash

PACKAGES = ("torch", "torchvision", "opencv-python", "numpy", "pillow", "mlflow", "hydra-core")


@functools.cache
def bgexp_state() -> dict[str, Any]:
    """Version, hash of the sources, and git commit and state where bgexp runs from a checkout.

    Read once in a process, like the code that runs.
    """
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", "bgexp", "conf")
    return {
        "version": __version__,
        "source_hash": source_hash(),
        "git_commit": commit,
        "git_dirty": None if changed is None else bool(changed),
    }


def package_versions() -> dict[str, str]:
    """Python's version and those of the packages that make a result."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def reset_peak_memory() -> None:
    """Starts the measurement of the peak anew, where the system lets us (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """The peak of this process's resident memory in bytes, since the last reset if any."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return 1024 * int(found[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else 1024 * peak


def _git(*arguments: str) -> str | None:
    """What git says of the checkout that the package lies in; None where it lies in none."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


SCHEMA_VERSION = 1
