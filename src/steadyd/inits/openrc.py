"""OpenRC: the state folders below /run/openrc (rc-status(8), supervise-daemon(8)).

`started/NAME`, `failed/NAME` … are links that stand for a state; `options/NAME` holds values that
the service keeps (`pidfile`; `child_pid` and `start_count` where supervise-daemon keeps it). What
start-stop-daemon started is not supervised: OpenRC calls it started when it is long gone.
"""

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from steadyd.inits.commands import CommandInit
from steadyd.inits.following import plain_name, read_state
from steadyd.inits.pidfile import LARGEST_PID, BadPidFile, process, read
from steadyd.inits.processes import name as process_name
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import InitUnreachable, UnitGone, UnitNotFound

NAME = "openrc"
RC_SERVICE = ("/sbin/rc-service", "/usr/sbin/rc-service", "/bin/rc-service", "/usr/bin/rc-service")
_SUPERVISOR = "supervise-daemon"[:15]  # its comm, cut by the kernel
_MOST = 262_144  # bytes of a script
_MOST_VALUE = 4096
_SUPERVISED = "supervised"
_LOCKS = "exclusive"
_AGAIN_SECONDS = 0.1
_LATE_SECONDS = 5.0  # after the start, for a daemon to write its pid file itself
_STARTING = ServiceState.ACTIVATING
_TRIES = 3  # a value is rewritten in place: between two writes it is empty
_RELOAD = re.compile(
    r"^[ \t]*(?:extra_(?:started_)?commands|opts)\+?=[^\n]*(?<![\w-])reload(?![\w-])", re.MULTILINE
)
# in the order in which they tell more than the next
_STATES = {
    "stopping": (ServiceState.DEACTIVATING, "told to stop"),
    "starting": (ServiceState.ACTIVATING, "told to start"),
    "failed": (ServiceState.FAILED, "OpenRC calls it failed"),
    "inactive": (ServiceState.INACTIVE, "inactive: it waits for an event"),
    "started": (ServiceState.ACTIVE, ""),
    "scheduled": (ServiceState.ACTIVATING, "it starts when another service does"),
}


class Openrc(CommandInit):
    """The services of this host; implements `ports.InitSystem`."""

    name = NAME

    def __init__(self, root: Path = Path("/")) -> None:
        super().__init__()
        self._root = str(root).rstrip("/")
        self._scripts = f"{self._root}/etc/init.d"
        self._state = f"{self._root}/run/openrc"
        self._pid_file: dict[str, str] = {}  # unit -> the name of its pid file
        self._runs: dict[str, tuple[str, int]] = {}  # unit -> its last invocation, its respawns
        self._locks: dict[str, str] = {}  # unit -> its lock as /proc/locks has it

    @classmethod
    def detect(cls, root: Path = Path("/")) -> Self | None:
        """Return an adapter if OpenRC has brought this host to a runlevel; else None."""
        if (root / "run/systemd/system").exists():
            return None
        return cls(root) if (root / "run/openrc/softlevel").is_file() else None

    def trouble(self) -> str:
        """Return why the states cannot be read now."""
        for folder in (self._state, f"{self._state}/started"):
            try:
                if not stat.S_ISDIR(os.lstat(folder).st_mode):
                    return f"{folder} is no folder"
            except OSError as error:
                return f"{folder}: {error.strerror}"
        return ""

    def home(self) -> Iterable[str]:
        """Return the folder of all states."""
        return (self._state,)

    def names(self) -> Iterable[str]:
        """Return the scripts."""
        return os.listdir(self._scripts)

    def places(self, unit: str) -> Iterable[str]:
        """Return the folders of the script, of the states, of the values and of the pid file."""
        folders = {self._scripts, self._state, f"{self._state}/options"}
        folders |= {f"{self._state}/{name}" for name in (*_STATES, _LOCKS)}
        try:
            folders.add(self._options(plain_name(NAME, unit)))
            path = self._value(unit, "pidfile")
        except (OSError, UnitNotFound):
            path = None
        if path:
            # one folder has one watch, whatever its name
            folders.add(os.path.realpath(os.path.dirname(f"{self._root}{path}")))
        self._pid_file[unit] = os.path.basename(path or "")
        return sorted(folders)

    def concerns(self, unit: str, name: str) -> bool:
        """Tell by name: the folders belong to all services."""
        own = (unit, self._pid_file.get(unit), "pidfile", "child_pid", "start_count")
        return name in own

    def read(self, unit: str) -> UnitStatus:
        """Return the state of a service. Raises InitError."""
        text = self._script(unit)
        if why := self.trouble():
            raise InitUnreachable(NAME, unit, "read", why)
        status = self._status(unit)
        return replace(status, can_reload=bool(_RELOAD.search(text)))

    def _status(self, unit: str) -> UnitStatus:
        at_work = self._at_work(unit)
        for folder, (state, reason) in _STATES.items():
            try:
                facts = os.lstat(f"{self._state}/{folder}/{unit}")
            except OSError:
                continue
            if state is ServiceState.ACTIVE:
                return self._started(unit, facts)
            acting = state in (ServiceState.ACTIVATING, ServiceState.DEACTIVATING)
            return UnitStatus(
                NAME,
                unit,
                state,
                reason,
                acting=acting,
                by_design=state is ServiceState.INACTIVE,
                since=facts.st_mtime,
            )
        if at_work:  # a restart passes through here
            why = "its script is at work"
            return UnitStatus(NAME, unit, ServiceState.DEACTIVATING, why, acting=True)
        return UnitStatus(NAME, unit, ServiceState.INACTIVE, "stopped", stopped=True)

    def _at_work(self, unit: str) -> bool:
        """Tell whether openrc-run holds the lock of a service.

        It removes the file in the middle of a restart and goes on holding the lock; nothing tells
        when it lets go.
        """
        with contextlib.suppress(OSError):
            facts = os.lstat(f"{self._state}/{_LOCKS}/{unit}")
            major, minor = os.major(facts.st_dev), os.minor(facts.st_dev)
            self._locks[unit] = f" {major:02x}:{minor:02x}:{facts.st_ino} "
        try:
            with open("/proc/locks", encoding="ascii") as file:  # proc(5)
                held = self._locks.get(unit, "\n\n") in file.read(_MOST)
        except OSError:
            held = False
        if held:
            self.look_again(unit, _AGAIN_SECONDS)
        return held

    def _started(self, unit: str, facts: os.stat_result) -> UnitStatus:
        """Return the state of what OpenRC calls started."""
        try:
            child, path = self._value(unit, "child_pid"), self._value(unit, "pidfile")
            count = self._value(unit, "start_count") or ""
        except OSError as error:
            why = f"its values cannot be read: {error.strerror}"
            return UnitStatus(NAME, unit, ServiceState.UNKNOWN, why)
        if child is not None:
            return self._supervised(unit, _number(child), path, _number(count))
        if path is None:  # no process of its own, or none that it tells of
            run, since = f"started:{facts.st_mtime_ns}", facts.st_mtime
            return UnitStatus(NAME, unit, ServiceState.ACTIVE, invocation=run, since=since)
        try:
            status = self.by_pid_file(unit, f"{self._root}{path}")
        except BadPidFile as error:
            return UnitStatus(NAME, unit, ServiceState.UNKNOWN, f"started, but {error}")
        if status.state is ServiceState.ACTIVE:
            return status
        if status.stopped and 0 <= time.time() - facts.st_mtime < _LATE_SECONDS:
            self.look_again(unit, _LATE_SECONDS)
            why = "its pid file is not yet there"
            return replace(status, state=_STARTING, reason=why, stopped=False, acting=True)
        why = f"crashed: {status.reason}" if not status.stopped else "crashed: its pid file is gone"
        return replace(status, state=ServiceState.FAILED, reason=why, stopped=False)

    def _supervised(self, unit: str, pid: int, path: str | None, respawns: int) -> UnitStatus:
        found = process(pid) if 2 <= pid <= LARGEST_PID else None
        if found is not None and process_name(found.parent) == _SUPERVISOR:
            return replace(self.alive(unit, found), respawns=respawns, type=_SUPERVISED)
        try:
            read(f"{self._root}{path or '/'}")
        except BadPidFile:
            why = "crashed: its supervise-daemon is gone"
            return UnitStatus(NAME, unit, ServiceState.FAILED, why, respawns=respawns)
        return UnitStatus(
            NAME,
            unit,
            ServiceState.ACTIVATING,
            "it ended; supervise-daemon starts it again",
            respawns=respawns,
            acting=True,
            respawning=True,
            type=_SUPERVISED,
        )

    def observe(self, before: UnitStatus | UnitGone | None, now: UnitStatus) -> UnitStatus:
        """Count a respawn of which only the pid is written as yet, and not the count."""
        if now.type != _SUPERVISED:
            self._runs.pop(now.unit, None)  # stopped or started by somebody: it counts anew
        if now.type != _SUPERVISED or not now.main_pid:
            return now
        last, count = self._runs.get(now.unit, (now.invocation, now.respawns))
        if now.invocation != last and now.respawns == count:
            now = replace(now, respawns=count + 1)
        elif now.invocation == last:
            now = replace(now, respawns=max(count, now.respawns))
        self._runs[now.unit] = (now.invocation, now.respawns)
        return now

    # files

    def _script(self, unit: str) -> str:
        """Return the text of a script; it may be a link to another one (`net.eth0`)."""
        path = f"{self._scripts}/{plain_name(NAME, unit)}"
        real = os.path.realpath(path)
        try:
            if unit.startswith("-"):
                why = "an option is no name"
            elif os.path.dirname(real) != os.path.realpath(self._scripts):
                why = "it leads out of its folder"
            elif not os.lstat(real).st_mode & 0o111:
                why = "it may not be executed"
            else:
                return read_state(real, _MOST).decode("latin-1")
        except OSError as error:
            why = str(error.strerror)
        raise UnitNotFound(NAME, unit, "find", f"{path}: {why}")

    def _options(self, unit: str) -> str:
        folder = f"{self._state}/options/{unit}"
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise OSError(0, f"{folder} is no folder")
        return folder

    def _value(self, unit: str, key: str) -> str | None:
        """Return a value that a service keeps, None if it has none. Raises OSError."""
        text = ""
        for _ in range(_TRIES):
            try:
                data = read_state(f"{self._options(unit)}/{key}", _MOST_VALUE)
            except FileNotFoundError:
                return None
            if text := data.decode("latin-1").strip():
                break
        path = text.startswith("/") and os.path.normpath(text) == text and text.isprintable()
        if key == "pidfile" and not path:
            raise OSError(0, f"pidfile holds no path: {text[:40]!a}")
        return text

    # verbs

    def command(self, verb: str, unit: str) -> list[str]:
        """Return the command of a verb."""
        for path in RC_SERVICE:
            if os.access(f"{self._root}{path}", os.X_OK):
                return [f"{self._root}{path}", unit, verb]
        raise InitUnreachable(NAME, unit, verb, f"there is no {RC_SERVICE[0]}")

    def restarting(self, before: UnitStatus) -> Sequence[str]:
        """Return `restart`; OpenRC cannot stop what is gone, so it has to forget that first."""
        crashed = before.state is ServiceState.FAILED and before.reason.startswith("crashed")
        return ("zap", "start") if crashed else ("restart",)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
