"""All faults: power cuts, and each call that goes wrong; `make test-faults`.

`python -m tests.faults.run --help` tells how to try a part of them.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from zlib import crc32

from bgexp.system.progress import show_progress
from tests.faults.calls import Call, Watch, start_watched
from tests.faults.commands import COMMANDS, Command
from tests.faults.every_call import fail_once, list_cases
from tests.faults.forks import warm_up
from tests.faults.power_cuts import cut_power


def main() -> int:
    """Return 1 where something was lost or went wrong."""
    options = parse_options()
    if options.jobs > 1:
        shares = [f"--share={n}/{options.jobs}" for n in range(1, options.jobs + 1)]
        command = [sys.executable, *sys.orig_argv[1:], "--jobs=1"]
        processes = [subprocess.Popen([*command, share]) for share in shares]
        return int(any([process.wait() for process in processes]))
    start_watched()
    watch = Watch()
    warm_up()
    share, n_shares = map(int, options.share.split("/"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        problems = 0
        for command in options.commands[share - 1 :: n_shares] if options.cuts else ():
            case = COMMANDS[command](folder / "cuts", options.images)
            found = cut_power(case, watch, options.cuts, options.resumed, options.seed)
            problems += report(found)
        for command in options.commands if options.calls else ():
            case = COMMANDS[command](folder / "calls", 2)
            problems += len(try_calls(case, watch, options))
    return 1 if problems else 0


def try_calls(command: Command, watch: Watch, options: argparse.Namespace) -> list[str]:
    """Let each call of a command go wrong, or those of a sample; return what is wrong then."""
    began, log = monotonic(), command.folder / "calls.log"
    cases = list_cases(command, watch, log)
    chosen, problems, n_tried = choose_cases(cases, options), [], 0
    with show_progress(f"{command.name}, calls", len(chosen)) as step:
        for call, fault in chosen:
            found = fail_once(command, watch, log, call, fault)
            n_tried += found != [""]
            problems += filter(None, found)
            report(list(filter(None, found)))
            step(len(problems))
    print(
        f"{command.name}: of {len(cases):,} calls with a fault {n_tried:,} tried in "
        f"{monotonic() - began:.0f} s: {len(problems):,} bad",
        flush=True,
    )
    return problems


def choose_cases(
    cases: list[tuple[Call, str]], options: argparse.Namespace
) -> list[tuple[Call, str]]:
    """Return a seeded sample, and of that a share, alike in processes whose cases are alike."""

    def draw(case: tuple[Call, str]) -> int:
        call, fault = case
        return crc32(f"{options.seed} {call.is_of_store} {call.number} {fault}".encode())

    share, n_shares = map(int, options.share.split("/"))
    sample = sorted(cases, key=draw)[: options.calls]
    return [case for case in sample if draw(case) % n_shares == share - 1]


def report(problems: list[str]) -> int:
    """Print problems, and return how many there are."""
    print(*problems[:20], sep="\n", end="\n" * bool(problems), flush=True)
    return len(problems)


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=30, help="of the batch and run that are cut")
    parser.add_argument("--cuts", type=int, default=500, help="seeded states of each; 0: no cuts")
    parser.add_argument("--resumed", type=int, default=30, help="about how many states go on")
    parser.add_argument("--calls", type=int, default=150, help="tried of each command, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--share", default="1/1", help="i/n: the i-th of n shares")
    parser.add_argument("commands", nargs="*", default=list(COMMANDS))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
