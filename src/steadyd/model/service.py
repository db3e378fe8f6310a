"""A service as the user names it, the unit behind it, and what the init system says of the unit."""

from enum import StrEnum
from fnmatch import fnmatchcase

from msgspec import Struct


def printable_name(name: str) -> str:
    """Return a name from outside as it may be shown."""
    return name[:80] if name[:80].isprintable() else ascii(name[:80])


def is_glob(name: str) -> bool:
    """Tell whether a service's name stands for several units: `puma@*`."""
    return any(sign in name for sign in "*?[")


def matches(glob: str, unit: str) -> bool:
    """Tell whether a glob, anchored at both ends, stands for a unit."""
    return fnmatchcase(unit, glob)


class ServiceState(StrEnum):
    """The states of design section 1, as `/metrics` and JSON print them."""

    ACTIVE = "active"
    ACTIVATING = "activating"
    RELOADING = "reloading"
    DEACTIVATING = "deactivating"
    INACTIVE = "inactive"
    FAILED = "failed"
    UNKNOWN = "unknown"


class ProcessId(Struct, frozen=True, order=True):
    """A process for good: the kernel hands a pid out again, but not with this start.

    `started` is field 22 of /proc/PID/stat (clock ticks after boot, proc(5)).
    """

    pid: int
    started: int


class UnitStatus(Struct, frozen=True):
    """What one init system says of one unit at one moment.

    init, unit    the adapter's name and the canonical id of the unit
    state, reason the state, and in words why ("killed by SIGKILL", "exited with 1")
    main_pid      pid of the main process, 0 if there is none
    others        pids of further main processes (a job with instances)
    cgroup        path below the cgroup2 mount ("/system.slice/puma.service"), "" without one
    invocation    opaque; another value means that the unit was started again
    respawns      how often the init restarted it by itself (may be reset by the init)
    result        the init's word for how the last run ended ("success", "signal", "oom-kill" …)
    acting        a job is queued, or the init is about to respawn it: the state will change
    respawning    the init is about to start it again by itself (auto-restart)
    stopped       inactive because somebody stopped it cleanly, or it was never started
    by_design     a oneshot, socket- or timer-activated unit at rest after success
    can_reload    whether the init has a reload for this unit
    since         wall-clock seconds of the last change of state, 0 if not known
    type          the init's kind of service ("simple", "notify", "oneshot" …), may be ""
    tasks_max     how many tasks its cgroup may hold, 0 without a limit that is known
    """

    init: str
    unit: str
    state: ServiceState
    reason: str = ""
    main_pid: int = 0
    cgroup: str = ""
    invocation: str = ""
    respawns: int = 0
    result: str = ""
    acting: bool = False
    respawning: bool = False
    stopped: bool = False
    by_design: bool = False
    can_reload: bool = False
    since: float = 0.0
    type: str = ""
    others: tuple[int, ...] = ()
    tasks_max: int = 0
