"""The calls by which programs open and change files: noted, or made to fail, by calls.c."""

import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from tempfile import TemporaryDirectory

_CONTROL = struct.Struct("QQQQQQ512s512s")
_CONTROL_PATH = "BGEXP_TEST_CALLS"  # as in calls.c
_SOURCE = Path(__file__).with_name("calls.c")
COMPILER = shutil.which("cc")


@dataclass(frozen=True)
class Call:
    """A call, by its number among those on a store's files and their folder, or among all others.

    Attributes:
        outcome: done, failed (such as of a file that is not there), or hit: made to fail.
        is_of_store: Whether it is on a store's files or their folder.
        number: From 1.
        name: read (an open for reading), create, empty, open, write, truncate, sync, rename, link,
            unlink or mkdir.
        path: Absolute.
        other: The new name of a rename or link.
        offset: In bytes; of a truncate the new size.
        data: What was written, where that is noted.
    """

    outcome: str
    is_of_store: bool
    number: int
    name: str
    path: Path
    other: Path
    offset: int = 0
    data: bytes = b""


def start_watched() -> None:
    """Start this program anew with the library loaded, unless that was done."""
    if _CONTROL_PATH in os.environ:
        return
    with TemporaryDirectory() as folder:
        library, control = Path(folder, "calls.so"), Path(folder, "control")
        if COMPILER is None:
            sys.exit("a C compiler is needed (apt-get install gcc)")
        subprocess.run([COMPILER, "-O1", "-shared", "-fPIC", "-o", library, _SOURCE], check=True)
        control.write_bytes(bytes(_CONTROL.size))
        environment = os.environ | {"LD_PRELOAD": str(library), _CONTROL_PATH: str(control)}
        # With the hashes of texts, the order in which sets are gone through is the same each time.
        environment |= {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *sys.orig_argv[1:]]
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)


class Watch:
    """What the library does in this process and all that it starts."""

    def __init__(self) -> None:
        """Attach to what `start_watched` has prepared for this process."""
        with Path(os.environ[_CONTROL_PATH]).open("r+b") as file:
            self._memory = mmap(file.fileno(), _CONTROL.size)

    def set(
        self,
        root: Path,
        log: Path,
        target: Call | None = None,
        fault: int = 0,
        with_data: bool = False,
    ) -> None:
        """Count calls below a folder anew, and note them.

        Args:
            root: Without links.
            log: Where they are noted.
            target: The call that goes wrong, as an earlier run made it; None: none.
            fault: Its errno; 0 to kill its process.
            with_data: Note the bytes that are written, too.
        """
        log.unlink(missing_ok=True)
        names = os.fsencode(root), os.fsencode(log)
        assert max(map(len, names)) < 512
        chosen = (target.is_of_store, target.number) if target else (0, 0)
        self._memory[:] = _CONTROL.pack(0, 0, *chosen, fault, with_data, *names)

    def stop(self) -> None:
        """Count no more."""
        self._memory[:] = bytes(_CONTROL.size)


def read_calls(log: Path) -> list[Call]:
    """Return the calls that were noted, in their order over all processes."""
    calls, rest = [], log.read_bytes() if log.exists() else b""
    while rest:
        line, _, rest = rest.partition(b"\n")
        outcome, of_store, number, name, path, other, offset, size = line.split(b"\t")
        data, rest = rest[: int(size)], rest[int(size) :]
        what = outcome.decode(), of_store == b"1", int(number), name.decode()
        paths = Path(os.fsdecode(path)), Path(os.fsdecode(other))
        calls.append(Call(*what, *paths, int(offset), data))
    return calls
