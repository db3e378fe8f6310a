"""Pid files: read without trusting them, and what a service is by the process that one names."""

import asyncio
import contextlib
import os
import re
import signal as signals
import stat
import time
from collections.abc import Callable

from steadyd.inits.following import FileInit
from steadyd.inits.signals import signal_number
from steadyd.model.rule import Verb
from steadyd.model.service import ProcessId, ServiceState, UnitStatus
from steadyd.ports import InitReport, NotPermitted, VerbFailed

LARGEST_FILE = 64  # bytes
LARGEST_PID = 2**22  # proc(5), pid_max
SLACK = 2.0  # seconds by which a process may seem younger than its pid file
_TICKS = os.sysconf("SC_CLK_TCK")
_BOOT = re.compile(rb"^btime (\d+)$", re.MULTILINE)


class BadPidFile(Exception):
    """Nothing can be told by this pid file; str() is why."""


class NoPidFile(BadPidFile):
    """There is none."""


class ProcessGone(BadPidFile):
    """It names a process (`pid`) that is gone."""

    def __init__(self, pid: int, why: str) -> None:
        super().__init__(why)
        self.pid = pid


class Running(ProcessId, frozen=True):
    """A process that runs, and its parent."""

    parent: int = 0

    @property
    def itself(self) -> ProcessId:
        """Return what stays the same as long as it lives."""
        return ProcessId(self.pid, self.started)

    @property
    def since(self) -> float:
        """Return when it was started, in wall-clock seconds by the clock of now."""
        return booted() + self.started / _TICKS


def booted() -> float:
    """Return when the machine was started, in wall-clock seconds by the clock of now."""
    with open("/proc/stat", "rb") as file:
        found = _BOOT.search(file.read())
    return float(found[1]) if found else time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def process(pid: int) -> Running | None:
    """Return the process of this pid, None if it is gone or only waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            words = file.read(4096).rpartition(b") ")[2].split()  # proc(5); the name may hold ")"
    except OSError:
        return None
    if len(words) < 20 or (words[0] in (b"Z", b"X") and int(words[17]) <= 1):
        return None
    return Running(pid, int(words[19]), int(words[1]))


def read(path: str, known: ProcessId | None = None) -> Running:
    """Return the process that a pid file names. Raises BadPidFile.

    A process that was started after the file was written is somebody else's, with a pid that was
    handed out again. That `known` was seen there before spares it this test: the wall clock, which
    it needs, may have been set since.
    """
    pid, owner, written, volatile = _named(path)
    if pid == os.getpid():
        raise BadPidFile(f"{path} names steadyd itself ({pid})")
    found = process(pid)
    if found is None:
        raise ProcessGone(pid, f"its process {pid} ended or was killed, and {path} stays")
    # a service may write its own: nobody can name the process of somebody else by that
    if owner not in (0, os.geteuid(), *_users(pid)):
        raise BadPidFile(f"{path} belongs to uid {owner}, and process {pid} does not")
    if found.itself == known:
        return found
    # nothing in /run is older than the boot: then the clock was set, and the file's time says
    # nothing
    stepped = volatile and written < booted() - SLACK
    if found.since > written + SLACK and not stepped:
        why = f"{path} is older than process {pid}, which is another's: its own ended"
        raise ProcessGone(pid, why)
    return found


def _users(pid: int) -> tuple[int, ...]:
    """Return the user ids of a process (proc(5), status); none if it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            line = next(line for line in file if line.startswith(b"Uid:"))
    except (OSError, StopIteration):
        return ()
    return tuple(int(word) for word in line.split()[1:])


def _named(path: str) -> tuple[int, int, float, bool]:
    """Return the pid in a file, whose file it is, when it was written, and whether in /run."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NoPidFile(f"there is no {path}") from None
    except OSError as error:
        why = "it is a link" if os.path.islink(path) else error.strerror
        raise BadPidFile(f"{path}: {why}") from None
    except ValueError:
        raise BadPidFile("its pid file has an impossible name") from None
    try:
        facts = os.fstat(fd)
        if why := _untrusted(facts):
            raise BadPidFile(f"{path} {why}")
        text = os.read(fd, LARGEST_FILE + 1).strip()
        volatile = facts.st_dev == os.stat("/run").st_dev != os.stat("/").st_dev
    except OSError as error:
        raise BadPidFile(f"{path}: {error.strerror}") from None
    finally:
        os.close(fd)
    if not text.isdigit() or not 2 <= int(text) <= LARGEST_PID:
        raise BadPidFile(f"{path} holds no pid: {text[:20]!r}")
    return int(text), facts.st_uid, facts.st_mtime, volatile


def _untrusted(facts: os.stat_result) -> str:
    if not stat.S_ISREG(facts.st_mode):
        return "is no plain file"
    if facts.st_mode & 0o022:
        return f"may be written by others (mode {facts.st_mode & 0o777:o})"
    return f"has more than {LARGEST_FILE} bytes" if facts.st_size > LARGEST_FILE else ""


def send(target: ProcessId, number: signals.Signals) -> None:
    """Send a signal to this very process. Raises ProcessLookupError, PermissionError."""
    try:
        fd = os.pidfd_open(target.pid)
    except PermissionError:
        raise
    except OSError:
        raise ProcessLookupError(target.pid) from None
    try:
        now = process(target.pid)  # looked at while the descriptor holds it
        if now is None or now.itself != target:
            raise ProcessLookupError(target.pid)
        signals.pidfd_send_signal(fd, number)
    finally:
        os.close(fd)


class PidFileInit(FileInit):
    """What adapters share whose services are processes that a pid file names."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, ProcessId] = {}  # unit -> the process it was seen to be
        self._named: dict[str, int] = {}  # unit -> the pid that its file names, also a dead one

    async def aside(self) -> None:
        """Look after what no file tells, until cancelled."""

    async def run(self, report: Callable[[InitReport], None]) -> None:
        """Follow the files, and what none of them tells, until closed or cancelled."""
        aside = asyncio.create_task(self.aside())
        try:
            await super().run(report)
        finally:
            aside.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await aside

    def look_again(self, unit: str, seconds: float) -> None:
        """Look at a watched unit after a while: nothing will tell."""

        def again() -> None:
            self._dirty |= {unit} & self._watched
            self._wake.set()

        if unit in self._watched:
            asyncio.get_running_loop().call_later(seconds, again)

    def by_pid_file(self, unit: str, path: str) -> UnitStatus:
        """Return the state of a unit as its pid file has it. Raises BadPidFile: it cannot."""
        try:
            found = read(path, self._known.get(unit))
        except NoPidFile as error:
            self._forget(unit)
            why = f"stopped ({error})"
            return UnitStatus(self.name, unit, ServiceState.INACTIVE, why, stopped=True)
        except ProcessGone as error:
            self._known.pop(unit, None)
            self._named[unit] = error.pid
            return UnitStatus(self.name, unit, ServiceState.FAILED, str(error))
        self._named[unit] = found.pid
        return self.alive(unit, found)

    def alive(self, unit: str, found: Running) -> UnitStatus:
        """Return the state of a unit with this main process."""
        self._known[unit] = found.itself
        return UnitStatus(
            self.name,
            unit,
            ServiceState.ACTIVE,
            main_pid=found.pid,
            invocation=f"{found.pid}:{found.started}",
            since=found.since,
        )

    def _forget(self, unit: str) -> None:
        self._known.pop(unit, None)
        self._named.pop(unit, None)

    async def signalled(self, verb: Verb, before: UnitStatus, number: signals.Signals) -> ProcessId:
        """Send a signal to the main process of a unit and return that. Raises InitError."""
        unit, target = before.unit, self._known.get(before.unit)
        if not before.main_pid or target is None or target.pid != before.main_pid:
            why = f"no process of it is known; it is {before.state}: {before.reason}"
            raise VerbFailed(self.name, unit, verb, why.rstrip(": "))
        try:
            send(target, number)
        except PermissionError:
            mend = "run steadyd as root"
            why = f"no right to signal its process {target.pid}"
            raise NotPermitted(self.name, unit, verb, why, mend) from None
        except OSError:
            why = f"its process {target.pid} ended before the signal"
            raise VerbFailed(self.name, unit, verb, why) from None
        return target

    async def reload_by(self, before: UnitStatus, name: str) -> None:
        """Reload a unit by a signal to its main process. Raises InitError."""
        number = signal_number(self.name, before.unit, Verb.RELOAD, name)
        target = await self.signalled(Verb.RELOAD, before, number)
        try:
            await self.settled(Verb.RELOAD, before.unit, target.pid)
        except VerbFailed as error:
            why = f"{number.name} ended its process: {error.why}"
            raise VerbFailed(self.name, before.unit, Verb.RELOAD, why) from None
