"""The doors to the world and their errors. Each has one real side in a stage package."""

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import IntEnum
from typing import Protocol

from msgspec import Struct, field

from steadyd.model.fact import ForeignAlert
from steadyd.model.incident import Action, Incident
from steadyd.model.metric import MetricId, Sample
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.model.silence import Silence, SilenceKind
from steadyd.model.snapshot import TICKS, Snapshot, Watched, Why


class InitError(Exception):
    """An init system refused or failed. str() tells which, what and why; `mend` how to mend it."""

    def __init__(self, init: str, unit: str, doing: str, why: str, mend: str = "") -> None:
        super().__init__(f"{init}: cannot {doing} {unit}: {why}")
        self.init, self.unit, self.doing, self.why, self.mend = init, unit, doing, why, mend


class UnitNotFound(InitError):
    """This init system does not know the unit: try the next one."""


class NotSupported(InitError):
    """The unit has no such verb (no ExecReload=, say)."""


class NotPermitted(InitError):
    """We lack the right; `mend` names the grant to add."""


class InitUnreachable(InitError):
    """The init system does not answer (gone, hung, restarting)."""


class VerbFailed(InitError):
    """The init carried the verb out and it failed, or it did not end before the deadline."""


class HistoryUnreadable(Exception):
    """What was stored cannot be read back now; str() names the file and the reason."""


class InitReached(Struct, frozen=True):
    """The init system answers (again). `version` as it names it itself, "" where it does not."""

    init: str
    version: str = ""


class SystemRunning(Struct, frozen=True):
    """Whether the init system says that all of the host is as it should be (systemd: `running`)."""

    init: str
    running: bool


class InitLost(Struct, frozen=True):
    """The init system cannot be reached; states are unknown until it is again."""

    init: str
    reason: str


class UnitGone(Struct, frozen=True):
    """The init system no longer knows a watched unit (or does not know it yet)."""

    init: str
    unit: str
    reason: str


InitReport = InitReached | SystemRunning | InitLost | UnitStatus | UnitGone


class InitSystem(Protocol):
    """One init system of this host. Implementations hold no policy: no retry of verbs, no limit."""

    name: str

    async def run(self, report: Callable[[InitReport], None]) -> None:
        """Follow the init system until cancelled, reconnecting with back-off for ever.

        Reports InitReached/InitLost on change, and for watched units a UnitStatus at first and
        after each change (latest wins), or UnitGone.
        """

    async def find(self, name: str) -> UnitStatus:
        """Find what a service's name stands for (contract.md, section 1).

        Raises UnitNotFound, InitUnreachable.
        """

    async def units(self, glob: str) -> Collection[str]:
        """Return the canonical ids of all units that a glob stands for, with or without suffix.

        Never those on which steadyd does not act: its own, the init's, the bus's. Raises
        InitUnreachable, NotPermitted.
        """

    async def watch(self, units: Collection[str]) -> None:
        """Replace the set of watched units; each new one is reported soon after."""

    async def perform(self, verb: Verb, unit: str, *, signal: str = "", deadline: float) -> None:
        """Carry a verb out and return when the init says that it is done.

        `restart` does not start what is stopped unless the unit failed; `start` of what runs and
        `stop` of what does not have nothing to do. `signal` names the one that is sent to the main
        process: for `signal` always, for `reload` where the unit has no reload of its own. Raises
        InitError; VerbFailed also where the call succeeded and the unit is not afterwards as the
        verb wants it (after `signal` nothing is expected of it).
        """

    async def denied(self, unit: str, verbs: Collection[Verb]) -> Mapping[Verb, str]:
        """Return those of these verbs for which the right is known to lack: why, and the mend.

        Never tries one. What cannot be known without trying is left out.
        """

    async def close(self) -> None:
        """Let go of all connections; `run` ends."""


class Depth(IntEnum):
    """How much of a service's processes is read; each level costs about half as much again.

    MEMORY: resident memory and the processes. USUAL: CPU, threads, zombies too. FULL: descriptors
    too.
    """

    MEMORY = 1
    USUAL = 2
    FULL = 3


class SampleTarget(Struct, frozen=True):
    """What the sampler needs to know of a unit to find its processes, and how deep to look.

    `extra` are names in `Sample.raw` for which more is read than the processes: what rules name.
    """

    unit: str
    cgroup: str = ""
    main_pid: int = 0
    depth: Depth = Depth.FULL
    others: tuple[int, ...] = ()
    extra: frozenset[str] = frozenset()


class Sampler(Protocol):
    """The reader of processes and host."""

    def sample(self, targets: Sequence[SampleTarget]) -> Mapping[str, Sample]:
        """Sample each target's processes now, keyed by `unit`; a target without any is left out."""

    def own(self) -> Mapping[str, float]:
        """Return what this process itself uses, under the names of `Snapshot.own`."""

    def host(self, mounts: Sequence[str], extra: Collection[str] = ()) -> Sample:
        """Sample the host; `mounts` are the file systems that rules name (`disk:/srv`).

        `extra` are names in `Sample.raw` for which more is read.
        """


Denied = Mapping[str, Mapping[str, str]]
"""By service and verb why we may not, with the mend."""


class ReloadReport(Struct, frozen=True):
    """What a reload of the rule files came to. `errors` are ready to print."""

    ok: bool
    loaded: int
    disabled: int
    errors: tuple[str, ...] = ()
    denied: Denied = field(default_factory=dict)


class Right(Struct, frozen=True):
    """A verb that the rules may ask for on a unit, and what polkit calls it (systemd only)."""

    service: str
    init: str
    unit: str
    verb: Verb
    words: tuple[str, ...] = ()


class TestReport(Struct, frozen=True):
    """How one target took a test alert. `target` is safe to show."""

    route: str
    target: str
    ok: bool
    reason: str = ""


class Daemon(Protocol):
    """What the web, the control socket and the page may ask of the running daemon."""

    def snapshot(self, *, detail: bool = True) -> Snapshot:
        """Return the newest state; without `detail` services have no readings and no rules."""

    def watched(self, name: str) -> Sequence[Watched]:
        """Return the rules of a service, and where they stand."""

    async def fresh(self, *, detail: bool = True) -> Snapshot:
        """Return the state with a sample that is at most one second old.

        Without `detail` services have no readings and no rules: /metrics shows neither.
        """

    async def incidents(self, limit: int) -> Sequence[tuple[Incident, Sequence[Action]]]:
        """Return incidents with their actions, newest first."""

    async def actions(self, limit: int) -> Sequence[Action]:
        """Return actions, newest first."""

    async def why(self, name: str) -> Why | None:
        """Return the story of a service, or None if nobody watches it."""

    async def reload(self) -> ReloadReport:
        """Read all rule files again, now."""

    def rights_wanted(self) -> Sequence[Right]:
        """Return all that the rules may ask of the init systems."""

    def deny(self, denied: Denied) -> None:
        """Take root's word for which verbs we may not carry out."""

    @property
    def cycle_seconds(self) -> float:
        """Seconds between two ticks."""

    @property
    def deploy_seconds(self) -> float:
        """How long a deploy lasts that nobody ends."""

    def silences(self) -> Sequence[Silence]:
        """Return the silences and deploys that are in force."""

    async def silence(
        self, kind: SilenceKind, services: Sequence[str], seconds: float, comment: str, by: str
    ) -> Silence:
        """Begin a silence or a deploy; without services it is of all."""

    async def expire(
        self, id: str, kind: SilenceKind, services: Sequence[str]
    ) -> Sequence[Silence]:
        """End the silence of an id, else all of a kind (of these services, if any are named)."""

    def curve(
        self, service: str, metric: MetricId, most: int = TICKS
    ) -> Sequence[float | None] | None:
        """Return the last readings of a metric that a rule names, oldest first; None: none does."""

    def states(self, service: str) -> Sequence[tuple[float, ServiceState]]:
        """Return the changes of state of the last hour, oldest first: when, and to what."""

    @property
    def revision(self) -> int:
        """A number that is another one whenever something changed, each tick at least."""

    async def changed(self, revision: int) -> None:
        """Return when the revision is another one."""

    def alerted(self, alerts: Sequence[ForeignAlert]) -> None:
        """Take what Alertmanager tells."""

    async def job_done(self, name: str) -> bool:
        """Take note that a recurring job ran; False: there is no such job."""

    async def test_alert(self, route: str) -> Sequence[TestReport]:
        """Send a test message through each target of a route. Raises KeyError: no such route."""


class Supervisor(Protocol):
    """Whoever started the daemon and wants to know how it is (sd_notify(3), or nobody)."""

    beat: float | None
    """Seconds within which `alive` must be called again, None: nobody waits for it."""

    def ready(self, summary: str) -> None:
        """Start-up, or a reload, is complete."""

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""

    def alive(self) -> None:
        """A step was completed."""

    def stopping(self) -> None:
        """The daemon is about to end."""
