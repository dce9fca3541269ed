"""What the benchmark ran on."""

import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import psutil
import torch


def describe_machine():
    return {
        "cpu": f"{_read_cpu_name()} ({torch.backends.cpu.get_cpu_capability()})",
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": os.getloadavg()[0],  # well above 0: something else was running
        "threads": {"torch": torch.get_num_threads(), "opencv": cv2.getNumThreads()},
    }


def measure_matmul_gflops():
    """Measure products of square matrices, by precision; some CPUs only emulate bf16."""
    return {"fp32": _measure_gflops(torch.float32), "bf16": _measure_gflops(torch.bfloat16)}


def _measure_gflops(dtype, enough=0.02, repeats=7):
    """Measure with matrices large enough for one product to last `enough` seconds."""
    side, seconds = 128, 0.0
    while seconds < enough:
        side *= 2
        left, right = torch.randn(2, side, side).to(dtype)
        seconds = median(_time_product(left, right) for _ in range(repeats))
    return 2 * side**3 / seconds / 1e9


def _time_product(left, right):
    started = perf_counter()
    left @ right
    return perf_counter() - started


def _read_cpu_name():
    with suppress(OSError):
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        if match:
            return match[1]
    return platform.processor() or platform.machine()
