"""sysvinit: the scripts of /etc/init.d by their pid files, and the respawn lines of /etc/inittab.

Init scripts are not supervised: who wants to know how a service is looks at its pid file, or asks
the script (`status`; exit codes of the LSB, "Init Script Actions"). What inittab(5) respawns stands
in utmp(5), in records of 384 bytes. It counts no restarts: those are counted here.
"""

import asyncio
import contextlib
import os
import re
import signal as signals
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from msgspec.structs import replace

from steadyd.inits.commands import CommandInit, run
from steadyd.inits.following import plain_name, read_state
from steadyd.inits.pidfile import BadPidFile, process
from steadyd.inits.processes import arguments
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import NotSupported, UnitGone, UnitNotFound, VerbFailed

NAME = "sysvinit"
SERVICE = ("/usr/sbin/service", "/sbin/service")
INITCTL = ("run/initctl", "dev/initctl")  # init(8): its fifo, which no other init has
ASK_SECONDS = 5.0  # between two questions for the status of one unit, and the longest answer
_ASKED_AT_ONCE = 4
WORK_SECONDS = 60.0  # that a script is given to stop or restart its service
_AGAIN_SECONDS = 0.1
_MOST = 262_144  # bytes of a script, of inittab and of utmp
_RESPAWN = "respawn"

_PID_FILE = re.compile(
    r"^(?:#[ \t]*pidfile:[ \t]*|[ \t]*(?:PIDFILE|pidfile)=[\"']?)(/[^\s\"'$`;]+)", re.MULTILINE
)
_RELOAD = re.compile(r"^[^#\n]*(?<![\w-])(?:reload[ \t]*[\"']?[)|]|do_reload\b)", re.MULTILINE)
_ANSWERS = {  # LSB
    0: (ServiceState.ACTIVE, "running"),
    1: (ServiceState.FAILED, "it ended, and its pid file stays"),
    2: (ServiceState.INACTIVE, "stopped, and its lock file stays"),
    3: (ServiceState.INACTIVE, "stopped"),
}
_RECORD = struct.Struct("=hxxi32s4s340x")
_RUN_LEVEL, _INIT_PROCESS = 1, 5


class _Line(NamedTuple):
    """A line of inittab(5)."""

    levels: str
    action: str


class Sysvinit(CommandInit):
    """The init scripts and respawn lines of this host; implements `ports.InitSystem`."""

    name = NAME

    def __init__(self, root: Path = Path("/")) -> None:
        super().__init__()
        self._root = str(root).rstrip("/")
        self._scripts = f"{self._root}/etc/init.d"
        self._names: dict[str, set[str]] = {}  # unit -> the names in its places that concern it
        self._polled: set[str] = set()  # units without a pid file
        self._answers: dict[str, tuple[float, UnitStatus]] = {}
        self._working: dict[str, float] = {}  # unit -> since when it is seen not to run
        self._unasked = asyncio.Event()
        self._asks = asyncio.Semaphore(_ASKED_AT_ONCE)
        self._runs: dict[str, tuple[str, int]] = {}  # unit -> its last invocation, its respawns
        self._asked: set[str] = set()  # units that we restart ourselves

    @classmethod
    def detect(cls, root: Path = Path("/")) -> Self | None:
        """Return an adapter if sysvinit's init runs and keeps the scripts; else None."""
        try:
            comm = (root / "proc/1/comm").read_text("utf-8", "replace").strip()
            upstart = "@/com/ubuntu/upstart" in (root / "proc/net/unix").read_text(
                "utf-8", "replace"
            )
        except OSError:
            return None
        others = (root / "run/systemd/system", root / "run/openrc/softlevel")
        if comm != "init" or upstart or any(mark.exists() for mark in others):
            return None
        if not any((root / fifo).is_fifo() for fifo in INITCTL):
            return None
        return cls(root) if (root / "etc/init.d").is_dir() else None

    def trouble(self) -> str:
        """Return why the scripts cannot be read now."""
        try:
            os.stat(self._scripts)
        except OSError as error:
            return f"{self._scripts}: {error.strerror}"
        return ""

    def home(self) -> Iterable[str]:
        """Return the folder of the scripts."""
        return (self._scripts,)

    def names(self) -> Iterable[str]:
        """Return the scripts, and the lines of inittab."""
        return (*os.listdir(self._scripts), *self._lines())

    def places(self, unit: str) -> Iterable[str]:
        """Return the folders of the script and of its pid file, or of inittab and utmp."""
        names, folders = {unit}, {self._scripts}
        try:
            text = self._script(unit)
        except UnitNotFound:
            text = ""
        if text is None:
            names |= {"inittab", "utmp"}
            folders |= {f"{self._root}/etc", f"{self._root}/run"}
        for path in self._pid_files(unit, text)[0] if text else ():
            folder, name = os.path.split(path)
            while not os.path.isdir(folder):
                folder, name = os.path.split(folder)  # what has to be made first
            names.add(name)
            folders.add(os.path.realpath(folder))  # one folder has one watch, whatever its name
        self._names[unit] = names
        return sorted(folders)

    def concerns(self, unit: str, name: str) -> bool:
        """Tell by name: /run belongs to many."""
        return name in self._names.get(unit, ())

    def read(self, unit: str) -> UnitStatus:
        """Return the state of a unit. Raises InitError."""
        text = self._script(unit)
        if text is None:
            return self._respawned(unit, self._line(unit))
        return replace(self._scripted(unit, text), can_reload=bool(_RELOAD.search(text)))

    # scripts

    def _script(self, unit: str) -> str | None:
        """Return the text of an init script, None if there is no such file."""
        path = f"{self._scripts}/{plain_name(NAME, unit)}"
        try:
            facts = os.lstat(path)
            why = _no_script(unit, facts)
            text = "" if why else read_state(path, _MOST).decode("latin-1")
        except FileNotFoundError:
            return None
        except OSError as error:
            why = str(error.strerror)
        if why:
            raise UnitNotFound(NAME, unit, "find", f"{path}: {why}")
        return text

    def _pid_files(self, unit: str, text: str) -> tuple[list[str], bool]:
        """Return where the pid file may be, and whether the script says so."""
        declared = [p for p in _PID_FILE.findall(text) if os.path.normpath(p) == p]
        usual = [f"/run/{unit}.pid", f"/var/run/{unit}.pid", f"/run/{unit}/{unit}.pid"]
        return [f"{self._root}{path}" for path in declared[:3] or usual], bool(declared)

    def _scripted(self, unit: str, text: str) -> UnitStatus:
        paths, declared = self._pid_files(unit, text)
        path = next((p for p in paths if os.path.lexists(p)), paths[0] if declared else "")
        why = "no pid file"
        if path:
            try:
                status = self.by_pid_file(unit, path)
            except BadPidFile as error:
                why = str(error)
                status = UnitStatus(NAME, unit, ServiceState.UNKNOWN, why)
                if (status := self._settled(unit, status)).acting:  # it is just being written
                    return status
            else:
                self._polled.discard(unit)
                return self._settled(unit, status)
        if "status" not in text and "init-d-script" not in text:
            why = f"{why}, and its script has no status"
            return UnitStatus(NAME, unit, ServiceState.UNKNOWN, why)
        self._polled.add(unit)
        if unit not in self._answers:
            self._unasked.set()
            return UnitStatus(NAME, unit, ServiceState.UNKNOWN, "its script has not yet been asked")
        told = self._answers[unit][1]
        how = f"{told.reason} (its script is asked every {ASK_SECONDS:g} s: {why})"
        return replace(told, reason=how)

    def _settled(self, unit: str, now: UnitStatus) -> UnitStatus:
        """Return `now`, unless its script is at work: that ends a process before its pid file."""
        told = self._told.get(unit)
        if isinstance(told, UnitStatus) and told.state is now.state:
            return now
        if now.state is ServiceState.ACTIVE:
            self._working.pop(unit, None)
            return now
        began = self._working.setdefault(unit, time.monotonic())
        path = f"{self._scripts}/{unit}"
        pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
        late = time.monotonic() - began > WORK_SECONDS
        if late or not any(path in arguments(pid)[:3] for pid in pids):  # sh SCRIPT VERB
            return now
        self.look_again(unit, _AGAIN_SECONDS)
        why = "its script is at work"
        return UnitStatus(NAME, unit, ServiceState.DEACTIVATING, why, acting=True)

    async def _ask(self, unit: str) -> None:
        state, reason = ServiceState.UNKNOWN, ""
        async with self._asks:
            try:
                code, text = await run(self.command("status", unit), deadline=ASK_SECONDS)
                if "usage:" not in text.lower():
                    state, reason = _ANSWERS.get(code, (state, f"status exits with {code}"))
                else:
                    reason = "its script knows no status"
            except TimeoutError:
                reason = f"its script did not tell its status within {ASK_SECONDS:g} s"
            except OSError as error:
                reason = f"its script cannot be run: {error.strerror}"
        stopped = state is ServiceState.INACTIVE
        answer = UnitStatus(NAME, unit, state, reason, stopped=stopped)
        before = self._answers.get(unit)
        self._answers[unit] = (time.monotonic(), answer)
        if (before is None or before[1] != answer) and unit in self._watched:
            self._dirty.add(unit)
            self._wake.set()

    def _stale(self, unit: str) -> bool:
        return time.monotonic() - self._answers.get(unit, (-ASK_SECONDS,))[0] >= ASK_SECONDS

    async def aside(self) -> None:
        """Ask the scripts of services that have no pid file."""
        while True:
            self._unasked.clear()
            due = [unit for unit in self._polled & self._watched if self._stale(unit)]
            await asyncio.gather(*map(self._ask, due))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_SECONDS):
                    await self._unasked.wait()

    async def find(self, name: str) -> UnitStatus:
        """Find a service by its name; asks its script if there is no other way."""
        status = self.read(name)
        if name not in self._polled or not self._stale(name):
            return status
        await self._ask(name)
        return self.read(name)

    # inittab

    def _lines(self) -> dict[str, _Line]:
        """Return the lines of inittab that init keeps running, by their ids."""
        try:
            text = read_state(f"{self._root}/etc/inittab", _MOST).decode("latin-1")
        except OSError:
            return {}
        split = [line.strip().split(":", 3) for line in text.splitlines()]
        return {
            parts[0]: _Line(parts[1], parts[2])
            for parts in reversed(split)  # of two with one id, init takes the first
            if len(parts) == 4 and parts[2] in (_RESPAWN, "ondemand")
        }

    def _line(self, unit: str) -> _Line:
        if line := self._lines().get(unit):
            return line
        why = f"there is no script of this name in {self._scripts}, and no such respawn line"
        raise UnitNotFound(NAME, unit, "find", why)

    def _records(self) -> Iterator[tuple[int, int, str]]:
        """Yield type, pid and id of the records of utmp(5)."""
        try:
            data = read_state(f"{self._root}/run/utmp", _MOST)
        except OSError:
            return
        whole = len(data) - len(data) % _RECORD.size
        for kind, pid, _, name in _RECORD.iter_unpack(data[:whole]):
            yield kind, pid, name.rstrip(b"\0").decode("latin-1")

    def _respawned(self, unit: str, line: _Line) -> UnitStatus:
        level, found = "", None
        for kind, pid, name in self._records():
            if kind == _RUN_LEVEL:
                level = chr(pid & 0xFF)
            elif kind == _INIT_PROCESS and name == unit and pid > 1:
                found = process(pid)
        if found is not None and found.parent == 1:
            status = self.alive(unit, found)
        elif level and line.levels and level not in line.levels:
            why = f"stopped: runlevel {level} is not among its own ({line.levels})"
            status = UnitStatus(NAME, unit, ServiceState.INACTIVE, why, stopped=True)
        else:
            why = "it ended; init starts it again (5 minutes later where it ends too often)"
            status = UnitStatus(
                NAME, unit, ServiceState.ACTIVATING, why, acting=True, respawning=True
            )
        return replace(status, type=_RESPAWN, respawns=self._runs.get(unit, ("", 0))[1])

    def observe(self, before: UnitStatus | UnitGone | None, now: UnitStatus) -> UnitStatus:
        """Count the runs of a respawn line that nobody asked for."""
        if now.type != _RESPAWN or not now.main_pid:
            return now
        last, count = self._runs.get(now.unit, (now.invocation, 0))
        if now.invocation != last and now.unit not in self._asked:
            count += 1
        if now.invocation != last:
            self._asked.discard(now.unit)
        self._runs[now.unit] = (now.invocation, count)
        return replace(now, respawns=count)

    # verbs

    def command(self, verb: str, unit: str) -> list[str]:
        """Return the command of a verb: `service`, or the script itself."""
        for path in SERVICE:
            if os.access(f"{self._root}{path}", os.X_OK):
                return [f"{self._root}{path}", unit, verb]
        return [f"{self._scripts}/{unit}", verb]

    async def reload(self, before: UnitStatus, signal: str, deadline: float) -> None:
        """Reload by the script, or by a signal."""
        if before.type == _RESPAWN and not signal:
            mend = "name the signal to send: with reload_signal HUP"
            raise NotSupported(NAME, before.unit, Verb.RELOAD, "inittab has no reload", mend)
        await super().reload(before, signal, deadline)

    async def restart(self, before: UnitStatus, deadline: float) -> None:
        """Restart by the script; what init respawns is ended, which is all there is."""
        unit = before.unit
        if before.type == _RESPAWN:
            self._asked.add(unit)
            await self.signalled(Verb.RESTART, before, signals.SIGTERM)
            after = await self.until(
                unit, lambda now: bool(now.main_pid) and now.invocation != before.invocation
            )
            await self.settled(Verb.RESTART, unit, after.main_pid)
        elif unit in self._polled:
            await self._asked_to(Verb.RESTART, unit, deadline, ServiceState.ACTIVE)
        else:
            await super().restart(before, deadline)

    async def start(self, before: UnitStatus, deadline: float) -> None:
        """Start by the script."""
        self._no_line(Verb.START, before)
        if before.unit in self._polled:
            await self._asked_to(Verb.START, before.unit, deadline, ServiceState.ACTIVE)
        else:
            await super().start(before, deadline)

    async def stop(self, before: UnitStatus, deadline: float) -> None:
        """Stop by the script."""
        self._no_line(Verb.STOP, before)
        if before.unit in self._polled:
            await self._asked_to(Verb.STOP, before.unit, deadline, ServiceState.INACTIVE)
        else:
            await super().stop(before, deadline)

    def _no_line(self, verb: Verb, before: UnitStatus) -> None:
        if before.type == _RESPAWN:
            mend = "change its line in /etc/inittab to `off`, and then `telinit q`"
            why = "init keeps the lines of inittab running, and knows no other wish"
            raise NotSupported(NAME, before.unit, verb, why, mend)

    async def _asked_to(self, verb: Verb, unit: str, deadline: float, wanted: ServiceState) -> None:
        """Have a script that alone knows the state carry a verb out, and ask it what it is now."""
        await self.tell(verb, verb, unit, deadline)
        await self._ask(unit)
        after = self.read(unit)
        if after.state is not wanted:
            why = f"it is {after.state} afterwards: {after.reason}"
            raise VerbFailed(NAME, unit, verb, why)


def _no_script(unit: str, facts: os.stat_result) -> str:
    """Return why a file is no init script, "" if it is one."""
    if unit.startswith("-"):
        return "an option is no name"
    if not stat.S_ISREG(facts.st_mode):
        return "it is no plain file"
    if facts.st_uid not in (0, os.geteuid()):
        return f"it belongs to uid {facts.st_uid}, not to root"
    return "" if facts.st_mode & 0o111 else "it may not be executed"
