"""Snapshots made by hand, and a daemon that answers with them (ports.Daemon)."""

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from steadyd.model.condition import Amount, Comparison, Hold, Operator
from steadyd.model.fact import ForeignAlert
from steadyd.model.incident import (
    Action,
    CloseReason,
    Incident,
    Line,
    LineKind,
    Outcome,
    Suppression,
)
from steadyd.model.metric import MetricId, Reading, Sample
from steadyd.model.rule import Alert, Rule, Severity, Source, Verb
from steadyd.model.service import ProcessId, ServiceState
from steadyd.model.silence import Silence, SilenceKind
from steadyd.model.snapshot import (
    TICKS,
    AlertView,
    Chapter,
    Counters,
    FileView,
    Histogram,
    InitView,
    OutboxView,
    ServiceView,
    Snapshot,
    Watched,
    Why,
)
from steadyd.ports import Denied, ReloadReport, Right, TestReport
from steadyd.pulse import Pulse

AT = 1_795_420_841.123  # 2026-11-23T08:00:41.123Z
CAUSES = ("rule", "init", "oom", "operator", "watchdog", "package", "boot", "unknown")
SECRET = "Jul 1 puma[7]: password=hunter2"
HOSTILE = '<script>alert("1")</script>\\\n&é'


RULE = Rule(
    "puma",
    Comparison(MetricId("memory", "total_rss"), Operator.ABOVE, Amount("2g", 2147483648.0)),
    Hold(),
    (Alert(),),
    Source("puma.inq", 2),
)


def service(name: str, state: ServiceState = ServiceState.ACTIVE, pid: int = 100) -> ServiceView:
    raw = {
        "rss": 50e6,
        "total_rss": 250e6,
        "processes": 5.0,
        "threads": 12.0,
        "open_fds": 80.0,
        "worst_fd_ratio": 0.0625,
        "total_user_seconds": 12.5,
        "total_system_seconds": 3.25,
        "start_time_seconds": AT - 3600,
    }
    ids = tuple(ProcessId(pid + i, 1000) for i in range(2))
    return ServiceView(
        name=name,
        unit=f"{name}.service",
        init="systemd",
        state=state,
        reason="",
        since=AT - 3600,
        type="notify",
        processes=ids,
        main_pid=pid,
        sample=Sample(5.0, raw, processes=ids, main=ids[0]),
        readings={
            MetricId("memory", "total_rss"): Reading(250e6),
            MetricId("cpu", "total_user"): Reading(12.5),
            MetricId("cpu", "user"): Reading(None, "first reading of this process"),
            MetricId("init", "up"): Reading(1.0),
        },
        restarts=dict.fromkeys(CAUSES, 0) | {"init": 2},
        watched=(Watched(RULE, "ok"),),
    )


def gone(name: str, reason: str = "systemd: there is no unit gone.service") -> ServiceView:
    return ServiceView(
        name, "", "", ServiceState.UNKNOWN, reason, 0.0, restarts=dict.fromkeys(CAUSES, 0)
    )


def incident(id_: str = "inc-1", name: str = "puma", closed: bool = False) -> Incident:
    return Incident(
        id=id_,
        service=name,
        rule_key="service puma if …",
        rule="if memory:total_rss > 200m then alert, restart",
        source="/etc/steadyd/rules.d/puma.inq:2",
        topic="memory:total_rss",
        severity=Severity.WARNING,
        opened_at=AT - 192,
        value=250e6,
        threshold=209715200.0,
        routes=("default",),
        closed_at=AT - 10 if closed else None,
        close_reason=CloseReason.RECOVERED if closed else None,
    )


def action(id_: str = "act-1", incident_id: str = "inc-1") -> Action:
    return Action(
        id=id_,
        incident=incident_id,
        service="puma",
        init="systemd",
        unit="puma.service",
        verb=Verb.RESTART,
        step=1,
        asked_at=AT - 190,
        finished_at=AT - 188,
        outcome=Outcome.NOT_HEALED,
        reason=SECRET,
    )


def counters(names: Sequence[str]) -> Counters:
    pairs = {(name, "restart"): 0 for name in names}
    histogram = Histogram(((0.1, 1), (1.0, 3), (float("inf"), 4)), 6.5)
    return Counters(
        evaluations={"15s": 120},
        evaluation_failures={"15s": 3},
        evaluation_seconds={"15s": histogram},
        last_evaluation_at={"15s": AT - 2},
        missed_runs=1,
        actions=pairs | {("puma", "restart"): 4},
        actions_failed=pairs,
        suppressed={(name, str(r)): 0 for name in names for r in Suppression},
        outcomes={
            (name, "restart", str(o)): 0
            for name in names
            for o in Outcome
            if o is not Outcome.SUPPRESSED
        }
        | {("puma", "restart", "not_healed"): 1},
        action_seconds={"restart": histogram},
        notifications={"slack": 7, "mailto": 0},
        notifications_failed={"slack": 1, "mailto": 0},
        dead_parcels=1,
    )


def snapshot(count: int = 0) -> Snapshot:
    """Return a snapshot of everything; with `count` one of that many healthy services."""
    views = (
        tuple(service(f"app{i:04d}", pid=1000 + 5 * i) for i in range(count))
        if count
        else (
            replace(service("puma"), tasks_max=115),
            replace(
                service(HOSTILE),
                reason="exited with 1",
                state=ServiceState.FAILED,
                sample=None,
                processes=(),
                main_pid=0,
                readings={},
            ),
            gone("ghost"),
        )
    )
    return Snapshot(
        at=AT,
        version="0.1.0",
        started_at=AT - 86400,
        hostname="web1",
        ready=True,
        inits=(
            InitView("systemd", True, version="252.39-1~deb12u1", running=False),
            InitView("supervisord", False, "no answer in 2 s"),
        ),
        services=views,
        host=None,
        open=() if count else (incident(), incident("inc-2", HOSTILE)),
        dark={} if count else {"inc-2": AT - 75},
        actions=() if count else (action(),),
        alerts=()
        if count
        else (
            AlertView("memory:total_rss", "puma", Severity.WARNING, "firing"),
            AlertView("memory:total_rss", "puma", Severity.WARNING, "firing"),
            AlertView("down", HOSTILE, Severity.CRITICAL, "pending"),
        ),
        rules_loaded=12,
        rules_disabled=1,
        files=(
            FileView("/etc/steadyd/rules.d/puma.inq", True),
            FileView("/etc/steadyd/rules.d/bad.inq", False, f"bad.inq:1:7: {SECRET}"),
        ),
        config_ok=False,
        config_loaded_at=AT - 600,
        outbox=OutboxView(3, 1, 1, 42.5),
        counters=counters(
            [view.name for view in views][:2] if not count else [view.name for view in views]
        ),
        trouble=("state.db: disk full, delivering from memory",),
    )


class FakeDaemon:
    """Answers from memory; counts what was asked of it."""

    def __init__(self, now: Snapshot | None = None) -> None:
        self.now = now or snapshot()
        self.report = ReloadReport(True, 12, 0)
        self.reloads = 0
        self.denied: Denied = {}
        self.muted: list[Silence] = []
        self.pulse = Pulse()
        self.hang = asyncio.Event()
        self.hang.set()

    def snapshot(self, *, detail: bool = True) -> Snapshot:
        return self.now

    def watched(self, name: str) -> Sequence[Watched]:
        return next((view.watched for view in self.now.services if view.name == name), ())

    async def fresh(self, *, detail: bool = True) -> Snapshot:
        await self.hang.wait()
        return self.now

    async def incidents(self, limit: int) -> Sequence[tuple[Incident, Sequence[Action]]]:
        return [(incident(), [action()]), (incident("inc-0", closed=True), [])][:limit]

    async def actions(self, limit: int) -> Sequence[Action]:
        return [action(f"act-{i}") for i in range(3, 0, -1)][:limit]

    async def why(self, name: str) -> Why | None:
        view = next((v for v in self.now.services if v.name == name), None)
        if view is None:
            return None
        lines = (
            Line(
                "inc-1",
                AT - 192,
                LineKind.OPENED,
                "memory:total_rss 238.4 MiB > 200 MiB",
                250e6,
                209715200.0,
            ),
            Line("inc-1", AT - 190, LineKind.ACTION, "restart asked of systemd"),
            Line("inc-1", AT - 100, LineKind.OUTCOME, f"restart did not help\n{SECRET}"),
        )
        return Why(view, (Chapter(incident(), (action(),), lines),))

    async def reload(self) -> ReloadReport:
        self.reloads += 1
        return self.report

    cycle_seconds, deploy_seconds = 15.0, 300.0

    def curve(
        self, service: str, metric: MetricId, most: int = TICKS
    ) -> Sequence[float | None] | None:
        return (1.0, None, 3.0)[-most:] if service == "puma" else None

    def states(self, service: str) -> Sequence[tuple[float, ServiceState]]:
        return ((AT - 3000, ServiceState.FAILED), (AT - 1200, ServiceState.ACTIVE))

    @property
    def revision(self) -> int:
        return self.pulse.revision

    async def changed(self, revision: int) -> None:
        await self.pulse.after(revision)

    def silences(self) -> Sequence[Silence]:
        return self.muted

    async def silence(
        self, kind: SilenceKind, services: Sequence[str], seconds: float, comment: str, by: str
    ) -> Silence:
        self.muted.append(Silence("s1", kind, AT, AT + seconds, tuple(services), comment, by))
        return self.muted[-1]

    async def expire(
        self, id: str, kind: SilenceKind, services: Sequence[str]
    ) -> Sequence[Silence]:
        ended, self.muted = self.muted, []
        return ended

    def alerted(self, alerts: Sequence[ForeignAlert]) -> None:
        self.foreign = list(alerts)

    async def job_done(self, name: str) -> bool:
        return name == "sweep"

    def rights_wanted(self) -> Sequence[Right]:
        return [Right("puma", "systemd", "puma.service", Verb.RESTART, ("restart",))]

    def deny(self, denied: Denied) -> None:
        self.denied = denied

    async def test_alert(self, route: str) -> Sequence[TestReport]:
        if route not in ("", "default", "ops"):
            raise KeyError(route)
        return [
            TestReport(route or "default", "slack://…", True),
            TestReport(route or "default", "mailto://…", route != "ops", "connection refused"),
        ]
