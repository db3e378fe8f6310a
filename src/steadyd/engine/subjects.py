"""The services (and the host) by name, the units they stand for, and what was told of those."""

import math
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from steadyd.engine.turn import Turn
from steadyd.evaluation.subject import Circumstances, Subject, UnitKey, remember
from steadyd.model.fact import Alerted, Bound, Unbound, UnitMemory, UnitUnknown
from steadyd.model.rule import Check, CheckParams
from steadyd.model.service import UnitStatus


class News(Struct, frozen=True):
    """What a status tells that the one before did not.

    before   the status before, None: the first one since the start
    crashes  how many there were since
    again    it is another run of the unit than the last one that was seen
    """

    before: UnitStatus | None
    crashes: int
    again: bool


class Subjects:
    """Several names may stand for one unit; what is counted is counted by unit."""

    def __init__(self, turn: Turn, units: Mapping[str, UnitMemory]) -> None:
        self._turn = turn
        self.by_name: dict[str, Subject] = {}
        self.units: dict[UnitKey, UnitMemory] = {
            (init, unit): value
            for key, value in units.items()
            for init, _, unit in [key.partition(" ")]
        }
        self.ticked_at = -math.inf  # when all were read, or known to read the same
        self.revision = 0  # of what is watched where; not of what is read
        self._by_unit: dict[UnitKey, list[Subject]] = {}
        self._groups: dict[str, frozenset[UnitKey]] = {}
        self._statuses: dict[UnitKey, UnitStatus] = {}

    def of_unit(self, key: UnitKey) -> Sequence[Subject]:
        """Return those that stand for a unit."""
        return self._by_unit.get(key, ())

    def unit_of(self, name: str) -> UnitKey | None:
        """Return the unit that a name stands for, None if it is not known."""
        subject = self.by_name.get(name)
        return subject.unit if subject else None

    def others(self, subject: Subject) -> frozenset[UnitKey]:
        """Return the units of the others in the group of a service."""
        return self._groups.get(subject.params.group, frozenset()) - {subject.unit}

    def read_at(self, subject: Subject) -> float:
        """Return when (monotonic) what is known of a subject was read."""
        return max(subject.sampled_at, self.ticked_at)

    def absent_since(self, name: str) -> float | None:
        """Return since when (monotonic) a service is not there, None while it is."""
        subject = self.by_name.get(name)
        return subject.absent_since if subject else None

    def is_stopped(self, name: str) -> bool:
        """Tell whether somebody stopped a service."""
        subject = self.by_name.get(name)
        return subject is not None and subject.status is not None and subject.status.stopped

    def changed(self, checks: Iterable[Check]) -> None:
        """Watch what these checks name; what is known of a name that stays is kept."""
        params: dict[str, CheckParams] = {}
        for check in checks:
            params.setdefault(check.service, check.params)
        self.by_name = {n: self.by_name.get(n) or Subject(n, p) for n, p in params.items()}
        for name, value in params.items():
            self.by_name[name].params = value
        self._index()

    def bound(self, fact: Bound) -> None:
        """Take note of which unit a name stands for."""
        subject, key = self.by_name.get(fact.service), (fact.init, fact.unit)
        if subject is None or subject.unit == key:
            return
        subject.bind(key)
        self._index()
        if status := self._statuses.get(key):
            subject.seen(status, self._turn.now)

    def unbound(self, fact: Unbound) -> None:
        """Take note that a name stands for nothing."""
        if subject := self.by_name.get(fact.service):
            subject.bind(None)
            subject.lost(fact.reason, self._turn.now, absent=True)
            self._index()

    def unknown(self, fact: UnitUnknown) -> None:
        """Take note that a unit is gone, or all of an init system out of sight."""
        for subject in self.by_name.values():
            if subject.unit is None or subject.unit[0] != fact.init:
                continue
            if fact.unit in ("", subject.unit[1]):
                subject.lost(fact.reason, self._turn.now, absent=bool(fact.unit))
                self.revision += 1

    def told(self, status: UnitStatus, around: Circumstances) -> News:
        """Count what the status of a unit tells; the subjects of it have not seen it yet."""
        key = (status.init, status.unit)
        before, memory = self._statuses.get(key), self.units.get(key, UnitMemory())
        told = remember(memory, before, status, around)
        if told != memory:
            self.units[key] = self._turn.out.units[" ".join(key)] = told
        self._statuses[key] = status
        self.revision += key in self._by_unit
        again = bool(memory.invocation) and told.invocation != memory.invocation
        return News(before, told.crashes - memory.crashes, again)

    def alerted(self, fact: Alerted) -> list[Subject]:
        """Take what Alertmanager says; return the services that it is about."""
        found = []
        for subject in self.by_name.values():
            label = dict(subject.params.given).get("alert_label", "name")
            about = [each for each in fact.alerts if each.labels.get(label) == subject.name]
            for each in about:
                subject.alerts[each.name] = each.firing
            if about:
                found.append(subject)
        return found

    def _index(self) -> None:
        self.revision += 1
        self._by_unit = {}
        for subject in self.by_name.values():
            if subject.unit is not None:
                self._by_unit.setdefault(subject.unit, []).append(subject)
        self._statuses = {k: s for k, s in self._statuses.items() if k in self._by_unit}
        groups: dict[str, set[UnitKey]] = {}
        for key, some in self._by_unit.items():
            for name in {subject.params.group for subject in some} - {""}:
                groups.setdefault(name, set()).add(key)
        self._groups = {name: frozenset(keys) for name, keys in groups.items()}
