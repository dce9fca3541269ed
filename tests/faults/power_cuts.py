"""Power cuts at any moment of a command, on a disk that forgets what was not synced.

What the command changes on disk is noted; what a power cut could leave is built from that, and
searched for what is recorded as done and is not there, whole. From some of these states the command
is run again.
"""

import random
import shutil
import sys
from collections.abc import Iterator

from bgexp.system.progress import show_progress
from tests.faults.calls import Call, Watch, read_calls
from tests.faults.commands import Command
from tests.faults.disk import Disk, State, write_state


def record(command: Command, watch: Watch) -> tuple[list[Call], Disk]:
    """Run a command once; return the calls that changed its folder, and what was there before."""
    command.prepare()
    before = Disk(command.root)
    log = command.root.parent / "calls.log"
    watch.set(command.root, log, with_data=True)
    problems = command.run_again()
    watch.stop()
    if problems:
        sys.exit(problems[0])
    command.learn()
    return [call for call in read_calls(log) if call.outcome == "done"], before


def list_states(
    calls: list[Call], before: Disk, n_subsets: int, seed: int
) -> Iterator[tuple[str, State]]:
    """Yield states with their names: after each call nothing unsynced, then seeded subsets."""
    places = random.Random(seed)
    subsets: dict[int, list[int]] = {}
    for number in range(n_subsets):
        subsets.setdefault(places.randrange(len(calls) + 1), []).append(number)
    for place in range(len(calls) + 1):
        if place:
            before.apply(calls[place - 1])
        yield f"after {place} calls", before.read()
        for number in subsets.get(place, []):
            yield f"after {place} calls, subset {number}", before.read(random.Random(number))


def cut_power(
    command: Command, watch: Watch, n_subsets: int, n_resumed: int, seed: int
) -> list[str]:
    """Return what was lost without notice, by the state in which it was."""
    calls, before = record(command, watch)
    losses: list[str] = []
    n_states = n_tried = 0
    n_all = len(calls) + 1 + n_subsets
    stride = max(1, n_all // n_resumed)
    with show_progress(f"{command.name}, states", n_all) as step:
        for name, state in list_states(calls, before, n_subsets, seed):
            n_states += 1
            found = list(command.find_losses(state))
            if n_states % stride == stride // 2:
                n_tried += 1
                shutil.rmtree(command.root)
                write_state(state, command.root)
                found += command.resume()
            losses += [f"{command.name}, {name}: {loss}" for loss in found]
            step(len(losses))
    print(
        f"{command.name}: {len(calls):,} calls, {n_states:,} states, {n_tried:,} of them resumed: "
        f"{len(losses):,} losses",
        flush=True,
    )
    return losses
