"""The doctor's checks: each judges what it gets as arguments and imports nothing."""

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bgexp.config.credentials import hide_credentials

GB = 10**9
REINSTALL_TORCH = "pip install --upgrade --force-reinstall torch torchvision"
REINSTALL_OPENCV = "pip install --force-reinstall --no-deps opencv-python"
OPENCV_LIBRARIES = "apt-get install libgl1 libglib2.0-0 libxcb1"


@dataclass(frozen=True)
class Finding:
    """The result of one check; mend is the command to run, empty where there is none."""

    name: str
    status: Literal["ok", "warning", "problem"]
    detail: str
    mend: str = ""


@dataclass(frozen=True)
class Gpu:
    """A CUDA device and its memory in bytes."""

    name: str
    free: int
    total: int


def describe_error(error: BaseException) -> str:
    """Describe an error in one line."""
    line = (hide_credentials(str(error)).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line[:300]}".removeprefix("UserError: ").removesuffix(": ")


def run_check(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return the findings of a check, and one more where it crashes."""
    findings: list[Finding] = []
    try:
        findings.extend(check())  # findings that a generator yielded before it crashed stay
    except Exception as error:
        findings.append(Finding(name, "problem", describe_error(error)))
    return findings


def check_python(version: tuple[int, int, int]) -> Finding:
    """Check that Python is 3.11 or later."""
    text = ".".join(map(str, version))
    if version < (3, 11):
        return Finding("python", "problem", f"{text}: too old", "uv venv --python 3.11")
    return Finding("python", "ok", text)


def check_torch(versions: Mapping[str, str], try_ops: Callable[[], object]) -> Finding:
    """Check that torch and torchvision match: torchvision's compiled operators run."""
    text = ", ".join(f"{name} {version}" for name, version in versions.items()) or "not installed"
    try:
        try_ops()
    except (
        Exception
    ) as error:  # a pair that does not match raises RuntimeError, ImportError, AttributeError
        return Finding("torch", "problem", f"{text}: {describe_error(error)}", REINSTALL_TORCH)
    return Finding("torch", "ok", text)


def check_opencv(versions: Mapping[str, str], try_import: Callable[[], object]) -> Finding:
    """Check that there is one OpenCV distribution, and that it imports."""
    text = ", ".join(f"{name} {version}" for name, version in versions.items()) or "not installed"
    error = _catch_error(try_import)
    broken = f": {describe_error(error)}" if error else ""
    missing = re.search(r"(libGL|libglib|libgthread|libxcb)[\w.-]*: cannot open", broken)
    if missing:
        return Finding("opencv", "problem", text + broken, OPENCV_LIBRARIES)
    if len(versions) > 1:
        mend = f"pip uninstall -y {' '.join(versions)} && {REINSTALL_OPENCV}"
        text = f"{text}: they write over each other's files{broken}"
        return Finding("opencv", "problem" if error else "warning", text, mend)
    if error:
        return Finding("opencv", "problem", text + broken, REINSTALL_OPENCV)
    return Finding("opencv", "ok", text)


def _catch_error(action: Callable[[], object]) -> Exception | None:
    try:
        action()
    except Exception as error:
        return error
    return None


def check_devices(device: str, cpu: str, gpus: Sequence[Gpu], complaint: str) -> list[Finding]:
    """Check the CPU and each GPU; complaint: torch's warning on looking for GPUs."""
    findings = [Finding("cpu", "ok", cpu)]
    for number, gpu in enumerate(gpus):
        text = f"{gpu.name}, {gpu.free / GB:.1f} of {gpu.total / GB:.1f} GB free"
        short = gpu.free < 2 * GB
        mend = "nvidia-smi --query-compute-apps=pid,name,used_memory --format=csv" if short else ""
        findings.append(Finding(f"cuda:{number}", "warning" if short else "ok", text, mend))
    if not gpus and device == "cuda":
        text = f"none, and device=cuda. {complaint}".strip()
        findings.append(Finding("cuda", "problem", text, "bgexp run device=cpu"))
    elif not gpus and complaint:
        findings.append(Finding("cuda", "warning", complaint, "nvidia-smi"))
    elif not gpus:
        findings.append(Finding("cuda", "ok", "none: the CPU computes"))
    return findings


def check_disk(folder: Path, free: int, refusal: str) -> Finding:
    """Check room in the runs folder (bytes), and that it is writable; refusal: why it is not."""
    place = shlex.quote(str(folder))
    text = f"{folder}: {free / GB:.1f} GB free"
    if refusal:
        mend = f"sudo chown -R {os.getuid()} {place}"
        return Finding("disk", "problem", f"{text}, cannot be written ({refusal})", mend)
    if free >= 5 * GB:
        return Finding("disk", "ok", text)
    status: Literal["problem", "warning"] = "problem" if free < GB / 2 else "warning"
    return Finding("disk", status, text, f"du -xh -d 2 {place} | sort -h | tail")


def check_memory(available: int) -> Finding:
    """Check that at least 3 GB of memory (bytes) are available."""
    text = f"{available / GB:.1f} GB available"
    if available < 3 * GB:
        return Finding("memory", "warning", text, "ps -eo pid,rss,args --sort=-rss | head")
    return Finding("memory", "ok", text)
