"""What servers say of themselves, beside the samples: asked shortly before each tick.

A server that hangs, refuses or answers nonsense makes its own readings unknown, and is waited for
by nobody: a tick takes what was told since the one before.
"""

import asyncio
import time
from collections.abc import Collection, Mapping

from msgspec import Struct, field

from steadyd.model.metric import Kind, MetricId, Reading, Subject
from steadyd.probes.catalogue import CATALOGUE
from steadyd.probes.daemons import ProbeFailed, Where, read

AT_ONCE = 20  # servers asked at the same time
DEADLINE = 5.0  # seconds, or half a cycle where that is shorter
# of what it is a fact that nothing answers, and what that fact reads
ABSENT: Mapping[str, Mapping[str, float]] = {
    "http": {"up": 0.0, "status": 0.0},
    "tcp": {"up": 0.0},
}
_NOT_YET = "it was not asked yet"


class Server(Struct, frozen=True):
    """A server that the rules of a service name: how to reach it, and what is asked of it.

    `trouble` is why it cannot be asked (a password that cannot be read, say), "" if it can.
    """

    service: str
    family: str
    where: Where
    names: frozenset[str]
    trouble: str = ""


class _Told(Struct):
    """The newest answer, and the one that the tick before took: monotonic time and values."""

    at: float = 0.0
    values: Mapping[str, float | str] = field(default_factory=dict)
    failure: str = _NOT_YET
    taken_at: float = 0.0
    taken: Mapping[str, float | str] = field(default_factory=dict)


class Servers:
    """The servers that rules name, and what they told last."""

    def __init__(self, cycle: float) -> None:
        self._deadline = min(DEADLINE, cycle / 2)
        self._cycle = cycle
        self._servers: dict[tuple[str, str], Server] = {}
        self._told: dict[tuple[str, str], _Told] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._asking: set[tuple[str, str]] = set()

    @property
    def lead(self) -> float:
        """Return for how many seconds before a tick they are asked."""
        return self._deadline

    def watch(self, servers: Collection[Server]) -> None:
        """Replace the servers that are asked."""
        self._servers = {(each.service, each.family): each for each in servers}
        self._told = {key: self._told.get(key, _Told()) for key in self._servers}

    def __bool__(self) -> bool:
        return bool(self._servers)

    async def ask(self) -> None:
        """Ask all that are not being asked already."""
        due = [server for key, server in self._servers.items() if key not in self._asking]
        await asyncio.gather(*map(self._ask, due))

    async def _ask(self, server: Server) -> None:
        key = (server.service, server.family)
        self._asking.add(key)
        try:
            async with self._gate:
                values, failure = await self._answer(server)
        finally:
            self._asking.discard(key)
        if (told := self._told.get(key)) is not None:
            told.at, told.values, told.failure = time.monotonic(), values, failure

    async def _answer(self, server: Server) -> tuple[Mapping[str, float | str], str]:
        if server.trouble:
            return {}, server.trouble
        absent = ABSENT.get(server.family, {})
        try:
            found = await read(
                server.family, server.where, server.names - {"up"} or server.names, self._deadline
            )
        except ProbeFailed as error:
            return absent, str(error)
        return (dict(found) | {"up": 1.0} if absent else found), ""

    def readings(self, service: str) -> dict[MetricId, Reading]:
        """Return what the servers of a service told since the tick before; for ticks alone."""
        found: dict[MetricId, Reading] = {}
        for (name, family), told in self._told.items():
            if name == service:
                server = self._servers[name, family]
                for metric in server.names:
                    found[MetricId(family, metric)] = self._reading(family, metric, told)
                told.taken_at, told.taken = told.at, told.values
        return found

    def raw(self, service: str) -> dict[MetricId, float]:
        """Return the newest numbers as the servers count."""
        return {
            MetricId(family, metric): value
            for (name, family), told in self._told.items()
            if name == service
            for metric, value in told.values.items()
            if isinstance(value, float)
        }

    def _reading(self, family: str, name: str, told: _Told) -> Reading:
        value = told.values.get(name, told.failure or "the server does not report it")
        if isinstance(value, str):
            return Reading(None, value)
        if told.at == told.taken_at:
            return Reading(None, f"no answer for {time.monotonic() - told.at:.0f} s")
        metric = CATALOGUE.lookup(Subject.SERVICE, MetricId(family, name))
        if metric is None or metric.kind is Kind.GAUGE:
            return Reading(value)
        before = told.taken.get(name)
        if not isinstance(before, float):
            return Reading(None, "first reading of a counter")
        if value < before:
            return Reading(None, "the counter went back")
        return Reading(value - before, elapsed=told.at - told.taken_at)
