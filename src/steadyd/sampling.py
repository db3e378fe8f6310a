"""What is to be read of which service, and when: samples of processes, and what servers tell."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from steadyd.engine import Engine
from steadyd.evaluation.subject import Subject
from steadyd.model.metric import MetricId, Readings, Sample
from steadyd.model.rule import HOST
from steadyd.ports import Sampler, SampleTarget
from steadyd.probes.names import families
from steadyd.probes.observer import Observer, Wanted, wanted_depth
from steadyd.recent import Recent
from steadyd.settings import Settings, SettingsError

if TYPE_CHECKING:
    from steadyd.probes.daemons import Where
    from steadyd.probes.servers import Server, Servers

_WHERE = ("hostname", "socket", "username", "endpoint", "database")  # parameters of a server


class Sampling:
    """Reads what the rules of an engine need."""

    def __init__(self, engine: Engine, sampler: Sampler, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._observer = Observer(sampler)
        self._servers: Servers | None = None  # made when a rule first names one: it costs memory
        self._told: dict[str, Readings] = {}
        self.recent = Recent()
        self._wants: dict[str, Wanted] = {}
        self._wants_of = -1

    @property
    def newest(self) -> Mapping[str, Sample]:
        """Return the newest samples."""
        return self._observer.newest

    def own(self) -> Mapping[str, float]:
        """Return what this process itself uses."""
        return self._observer.own()

    def raw(self, service: str) -> Mapping[MetricId, float]:
        """Return the newest numbers of the servers of a service, as they count."""
        return self._servers.raw(service) if self._servers else {}

    def rules_changed(self) -> None:
        """Take note that the engine has other rules."""
        asked = {
            name: found
            for name in self._engine.subjects
            if (found := families(self._engine.metrics_of(name)))
        }
        if asked and self._servers is None:
            from steadyd.probes.servers import Servers  # noqa: PLC0415

            self._servers = Servers(self._settings.cycle_seconds)
        if self._servers is not None:
            self._servers.watch(self._named(asked))

    async def tick(self) -> Mapping[str, Readings]:
        """Return the readings of a tick."""
        readings = await self._observer.tick(self._wanted())
        if self._servers:
            self._told = {name: self._servers.readings(name) for name in readings}
        else:
            self._told = {}
        told = self._with_servers(readings)
        self.recent.add(told.items())
        return told

    async def look(self, names: Iterable[str]) -> Mapping[str, Readings]:
        """Return readings of some services between two ticks; servers are not asked for it."""
        return self._with_servers(await self._observer.look(self._wanted(names)))

    async def refresh(self, oldest: float) -> None:
        """Make the newest samples at most `oldest` seconds old."""
        await self._observer.refresh(self._wanted(), oldest)

    async def ask_servers(self, *, at_once: bool = False) -> None:
        """Ask the servers, so that their answers are there at the next tick."""
        if not self._servers:
            return
        if not at_once:
            await asyncio.sleep(max(0.0, self._settings.cycle_seconds - self._servers.lead))
        await self._servers.ask()

    def _with_servers(self, readings: Mapping[str, Readings]) -> Mapping[str, Readings]:
        """Add what servers told at the last tick."""
        if not self._told:
            return readings
        return {name: {**some, **self._told.get(name, {})} for name, some in readings.items()}

    def _named(self, asked: Mapping[str, Mapping[str, frozenset[str]]]) -> "list[Server]":
        """Return the servers that the rules name, by service and family."""
        from steadyd.probes.servers import Server  # noqa: PLC0415

        found = []
        for name, some in asked.items():
            where, trouble = self._place(self._engine.subjects[name])
            found += [Server(name, family, where, names, trouble) for family, names in some.items()]
        return found

    def _place(self, subject: Subject) -> "tuple[Where, str]":
        """Return where the server of a service is, and why it cannot be asked, "" if it can."""
        from steadyd.probes.daemons import Where  # noqa: PLC0415

        given = dict(subject.params.given)
        password, port, trouble = given.get("password", ""), given.get("port", ""), ""
        try:
            password = self._settings.secret(password, f"service {subject.name}")
        except SettingsError as error:
            password, trouble = "", str(error)
        number = int(port) if port.isascii() and port.isdigit() else 0
        known = {key: given.get(key, "") for key in _WHERE}
        return Where(**known, port=number, password=password), trouble

    def _wanted(self, names: Iterable[str] | None = None) -> list[Wanted]:
        """Return what is to be sampled of some services, of all without `names`."""
        if self._wants_of != self._engine.revision:
            self._wants = {name: self._want(s) for name, s in self._engine.subjects.items()}
            self._wants_of = self._engine.revision
        if names is None:
            return list(self._wants.values())
        return [self._wants[name] for name in names if name in self._wants]

    def _want(self, subject: Subject) -> Wanted:
        metrics, status = self._engine.metrics_of(subject.name), subject.status
        if subject.unit is None or status is None or not (status.main_pid or status.cgroup):
            return Wanted(subject.name, metrics, host=subject.name == HOST)
        full = SampleTarget(
            " ".join(subject.unit), status.cgroup, status.main_pid, others=status.others
        )
        target = replace(full, depth=wanted_depth(metrics))
        return Wanted(subject.name, metrics, target, full)
