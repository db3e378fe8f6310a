"""A service that no init system keeps: a process, found by its pid file or its command line."""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from steadyd.inits.pidfile import BadPidFile, PidFileInit, Running, process
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import NotSupported, UnitNotFound, VerbFailed

NAME = "process"
LONGEST_PATTERN = 200
MOST_COMMAND_LINE = 4096  # bytes of one that are looked at
SCAN_SECONDS = 1.0
_MOST_STEPS = 20_000  # of one pattern over one command line; a step is well below 1 µs
_DEEPEST = 20  # groups in groups
_MOST_REPEATS = 100
_GENERATIONS = 64  # that are climbed
_ATOM = re.compile(r"\\[^0-9bBAZ]|\[\^?\]?(?:\\.|[^\]\\])*\]|[^\\\[()|*+?{}^$]", re.DOTALL)
_REPEAT = re.compile(r"(?:([*+?])|\{(\d{1,3})(?:(,)(\d{1,3})?)?\})\??")
_ENDLESS = MOST_COMMAND_LINE + 1

_Step = Callable[["_Line", int], int]


class Target(Struct, frozen=True):
    """How a service is found: `pidfile`, a path, or `match`, a regular expression (search)."""

    pidfile: str = ""
    match: str = ""


class _Line:
    """A command line, and where in it each atom of a pattern matches: bit i is for character i."""

    def __init__(self, text: str) -> None:
        self.text, self.steps = text, 0
        self._where: dict[re.Pattern[str], int] = {}

    def step(self, atom: re.Pattern[str], at: int) -> int:
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise ValueError("it takes too long to match")
        if (where := self._where.get(atom)) is None:
            bits = "".join("1" if atom.match(sign) else "0" for sign in reversed(self.text))
            where = self._where[atom] = int(bits or "0", 2)
        return (at & where) << 1


class Pattern:
    """A regular expression without look-around and back references: all places at once.

    Who starts a process chooses its command line, and `re` can take years for one. Here a set of
    places in the line, an int of one bit for each, goes through the pattern from left to right.
    """

    def __init__(self, text: str) -> None:
        """Raises ValueError: it is too long, or says what cannot be said here."""
        if len(text) > LONGEST_PATTERN:
            raise ValueError(f"it has more than {LONGEST_PATTERN} characters")
        self._text, self._at = text, 0
        self._step = self._branches(0)
        if self._at < len(text):
            raise ValueError(f"{text[self._at :][:20]!a} has no meaning there")

    def search(self, line: str) -> bool:
        """Tell whether it matches anywhere. Raises ValueError: that takes too long."""
        return bool(self._step(_Line(line), (1 << len(line) + 1) - 1))

    def _branches(self, depth: int) -> _Step:
        if depth > _DEEPEST:
            raise ValueError("it has too many groups in groups")
        branches = [self._sequence(depth)]
        while self._taken("|"):
            branches.append(self._sequence(depth))

        def either(line: _Line, at: int) -> int:
            found = 0
            for branch in branches:
                found |= branch(line, at)
            return found

        return either if len(branches) > 1 else branches[0]

    def _sequence(self, depth: int) -> _Step:
        parts: list[_Step] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            part = self._one(depth)
            if repeat := _REPEAT.match(self._text, self._at):
                self._at = repeat.end()
                part = _repeated(part, *_bounds(repeat))
            parts.append(part)

        def each(line: _Line, at: int) -> int:
            for part in parts:
                at = at and part(line, at)
            return at

        return each

    def _one(self, depth: int) -> _Step:
        if self._taken("^"):
            return lambda line, at: at & 1
        if self._taken("$"):
            return lambda line, at: at & 1 << len(line.text)
        if self._taken("("):
            self._taken("?:")
            group = self._branches(depth + 1)
            if not self._taken(")"):
                raise ValueError("a ) is missing")
            return group
        if (found := _ATOM.match(self._text, self._at)) is None:
            raise ValueError(f"{self._text[self._at :][:20]!a} has no meaning there")
        self._at = found.end()
        try:
            atom = re.compile(found[0], re.DOTALL)
        except re.error as error:
            raise ValueError(f"{found[0]!a}: {error}") from None
        return lambda line, at: line.step(atom, at)

    def _taken(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found


def _bounds(repeat: re.Match[str]) -> tuple[int, int]:
    sign, least, comma, most = repeat.groups()
    if sign:
        return int(sign == "+"), 1 if sign == "?" else _ENDLESS
    bounds = int(least), int(most) if most else _ENDLESS if comma else int(least)
    if max(int(least), int(most or 0)) > _MOST_REPEATS or bounds[0] > bounds[1]:
        raise ValueError(f"{repeat[0]} cannot be counted")
    return bounds


def _repeated(part: _Step, least: int, most: int) -> _Step:
    def repeated(line: _Line, at: int) -> int:
        for _ in range(least):
            at = at and part(line, at)
        seen = at
        for _ in range(most - least):
            if not (at := at and part(line, at) & ~seen):
                break
            seen |= at
        return seen

    return repeated


class Process(PidFileInit):
    """Services that are only processes; implements `ports.InitSystem`."""

    name = NAME

    def __init__(self, services: Mapping[str, Target]) -> None:
        super().__init__()
        self._targets: dict[str, Target] = {}
        self._patterns: dict[str, Pattern] = {}
        self._troubles: dict[str, str] = {}  # unit -> why its pattern cannot be used
        self._looked: dict[str, float] = {}  # unit -> when a process was last looked for
        self._missed = asyncio.Event()
        self.services(services)

    def services(self, services: Mapping[str, Target]) -> None:
        """Replace the services, by name."""
        changed = {unit for unit, target in self._targets.items() if services.get(unit) != target}
        for unit in changed:
            self._forget(unit)
            self._looked.pop(unit, None)
        self._targets, self._patterns, self._troubles = dict(services), {}, {}
        for unit, target in services.items():
            if target.match and not target.pidfile:
                try:
                    self._patterns[unit] = Pattern(target.match)
                except ValueError as error:
                    self._troubles[unit] = f"match {target.match[:40]!a}: {error}"
        self._dirty |= self._watched
        self._wake.set()

    def trouble(self) -> str:
        """Return why no process can be looked at now."""
        return "" if os.path.exists("/proc/self/stat") else "/proc is not mounted"

    def places(self, unit: str) -> Iterable[str]:
        """Return the folder of the pid file."""
        path = self._targets.get(unit, Target()).pidfile
        return (os.path.realpath(os.path.dirname(path)),) if path.startswith("/") else ()

    def concerns(self, unit: str, name: str) -> bool:
        """Tell by name: the folder may belong to many."""
        return name == os.path.basename(self._targets.get(unit, Target()).pidfile)

    def read(self, unit: str) -> UnitStatus:
        """Return the state of a service. Raises UnitNotFound."""
        target = self._targets.get(unit)
        if target is None or not (target.pidfile or target.match):
            why = "no check names its pidfile or match"
            raise UnitNotFound(NAME, ascii(unit[:40]), "find", why)
        if target.pidfile:
            return self._by_file(unit, target.pidfile)
        if unit in self._troubles:
            return UnitStatus(NAME, unit, ServiceState.UNKNOWN, self._troubles[unit])
        known = self._known.get(unit)
        found = process(known.pid) if known else None
        if found is not None and found.itself == known:
            return self.alive(unit, found)
        self._missed.set()
        if unit not in self._looked:
            return UnitStatus(NAME, unit, ServiceState.UNKNOWN, "not yet looked for")
        why = f"no process matches {target.match[:80]!a}"
        if known:
            why = f"its process {known.pid} ended or was killed, and {why}"
        return UnitStatus(NAME, unit, ServiceState.FAILED, why)

    def _by_file(self, unit: str, path: str) -> UnitStatus:
        if not path.startswith("/"):
            why = f"pidfile {path[:80]!a} is no absolute path"
            return UnitStatus(NAME, unit, ServiceState.UNKNOWN, why)
        try:
            status = self.by_pid_file(unit, path)
        except BadPidFile as error:
            return UnitStatus(NAME, unit, ServiceState.UNKNOWN, str(error))
        if not status.stopped:
            return status
        # without an init nobody can tell a stop from a crash
        return replace(status, state=ServiceState.FAILED, stopped=False)

    async def find(self, name: str) -> UnitStatus:
        """Find a service by its name; looks for its process if that is not known."""
        status = self.read(name)
        if name in self._patterns and not status.main_pid and self._due(name):
            await self._look_for([name])
            status = self.read(name)
        return status

    # looking for processes

    def _due(self, unit: str) -> bool:
        return time.monotonic() - self._looked.get(unit, -SCAN_SECONDS) >= SCAN_SECONDS

    async def aside(self) -> None:
        """Look for the processes that are missed, once a second."""
        while True:
            self._missed.clear()
            missed = [unit for unit in self._patterns if unit in self._watched and self._gone(unit)]
            if missed:
                await self._look_for(missed)
                await asyncio.sleep(SCAN_SECONDS)
            else:
                await self._missed.wait()

    def _gone(self, unit: str) -> bool:
        known = self._known.get(unit)
        found = process(known.pid) if known else None
        return found is None or found.itself != known

    async def _look_for(self, units: list[str]) -> None:
        patterns = {unit: self._patterns[unit] for unit in units}
        found = await asyncio.to_thread(_matches, patterns)
        for unit, news in found.items():
            if self._patterns.get(unit) is not patterns[unit]:
                continue  # replaced meanwhile
            first = unit not in self._looked
            self._looked[unit] = time.monotonic()
            if isinstance(news, Running):
                self._known[unit] = news.itself
            if (first or isinstance(news, Running)) and unit in self._watched:
                self._dirty.add(unit)
                self._wake.set()

    # verbs

    async def perform(self, verb: Verb, unit: str, *, signal: str = "", deadline: float) -> None:
        """Reload by a signal; there is nobody to ask for anything else."""
        before = await self.find(unit)
        if verb is Verb.RESTART:
            mend = "name the init that keeps it"
            raise NotSupported(NAME, unit, verb, "no init system starts it", mend)
        if not signal:
            mend = "name the signal to send: with reload_signal HUP"
            raise NotSupported(NAME, unit, verb, "a mere process has no reload", mend)
        try:
            async with asyncio.timeout(deadline):
                await self.reload_by(before, signal)
        except TimeoutError:
            raise VerbFailed(NAME, unit, verb, f"not done within {deadline:g} s") from None


def _matches(patterns: Mapping[str, Pattern]) -> dict[str, Running | None]:
    """Return for each pattern the oldest process that matches and descends from no other match."""
    found: dict[str, dict[int, Running]] = {unit: {} for unit in patterns}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/cmdline", "rb", buffering=0) as file:
                data = file.read(MOST_COMMAND_LINE)
            line = data.replace(b"\0", b" ").decode("utf-8", "replace").strip()
            for unit, pattern in patterns.items() if line else ():
                with contextlib.suppress(ValueError):  # too long for this line: it is no match
                    if pattern.search(line) and (running := process(int(name))):
                        found[unit][running.pid] = running
    return {unit: _oldest(those) for unit, those in found.items()}


def _oldest(found: Mapping[int, Running]) -> Running | None:
    first = sorted(found.values(), key=lambda one: (one.started, one.pid))
    return next((one for one in first if not _descends(one, found)), None)


def _descends(one: Running, found: Mapping[int, Running]) -> bool:
    for _ in range(_GENERATIONS):
        if one.parent in found:
            return True
        parent = process(one.parent)
        if parent is None:
            return False
        one = parent
    return False
