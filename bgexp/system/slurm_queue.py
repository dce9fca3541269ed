"""What Slurm says about jobs that submitit waits for.

submitit asks Slurm's accounting, which not every cluster has, and would wait for ever without it.
"""

from submitit.slurm.slurm import SlurmInfoWatcher

ENDED = "ENDED"  # of a job that Slurm has forgotten, as it does some minutes after its end


class QueueWatcher(SlurmInfoWatcher):
    """The states of Slurm's jobs by `squeue`, which needs no accounting."""

    def _make_command(self) -> list[str] | None:
        if not self._registered - self._finished:
            return None
        return ["squeue", "--me", "--states=all", "--array", "--noheader", "--format=%i|%T|%N"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """Read what squeue prints; a job that is not there has ended."""
        text = string if isinstance(string, str) else string.decode()
        states = {job: {"State": ENDED} for job in self._registered}
        for line in text.splitlines():
            job, state, nodes = line.strip().split("|")
            states[job] = {"JobID": job, "State": state, "NodeList": nodes}
        return states
