"""What runit and s6 have in common: a scan folder of services, each with a `supervise` folder.

In it are `status`, replaced by rename, and the fifo `control` that takes commands of one letter.
Neither tells who asked for what: that a run ended by itself is seen by what came before it.
"""

import asyncio
import errno
import os
import signal as signals
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Self

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

ONCE = "once"  # the type of a run that is not to be followed by another
MOST_PID = 2**22  # proc(5), pid_max
TAI = 2**62 + 10  # seconds of a TAI64 label at the start of 1970
_MOST = 64  # bytes of a status


class Supervise(FileInit):
    """The services in one scan folder; implements `ports.InitSystem`."""

    scanner: ClassVar[str]  # the name of the process that watches the scan folder
    keeper: ClassVar[str]  # of the one that keeps a service
    folders: ClassVar[tuple[str, ...]]  # where scan folders usually are
    listening: ClassVar[str]  # the fifo that the keeper holds open
    letters: ClassVar[Mapping[signals.Signals, bytes]]
    force: ClassVar[str]  # the command that does not wait any longer

    def __init__(self, folder: str) -> None:
        """`folder` is the scan folder."""
        super().__init__()
        self._folder = folder.rstrip("/")
        self._asked: set[str] = set()  # units whose present run somebody asked to end

    @staticmethod
    @abstractmethod
    def status_of(unit: str, data: bytes) -> UnitStatus:
        """Read a `status` file. Raises ValueError: it is none."""

    @classmethod
    def detect(cls, root: Path = Path("/")) -> Self | None:
        """Return an adapter if the scanner runs, or services are kept in a usual folder."""
        for pid in running(cls.scanner)[cls.scanner]:
            for word in arguments(pid)[1:]:
                if word.startswith("/") and os.path.isdir(word):
                    return cls(word)
        for place in cls.folders:
            found = cls(str(root / place))
            if any(found._keeps(status) for status in (root / place).glob("*/supervise/status")):
                return found
        return None

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
        """Tell by name: whoever asks or commands opens and closes fifos there."""
        return name in ("status", "supervise", unit)

    def read(self, unit: str) -> UnitStatus:
        """Return the state of a service. Raises InitError."""
        folder = self._supervise(unit)
        try:
            data = read_state(f"{folder}/status", _MOST)
            alive = _is_read(f"{folder}/{self.listening}")
            status = self.status_of(unit, data)
        except PermissionError as error:
            mend = f"run steadyd as root, or let it read {folder}"
            why = f"{folder}: {error.strerror}"
            raise NotPermitted(self.name, unit, "read", why, mend) from None
        except OSError as error:
            why = f"no {self.keeper} keeps it ({folder}: {error.strerror})"
            raise UnitNotFound(self.name, unit, "find", why) from None
        except ValueError as error:
            raise InitUnreachable(self.name, unit, "read", str(error)) from None
        if not alive:
            raise UnitNotFound(self.name, unit, "find", f"its {self.keeper} has ended")
        told = self._told.get(unit)
        return replace(status, respawns=told.respawns) if isinstance(told, UnitStatus) else status

    def observe(self, before: UnitStatus | UnitGone | None, now: UnitStatus) -> UnitStatus:
        """Tell what was asked for from what happened by itself, which no file does.

        A run that nobody had asked to end: the next one is a respawn, and none is a failure.
        """
        unit = now.unit
        if now.state is ServiceState.DEACTIVATING and now.main_pid:
            self._asked.add(unit)
        if not isinstance(before, UnitStatus):
            return now
        wanted_more = before.main_pid and before.type != ONCE
        same = now.main_pid and now.invocation == before.invocation
        if wanted_more and ((same and now.type == ONCE) or not (now.main_pid or now.respawning)):
            self._asked.add(unit)  # `down` and `once` alike: no further run is wanted
        if now.state is ServiceState.INACTIVE:
            by_itself = before.state is not ServiceState.INACTIVE
            if by_itself and unit not in self._asked and not now.result:
                why = "it ended by itself, and was to run once"
                return replace(now, state=ServiceState.FAILED, reason=why, stopped=False)
        if now.state in (ServiceState.INACTIVE, ServiceState.FAILED):
            if now.state is ServiceState.FAILED and unit in self._asked:
                now = replace(now, state=ServiceState.INACTIVE, stopped=True)
            self._asked.add(unit)
        if now.state is not ServiceState.ACTIVE or now.invocation == before.invocation:
            return now
        asked = unit in self._asked
        self._asked.discard(unit)
        return now if asked else replace(now, respawns=before.respawns + 1)

    async def perform(self, verb: Verb, unit: str, *, signal: str = "", deadline: float) -> None:
        """Write to the control fifo, and wait for what comes of it."""
        before = self.read(unit)
        try:
            async with asyncio.timeout(deadline):
                if verb is Verb.RELOAD:
                    await self._reload(unit, before, signal)
                else:
                    await self._restart(unit, before)
        except TimeoutError:
            why, mend = f"not done within {deadline:g} s", f"{self.force} {self._folder}/{unit}"
            raise VerbFailed(self.name, unit, verb, why, mend) from None

    async def _reload(self, unit: str, before: UnitStatus, name: str) -> None:
        number = reload_signal(self.name, unit, name or "HUP")
        if number not in self.letters:
            why = f"{self.name} does not send {number.name}"
            known = ", ".join(each.name.removeprefix("SIG") for each in self.letters)
            raise NotSupported(self.name, unit, Verb.RELOAD, why, f"use one of {known}")
        if not before.main_pid:
            raise VerbFailed(self.name, unit, Verb.RELOAD, f"it does not run: {before.reason}")
        self._tell(Verb.RELOAD, unit, self.letters[number])
        try:
            await self.settled(Verb.RELOAD, unit, before.main_pid)
        except VerbFailed as error:
            why = f"{number.name} ended its process: {error.why}"
            raise VerbFailed(self.name, unit, Verb.RELOAD, why) from None

    async def _restart(self, unit: str, before: UnitStatus) -> None:
        told = self._told.get(unit)
        seen = told.state if isinstance(told, UnitStatus) else None
        failed = ServiceState.FAILED in (before.state, seen)
        if not failed and (before.stopped or before.state is ServiceState.DEACTIVATING):
            why = "it is stopped, and a restart does not undo a stop"
            raise VerbFailed(self.name, unit, Verb.RESTART, why)
        self._asked.add(unit)
        if before.main_pid:
            self._tell(Verb.RESTART, unit, b"tc")
        if before.type == ONCE:
            await self.until(unit, lambda now: not now.main_pid)
        if before.type == ONCE or failed:
            self._tell(Verb.RESTART, unit, b"o")
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
            why = f"{path}: {error.strerror}"
            raise NotPermitted(self.name, unit, verb, why, mend) from None
        except OSError as error:
            nobody = error.errno == errno.ENXIO
            why = f"{path}: {f'no {self.keeper} reads it' if nobody else error.strerror}"
            raise InitUnreachable(self.name, unit, verb, why) from None

    def _supervise(self, unit: str) -> str:
        folder = f"{self._folder}/{plain_name(self.name, unit)}"
        if not os.path.isdir(folder):
            raise UnitNotFound(self.name, unit, "find", f"there is no {folder}")
        return f"{folder}/supervise"

    def _keeps(self, status: Path) -> bool:
        try:
            self.status_of("", read_state(str(status), _MOST))
        except (OSError, ValueError):
            return False
        return True


def _is_read(path: str) -> bool:
    """Tell whether somebody holds a fifo open for reading. Raises OSError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    os.close(fd)
    return True
