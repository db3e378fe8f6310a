"""The state of everything at one moment, for /metrics, the page, `status` and `why`. Immutable."""

from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from steadyd.model.condition import Comparison, leaves
from steadyd.model.incident import Action, Incident, Line
from steadyd.model.metric import MetricId, Readings, Sample
from steadyd.model.rule import Rule, Severity
from steadyd.model.service import ProcessId, ServiceState
from steadyd.model.silence import Silence

TICKS = 240  # readings of a curve at most: an hour at the usual cycle


class InitView(Struct, frozen=True):
    """One init system that was detected: can it be reached, and why not.

    `running` is what it says of the whole system, None where it says nothing.
    """

    name: str
    up: bool
    reason: str = ""
    version: str = ""
    running: bool | None = None


class Watched(Struct, frozen=True):
    """One rule of a service, where it stands, and why there is no reading of what it compares.

    `unknown`: for want of that nobody knows whether it is true.
    """

    rule: Rule
    phase: str
    missing: Mapping[MetricId, str] = field(default_factory=dict)
    unknown: bool = False

    @property
    def compared(self) -> Iterator[Comparison]:
        """Yield what it compares."""
        return (leaf for leaf in leaves(self.rule.condition) if isinstance(leaf, Comparison))


class ServiceView(Struct, frozen=True):
    """One watched service. `readings` are those of the newest tick, `sample` the newest sample."""

    name: str
    unit: str
    init: str
    state: ServiceState
    reason: str
    since: float
    type: str = ""
    processes: tuple[ProcessId, ...] = ()
    main_pid: int = 0
    tasks_max: int = 0  # of its cgroup, 0: none that is known
    sample: Sample | None = None
    readings: Readings = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    watched: tuple[Watched, ...] = ()
    denied: Mapping[str, str] = field(default_factory=dict)  # verb: why we may not, and the mend
    # what its server said last, under the names that rules use; of the host what rules read
    daemon: Mapping[MetricId, float] = field(default_factory=dict)
    named: frozenset[MetricId] = frozenset()  # by rules


class FileView(Struct, frozen=True):
    """One rule file: whether its present text is in force, and if not why.

    `error` is the first one on a line, `report` the first few with their place in the text, and
    `stands` says what of the file is in force all the same.
    """

    path: str
    ok: bool
    error: str | None = None
    report: str | None = None
    stands: str = ""


class OutboxView(Struct, frozen=True):
    """What is still to be told. Age in seconds of the oldest undelivered parcel, 0 without one."""

    pending: int = 0
    sending: int = 0
    dead: int = 0
    oldest_age_seconds: float = 0.0


class JobView(Struct, frozen=True):
    """One recurring job; `last` is 0 if it never reported."""

    name: str
    every: float
    last: float
    due: float
    overdue: bool


class AlertView(Struct, frozen=True):
    """A rule that is pending or firing, as Prometheus' ALERTS shows it."""

    alertname: str
    name: str
    severity: Severity
    alertstate: str


class Histogram(Struct, frozen=True):
    """Cumulative bucket counts by upper bound in seconds (the last is +Inf), and the sum."""

    buckets: tuple[tuple[float, int], ...] = ()
    sum: float = 0.0


class Counters(Struct, frozen=True):
    """Monotonic counts since the state folder was made (or since start where noted)."""

    evaluations: Mapping[str, int] = field(default_factory=dict)  # by group, since start
    # evaluations that found no value to compare, by group
    evaluation_failures: Mapping[str, int] = field(default_factory=dict)
    evaluation_seconds: Mapping[str, Histogram] = field(default_factory=dict)
    last_evaluation_at: Mapping[str, float] = field(default_factory=dict)
    missed_runs: int = 0
    actions: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (name, verb)
    actions_failed: Mapping[tuple[str, str], int] = field(default_factory=dict)
    suppressed: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (name, reason)
    outcomes: Mapping[tuple[str, str, str], int] = field(default_factory=dict)  # name,verb,outcome
    action_seconds: Mapping[str, Histogram] = field(default_factory=dict)  # by verb
    notifications: Mapping[str, int] = field(default_factory=dict)  # delivered, by scheme
    notifications_failed: Mapping[str, int] = field(default_factory=dict)
    dead_parcels: int = 0
    overflows: int = 0
    clock_steps: int = 0


class Snapshot(Struct, frozen=True):
    """Everything that may be shown. Times are wall-clock seconds.

    `host` is a ServiceView named "host" if some rule looks at the host, else None. `open` are
    the open incidents, newest first; `dark` tells by id of which of them there are no data, and
    since when; `actions` are those of `open` and the newest others, newest first.
    """

    at: float
    version: str
    started_at: float
    hostname: str
    ready: bool
    inits: tuple[InitView, ...] = ()
    services: tuple[ServiceView, ...] = ()
    host: ServiceView | None = None
    open: tuple[Incident, ...] = ()
    dark: Mapping[str, float] = field(default_factory=dict)
    actions: tuple[Action, ...] = ()
    alerts: tuple[AlertView, ...] = ()
    rules_loaded: int = 0
    rules_disabled: int = 0
    files: tuple[FileView, ...] = ()
    config_ok: bool = True
    config_loaded_at: float = 0.0
    outbox: OutboxView = OutboxView()
    counters: Counters = Counters()
    dry_run: bool = False
    silences: tuple[Silence, ...] = ()
    jobs: tuple[JobView, ...] = ()
    # what the daemon itself uses: virtual, rss, cpu_seconds, start_time_seconds, open_fds, max_fds
    own: Mapping[str, float] = field(default_factory=dict)
    trouble: tuple[str, ...] = ()  # sentences: "state.db: disk full, delivering from memory"


class Chapter(Struct, frozen=True):
    """An incident with its actions and its lines, oldest line first."""

    incident: Incident
    actions: tuple[Action, ...]
    lines: tuple[Line, ...]


class Why(Struct, frozen=True):
    """The story of a service: its incidents, newest first."""

    service: ServiceView
    chapters: tuple[Chapter, ...]
