"""Each call by which a command reads or changes files goes wrong, once each.

It fails with EIO, with ENOSPC, or its process is killed there, where that differs. The command has
to end with a documented exit code, without a traceback; nothing may be recorded that is not there,
whole; the same command, run again, has to come to its end.
"""

import errno
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.faults.calls import Call, Watch, read_calls
from tests.faults.commands import Command
from tests.faults.disk import read_state
from tests.faults.forks import run_command

KILL = 0
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "killed": KILL}
OF_ALIKE = 8  # of SQLite's calls, further writes to a file and folders that are there, each eighth
NEEDS_NO_ROOM = ("read", "open", "unlink")
CHANGES_NOTHING = ("read", "open")  # killed there, all is as at that process's next call
TRIES = 4  # of calls that other processes or threads may have brought out of their order
# What is another each time in the names of files: ids, moments, temporary names.
_RANDOM = re.compile(
    r"[0-9a-f]{8}[0-9a-f-]*|\d{4}-\d\d-\d\d_[\d-]+|(?<=uploading\.)\w+|(?<=/\.)\w{8}(?=/|$)"
)


def list_cases(command: Command, watch: Watch, log: Path) -> list[tuple[Call, str]]:
    """Run a command undisturbed; return its calls, each with each fault."""
    command.prepare()
    watch.set(command.root, log)
    problems = command.run_again()
    watch.stop()
    if problems:
        sys.exit(problems[0])
    command.learn()
    # Those of a store apart: its threads' come between the others at any time.
    calls = sorted(read_calls(log), key=lambda call: (call.is_of_store, call.number))
    return [
        (call, fault)
        for before, call in zip([None, *calls], calls, strict=False)
        if not _is_alike(before, call) or call.number % OF_ALIKE == 0
        for fault in _list_faults(call)
    ]


def _is_alike(before: Call | None, call: Call) -> bool:
    is_next = before is not None and (before.name, before.path) == (call.name, call.path)
    is_there = (call.outcome, call.name) == ("failed", "mkdir")
    return call.is_of_store or is_there or (call.name == "write" and is_next)


def _list_faults(call: Call) -> Iterator[str]:
    yield "EIO"
    if call.outcome == "failed":  # such as a look for a file that is not there
        return
    if call.name not in NEEDS_NO_ROOM:
        yield "ENOSPC"
    if call.name not in CHANGES_NOTHING:
        yield "killed"


def _describe(call: Call) -> tuple[str, str]:
    """Return what is the same of a call each time."""
    return call.name, _RANDOM.sub("*", str(call.path))


def fail_once(command: Command, watch: Watch, log: Path, call: Call, fault: str) -> list[str]:
    """Let one call go wrong; return what is wrong then, [""] where it was not made at its place."""
    for _ in range(TRIES):
        command.prepare()
        watch.set(command.root, log, call, FAULTS[fault])
        code = run_command(command.arguments, command.log)
        watch.stop()
        hits = [made for made in read_calls(log) if made.outcome == "hit"]
        if hits and (call.is_of_store or _describe(hits[0]) == _describe(call)):
            break
    else:
        return [""]
    output = command.log.read_text()
    problems = []
    if code not in (0, 1, 2, *([-9] if fault == "killed" else [])):
        problems.append("it hangs" if code is None else f"exit code {code}")
    if "Traceback" in output:
        problems.append("a traceback")
    problems += command.find_losses(read_state(command.root))
    problems += command.resume()
    place_name = f"{hits[0].name} {hits[0].path.relative_to(command.root)}"
    said = f"\n    {output[-1500:]!r}" if problems else ""
    return [
        f"{command.name}, call {call.number} ({place_name}), {fault}: {p}{said}" for p in problems
    ]
