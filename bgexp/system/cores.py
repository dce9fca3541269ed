"""The cores that a process may use, and how workers share them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def count_available_cores(root: Path = _ROOT) -> int:
    """Return how many cores this process may use: its affinity, within its cgroups' quotas.

    And within what Slurm gave its job, to which not every cluster confines it.

    A quota of a part of a core is one: a container with half a core of 64 has no 64 workers.

    Args:
        root: The folder that holds `proc` and `sys`.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    slurm = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE", "")
    job = [int(slurm)] if slurm.isdecimal() else []
    return max(1, min([cores, *job, *map(int, _read_quotas(root))]))


def count_own_cores() -> int:
    """Return how many cores are this process's: OMP_NUM_THREADS, or all that it may use.

    Of a list such as `4,2`, a number for each level of nested loops, the first one counts.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return max(1, int(threads)) if threads.isdecimal() else count_available_cores()


def count_threads_each(n_processes: int) -> int:
    """Return how many threads each of `n_processes` has."""
    return max(1, count_own_cores() // n_processes)


def _read_quotas(root: Path) -> Iterator[float]:
    """Yield the cores that this process's cgroups and those above them may use at once."""
    lines = []
    with suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    for line in lines:  # `0::PATH` of version 2, `4:cpu,cpuacct:PATH` of version 1
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers == "" or "cpu" in controllers.split(","):
            mount = root / "sys/fs/cgroup" / controllers
            # Inside a container the path may be the host's: only its end is mounted, or nothing.
            for folder in (PurePosixPath(path), *PurePosixPath(path).parents):
                with suppress(OSError, ValueError, ZeroDivisionError):
                    yield _read_quota(
                        mount / folder.relative_to("/"), version=2 - bool(controllers)
                    )


def _read_quota(folder: Path, version: int) -> float:
    """Read a cgroup's quota, in cores; ValueError where it has none."""
    if version == 2:
        quota, period = (folder / "cpu.max").read_text().split()
    else:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota, period = ((folder / name).read_text() for name in names)
    if float(quota) < 0:  # -1: none
        raise ValueError
    return float(quota) / float(period)
