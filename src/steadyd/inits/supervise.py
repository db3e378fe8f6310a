"""What runit and s6 have in common: a scan folder of services, each with a `supervise` folder.

In it are `status`, replaced by rename, and the fifo `control` that takes commands of one letter.
Neither tells who asked for what: that a run ended by itself is seen by what came before it.
"""

import asyncio
import errno
import os
import signal as signals
import stat
import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Self

from msgspec.structs import replace

from steadyd.inits.following import (
    FileInit,
    plain_name,
    read_state,
    write_command,
)
from steadyd.inits.processes import arguments, running
from steadyd.inits.signals import signal_number
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import (
    InitError,
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
_JUST = 1.0  # seconds in which the end of a process may be what was commanded
_AT_REST = (ServiceState.INACTIVE, ServiceState.FAILED)


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
        self._fresh: set[str] = set()  # units of which no run was seen yet
        self._commanded: dict[str, float] = {}  # unit -> when its run was sent something, our clock

    @staticmethod
    @abstractmethod
    def status_of(unit: str, data: bytes) -> UnitStatus:
        """Read a `status` file. Raises ValueError: it is none."""

    @classmethod
    def detect(cls, root: Path = Path("/")) -> Self | None:
        """Return an adapter if the scanner runs, or services are kept in a usual folder."""
        for pid in running(cls.scanner)[cls.scanner]:
            if not _ours(f"/proc/{pid}"):  # any user can have a process of this name
                continue
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

    def names(self) -> Iterable[str]:
        """Return what is in the scan folder."""
        return os.listdir(self._folder)

    def places(self, unit: str) -> Iterable[str]:
        """Return the folder of the unit's state, and those above that may be made later."""
        try:
            service = f"{self._folder}/{plain_name(self.name, unit)}"
        except UnitNotFound:
            return ()
        return (self._folder, service, f"{service}/supervise")

    def concerns(self, unit: str, name: str) -> bool:
        """Tell by name: whoever asks or commands opens and closes fifos there.

        A command is remembered: of a process that ends at once the look may come too late to see
        that it was told to. (Where our own looks open that fifo, the status tells how it ended.)
        """
        if name == "control" != self.listening:
            self._commanded[unit] = time.monotonic()
        return name in ("status", "supervise", unit)

    def read(self, unit: str) -> UnitStatus:
        """Return the state of a service. Raises InitError."""
        folder = self._supervise(unit)
        try:
            data = read_state(f"{folder}/status", _MOST)
            alive = _is_read(f"{folder}/{self.listening}")
            status = self.status_of(unit, data)
        except OSError as error:
            raise self._unread(unit, folder, error) from None
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
        unit, another = now.unit, True
        if now.state is ServiceState.DEACTIVATING and now.main_pid:
            self._asked.add(unit)
        if isinstance(before, UnitStatus):
            now, another = self._compared(before, now), now.invocation != before.invocation
        elif not now.main_pid:
            self._fresh.add(unit)
        if now.state in _AT_REST:
            self._asked.add(unit)  # the next run is somebody's wish
        elif now.state is ServiceState.ACTIVE and another:
            self._asked.discard(unit)
            self._fresh.discard(unit)
            self._commanded.pop(unit, None)
        return now

    def _compared(self, before: UnitStatus, now: UnitStatus) -> UnitStatus:
        unit = now.unit
        wanted_more = before.main_pid and before.type != ONCE
        same = now.main_pid and now.invocation == before.invocation
        if wanted_more and ((same and now.type == ONCE) or not (now.main_pid or now.respawning)):
            self._asked.add(unit)  # `down` and `once` alike: no further run is wanted
        asked = unit in self._asked
        if now.state not in _AT_REST:
            respawn = now.state is ServiceState.ACTIVE and not same and not asked
            respawn = respawn and unit not in self._fresh
            return replace(now, respawns=before.respawns + 1) if respawn else now
        if before.state in _AT_REST:
            if now.since != before.since:
                return now
            state, reason = before.state, before.reason
        elif asked or time.monotonic() - self._commanded.get(unit, -_JUST) < _JUST:
            state, reason = ServiceState.INACTIVE, "stopped"
        elif now.state is ServiceState.INACTIVE and not now.result:
            state, reason = ServiceState.FAILED, "it ended by itself, and was to run once"
        else:
            return now
        return replace(now, state=state, reason=reason, stopped=state is ServiceState.INACTIVE)

    def no_right(self, unit: str) -> str:
        """Tell by the control fifo."""
        try:
            write_command(f"{self._supervise(unit)}/control", b"")
        except PermissionError as error:
            return f"{unit}/supervise/control: {error.strerror}; run steadyd as root"
        except (OSError, InitError):
            pass  # that is no matter of rights
        return ""

    async def perform(self, verb: Verb, unit: str, *, signal: str = "", deadline: float) -> None:
        """Write to the control fifo, and wait for what comes of it."""
        before = self.read(unit)
        try:
            async with asyncio.timeout(deadline):
                match verb:
                    case Verb.RELOAD:
                        await self._reload(unit, before, signal)
                    case Verb.RESTART:
                        await self._restart(unit, before)
                    case Verb.START:
                        await self._start(unit, before)
                    case Verb.STOP:
                        await self._stop(unit, before)
                    case Verb.SIGNAL:
                        self._signal(verb, unit, before, signal)
        except TimeoutError:
            why, mend = f"not done within {deadline:g} s", f"{self.force} {self._folder}/{unit}"
            raise VerbFailed(self.name, unit, verb, why, mend) from None

    async def _reload(self, unit: str, before: UnitStatus, name: str) -> None:
        number = self._signal(Verb.RELOAD, unit, before, name or "HUP")
        try:
            await self.settled(Verb.RELOAD, unit, before.main_pid)
        except VerbFailed as error:
            why = f"{number.name} ended its process: {error.why}"
            raise VerbFailed(self.name, unit, Verb.RELOAD, why) from None

    def _signal(self, verb: Verb, unit: str, before: UnitStatus, name: str) -> signals.Signals:
        number = signal_number(self.name, unit, verb, name)
        if number not in self.letters:
            why = f"{self.name} does not send {number.name}"
            known = ", ".join(each.name.removeprefix("SIG") for each in self.letters)
            raise NotSupported(self.name, unit, verb, why, f"use one of {known}")
        if not before.main_pid:
            raise VerbFailed(self.name, unit, verb, f"it does not run: {before.reason}")
        self._tell(verb, unit, self.letters[number])
        return number

    async def _start(self, unit: str, before: UnitStatus) -> None:
        if before.state is ServiceState.ACTIVE and before.type != ONCE:
            return
        self._asked.add(unit)
        self._tell(Verb.START, unit, b"u")
        after = await self.until(unit, lambda now: now.state is ServiceState.ACTIVE)
        await self.settled(Verb.START, unit, after.main_pid)

    async def _stop(self, unit: str, before: UnitStatus) -> None:
        self._asked.add(unit)
        self._tell(Verb.STOP, unit, b"d")
        await self.until(unit, lambda now: now.state in _AT_REST)

    async def _restart(self, unit: str, before: UnitStatus) -> None:
        told = self._told.get(unit)
        state = before.state
        if isinstance(told, UnitStatus) and state in _AT_REST and told.since == before.since:
            state = told.state
        failed = state is ServiceState.FAILED
        if state in (ServiceState.INACTIVE, ServiceState.DEACTIVATING):
            why = "it is stopped, and a restart does not undo a stop"
            raise VerbFailed(self.name, unit, Verb.RESTART, why)
        if before.main_pid:
            self._tell(Verb.RESTART, unit, b"tc")
        self._asked.add(unit)
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
            mend = f"end the {self.keeper} of {unit}; {self.scanner} starts another"
            raise InitUnreachable(self.name, unit, verb, why, mend) from None

    def _supervise(self, unit: str) -> str:
        """Return its folder of state, which may be a link, of root's (Debian and Void have it)."""
        folder = f"{self._folder}/{plain_name(self.name, unit)}"
        supervise = f"{folder}/supervise"
        try:
            os.stat(folder)
            facts = os.lstat(supervise)
        except FileNotFoundError as error:
            if error.filename == folder:
                raise UnitNotFound(self.name, unit, "find", f"there is no {folder}") from None
            raise self._unread(unit, supervise, error) from None
        except OSError as error:
            raise self._unread(unit, supervise, error) from None
        if stat.S_ISLNK(facts.st_mode) and facts.st_uid not in (0, os.geteuid()):
            why = f"{supervise} is a link of uid {facts.st_uid}, not of root"
            raise UnitNotFound(self.name, unit, "find", why)
        return supervise

    def _unread(self, unit: str, path: str, error: OSError) -> InitError:
        if isinstance(error, PermissionError):
            mend = f"run steadyd as root, or let it read {path}"
            return NotPermitted(self.name, unit, "read", f"{path}: {error.strerror}", mend)
        why = f"no {self.keeper} keeps it ({path}: {error.strerror})"
        return UnitNotFound(self.name, unit, "find", why)

    def _keeps(self, status: Path) -> bool:
        try:
            self.status_of("", read_state(str(status), _MOST))
        except (OSError, ValueError):
            return False
        return True


def pid_is_sane(pid: int) -> bool:
    """Tell whether a service can have this pid, or none (0)."""
    return pid != 1 and 0 <= pid <= MOST_PID


def _is_read(path: str) -> bool:
    """Tell whether somebody holds a fifo open for reading. Raises OSError."""
    try:
        write_command(path, b"")
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    return True


def _ours(path: str) -> bool:
    """Tell whether something is root's or ours."""
    try:
        return os.stat(path).st_uid in (0, os.geteuid())
    except OSError:
        return False
