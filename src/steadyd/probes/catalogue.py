"""PURE: every metric that a rule may name (language.md); those of servers in `names.py`.

One entry serves rules, exposition, documentation and completion.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from steadyd.model.metric import Dimension, Kind, Metric, MetricId, Subject
from steadyd.probes import names

ANY: Final = "*"

_BYTES, _PERCENT = Dimension.BYTES, Dimension.PERCENT
_COUNT, _SECONDS = Dimension.COUNT, Dimension.SECONDS
_Row = tuple[str, Dimension, str]

_PROCESS_GAUGES: Final[tuple[_Row, ...]] = (
    ("memory:rss", _BYTES, "Resident memory of the main process."),
    ("memory:total_rss", _BYTES, "Resident memory of all processes; shared pages count in each."),
    ("process:count", _COUNT, "Processes."),
    ("process:threads", _COUNT, "Threads of all processes."),
    ("process:fds", _COUNT, "Open file descriptors of all processes."),
    ("process:fd_ratio", _PERCENT, "Open descriptors against the limit, of the fullest process."),
    ("process:zombies", _COUNT, "Processes that ended and were not waited for."),
    ("init:uptime", _SECONDS, "Time since the service was started."),
)
_PROCESS_COUNTERS: Final[tuple[_Row, ...]] = (
    ("cpu:user", _PERCENT, "User time of the main process; 100 is one core."),
    ("cpu:system", _PERCENT, "System time of the main process; 100 is one core."),
    ("cpu:total_user", _PERCENT, "User time of all processes and of reaped children."),
    ("cpu:total_system", _PERCENT, "System time of all processes and of reaped children."),
    ("cpu:tree", _PERCENT, "User and system time of the whole unit; 100 is one core."),
)
_INIT: Final[tuple[_Row, ...]] = (
    ("init:restarts", _COUNT, "Starts of the service after its first, by whomever."),
    ("init:crashes", _COUNT, "Ends of the service that nobody asked for."),
)
_GROUP_GAUGES: Final[tuple[_Row, ...]] = (
    ("memory:pss", _BYTES, "Proportional memory of all processes (opt-in: it is costly)."),
    ("memory:current", _BYTES, "Memory charged to the cgroup, page cache included."),
    ("memory:working_set", _BYTES, "Memory of the cgroup without inactive page cache."),
    ("memory:swap", _BYTES, "Swap charged to the cgroup."),
    ("memory:limit_ratio", _PERCENT, "Memory of the cgroup against the lowest limit above it."),
)
_GROUP_COUNTERS: Final[tuple[_Row, ...]] = (
    ("cpu:throttled", _PERCENT, "Time held back by the CPU quota, all cores: 100 is one core."),
    ("io:read", _BYTES, "Bytes read from storage."),
    ("io:write", _BYTES, "Bytes written to storage."),
)
_PRESSURE: Final[tuple[_Row, ...]] = (
    ("pressure:cpu", _PERCENT, "Share of the last 10 s in which some task waited for CPU."),
    ("pressure:memory", _PERCENT, "Share of the last 10 s in which some task waited for memory."),
    ("pressure:memory_full", _PERCENT, "Share of the last 10 s in which all tasks did."),
    ("pressure:io", _PERCENT, "Share of the last 10 s in which some task waited for storage."),
)
_HOST_GAUGES: Final[tuple[_Row, ...]] = (
    ("load:1", _COUNT, "Load average of 1 minute."),
    ("load:5", _COUNT, "Load average of 5 minutes."),
    ("load:15", _COUNT, "Load average of 15 minutes."),
    ("memory:used", _BYTES, "Memory in use: the total without what is available."),
    ("memory:available", _BYTES, "Memory that can be had without swapping."),
    ("swap", _PERCENT, "Swap in use; unknown on a host without swap."),
    (f"disk:{ANY}", _PERCENT, "Space in use on the file system mounted there."),
)
_HOST_COUNTERS: Final[tuple[_Row, ...]] = (
    ("cpu", _PERCENT, "CPU time of the host, all cores: 100 is one core."),
    ("cpu:user", _PERCENT, "User time, all cores, without nice."),
    ("cpu:system", _PERCENT, "System time, all cores."),
    ("cpu:iowait", _PERCENT, "Time spent waiting for storage, all cores."),
    ("cpu:steal", _PERCENT, "Time taken by the hypervisor, all cores."),
    (f"net:{ANY}", _BYTES, "Bytes received and sent by the network interface."),
)


def metric_id(text: str) -> MetricId:
    """Return the id that `family:name` writes; a name may hold colons, a family cannot."""
    family, _, name = text.partition(":")
    return MetricId(family, name)


def _metrics(
    rows: Iterable[_Row], subject: Subject, kind: Kind, *, per: bool = False
) -> Iterator[Metric]:
    for name, dimension, text in rows:
        yield Metric(metric_id(name), subject, kind, dimension, text, per_process=per)


def _all() -> Iterator[Metric]:
    service, host, gauge, counter = Subject.SERVICE, Subject.HOST, Kind.GAUGE, Kind.COUNTER
    up = ("init:up", _COUNT, "1 while the init has the service up, 0 when it is down.")
    oom = ("init:oom_kills", _COUNT, "Processes that the kernel killed for lack of memory.")
    yield from _metrics(_PROCESS_GAUGES, service, gauge, per=True)
    yield from _metrics(_PROCESS_COUNTERS, service, counter, per=True)
    yield from _metrics((up,), service, gauge)
    yield from _metrics(_INIT, service, counter)
    yield from _metrics((oom,), service, counter)
    yield from _metrics(_GROUP_GAUGES, service, gauge, per=True)
    yield from _metrics(_GROUP_COUNTERS, service, counter, per=True)
    yield from _metrics(_PRESSURE, service, gauge)
    yield from names.metrics()
    yield from _metrics((*_HOST_GAUGES, *_PRESSURE), host, gauge)
    yield from _metrics(_HOST_COUNTERS, host, counter)


class Catalogue:
    """The metrics by subject and name."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = tuple(metrics)
        self._by_name = {(each.subject, each.id): each for each in self.metrics}

    def lookup(self, subject: Subject, metric: MetricId) -> Metric | None:
        """Return the entry of a metric, None: nobody knows it.

        Of `disk:/srv` it is the one of `disk:*`, of `sidekiq:queue:mail` that of `queue:*`.
        """
        family, name = metric.family, metric.name
        kind, _, own = name.partition(":")
        if not name or ANY in (name, own):
            return None if name else self._by_name.get((subject, metric))
        some = f"{kind}:{ANY}" if own else ANY
        for each in (name, some, ANY):
            entry = self._by_name.get((subject, MetricId(family, each)))
            if entry is not None:
                return entry
        return None

    def names(self, subject: Subject) -> Sequence[str]:
        """Return what a rule may name, `disk:MOUNT` as `disk:/`."""
        return [
            str(each.id).replace(f"disk:{ANY}", "disk:/")
            for each in self.metrics
            if each.subject is subject
        ]


CATALOGUE: Final = Catalogue(_all())
