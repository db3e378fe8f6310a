"""A service that no init system keeps: a process, found by its pid file or its command line.

The unit says which: `pidfile:PATH`, or `match:TEXT` for the oldest process whose arguments, joined
by blanks, hold this text. Nobody tells of a new process: /proc is read once a second while one
that is watched is missed. The end of a process is told by the kernel. The unit `self` is this
daemon.
"""

import asyncio
import os
import time
from collections.abc import Collection, Iterable, Mapping

from msgspec.structs import replace

from steadyd.inits.pidfile import BadPidFile, PidFileInit, Running, process
from steadyd.inits.processes import arguments
from steadyd.inits.signals import signal_number
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import NotSupported, UnitNotFound, VerbFailed

NAME = "process"
PIDFILE, MATCH, SELF = "pidfile:", "match:", "self"
SCAN_SECONDS = 1.0


class Process(PidFileInit):
    """Services that are only processes; implements `ports.InitSystem`."""

    name = NAME

    def __init__(self) -> None:
        super().__init__()
        self._looked: dict[str, float] = {}  # unit -> when a process was last looked for
        self._missed = asyncio.Event()

    def trouble(self) -> str:
        """Return why no process can be looked at now."""
        return "" if os.path.exists("/proc/self/stat") else "/proc is not mounted"

    def places(self, unit: str) -> Iterable[str]:
        """Return the folder of the pid file."""
        path = _path(unit)
        return (os.path.realpath(os.path.dirname(path)),) if path else ()

    def concerns(self, unit: str, name: str) -> bool:
        """Tell by name: the folder may belong to many."""
        return name == os.path.basename(_path(unit))

    def read(self, unit: str) -> UnitStatus:
        """Return the state of a service. Raises UnitNotFound."""
        if unit == SELF and (ours := process(os.getpid())):
            return self.alive(unit, ours)
        if path := _path(unit):
            return self._by_file(unit, path)
        if not _text(unit):
            why = "a check names it by `with pidfile PATH` or `with match TEXT`"
            raise UnitNotFound(NAME, ascii(unit[:40]), "find", why)
        known = self._known.get(unit)
        found = process(known.pid) if known else None
        if found is not None and found.itself == known:
            return self.alive(unit, found)
        self._missed.set()
        if unit not in self._looked:
            return UnitStatus(NAME, unit, ServiceState.UNKNOWN, "not yet looked for")
        why = f"no process has {_text(unit)[:80]!a} in its command line"
        if known:
            why = f"its process {known.pid} ended or was killed, and {why}"
        return UnitStatus(NAME, unit, ServiceState.FAILED, why)

    def _by_file(self, unit: str, path: str) -> UnitStatus:
        try:
            status = self.by_pid_file(unit, path)
        except BadPidFile as error:
            return UnitStatus(NAME, unit, ServiceState.UNKNOWN, str(error))
        if not status.stopped:
            return status
        # without an init nobody can tell a stop from a crash
        return replace(status, state=ServiceState.FAILED, stopped=False)

    async def find(self, name: str) -> UnitStatus:
        """Find a service by its unit; looks for its process if that is not known."""
        status = self.read(name)
        late = time.monotonic() - self._looked.get(name, -SCAN_SECONDS) >= SCAN_SECONDS
        if _text(name) and not status.main_pid and late:
            await self._look_for([name])
            status = self.read(name)
        return status

    async def watch(self, units: Collection[str]) -> None:
        """Replace the set of watched units."""
        await super().watch(units)
        for unit in self._looked.keys() - self._watched:
            del self._looked[unit]
        self._missed.set()

    async def aside(self) -> None:
        """Look for the processes that are missed, once a second."""
        while True:
            self._missed.clear()
            if missed := [unit for unit in self._watched if _text(unit) and self._gone(unit)]:
                await self._look_for(missed)
                await asyncio.sleep(SCAN_SECONDS)
            else:
                await self._missed.wait()

    def _gone(self, unit: str) -> bool:
        known = self._known.get(unit)
        found = process(known.pid) if known else None
        return found is None or found.itself != known

    async def _look_for(self, units: list[str]) -> None:
        found = await asyncio.to_thread(_matches, {unit: _text(unit) for unit in units})
        for unit, news in found.items():
            first = unit not in self._looked
            self._looked[unit] = time.monotonic()
            if news is not None:
                self._known[unit] = news.itself
            if (first or news is not None) and unit in self._watched:
                self._dirty.add(unit)
                self._wake.set()

    async def perform(self, verb: Verb, unit: str, *, signal: str = "", deadline: float) -> None:
        """Reload by a signal, or send one; there is nobody to ask for anything else."""
        before = await self.find(unit)
        if unit == SELF:
            raise NotSupported(NAME, unit, verb, "steadyd does not act upon itself")
        if verb is Verb.SIGNAL:
            await self.signalled(verb, before, signal_number(NAME, unit, verb, signal))
            return
        if verb is not Verb.RELOAD:
            mend = "name the init that keeps it"
            raise NotSupported(NAME, unit, verb, "no init system keeps it", mend)
        if not signal:
            mend = "name the signal to send: with reload_signal HUP"
            raise NotSupported(NAME, unit, verb, "a mere process has no reload", mend)
        try:
            async with asyncio.timeout(deadline):
                await self.reload_by(before, signal)
        except TimeoutError:
            raise VerbFailed(NAME, unit, verb, f"not done within {deadline:g} s") from None


def _path(unit: str) -> str:
    path = unit.removeprefix(PIDFILE)
    return path if unit.startswith(PIDFILE) and path.startswith("/") else ""


def _text(unit: str) -> str:
    return unit.removeprefix(MATCH) if unit.startswith(MATCH) else ""


def _matches(texts: Mapping[str, str]) -> dict[str, Running | None]:
    """Return for each text the oldest process that has it."""
    found: dict[str, dict[int, Running]] = {unit: {} for unit in texts}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        line = " ".join(arguments(int(name)))
        for unit, text in texts.items():
            if text in line and (running := process(int(name))):
                found[unit][running.pid] = running
    return {unit: min(those.values(), default=None, key=_age) for unit, those in found.items()}


def _age(one: Running) -> tuple[int, int]:
    return one.started, one.pid
