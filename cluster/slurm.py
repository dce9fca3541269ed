"""Slurm on this machine, with one node: `python -m cluster.slurm FOLDER`, as root or not."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Self

import psutil

from cluster.service import (
    LOOPBACK,
    Service,
    SetupError,
    answers,
    find_free_port,
    find_program,
    run_until_signal,
)


class Munge(Service):
    """The daemon by which Slurm's processes know each other."""

    @property
    def socket(self) -> Path:
        """The socket that it listens at."""
        return self.folder / "munge.socket"

    def prepare(self) -> None:
        """Make its key."""
        (self.folder / "key").touch(mode=0o600)
        (self.folder / "key").write_bytes(os.urandom(128))

    def make_command(self) -> Sequence[str]:
        """Return the command; it does not trust folders of /tmp by itself."""
        files = {"key-file": "key", "pid-file": "pid", "seed-file": "seed", "log-file": "munge.log"}
        options = [f"--{option}={self.folder / name}" for option, name in files.items()]
        return [
            find_program("munged"),
            "--foreground",
            "--force",
            *options,
            f"--socket={self.socket}",
        ]

    def is_ready(self) -> bool:
        """Return whether it gives credentials."""
        if not self.socket.exists():
            return False
        call = [find_program("munge"), "--no-input", f"--socket={self.socket}"]
        return subprocess.run(call, capture_output=True, check=False).returncode == 0


class _Daemon(Service):
    def __init__(self, folder: Path, configuration: Path, port: int, call: Sequence[str]) -> None:
        super().__init__(folder, port)
        self._configuration, self._call = configuration, call

    def make_command(self) -> Sequence[str]:
        return [find_program(self._call[0]), *self._call[1:], "-f", str(self._configuration)]

    def is_ready(self) -> bool:
        return answers(self.port)


class Slurm:
    """Munge, slurmctld and slurmd; inside it `sbatch` works with `client_environment`.

    There is no accounting: `squeue` knows jobs, `sacct` does not.

    Attributes:
        controller, node: The daemons, to be killed and started again.
    """

    def __init__(self, folder: Path, cpus: int | None = None) -> None:
        self._folder, self._cpus = folder.resolve(), cpus or os.cpu_count() or 1
        self._stack = ExitStack()
        self._configuration = self._folder / "slurm.conf"
        ports = find_free_port(), find_free_port()
        self._munge = Munge(self._folder / "munge")
        self.controller = _Daemon(
            self._folder / "controller", self._configuration, ports[0], ["slurmctld", "-D", "-i"]
        )
        self.node = _Daemon(
            self._folder / "node", self._configuration, ports[1], ["slurmd", "-D", "-N", _host()]
        )

    @property
    def client_environment(self) -> Mapping[str, str]:
        """What the environment of `sbatch`, `squeue`, `scancel` and `srun` needs."""
        return {"SLURM_CONF": str(self._configuration)}

    def is_alive(self) -> bool:
        """Return whether its daemons run."""
        return self.controller.is_alive() and self.node.is_alive()

    def run(self, *command: str) -> str:
        """Run one of Slurm's commands; return what it prints."""
        return subprocess.run(
            [find_program(command[0]), *command[1:]],
            env={**os.environ, **self.client_environment},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(self._munge)
            self._configuration.write_text(self._configure())
            stack.enter_context(self.controller)
            stack.enter_context(self.node)
            stack.callback(self._end_jobs)
            self._wait_for_node()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _configure(self) -> str:
        user = psutil.Process().username()
        memory = psutil.virtual_memory().total // 2**20
        return f"""\
ClusterName=bgexp
SlurmctldHost={_host()}({LOOPBACK})
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={self._munge.socket}
CredType=cred/munge
SlurmctldPort={self.controller.port}
SlurmdPort={self.node.port}
StateSaveLocation={self.controller.folder}
SlurmctldPidFile={self.controller.folder}/pid
SlurmdSpoolDir={self.node.folder}
SlurmdPidFile={self.node.folder}/pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1
KillWait=5
SlurmdTimeout=30
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={_host()} NodeAddr={LOOPBACK} CPUs={self._cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

    def _wait_for_node(self) -> None:
        end = monotonic() + 60
        while self.run("sinfo", "-h", "-o", "%T").strip() not in ("idle", "mixed", "allocated"):
            if monotonic() > end:
                raise SetupError(f"the node does not come up: {self.run('sinfo', '-R')}")
            sleep(0.2)

    def _end_jobs(self) -> None:
        if self.is_alive():
            self.run("scancel", "--me", "--full", "--signal=KILL")
            self.run("scancel", "--me")


def _host() -> str:
    return socket.gethostname().partition(".")[0]


if __name__ == "__main__":
    cluster = Slurm(Path(sys.argv[1]))
    variables = [f"export {key}={value}" for key, value in cluster.client_environment.items()]
    run_until_signal(cluster, variables)
