"""The provenance of a run: versions, and the state of bgexp's own sources."""

import functools
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bgexp import __version__
from bgexp.system.hashing import hash_bytes, hash_file

_GIT_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_GIT_OPTIONS = ("--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
PACKAGES = ("torch", "torchvision", "opencv-python", "numpy", "pillow", "mlflow", "hydra-core")


@functools.cache
def describe_bgexp() -> dict[str, Any]:
    """Return version, hash of the sources, and git commit and state where run from a checkout.

    Read once in a process, like the code that runs.
    """
    commit = _run_git("rev-parse", "HEAD")
    changed = _run_git("status", "--porcelain", "--", "bgexp", "conf")
    return {
        "version": __version__,
        "source_hash": hash_sources(),
        "git_commit": commit,
        "git_dirty": None if changed is None else bool(changed),
    }


def find_package_versions() -> dict[str, str]:
    """Return Python's version and those of the packages that determine a result."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def _run_git(*arguments: str) -> str | None:
    """Return git's output for the checkout of the package; None where there is no checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    # Variables and configs can name commands that git runs; only its own place is kept of them.
    environment = {name: text for name, text in os.environ.items() if name in ("PATH", "TMPDIR")}
    try:
        process = subprocess.run(
            ["git", *_GIT_OPTIONS, "-c", f"safe.directory={root}", "-C", str(root), *arguments],
            env=environment | _GIT_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() if process.returncode == 0 else None


SCHEMA_VERSION = 1


@functools.cache
def hash_sources(*parts: str) -> str:
    """Return the SHA-256 over bgexp's own .py files and their names relative to the package.

    Read once in a process: it names the code that runs, not what is edited meanwhile.

    Args:
        parts: The files and folders of the package that count; none for all.

    Raises:
        ValueError: A part that is no file and no folder of the package: one that was moved must not
            leave the hash unnoticed.
    """
    package = Path(__file__).parents[1]
    names = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    unknown = [part for part in parts if not any(_is_inside(name, part) for name in names)]
    if unknown:
        raise ValueError(f"no source of bgexp: {', '.join(unknown)}")
    selected = [
        name for name in names if not parts or any(_is_inside(name, part) for part in parts)
    ]
    lines = [f"{hash_file(package / name)}  {name}\n" for name in selected]
    return hash_bytes("".join(lines).encode())


def _is_inside(name: str, part: str) -> bool:
    """Tell whether a source is the part or lies in it."""
    return name == part or name.startswith(f"{part}/")
