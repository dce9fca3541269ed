"""Batches whose processes are killed at random moments, and begun again until all is done.

`python -m tests.faults.kills --kills 200`: of the command alone, of a process that it started, or
of all. After each kill no result may be half there, and none recorded that is not; at the end there
is one row for each input, and the bytes are those of a batch that was not disturbed.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from time import monotonic

import pandas as pd
import psutil

from bgexp.system.progress import show_progress
from tests.faults.commands import Batch
from tests.faults.disk import State, read_state

VICTIMS = ("command", "started", "all")


class KilledBatch(Batch):
    """A batch of two workers, in processes of its own."""

    @property
    def arguments(self) -> list[str]:
        """The command line, with two workers in place of one."""
        return [*super().arguments, "workers=2"]

    def start(self) -> subprocess.Popen[bytes]:
        """Start the batch; what it prints goes into the log."""
        command = [sys.executable, "-m", "bgexp.cli.main", *self.arguments]
        with self.log.open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def run_again(self, codes: tuple[int, ...] = (0,)) -> list[str]:
        """Run the batch again, undisturbed; return that it failed, if so."""
        code = self.start().wait()
        return [] if code in codes else [f"exit code {code}: {self.log.read_text()[-1500:]}"]

    def measure(self) -> float:
        """Run it undisturbed, and note its results; return its seconds."""
        self.prepare()
        began = monotonic()
        if problems := self.run_again():
            sys.exit(problems[0])
        seconds = monotonic() - began
        self.expected = read_state(self.root)
        return seconds

    def kill(self, victim: str, after: float, rng: random.Random) -> tuple[bool, list[str]]:
        """Run it and kill some of it; return whether it came to its end, and what is wrong."""
        process = self.start()
        started = []
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            with suppress(psutil.NoSuchProcess):
                command = psutil.Process(process.pid)
                started = command.children(recursive=True)
                some = {"command": [command], "started": rng.choices(started) if started else []}
                for hit in some.get(victim, [command, *started]):
                    with suppress(psutil.NoSuchProcess):
                        hit.kill()
        code = process.wait(300)
        problems = [] if code in (0, 1, 2, -signal.SIGKILL) else [f"exit code {code}"]
        output = self.log.read_text(errors="replace")
        if "Traceback" in output:
            problems.append(f"a traceback: {output[-1500:]}")
        problems += [f"{left} lives on" for left in psutil.wait_procs(started, timeout=30)[1]]
        return code == 0, [*problems, *self.find_losses(read_state(self.root))]

    def find_differences(self, state: State) -> list[str]:
        """Return also the inputs without a row, or with two."""
        paths = pd.read_parquet(BytesIO(state["new/out/manifest.parquet"] or b""))["path"]
        source = self.folder / "in"
        inputs = [file.relative_to(source).as_posix() for file in source.rglob("*.*")]
        problems = [] if sorted(paths) == sorted(inputs) else ["rows are missing, or there twice"]
        return problems + super().find_differences(state)


def main() -> int:
    """Return 1 where something was lost or went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, began = random.Random(options.seed), monotonic()
    problems, n_ends = [], 0
    with tempfile.TemporaryDirectory() as name:
        batch = KilledBatch(Path(name).resolve(), options.images)
        seconds = batch.measure()
        batch.prepare()
        with show_progress("kills", options.kills) as step:
            for _ in range(options.kills):
                victim, after = rng.choice(VICTIMS), rng.uniform(0, seconds)
                has_ended, found = batch.kill(victim, after, rng)
                if has_ended:
                    found += batch.find_differences(read_state(batch.root))
                    batch.prepare()
                    n_ends += 1
                problems += [f"{victim} killed after {after:.2f} s: {line}" for line in found]
                step(len(problems))
        problems += batch.resume()
    print(*problems[:20], sep="\n", end="\n" * bool(problems))
    print(
        f"{options.kills:,} kills, {n_ends + 1:,} batches brought to their end in "
        f"{monotonic() - began:.0f} s: {len(problems):,} bad"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
