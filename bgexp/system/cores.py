"""The cores that a process may use, and how workers share them."""

import os


def count_available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count_own_cores() -> int:
    """Return how many cores are this process's: OMP_NUM_THREADS, or all that it may use."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(threads)) if threads.isdigit() else count_available_cores()


def count_threads_each(n_processes: int) -> int:
    """Return how many threads each of `n_processes` has."""
    return max(1, count_own_cores() // n_processes)
