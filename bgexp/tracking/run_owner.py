"""The process that a run belongs to, by the run's tags: whether it still lives."""

import os
import socket
from collections.abc import Mapping

import psutil

CLOCK_S = 5  # a set clock moves the start of a process by its correction, seen from outside


def make_owner_tags() -> dict[str, str]:
    """Return the tags that name this process and this machine, and its job where Slurm runs it."""
    process = psutil.Process()
    job = {"bgexp.slurm_job": os.environ["SLURM_JOB_ID"]} if "SLURM_JOB_ID" in os.environ else {}
    return job | {
        "bgexp.host": socket.gethostname(),
        "bgexp.pid": str(process.pid),
        "bgexp.process_started": str(process.create_time()),
    }


def has_lost_owner(tags: Mapping[str, str]) -> bool:
    """Return whether the process that the tags name was on this machine and is gone.

    A zombie is gone, and so is one whose id another process has by now.
    """
    if tags.get("bgexp.host") != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(tags.get("bgexp.pid", "-1")))
        started = float(tags.get("bgexp.process_started", "nan"))
        return process.status() == psutil.STATUS_ZOMBIE or not (
            abs(process.create_time() - started) < CLOCK_S
        )
    except (psutil.Error, ValueError):
        return True
