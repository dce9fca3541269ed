"""The lock of an output in an object store, by nothing but puts where there is no object.

Whoever works there has an object of its own below `.bgexp/locks/`, written again every few seconds.
One that stays as it is for half a minute is a dead one's, or one's on this machine whose process is
gone. To hold the output alone is to be the first to write the object of the next number.
"""

import json
import os
import secrets
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from time import monotonic, sleep
from typing import Any, Self

import psutil

from bgexp.batch.plan_folder import STATE
from bgexp.errors import UserError
from bgexp.system.folders import StoreFolder
from bgexp.system.progress import tell
from bgexp.system.signals import StopRequest
from bgexp.system.state_files import MAX_STATE, decode_json

LOCKS = f"{STATE}/locks"
BEAT_S = 5.0
EXPIRY_S = 30.0  # after so long without a beat a holder is dead
_LOOK_S = 1.0
_ALONE, _BESIDE = "alone", "beside"


@dataclass(frozen=True)
class Hold:
    """Somebody's hold on an output, as its object says.

    Attributes:
        name: Of the object, such as alone-00000002.json.
        owner: Process id and host, whether it plans, and how often it was written.
    """

    name: str
    owner: Mapping[str, Any]

    @property
    def number(self) -> int:
        """Return the number of a hold alone; 0 of one beside others."""
        kind, _, number = self.name.partition(".")[0].partition("-")
        return int(number) if kind == _ALONE and number.isdecimal() else 0

    def is_of_dead_process(self) -> bool:
        """Return whether its process was one of this machine and is gone."""
        pid = self.owner.get("pid")
        if self.owner.get("host") != socket.gethostname() or not isinstance(pid, int):
            return False
        return not psutil.pid_exists(pid)

    def __str__(self) -> str:
        return f"process {self.owner.get('pid', '?')} on {self.owner.get('host', '?')}"


@dataclass
class _Sight:
    """What was seen of a hold: its last beat, since when, and whether there was one before."""

    beat: object
    since: float
    beats: bool = False


class StoreLock:
    """As `OutputLock` says."""

    def __init__(self, output: StoreFolder, stop: StopRequest) -> None:
        self._output, self._stop = output, stop
        self._sights: dict[str, _Sight] = {}
        self._own = Hold("", {})
        self._ended = threading.Event()
        self._beats = threading.Thread()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._let_go()

    def hold_alone(self) -> None:
        """Keep all others out; that a silent holder is dead takes half a minute to see."""
        is_told = False
        while not self.try_to_hold(alone=True):
            self._stop.raise_if_set()
            holds, _ = self._read_holds()
            for hold in holds:
                if self._sights[hold.name].beats:
                    raise UserError(f"output: {self._output}: {hold} works there")
            if holds and not is_told:
                tell(f"output: does {holds[0]} still work there? {EXPIRY_S:.0f} s at most to see")
                is_told = True
            sleep(_LOOK_S)

    def try_to_hold(self, *, alone: bool, to_plan: bool = False) -> bool:
        """Hold the output if that is free."""
        self._let_go()
        try:
            holds, dead = self._read_holds()
            if _is_in_the_way(holds, alone) or not self._write_hold(alone, to_plan, dead):
                return False
            holds, dead = self._read_holds()  # somebody else may have done so at the same time
            if _is_in_the_way(holds, alone):
                self._let_go()
                return False
            for hold in dead:
                self._output.discard(f"{LOCKS}/{hold.name}")
        except OSError as error:
            raise UserError(f"output: {self._output}: {error.strerror}") from error
        self._ended = threading.Event()
        self._beats = threading.Thread(
            target=self._beat, args=(self._own, self._ended), daemon=True
        )
        self._beats.start()
        return True

    def is_held_to_plan(self) -> bool:
        """Return whether who holds it alone only plans."""
        return any(hold.number and hold.owner.get("plans") for hold in self._read_holds()[0])

    def _write_hold(self, alone: bool, to_plan: bool, dead: Sequence[Hold]) -> bool:
        """Write the own object, if nobody was quicker.

        Raises:
            UserError: The store lets a second one write it, too.
        """
        number = max((hold.number for hold in dead), default=0) + 1
        name = f"{_ALONE}-{number:08}" if alone else f"{_BESIDE}-{secrets.token_hex(8)}"
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "plans": to_plan}
        hold = Hold(f"{name}.json", owner)
        if not self._output.create(f"{LOCKS}/{hold.name}", _encode(hold, 0)):
            return False
        self._own = hold
        if self._output.create(f"{LOCKS}/{hold.name}", _encode(hold, 0)):
            raise UserError(
                f"output: {self._output}: this store does not honour If-None-Match, so two batches "
                "could meet there: choose another store, or a folder"
            )
        return True

    def _read_holds(self) -> tuple[list[Hold], list[Hold]]:
        """Return the holds of others that may be alive, and those that are dead."""
        holds: list[Hold] = []
        dead: list[Hold] = []
        for name in [name for name in self._output.walk(LOCKS) if name != self._own.name]:
            owner = {}
            with suppress(FileNotFoundError, ValueError):
                owner = decode_json(self._output.read(f"{LOCKS}/{name}", MAX_STATE))
            hold = Hold(name, owner if isinstance(owner, dict) else {})
            beat, now = hold.owner.get("beat"), monotonic()
            sight = self._sights.setdefault(name, _Sight(beat, now))
            if sight.beat != beat:
                sight.beat, sight.since, sight.beats = beat, now, True
            is_dead = hold.is_of_dead_process() or now - sight.since > EXPIRY_S
            (dead if is_dead else holds).append(hold)
        return holds, dead

    def _beat(self, own: Hold, ended: threading.Event) -> None:
        """Write the own object again and again; where somebody took the hold, stop the work."""
        n_rivals = 0
        for beat in count(1):
            if ended.wait(BEAT_S):
                return
            with suppress(OSError):  # tried again for minutes by then; others see no beat
                names = set(self._output.walk(LOCKS))
                n_rivals += any(Hold(name, {}).number > own.number for name in names)
                if own.name not in names or n_rivals > 1:
                    tell(f"output: {self._output}: another process took it over; this one stops")
                    self._stop.exit_code = 1
                    return
                self._output.write(f"{LOCKS}/{own.name}", _encode(own, beat))

    def _let_go(self) -> None:
        self._ended.set()
        if self._beats.ident is not None:
            self._beats.join(EXPIRY_S)  # a beat under way would write the object again
        if self._own.name:
            with suppress(OSError):  # it is dead for all others soon
                self._output.discard(f"{LOCKS}/{self._own.name}")
        self._own = Hold("", {})


def _is_in_the_way(holds: Sequence[Hold], alone: bool) -> bool:
    return any(alone or hold.number for hold in holds)


def _encode(hold: Hold, beat: int) -> bytes:
    return json.dumps({**hold.owner, "beat": beat}).encode()
