"""supervisord: XML-RPC over its unix socket or inet port (supervisord.org/api.html, API 3.0).

It has no way to subscribe over XML-RPC, so the states of all programs are asked for once a
second, with one call, and at once when the kernel tells through a pidfd that a process ended.
"""

import asyncio
import contextlib
import http.client
import os
import random
import signal
import socket
import time
import xmlrpc.client
from base64 import b64encode
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import (
    InitError,
    InitLost,
    InitReached,
    InitReport,
    InitUnreachable,
    NotPermitted,
    NotSupported,
    UnitGone,
    UnitNotFound,
    VerbFailed,
)

NAME = "supervisord"
PLACES = ("/run/supervisor.sock", "/var/run/supervisor.sock", "/tmp/supervisor.sock")  # noqa: S108 - its own default
POLL = 1.0
TIMEOUT = 5.0
RESPAWN = 2.0  # seconds after an exit within which supervisord may start it again by itself
LONGEST = 8 * 2**20  # bytes of one answer
LONGEST_NAME = 255

# Process states and faults: supervisord.org/subprocess.html and supervisor/xmlrpc.py's Faults.
STOPPED, STARTING, RUNNING, BACKOFF, STOPPING = 0, 10, 20, 30, 40
EXITED, FATAL, UNKNOWN = 100, 200, 1000
BAD_NAME, ABNORMAL, SPAWN_ERROR, ALREADY_STARTED, NOT_RUNNING = 10, 40, 50, 60, 70

_STATES = {
    STOPPED: ServiceState.INACTIVE,
    STARTING: ServiceState.ACTIVATING,
    RUNNING: ServiceState.ACTIVE,
    BACKOFF: ServiceState.ACTIVATING,
    STOPPING: ServiceState.DEACTIVATING,
    FATAL: ServiceState.FAILED,
}


def unit_of(info: dict[str, Any]) -> str:
    """Return the canonical name: `NAME`, or `GROUP:NAME` where the group has another name."""
    group, name = str(info["group"]), str(info["name"])
    return name if group == name else f"{group}:{name}"


def status_of(info: dict[str, Any], now: float) -> UnitStatus:
    """Turn one entry of getAllProcessInfo into a status; `now` is wall-clock seconds."""
    number, code = int(info["state"]), int(info["exitstatus"])
    stop, start = float(info["stop"]), float(info["start"])
    exited = number == EXITED
    soon = exited and now - stop < RESPAWN
    state = _STATES.get(number, ServiceState.UNKNOWN)
    if exited:
        state = ServiceState.FAILED if code else ServiceState.INACTIVE
        state = ServiceState.ACTIVATING if soon else state
    respawning = number == BACKOFF or soon
    running = number in (RUNNING, STARTING, STOPPING)
    return UnitStatus(
        NAME,
        unit_of(info),
        state,
        _reason(info, number, code),
        main_pid=int(info["pid"]) if running else 0,
        invocation=f"{info['pid']}:{start:.0f}" if number == RUNNING else "",
        result="success" if not code else "exit-code",
        acting=state in (ServiceState.ACTIVATING, ServiceState.DEACTIVATING),
        respawning=respawning,
        stopped=number == STOPPED,
        since=start if running else stop,
    )


class Supervisord:
    """One supervisord; see ports.InitSystem."""

    name = NAME

    def __init__(self, url: str) -> None:
        """`url` is `unix:///PATH` or `http://[USER:PASSWORD@]HOST:PORT`. Raises ValueError."""
        self._transport = partial(_Transport, url)
        self._where = url.rpartition("@")[2] if "@" in url else url
        _Transport(url)
        self._watched: frozenset[str] = frozenset()
        self._told: dict[str, UnitStatus | None] = {}
        self._pidfds: dict[int, int] = {}
        self._look = asyncio.Event()
        self._closed = False

    @classmethod
    def detect(cls, url: str = "", root: Path = Path("/")) -> Self | None:
        """Return an adapter if a supervisord listens at `url`, else at one of its usual places."""
        if url:
            return cls(url)
        for place in PLACES:
            path = root / place.lstrip("/")
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(TIMEOUT)
                probe.connect(str(path))
                return cls(f"unix://{path}")
        return None

    async def run(self, report: Callable[[InitReport], None]) -> None:
        """Follow supervisord until closed or cancelled."""
        reached, lost = False, ""
        try:
            while not self._closed:
                try:
                    infos = await self._call("getAllProcessInfo")
                except InitError as error:
                    if lost != error.why:
                        report(InitLost(NAME, error.why))
                    reached, lost, self._told = False, error.why, {}
                    await asyncio.sleep(POLL * random.uniform(1, 3))  # noqa: S311 - jitter
                    continue
                if not reached:
                    report(InitReached(NAME))
                    reached, lost = True, ""
                self._compare(infos, report)
                await self._pause()
        finally:
            self._forget_pids()

    async def find(self, name: str) -> UnitStatus:
        """Find `NAME` or `GROUP:NAME`."""
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise UnitNotFound(NAME, repr(name[:40]), "find", "this cannot be a program's name")
        infos = await self._call("getAllProcessInfo")
        now = time.time()
        for info in infos:
            if name in (unit_of(info), f"{info['group']}:{info['name']}"):
                return status_of(info, now)
        raise UnitNotFound(NAME, name, "find", f"no program {name} in {self._where}")

    async def watch(self, units: Collection[str]) -> None:
        """Replace the set of watched units."""
        self._watched = frozenset(units)
        self._told = {unit: s for unit, s in self._told.items() if unit in self._watched}
        self._look.set()

    async def perform(self, verb: Verb, unit: str, *, signal: str = "", deadline: float) -> None:
        """Restart, or reload by sending `signal`: supervisord has no reload of a program."""
        try:
            async with asyncio.timeout(deadline):
                if verb is Verb.RELOAD:
                    await self._reload(unit, signal)
                else:
                    await self._restart(unit, deadline)
        except TimeoutError as error:
            why = f"supervisord was not done after {deadline:g} s"
            raise VerbFailed(NAME, unit, verb, why) from error
        finally:
            self._look.set()

    async def close(self) -> None:
        """End `run`."""
        self._closed = True
        self._look.set()

    async def _reload(self, unit: str, name: str) -> None:
        if not name:
            mend = "name one: with reload_signal HUP"
            raise NotSupported(NAME, unit, "reload", "supervisord has no reload", mend)
        number = getattr(signal, f"SIG{name.upper().removeprefix('SIG')}", None)
        if not isinstance(number, signal.Signals):
            raise NotSupported(NAME, unit, "reload", f"{name} is no signal")
        await self._call("signalProcess", unit, number.name.removeprefix("SIG"), doing="reload")

    async def _restart(self, unit: str, deadline: float) -> None:
        before = await self.find(unit)
        if before.main_pid:
            with contextlib.suppress(_NotRunning):
                await self._call("stopProcess", unit, True, doing="restart", timeout=deadline)
        await self._call("startProcess", unit, True, doing="restart", timeout=deadline)
        after = await self.find(unit)
        if after.state is not ServiceState.ACTIVE:
            raise VerbFailed(NAME, unit, "restart", f"it is {after.state} afterwards")

    def _compare(self, infos: list[dict[str, Any]], report: Callable[[InitReport], None]) -> None:
        now = time.time()
        found = {unit_of(info): info for info in infos}
        pids = set()
        for unit in self._watched:
            status = status_of(found[unit], now) if unit in found else None
            if status is not None and status.main_pid:
                pids.add(status.main_pid)
            if unit in self._told and self._told[unit] == status:
                continue
            self._told[unit] = status
            report(status or UnitGone(NAME, unit, f"no program {unit} in {self._where}"))
        self._follow_pids(pids)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await self._look.wait()
        self._look.clear()

    def _follow_pids(self, pids: set[int]) -> None:
        loop = asyncio.get_running_loop()
        for pid in [pid for pid in self._pidfds if pid not in pids]:
            self._unfollow(pid)
        for pid in pids - self._pidfds.keys():
            with contextlib.suppress(OSError):  # gone already: the next poll tells
                fd = self._pidfds[pid] = os.pidfd_open(pid)
                loop.add_reader(fd, self._ended, pid)

    def _ended(self, pid: int) -> None:
        self._unfollow(pid)
        self._look.set()

    def _unfollow(self, pid: int) -> None:
        fd = self._pidfds.pop(pid)
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)

    def _forget_pids(self) -> None:
        for pid in list(self._pidfds):
            self._unfollow(pid)

    async def _call(
        self, method: str, *values: object, doing: str = "ask", timeout: float = TIMEOUT
    ) -> Any:
        unit = str(values[0]) if values else self._where
        work = partial(_ask, self._transport(timeout), method, values)
        try:
            return await asyncio.to_thread(work)
        except xmlrpc.client.Fault as fault:
            raise _fault(unit, doing, fault) from fault
        except PermissionError as error:
            mend = (
                f"let the user of steadyd into the group of {self._where} (chown= in its section)"
            )
            raise NotPermitted(NAME, unit, doing, str(error.strerror), mend) from error
        except (OSError, http.client.HTTPException) as error:
            why = f"{self._where} does not answer: {error}"
            raise InitUnreachable(NAME, unit, doing, why) from error
        except Exception as error:  # whatever a garbled answer makes the parser raise
            why = f"{self._where} answers nonsense: {type(error).__name__}: {error}"
            raise InitUnreachable(NAME, unit, doing, why) from error


class _NotRunning(InitError):
    """There is nothing to stop."""


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket or TCP, with a deadline and a bound on the answer."""

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        super().__init__()
        parts = urlsplit(url)
        if parts.scheme not in ("unix", "http"):
            raise ValueError(f"{url} is neither unix:///PATH nor http://HOST:PORT")
        self._timeout, self._path = timeout, parts.path if parts.scheme == "unix" else ""
        self._address = (parts.hostname or "127.0.0.1", parts.port or 9001)
        self._auth = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._auth = "Basic " + b64encode(pair.encode()).decode()

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """Connect as the URL says."""
        connection = http.client.HTTPConnection(*self._address, timeout=self._timeout)
        if self._path:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(self._timeout)
            connection.sock.connect(self._path)
        return connection

    def send_headers(self, connection: Any, headers: Any) -> None:
        """Add the credentials."""
        if self._auth:
            connection.putheader("Authorization", self._auth)
        super().send_headers(connection, headers)

    def parse_response(self, response: Any) -> Any:
        """Parse at most LONGEST bytes."""
        text = response.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise OSError("the answer is too long")
        parser, target = self.getparser()
        parser.feed(text)
        parser.close()
        return target.close()


def _ask(transport: _Transport, method: str, values: tuple[object, ...]) -> Any:
    with xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport) as server:
        return getattr(server.supervisor, method)(*values)


def _fault(unit: str, doing: str, fault: xmlrpc.client.Fault) -> InitError:
    code, text = fault.faultCode, str(fault.faultString)
    if code == BAD_NAME:
        return UnitNotFound(NAME, unit, doing, "supervisord does not know it")
    if code == NOT_RUNNING:
        kind = _NotRunning if doing == "restart" else VerbFailed
        return kind(NAME, unit, doing, "it does not run")
    return VerbFailed(NAME, unit, doing, text)


def _reason(info: dict[str, Any], number: int, code: int) -> str:
    if info["spawnerr"]:
        return str(info["spawnerr"])
    if number == EXITED:
        return f"exited with status {code}" if code >= 0 else "killed by a signal"
    if number == STOPPED:
        return "stopped"
    return "" if number == RUNNING else str(info["statename"]).lower()
