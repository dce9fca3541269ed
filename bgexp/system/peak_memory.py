"""Peak memory of this process."""

import platform
import re
from contextlib import suppress
from pathlib import Path


def reset_peak_memory() -> None:
    """Start the measurement of the peak anew, where the system allows it (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def read_peak_memory() -> int:
    """Return the peak of this process's resident memory in bytes, since the last reset if any."""
    with suppress(OSError):
        match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if match:
            return 1024 * int(match[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else 1024 * peak
