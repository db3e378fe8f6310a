"""One watched service as the engine sees it: its unit, its readings, its comings and goings. Pure.

Also counts restarts and crashes of units, by cause (contract.md, section 5).
"""

import math

from msgspec import Struct, field
from msgspec.structs import replace

from steadyd.evaluation import updown
from steadyd.model.condition import OOM_KILLS, UP, Event, EventWord
from steadyd.model.fact import Moment, UnitMemory
from steadyd.model.metric import MetricId, Reading, Readings
from steadyd.model.rule import CheckParams
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.model.silence import QUIET, Silence, SilenceKind

UPTIME = MetricId("init", "uptime")
RESTARTS = MetricId("init", "restarts")
CRASHES = MetricId("init", "crashes")
COUNTERS = frozenset((RESTARTS, CRASHES))

FLAPS, FLAP_SECONDS = 3, 600.0  # language.md: changes, and within how long

CAUSES = ("rule", "init", "oom", "operator", "watchdog", "package", "boot", "unknown")

UnitKey = tuple[str, str]


class Subject(Struct):
    """A service (or the host) with what is known of it now. Times are monotonic seconds.

    acting_since  since when the init has been acting on the unit, None while it rests
    absent_since  since when the unit is stopped, not found or gone, None while it is there
    """

    name: str
    params: CheckParams
    unit: UnitKey | None = None
    status: UnitStatus | None = None
    reason: str = "not looked up yet"
    readings: Readings = field(default_factory=dict)
    sampled_at: float = -math.inf
    acting_since: float | None = None
    absent_since: float | None = None
    gained: dict[MetricId, float] = field(default_factory=dict)
    up_since: float | None = None
    latched: dict[EventWord, float] = field(default_factory=dict)
    changes: list[float] = field(default_factory=list)
    alerts: dict[str, bool] = field(default_factory=dict)  # of Alertmanager, by name

    def bind(self, unit: UnitKey | None) -> None:
        """Take note of which unit the name stands for; what was known of another one is void."""
        self.unit, self.status, self.readings = unit, None, {}
        self.reason = "its state is not known yet"
        self.acting_since = self.absent_since = self.up_since = None
        self.gained.clear()
        self.latched.clear()
        self.changes.clear()

    def seen(self, status: UnitStatus, now: Moment) -> None:
        """Take what the init system says."""
        self.status, self.reason = status, status.reason
        self.up_since = (self.up_since or now.mono) if self.up() else None
        acting = updown.acts(status)
        self.acting_since = (self.acting_since or now.mono) if acting else None
        self._absent(status.stopped, now)

    def lost(self, reason: str, now: Moment, *, absent: bool) -> None:
        """The unit cannot be seen; `absent` if that is because it is not there."""
        if self.status is not None:
            self.status = replace(
                self.status, state=ServiceState.UNKNOWN, reason=reason, main_pid=0
            )
        self.reason = reason
        self.acting_since = None
        self._absent(absent, now)

    def reading(self, metric: MetricId, now: Moment, *, ours: bool) -> Reading:
        """Return what a rule on `metric` is held against."""
        if metric.family == "init":
            return self._init(metric, now, ours)
        found = self.readings.get(metric)
        if found is not None:
            return found
        return Reading(None, "no sample yet" if self.up() else self.reason or "not running")

    def happened(self, word: EventWord, now: Moment) -> None:
        """Take note of an event: it stays true until the unit has been up for a while."""
        self.latched[word] = now.mono
        if self.up_since is not None:
            self.up_since = now.mono  # of what came back within a glance

    def changed(self, times: int, now: Moment) -> None:
        """Count changes between down and up that nobody asked for."""
        recent = [at for at in self.changes if now.mono - at < FLAP_SECONDS]
        self.changes = [*recent, *[now.mono] * min(times, FLAPS)][-FLAPS:]

    def event(self, event: Event, now: Moment, cycle: float) -> Reading:
        """Return 1 if an event of the service is true, 0 if it is not."""
        if event.word is EventWord.ALERTED:
            firing = self.alerts.get(event.name)
            why = f"Alertmanager told nothing of {event.name} yet"
            return Reading(None, why) if firing is None else Reading(float(firing))
        if self.status is None:
            return Reading(None, self.reason)
        if event.word is EventWord.FLAPPING:
            recent = [at for at in self.changes if now.mono - at < FLAP_SECONDS]
            return Reading(float(len(recent) >= FLAPS))
        at = self.latched.get(event.word)
        if at is None:
            return Reading(0.0)
        settled = max(self.params.settle, cycle)
        if self.up_since is not None and now.mono - self.up_since >= settled:
            del self.latched[event.word]
            return Reading(0.0)
        return Reading(1.0)

    def up(self) -> bool:
        """Tell whether the unit runs."""
        return self.status is not None and self.status.state in (
            ServiceState.ACTIVE,
            ServiceState.RELOADING,
        )

    def count(self, memory: UnitMemory | None, cycle: float) -> None:
        """Read the counters of a unit at a tick: what they gained since the one before."""
        if memory is None:
            return
        readings = dict(self.readings)
        totals = {RESTARTS: float(sum(memory.restarts.values())), CRASHES: float(memory.crashes)}
        for metric, total in totals.items():
            if (last := self.gained.get(metric)) is not None:
                readings[metric] = Reading(total - last, elapsed=cycle)
        self.gained.update(totals)
        self.readings = readings

    def quiet(self, now: Moment) -> Silence | None:
        """Return the silence that the service wants after its start, None once that is over."""
        if not self.params.quiet or self.status is None or not self.status.since or not self.up():
            return None
        since, until = self.status.since, self.status.since + self.params.quiet
        if not since <= now.wall < until:  # before it: a clock that was set back
            return None
        comment = f"`quiet {self.params.quiet:.15g}s` after its start"
        return Silence(QUIET, SilenceKind.SILENCE, since, until, (), comment)

    def _absent(self, absent: bool, now: Moment) -> None:
        self.absent_since = (self.absent_since or now.mono) if absent else None

    def _init(self, metric: MetricId, now: Moment, ours: bool) -> Reading:
        if self.status is None:
            return Reading(None, self.reason)
        if metric == UP:
            acting_for = now.mono - self.acting_since if self.acting_since is not None else 0.0
            return updown.up(self.status, acting_for, self.params.settle, ours)
        if metric == UPTIME:
            if not self.up() or not self.status.since:
                return Reading(None, "not running")
            return Reading(max(0.0, now.wall - self.status.since))
        if metric in (RESTARTS, CRASHES):
            return self.readings.get(metric) or Reading(None, "first reading of a counter")
        if metric == OOM_KILLS:
            return self.readings.get(metric) or Reading(None, "first reading of a counter")
        return Reading(None, "not measured in this version")


class Circumstances(Struct, frozen=True):
    """What goes on while a unit is seen.

    ours       a restart of ours is under way on it
    rebooted   the host was started again since this daemon ran last
    packaging  packages are being installed
    """

    ours: bool = False
    rebooted: bool = False
    packaging: bool = False


def restart_cause(before: UnitStatus | None, now: UnitStatus, around: Circumstances) -> str:
    """Tell who restarted a unit of which another invocation was seen.

    `before` is None where the restart happened while nobody looked.
    """
    if around.ours:
        return "rule"
    if before is None:
        return "boot" if around.rebooted else "unknown"
    if now.respawns > before.respawns or before.respawning:
        results = {"oom-kill": "oom", "watchdog": "watchdog"}
        return results.get(before.result) or results.get(now.result) or "init"
    return "package" if around.packaging else "operator"


def remember(
    memory: UnitMemory, before: UnitStatus | None, now: UnitStatus, around: Circumstances
) -> UnitMemory:
    """Count what `now` tells against the status `before`; None: the first one since the start.

    A crash is a respawn by the init, or a failure that it did not answer with a respawn.
    """
    respawns = max(0, now.respawns - memory.respawns) if now.respawns else 0
    crashes = memory.crashes + respawns
    failed = now.state is ServiceState.FAILED
    if failed and not respawns and before is not None and before.state is not ServiceState.FAILED:
        crashes += 1
    restarts = memory.restarts
    if memory.invocation and now.invocation and now.invocation != memory.invocation:
        cause = restart_cause(before, now, around)
        restarts = {**restarts, cause: restarts.get(cause, 0) + max(1, respawns)}
    return UnitMemory(now.invocation or memory.invocation, now.respawns, crashes, restarts)
