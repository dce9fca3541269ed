"""Each call by which a command changes files goes wrong, once each.

It fails with EIO, with ENOSPC, or its process is killed there. The command has to end with a
documented exit code, without a traceback; nothing may be recorded that is not there, whole; the
same command, run again, has to come to its end.
"""

import errno
import sys
from pathlib import Path

from tests.faults.calls import Watch, read_calls
from tests.faults.commands import Command
from tests.faults.disk import read_state
from tests.faults.forks import run_command

KILL = 0
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "killed": KILL}
OF_SQLITE = 8  # of the calls on its files, most of all, each eighth: they are alike
NEEDS_NO_ROOM = ("read", "unlink")


def list_cases(command: Command, watch: Watch, log: Path) -> list[tuple[int, str]]:
    """Run a command undisturbed; return the numbers of its calls with each fault."""
    command.prepare()
    watch.set(command.root, log)
    problems = command.run_again()
    watch.stop()
    if problems:
        sys.exit(problems[0])
    command.learn()
    return [
        (place, fault)
        for place, call in enumerate(read_calls(log), 1)
        for fault in FAULTS
        if fault != "ENOSPC" or call.name not in NEEDS_NO_ROOM
        if "mlflow.db" not in call.path.name or place % OF_SQLITE == 0
    ]


def fail_once(command: Command, watch: Watch, log: Path, place: int, fault: str) -> list[str]:
    """Let one call go wrong; return what is wrong then, [""] where the call was not made."""
    command.prepare()
    watch.set(command.root, log, place, FAULTS[fault])
    code = run_command(command.arguments, command.log)
    watch.stop()
    hits = [call for call in read_calls(log) if call.is_hit]
    if not hits:
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
    return [f"{command.name}, call {place} ({place_name}), {fault}: {p}{said}" for p in problems]
