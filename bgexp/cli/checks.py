"""What the doctor makes of what it sees: each check takes it as arguments and imports nothing."""

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

GB = 10**9
REINSTALL_TORCH = "pip install --upgrade --force-reinstall torch torchvision"
REINSTALL_OPENCV = "pip install --force-reinstall --no-deps opencv-python"
OPENCV_LIBRARIES = "apt-get install libgl1 libglib2.0-0 libxcb1"


@dataclass(frozen=True)
class Finding:
    """What one check found; mend is the command to run, empty where there is none to name."""

    name: str
    status: Literal["ok", "warning", "problem"]
    found: str
    mend: str = ""


@dataclass(frozen=True)
class Gpu:
    """A CUDA device and its memory in bytes."""

    name: str
    free: int
    total: int


def reason(error: BaseException) -> str:
    """An error in one line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:300]}".removeprefix("UserError: ").removesuffix(": ")


def guarded(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings of a check, and one more where it crashes."""
    findings: list[Finding] = []
    try:
        findings.extend(check())  # what a generator gave before it crashed stays
    except Exception as error:
        findings.append(Finding(name, "problem", reason(error)))
    return findings


def check_python(version: tuple[int, int, int]) -> Finding:
    """Python 3.11 or later."""
    found = ".".join(map(str, version))
    if version < (3, 11):
        return Finding("python", "problem", f"{found}: too old", "uv venv --python 3.11")
    return Finding("python", "ok", found)


def check_torch(versions: Mapping[str, str], try_ops: Callable[[], object]) -> Finding:
    """Torch and torchvision belong together: torchvision's compiled operators run."""
    found = ", ".join(f"{name} {version}" for name, version in versions.items()) or "not installed"
    try:
        try_ops()
    except Exception as error:  # a foreign pair raises RuntimeError, ImportError, AttributeError
        return Finding("torch", "problem", f"{found}: {reason(error)}", REINSTALL_TORCH)
    return Finding("torch", "ok", found)


def check_opencv(versions: Mapping[str, str], try_import: Callable[[], object]) -> Finding:
    """One OpenCV distribution, which imports."""
    found = ", ".join(f"{name} {version}" for name, version in versions.items()) or "not installed"
    error = _failure(try_import)
    broken = f": {reason(error)}" if error else ""
    missing = re.search(r"(libGL|libglib|libgthread|libxcb)[\w.-]*: cannot open", broken)
    if missing:
        return Finding("opencv", "problem", found + broken, OPENCV_LIBRARIES)
    if len(versions) > 1:
        mend = f"pip uninstall -y {' '.join(versions)} && {REINSTALL_OPENCV}"
        found = f"{found}: they write over each other's files{broken}"
        return Finding("opencv", "problem" if error else "warning", found, mend)
    if error:
        return Finding("opencv", "problem", found + broken, REINSTALL_OPENCV)
    return Finding("opencv", "ok", found)


def _failure(action: Callable[[], object]) -> Exception | None:
    try:
        action()
    except Exception as error:
        return error
    return None


def check_devices(wanted: str, cpu: str, gpus: Sequence[Gpu], complaint: str) -> list[Finding]:
    """The CPU and each GPU; complaint: what torch said on looking for GPUs."""
    findings = [Finding("cpu", "ok", cpu)]
    for number, gpu in enumerate(gpus):
        found = f"{gpu.name}, {gpu.free / GB:.1f} of {gpu.total / GB:.1f} GB free"
        short = gpu.free < 2 * GB
        mend = "nvidia-smi --query-compute-apps=pid,name,used_memory --format=csv" if short else ""
        findings.append(Finding(f"cuda:{number}", "warning" if short else "ok", found, mend))
    if not gpus and wanted == "cuda":
        found = f"none, and device=cuda. {complaint}".strip()
        findings.append(Finding("cuda", "problem", found, "bgexp run device=cpu"))
    elif not gpus and complaint:
        findings.append(Finding("cuda", "warning", complaint, "nvidia-smi"))
    elif not gpus:
        findings.append(Finding("cuda", "ok", "none: the CPU computes"))
    return findings


def check_disk(folder: Path, free: int, refusal: str) -> Finding:
    """Room in the runs folder (bytes), and that it can be written; refusal: why it cannot."""
    place = shlex.quote(str(folder))
    found = f"{folder}: {free / GB:.1f} GB free"
    if refusal:
        mend = f"sudo chown -R {os.getuid()} {place}"
        return Finding("disk", "problem", f"{found}, cannot be written ({refusal})", mend)
    if free >= 5 * GB:
        return Finding("disk", "ok", found)
    status: Literal["problem", "warning"] = "problem" if free < GB / 2 else "warning"
    return Finding("disk", status, found, f"du -xh -d 2 {place} | sort -h | tail")


def check_memory(available: int) -> Finding:
    """At least 3 GB of available memory (bytes)."""
    found = f"{available / GB:.1f} GB available"
    if available < 3 * GB:
        return Finding("memory", "warning", found, "ps -eo pid,rss,args --sort=-rss | head")
    return Finding("memory", "ok", found)
