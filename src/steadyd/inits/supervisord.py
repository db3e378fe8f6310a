"""supervisord: XML-RPC over its unix socket or inet port (supervisord.org/api.html, API 3.0).

It has no way to subscribe over XML-RPC, so the states of all programs are asked for every two
seconds, with one call. When the kernel tells through a pidfd that a process ended, its program is
asked for at once, and then in short steps, so that a respawn is seen as one.

What it does not tell: by which signal a process ended, whether a program will be started again
(an exit counts as `activating` for RESPAWN seconds), and how often it was.
"""

import asyncio
import contextlib
import http.client
import math
import os
import random
import signal as signals
import socket
import time
import xmlrpc.client
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from xml.parsers.expat import ExpatError

from msgspec.structs import replace

from steadyd.inits.exits import Exits
from steadyd.inits.signals import signal_number
from steadyd.inits.supervisord_rpc import Connection, call, without_password
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus, matches
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
POLL = 2.0
FEW = 10  # programs that are asked for one by one: 1 ms each, where 200 at once take 35 ms
FIRST_STEP = 0.02  # seconds after the exit of a process; each further step is twice as long
TIMEOUT = 5.0
SETTLE = 0.2  # seconds that what was just started or signalled must live
RESPAWN = 2.0  # seconds after an exit within which supervisord may start it again by itself
LONGEST_NAME = 255
LARGEST_PID = 2**22  # proc(5), pid_max

# Process states and faults: supervisord.org/subprocess.html and supervisor/xmlrpc.py's Faults.
STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL = 0, 10, 20, 30, 40, 100, 200
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
    """Turn one entry of getAllProcessInfo into a status; `now` is wall-clock seconds.

    Raises KeyError, TypeError, ValueError for what supervisord would not answer.
    """
    number, code, pid = int(info["state"]), int(info["exitstatus"]), int(info["pid"])
    start, stop = float(info["start"]), float(info["stop"])
    if not 0 <= pid <= LARGEST_PID or not math.isfinite(start + stop):
        raise ValueError(f"no process has the pid {pid} and the start {start}")
    running = number in (RUNNING, STARTING, STOPPING) and pid > 0
    soon = number == EXITED and now - stop < RESPAWN
    state = _STATES.get(number, ServiceState.UNKNOWN)
    if number == EXITED:
        ended = ServiceState.FAILED if code else ServiceState.INACTIVE
        state = ServiceState.ACTIVATING if soon else ended
    return UnitStatus(
        NAME,
        unit_of(info),
        state,
        _reason(info, number, code),
        main_pid=pid if running else 0,
        invocation=f"{pid}:{start:.0f}" if number == RUNNING else "",
        result="success" if not code else "exit-code",
        acting=state in (ServiceState.ACTIVATING, ServiceState.DEACTIVATING),
        respawning=number == BACKOFF or soon,
        stopped=number == STOPPED,
        since=start if running else stop,
    )


class Supervisord:
    """One supervisord; see ports.InitSystem."""

    name = NAME

    def __init__(self, url: str) -> None:
        """`url` is `unix:///PATH` or `http://[USER:PASSWORD@]HOST:PORT`. Raises ValueError."""
        self._url, self._where = url, without_password(url)
        Connection(url, TIMEOUT)
        self._watched: frozenset[str] = frozenset()
        self._told: dict[str, UnitStatus | None] = {}
        self._runs: dict[str, int] = {}  # unit -> pid of a run that nobody asked to end
        self._again: set[str] = set()  # units of which this run was started by supervisord itself
        self._respawns: dict[str, int] = {}
        self._restarting: set[str] = set()
        self._exits = Exits(self._on_exit)
        self._hot: set[str] = set()  # units of which a process ended just now, or a verb was asked
        self._asking: asyncio.Task[dict[str, UnitStatus]] | None = None
        self._next: asyncio.Task[dict[str, UnitStatus]] | None = None
        self._step = POLL
        self._look = asyncio.Event()
        self._closed = False

    @classmethod
    def detect(cls, url: str, places: Sequence[Path]) -> Self | None:
        """Return an adapter if a supervisord listens at `url`, else at one of the sockets.

        Raises ValueError: `url` is none of a supervisord.
        """
        if url:
            return cls(url)
        for place in places:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                if os.stat(place).st_uid not in (0, os.geteuid()):
                    continue  # anybody may make a socket in /tmp
                probe.settimeout(TIMEOUT)
                probe.connect(str(place))
                return cls(f"unix://{place}")
        return None

    async def run(self, report: Callable[[InitReport], None]) -> None:
        """Follow supervisord until closed or cancelled."""
        reached, lost = False, ""
        try:
            while not self._closed:
                try:
                    units, programs = await self._due()
                except InitError as error:
                    if lost != error.why:
                        report(InitLost(NAME, error.why))
                    reached, lost, self._told = False, error.why, {}
                    await self._pause(POLL * random.uniform(1, 3))  # noqa: S311 - jitter
                    continue
                if not reached:
                    report(InitReached(NAME))
                    reached, lost = True, ""
                self._compare(units, programs, report)
                await self._pause(self._step)
        finally:
            self._exits.close()

    async def find(self, name: str) -> UnitStatus:
        """Find `NAME` or `GROUP:NAME`."""
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise UnitNotFound(NAME, ascii(name[:40]), "find", "this cannot be a program's name")
        programs = await self._shared()
        group, _, rest = name.partition(":")
        status = programs.get(group if group == rest else name)
        if status is None:
            raise UnitNotFound(NAME, name, "find", self._absent(name, programs))
        return self._counted(status)

    async def units(self, glob: str) -> Collection[str]:
        """Return the programs that a glob stands for."""
        return {unit for unit in await self._shared() if matches(glob, unit)}

    async def watch(self, units: Collection[str]) -> None:
        """Replace the set of watched units."""
        self._watched = frozenset(units)
        self._told = {unit: s for unit, s in self._told.items() if unit in self._watched}
        self._hot.clear()
        self._look.set()

    async def perform(self, verb: Verb, unit: str, *, signal: str = "", deadline: float) -> None:
        """Carry a verb out; reload is to send `signal`: supervisord has none of a program."""
        progress = _Progress()
        self._restarting.add(unit)
        try:
            async with asyncio.timeout(deadline):
                match verb:
                    case Verb.RELOAD:
                        await self._reload(unit, signal)
                    case Verb.RESTART:
                        await self._restart(unit, deadline, progress)
                    case Verb.START:
                        await self._start(unit, deadline)
                    case Verb.STOP:
                        await self._stop(unit, deadline)
                    case Verb.SIGNAL:
                        await self._signal(verb, unit, signal)
        except TimeoutError as error:
            why = f"supervisord was not done after {deadline:g} s"
            raise VerbFailed(NAME, unit, verb, why, progress.mend) from error
        finally:
            self._restarting.discard(unit)
            self._hurry(unit)

    async def denied(self, unit: str, verbs: Collection[Verb]) -> Mapping[Verb, str]:
        """Return none: who may ask may command."""
        return {}

    async def close(self) -> None:
        """End `run`."""
        self._closed = True
        self._look.set()

    async def _reload(self, unit: str, name: str) -> None:
        before = await self.find(unit)
        if not name:
            mend = "name one: with reload_signal HUP"
            raise NotSupported(NAME, unit, "reload", "supervisord has no reload", mend)
        number = await self._signal(Verb.RELOAD, unit, name)
        await asyncio.sleep(SETTLE)
        after = await self.find(unit)
        if after.main_pid != before.main_pid:
            raise VerbFailed(NAME, unit, "reload", f"{number.name} ended its process")

    async def _signal(self, verb: Verb, unit: str, name: str) -> signals.Signals:
        number = signal_number(NAME, unit, verb, name)
        await self._call("signalProcess", unit, number.name.removeprefix("SIG"), doing=verb)
        return number

    async def _start(self, unit: str, deadline: float) -> None:
        with contextlib.suppress(_AlreadyStarted):
            await self._call("startProcess", unit, True, doing="start", timeout=deadline + 1)
        await self._lives(Verb.START, unit)

    async def _stop(self, unit: str, deadline: float) -> None:
        with contextlib.suppress(_NotRunning):
            await self._call("stopProcess", unit, True, doing="stop", timeout=deadline + 1)
        after = await self.find(unit)
        if after.main_pid:
            raise VerbFailed(NAME, unit, Verb.STOP, f"it is {after.state} afterwards")

    async def _lives(self, verb: Verb, unit: str) -> None:
        await asyncio.sleep(SETTLE)
        after = await self.find(unit)
        if after.state is not ServiceState.ACTIVE:
            why = f"it is {after.state} afterwards: {after.reason}"
            raise VerbFailed(NAME, unit, verb, why)

    async def _restart(self, unit: str, deadline: float, progress: "_Progress") -> None:
        before = await self.find(unit)
        if before.stopped:
            raise VerbFailed(
                NAME, unit, "restart", "it is stopped, and a restart does not undo a stop"
            )
        if before.main_pid:
            progress.mend = f"supervisorctl start {unit}"
            with contextlib.suppress(_NotRunning):
                await self._call("stopProcess", unit, True, doing="restart", timeout=deadline + 1)
        with contextlib.suppress(_AlreadyStarted):  # by supervisord itself, after a crash
            await self._call("startProcess", unit, True, doing="restart", timeout=deadline + 1)
        progress.mend = ""
        await self._lives(Verb.RESTART, unit)

    async def _due(self) -> tuple[Collection[str], dict[str, UnitStatus]]:
        """Return the watched units to look at now, and their programs. Raises InitError."""
        hot = self._hot & self._watched
        if self._step < POLL and 0 < len(hot) <= FEW:
            infos = [await self._call("getProcessInfo", unit) for unit in hot]
            return hot, self._statuses(infos)
        self._hot.clear()
        return self._watched, await self._programs()

    def _compare(
        self,
        units: Collection[str],
        programs: dict[str, UnitStatus],
        report: Callable[[InitReport], None],
    ) -> None:
        for unit in units:
            status, told = programs.get(unit), self._told.get(unit)
            if status is not None:
                self._count(status)
                status = self._counted(status)
            if unit in self._told and told == status:
                continue
            self._told[unit] = status
            report(status or UnitGone(NAME, unit, self._absent(unit, programs)))
        self._exits.keep({s.main_pid for s in self._told.values() if s is not None} - {0})

    def _count(self, status: UnitStatus) -> None:
        """Count a run that supervisord started by itself.

        An operator's stop takes long enough to be seen between two runs, an exit may not.
        """
        unit, pid = status.unit, status.main_pid
        if status.state is ServiceState.DEACTIVATING or not (pid or status.respawning):
            self._runs.pop(unit, None)
            self._again.discard(unit)
        elif pid:
            again = self._runs.get(unit, pid) != pid
            if again and unit not in self._restarting:
                self._respawns[unit] = self._respawns.get(unit, 0) + 1
                self._again.add(unit)
            self._runs[unit] = pid

    def _counted(self, status: UnitStatus) -> UnitStatus:
        starts = status.state is ServiceState.ACTIVATING and status.unit in self._again
        return replace(
            status,
            respawns=self._respawns.get(status.unit, 0),
            respawning=status.respawning or starts,
        )

    def _absent(self, name: str, programs: Collection[str]) -> str:
        members = [unit for unit in programs if unit.startswith(f"{name}:")]
        if members:
            return f"{name} is a group in {self._where}; name a program of it: {members[0]}"
        return f"no program {name} in {self._where}"

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._look.wait()
        if not self._look.is_set():
            self._step = min(POLL, self._step * 2)
        self._look.clear()

    def _on_exit(self, pid: int) -> None:
        for unit, told in self._told.items():
            if told is not None and told.main_pid == pid:
                self._hurry(unit)

    def _hurry(self, unit: str) -> None:
        self._hot.add(unit)
        self._step = FIRST_STEP
        self._look.set()

    async def _shared(self) -> dict[str, UnitStatus]:
        """Return all programs, by a call that begins from now on and serves all who ask meanwhile.

        Raises InitError.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._asking))
            self._next.add_done_callback(
                lambda t: t.cancelled() or t.exception()
            )  # heard, if alone
        return await asyncio.shield(self._next)

    async def _after(
        self, before: "asyncio.Task[dict[str, UnitStatus]] | None"
    ) -> dict[str, UnitStatus]:
        if before is not None:
            await asyncio.wait((before,))
        self._asking, self._next = self._next, None
        return await self._programs()

    async def _programs(self) -> dict[str, UnitStatus]:
        """Return all programs by their canonical names. Raises InitError."""
        return self._statuses(await self._call("getAllProcessInfo"))

    def _statuses(self, infos: Sequence[dict[str, Any]]) -> dict[str, UnitStatus]:
        now = time.time()
        try:
            return {status.unit: status for status in (status_of(info, now) for info in infos)}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._nonsense("ask", error) from error

    async def _call(
        self, method: str, *values: str | bool, doing: str = "ask", timeout: float = 0.0
    ) -> Any:
        """Call a method in a thread; `timeout` 0 is TIMEOUT. Raises InitError."""
        timeout = timeout or TIMEOUT
        unit = str(values[0]) if values else self._where
        connection = Connection(self._url, timeout)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.to_thread(call, connection, method, values)
        except xmlrpc.client.Fault as fault:
            raise _fault(unit, doing, fault) from fault
        except PermissionError as error:
            raise NotPermitted(NAME, unit, doing, *self._refused(error)) from error
        except TimeoutError as error:
            why = f"no answer from {self._where} in {timeout:g} s"
            raise InitUnreachable(NAME, unit, doing, why) from error
        except OSError as error:
            why = f"{self._where} does not answer: {error.strerror or error}"
            raise InitUnreachable(NAME, unit, doing, why) from error
        except (http.client.HTTPException, ExpatError, xmlrpc.client.Error) as error:
            raise self._nonsense(doing, error) from error
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise self._nonsense(doing, error) from error  # xmlrpc.client's, on garbled answers
        finally:
            connection.abort()

    def _refused(self, error: PermissionError) -> tuple[str, str]:
        if error.errno is None:
            return str(error), "set url to http://USER:PASSWORD@HOST:PORT in [inits.supervisord]"
        mend = f"let the user of steadyd use {self._where} (chown= or chmod= in its section)"
        return str(error.strerror), mend

    def _nonsense(self, doing: str, error: Exception) -> InitUnreachable:
        why = f"{self._where} answers nonsense: {type(error).__name__}: {str(error)[:100]!a}"
        return InitUnreachable(NAME, self._where, doing, why)


class _Progress:
    """How to mend a restart that ends where it is now."""

    mend = ""


class _NotRunning(InitError):
    """There is nothing to stop."""


class _AlreadyStarted(InitError):
    """There is nothing to start."""


def _fault(unit: str, doing: str, fault: xmlrpc.client.Fault) -> InitError:
    code, text = fault.faultCode, str(fault.faultString)
    if code == BAD_NAME:
        return UnitNotFound(NAME, unit, doing, "supervisord does not know it")
    if code == NOT_RUNNING:
        kind = _NotRunning if doing in ("restart", "stop") else VerbFailed
        return kind(NAME, unit, doing, "it does not run")
    if code == ALREADY_STARTED:
        return _AlreadyStarted(NAME, unit, doing, "it runs already")
    if code in (ABNORMAL, SPAWN_ERROR):
        return VerbFailed(NAME, unit, doing, "it does not stay up; see its log")
    return VerbFailed(NAME, unit, doing, text)


def _reason(info: dict[str, Any], number: int, code: int) -> str:
    if number == EXITED:
        return f"exited with status {code}" if code >= 0 else "killed by a signal"
    if number == STOPPED:
        return "stopped"
    return str(info["spawnerr"]) or ("" if number == RUNNING else str(info["statename"]).lower())
