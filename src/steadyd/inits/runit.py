"""runit: the files of each service's `supervise` folder (runsv(8), sv(8), runsvdir(8)).

`status` has 20 bytes: TAI64N of the last change (seconds and nanoseconds, big-endian), pid
(little-endian), paused, want (`u`, or `d`: also of what is to run once), TERM sent, state (0 down,
1 run, 2 finish). It is replaced by rename. It holds no exit code, and runit counts no restarts:
those are counted here.
"""

import asyncio
import errno
import os
import signal as signals
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from steadyd.inits.following import (
    FileInit,
    plain_name,
    read_state,
    reload_signal,
    write_command,
)
from steadyd.inits.processes import arguments, running
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import (
    InitUnreachable,
    NotPermitted,
    NotSupported,
    UnitGone,
    UnitNotFound,
    VerbFailed,
)

NAME = "runit"
SCAN_FOLDERS = ("etc/service", "service", "var/service", "etc/runit/runsvdir/current")
_STATUS = struct.Struct(">QI")  # of what is big-endian
_SIZE = 20
_TAI = 2**62 + 10  # seconds of a TAI64 label at the start of 1970
_DOWN, _RUN, _FINISH = 0, 1, 2
_MOST_PID = 2**22  # proc(5), pid_max
# runsv(8), CONTROL
_LETTERS = {
    signals.SIGHUP: b"h",
    signals.SIGALRM: b"a",
    signals.SIGINT: b"i",
    signals.SIGQUIT: b"q",
    signals.SIGUSR1: b"1",
    signals.SIGUSR2: b"2",
}


def status_of(unit: str, data: bytes) -> UnitStatus:
    """Read a `status` file. Raises ValueError: it is none."""
    if len(data) != _SIZE:
        raise ValueError(f"its status has {len(data)} bytes in place of {_SIZE}")
    seconds, _ = _STATUS.unpack_from(data)
    pid = int.from_bytes(data[12:16], "little")
    paused, want, term, state = data[16], data[17], data[18], data[19]
    if state not in (_DOWN, _RUN, _FINISH) or pid > _MOST_PID or want not in b"ud":
        raise ValueError("its status holds nonsense")
    once, runs = want == ord("d"), state == _RUN and pid > 0
    if runs and not term:
        now, reason = ServiceState.ACTIVE, "paused" if paused else ""
    elif runs or (once and state == _FINISH):
        now, reason = (
            ServiceState.DEACTIVATING,
            "told to stop" if runs else "its finish script runs",
        )
    elif once:
        now, reason = ServiceState.INACTIVE, "stopped"
    else:
        now, reason = ServiceState.ACTIVATING, "it ended; runsv starts it again"
    return UnitStatus(
        NAME,
        unit,
        now,
        reason,
        main_pid=pid if runs else 0,
        invocation=f"{pid}:{seconds}" if runs else "",
        acting=now in (ServiceState.ACTIVATING, ServiceState.DEACTIVATING),
        respawning=now is ServiceState.ACTIVATING,
        stopped=now is ServiceState.INACTIVE,
        can_reload=True,
        since=float(max(0, seconds - _TAI)),
        type="once" if once and runs else "",
    )


class Runit(FileInit):
    """The services in one scan folder; implements `ports.InitSystem`."""

    name = NAME

    def __init__(self, folder: str) -> None:
        """`folder` is what runsvdir scans."""
        super().__init__()
        self._folder = folder.rstrip("/")
        self._asked: set[str] = set()  # units whose present run somebody asked to end

    @classmethod
    def detect(cls, root: Path = Path("/")) -> Self | None:
        """Return an adapter if a runsvdir runs, for the folder that it scans; else None."""
        for pid in running("runsvdir"):
            for word in arguments(pid)[1:]:
                if word.startswith("/") and os.path.isdir(word):
                    return cls(word)
        places = (root / place for place in SCAN_FOLDERS)
        return next((cls(str(p)) for p in places if any(p.glob("*/supervise/status"))), None)

    def trouble(self) -> str:
        """Return why the services cannot be read now."""
        try:
            os.stat(self._folder)
        except OSError as error:
            return f"{self._folder}: {error.strerror}"
        return ""

    def home(self) -> Iterable[str]:
        """Return the scan folder."""
        return (self._folder,)

    def places(self, unit: str) -> Iterable[str]:
        """Return the folder of the unit's state, and those above that may be made later."""
        service = f"{self._folder}/{unit}"
        return (self._folder, service, f"{service}/supervise")

    def concerns(self, unit: str, name: str) -> bool:
        """Tell by name: `sv` itself opens and closes fifos there."""
        return name in ("status", "supervise", unit)

    def read(self, unit: str) -> UnitStatus:
        """Return the state of a service. Raises InitError."""
        folder = self._supervise(unit)
        try:
            data = read_state(f"{folder}/status", _SIZE + 1)
            alive = _supervised(folder)
            status = status_of(unit, data)
        except PermissionError as error:
            mend = f"run steadyd as root, or let it read {folder}"
            raise NotPermitted(NAME, unit, "read", f"{folder}: {error.strerror}", mend) from None
        except OSError as error:
            why = f"no runsv keeps it ({folder}: {error.strerror})"
            raise UnitNotFound(NAME, unit, "find", why) from None
        except ValueError as error:
            raise InitUnreachable(NAME, unit, "read", str(error)) from None
        if not alive:
            raise UnitNotFound(NAME, unit, "find", "its runsv has ended")
        told = self._told.get(unit)
        return replace(status, respawns=told.respawns) if isinstance(told, UnitStatus) else status

    def observe(self, before: UnitStatus | UnitGone | None, now: UnitStatus) -> UnitStatus:
        """Tell what was asked for from what happened by itself, which no file does.

        A run that nobody had asked to end: the next one is a respawn, and none is a failure.
        """
        unit = now.unit
        if now.state is ServiceState.DEACTIVATING:
            self._asked.add(unit)
        if not isinstance(before, UnitStatus):
            return now
        if now.state is ServiceState.INACTIVE:
            by_itself = before.main_pid or before.state is ServiceState.FAILED
            if by_itself and unit not in self._asked:
                why = "it ended by itself, and was to run once"
                return replace(now, state=ServiceState.FAILED, reason=why, stopped=False)
            self._asked.add(unit)
        if now.state is not ServiceState.ACTIVE or now.invocation == before.invocation:
            return now
        asked = unit in self._asked or before.state is ServiceState.FAILED
        self._asked.discard(unit)
        return now if asked else replace(now, respawns=before.respawns + 1)

    async def perform(self, verb: Verb, unit: str, *, signal: str = "", deadline: float) -> None:
        """Write to the control fifo as sv does, and wait for what comes of it."""
        before = self.read(unit)
        try:
            async with asyncio.timeout(deadline):
                if verb is Verb.RELOAD:
                    await self._reload(unit, before, signal)
                else:
                    await self._restart(unit, before)
        except TimeoutError:
            why = f"not done within {deadline:g} s"
            mend = f"sv force-restart {self._folder}/{unit}"
            raise VerbFailed(NAME, unit, verb, why, mend) from None

    async def _reload(self, unit: str, before: UnitStatus, name: str) -> None:
        number = reload_signal(NAME, unit, name or "HUP")
        if number not in _LETTERS:
            why = f"runit does not send {number.name}"
            raise NotSupported(NAME, unit, Verb.RELOAD, why, "use HUP, USR1, USR2, ALRM or INT")
        if not before.main_pid:
            raise VerbFailed(NAME, unit, Verb.RELOAD, f"it does not run: {before.reason}")
        self._tell(Verb.RELOAD, unit, _LETTERS[number])
        try:
            await self.settled(Verb.RELOAD, unit, before.main_pid)
        except VerbFailed as error:
            why = f"{number.name} ended its process: {error.why}"
            raise VerbFailed(NAME, unit, Verb.RELOAD, why) from None

    async def _restart(self, unit: str, before: UnitStatus) -> None:
        told = self._told.get(unit)
        failed = isinstance(told, UnitStatus) and told.state is ServiceState.FAILED
        if not failed and (before.stopped or before.state is ServiceState.DEACTIVATING):
            why = "it is stopped, and a restart does not undo a stop"
            raise VerbFailed(NAME, unit, Verb.RESTART, why)
        self._asked.add(unit)
        self._tell(Verb.RESTART, unit, b"tcu" if before.main_pid else b"u")
        after = await self.until(
            unit,
            lambda now: now.state is ServiceState.ACTIVE and now.invocation != before.invocation,
        )
        await self.settled(Verb.RESTART, unit, after.main_pid)

    def _tell(self, verb: Verb, unit: str, letters: bytes) -> None:
        path = f"{self._supervise(unit)}/control"
        try:
            write_command(path, letters)
        except PermissionError as error:
            mend = f"run steadyd as root, or let it write {path}"
            raise NotPermitted(NAME, unit, verb, f"{path}: {error.strerror}", mend) from None
        except OSError as error:
            why = "no runsv reads" if error.errno == errno.ENXIO else str(error.strerror)
            raise InitUnreachable(NAME, unit, verb, f"{path}: {why}") from None

    def _supervise(self, unit: str) -> str:
        folder = f"{self._folder}/{plain_name(NAME, unit)}"
        if not os.path.isdir(folder):
            raise UnitNotFound(NAME, unit, "find", f"there is no {folder}")
        return f"{folder}/supervise"


def _supervised(folder: str) -> bool:
    """Tell whether a runsv holds the fifo `ok` open. Raises OSError."""
    try:
        fd = os.open(f"{folder}/ok", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    os.close(fd)
    return True
