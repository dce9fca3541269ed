"""`bgexp doctor`: what this machine has, and the command for what is missing.

Whatever is heavy or may be broken is imported inside its check: a broken OpenCV is a finding and
must not keep the doctor from running.
"""

import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module, metadata
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgexp.cli.checks import (
    Finding,
    Gpu,
    check_devices,
    check_disk,
    check_memory,
    check_opencv,
    check_python,
    check_torch,
    describe_error,
    run_check,
)
from bgexp.cli.probe_detection import check_detection
from bgexp.cli.probe_store import check_store
from bgexp.config.doctor import DoctorSettings

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def run_doctor(settings: DoctorSettings) -> int:
    """Print the findings; return 1 where anything is a problem, else 0."""
    console = Console()
    with console.status("looking …"):
        findings = run_checks(settings)
    table = Table("check", "result", "found")
    for finding in findings:
        result = Text(finding.status, STYLES[finding.status])
        table.add_row(finding.name, result, Text(finding.detail))
    console.print(table)
    for finding in findings:  # below the table, each on one line, so that it can be copied
        if finding.mend:
            console.print(Text(f"{finding.name}: {finding.mend}"), soft_wrap=True)
    return int(any(finding.status == "problem" for finding in findings))


def run_checks(settings: DoctorSettings) -> list[Finding]:
    """Run every check; one that crashes is a problem, and the others go on."""
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "python": lambda: [check_python(sys.version_info[:3])],
        "torch": lambda: [check_torch(_find_versions("torch", "torchvision"), _run_operator)],
        "opencv": lambda: [check_opencv(_find_opencv_versions(), lambda: import_module("cv2"))],
        "devices": lambda: _check_devices(settings.device),
        "detection": lambda: check_detection(settings.detector),
        "store": lambda: check_store(settings),
        "disk": lambda: [_check_disk(settings.runs_dir.resolve())],
        "memory": lambda: [check_memory(psutil.virtual_memory().available)],
    }
    return [finding for name, check in checks.items() for finding in run_check(name, check)]


def _find_versions(*names: str) -> Mapping[str, str]:
    installed = {str(d.metadata["Name"]).lower(): d.version for d in metadata.distributions()}
    return {name: installed[name] for name in names if name in installed}


def _find_opencv_versions() -> Mapping[str, str]:
    kinds = ("python", "python-headless", "contrib-python", "contrib-python-headless")
    return _find_versions(*(f"opencv-{kind}" for kind in kinds))


def _run_operator() -> None:
    import torch
    from torchvision.ops import nms

    nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)


def _check_devices(device: str) -> list[Finding]:
    import torch

    threads = torch.get_num_threads()
    cpu = f"{threads} thread{'s' * (threads != 1)}, {torch.backends.cpu.get_cpu_capability()}"
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")  # torch only warns of a driver that is too old
        numbers = range(_count_gpus())
    gpus = [Gpu(torch.cuda.get_device_name(n), *torch.cuda.mem_get_info(n)) for n in numbers]
    return check_devices(device, cpu, gpus, str(complaints[0].message) if complaints else "")


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _check_disk(runs: Path) -> Finding:
    # A missing runs folder is not made: its nearest existing parent has the same disk.
    folder = next(path for path in (runs, *runs.parents) if path.exists())
    refusal = ""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        refusal = error.strerror or describe_error(error)
    return check_disk(folder, shutil.disk_usage(folder).free, refusal)
