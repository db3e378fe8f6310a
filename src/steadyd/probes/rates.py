"""PURE: two samples in, readings out. What cannot be said truly is unknown, with the reason.

Percent of CPU is of one core, over the time that truly passed between the samples. A counter of
another process is another counter: its first reading is unknown.
"""

from collections.abc import Iterable, Mapping

from steadyd.model.condition import OOM_KILLS
from steadyd.model.metric import MetricId, Reading, Sample

_PRESSURES = {
    MetricId("pressure", "cpu"): "pressure_cpu_percent",
    MetricId("pressure", "memory"): "pressure_memory_percent",
    MetricId("pressure", "memory_full"): "pressure_memory_full_percent",
    MetricId("pressure", "io"): "pressure_io_percent",
}
_SERVICE_GAUGES = {
    MetricId("memory", "rss"): ("rss", 1.0),
    MetricId("memory", "total_rss"): ("total_rss", 1.0),
    MetricId("process", "count"): ("processes", 1.0),
    MetricId("process", "threads"): ("threads", 1.0),
    MetricId("process", "fds"): ("open_fds", 1.0),
    MetricId("process", "fd_ratio"): ("worst_fd_ratio", 100.0),
    MetricId("process", "zombies"): ("zombies", 1.0),
    MetricId("memory", "pss"): ("pss", 1.0),
    MetricId("memory", "current"): ("memory_current", 1.0),
    MetricId("memory", "working_set"): ("memory_working_set", 1.0),
    MetricId("memory", "swap"): ("memory_swap", 1.0),
    MetricId("memory", "limit_ratio"): ("memory_limit_ratio", 100.0),
    **{metric: (name, 1.0) for metric, name in _PRESSURES.items()},
}
_SERVICE_CPU = {
    MetricId("cpu", "user"): ("user_seconds",),
    MetricId("cpu", "system"): ("system_seconds",),
    MetricId("cpu", "total_user"): ("total_user_seconds",),
    MetricId("cpu", "total_system"): ("total_system_seconds",),
    MetricId("cpu", "tree"): ("total_user_seconds", "total_system_seconds"),
    MetricId("cpu", "throttled"): ("throttled_seconds",),
}
_SERVICE_GAINS = {
    MetricId("io", "read"): ("read_bytes",),
    MetricId("io", "write"): ("write_bytes",),
    OOM_KILLS: ("oom_kills",),
}
_HOST_GAUGES = {
    MetricId("load", "1"): "load1",
    MetricId("load", "5"): "load5",
    MetricId("load", "15"): "load15",
    MetricId("swap"): "swap_used_percent",
    MetricId("memory", "used"): "memory_used",
    MetricId("memory", "available"): "memory_available",
    **_PRESSURES,
}
_HOST_CPU = {
    MetricId("cpu"): ("user", "nice", "system", "iowait", "irq", "softirq", "steal"),
    MetricId("cpu", "user"): ("user",),
    MetricId("cpu", "system"): ("system",),
    MetricId("cpu", "iowait"): ("iowait",),
    MetricId("cpu", "steal"): ("steal",),
}
# what is in a sample only if it was asked for (`SampleTarget.extra`)
_EXTRA = {
    MetricId("memory", "pss"): "pss",
    MetricId("memory", "current"): "memory_current",
    MetricId("memory", "working_set"): "memory_working_set",
    MetricId("memory", "swap"): "memory_swap",
    MetricId("memory", "limit_ratio"): "memory_limit_ratio",
    MetricId("cpu", "throttled"): "throttled_seconds",
    **{metric: name for metric, (name,) in _SERVICE_GAINS.items()},
    **_PRESSURES,
}
EXTRA = frozenset(_EXTRA)
_NET = "net"

NO_PROCESS = "no process of the service was found"
FIRST = "first reading of this process"


def extra(metrics: frozenset[MetricId]) -> frozenset[str]:
    """Return the names for a service's `SampleTarget.extra` that its metrics need."""
    if metrics.isdisjoint(EXTRA):
        return frozenset()
    return frozenset(_EXTRA[metric] for metric in metrics & EXTRA)


def host_extra(metrics: frozenset[MetricId]) -> frozenset[str]:
    """Return the names in the host's sample that its metrics need beyond those always there."""
    nets = {f"net_bytes:{metric.name}" for metric in metrics if metric.family == _NET}
    return frozenset(nets | {_PRESSURES[metric] for metric in metrics & _PRESSURES.keys()})


def service_readings(
    wanted: Iterable[MetricId], previous: Sample | None, current: Sample | None
) -> dict[MetricId, Reading]:
    """Return the readings of a service's metrics, without those that the sample was not made for.

    That is the rest of `init:*`, which no sample has. `previous` is the sample of the last tick,
    None at first.
    """
    return {
        metric: _service_reading(metric, previous, current)
        for metric in wanted
        if _made_for(current, metric)
    }


def host_readings(
    wanted: Iterable[MetricId], previous: Sample | None, current: Sample | None
) -> dict[MetricId, Reading]:
    """Return the readings of the host's metrics; see `service_readings`."""
    return {metric: _host_reading(metric, previous, current) for metric in wanted}


def _service_reading(metric: MetricId, previous: Sample | None, current: Sample | None) -> Reading:
    if current is None:
        return Reading(None, NO_PROCESS)
    if gauge := _SERVICE_GAUGES.get(metric):
        return _gauge(current, *gauge)
    if metric == OOM_KILLS:
        return _oom_kills(previous, current)
    names = _SERVICE_CPU.get(metric) or _SERVICE_GAINS.get(metric)
    if names is None:
        return Reading(None, f"{metric} is not measured by this version")
    if previous is None or previous.main != current.main:
        return Reading(None, _missing(current, names) or FIRST)
    return (_percent if metric in _SERVICE_CPU else _gained)(previous, current, names)


def _made_for(sample: Sample | None, metric: MetricId) -> bool:
    if (name := _EXTRA.get(metric)) is None:
        return metric.family != "init"
    return sample is None or name in sample.raw or name in sample.missing


def _oom_kills(previous: Sample | None, current: Sample) -> Reading:
    """Return what was killed since; a cgroup that was made anew counts from 0 again."""
    names = _SERVICE_GAINS[OOM_KILLS]
    if previous is None:
        return Reading(None, _missing(current, names) or FIRST)
    kills, before = (each.raw.get(*names, 0.0) for each in (current, previous))
    if 0 < kills < before and current.at > previous.at:
        return Reading(kills, elapsed=current.at - previous.at)
    return _gained(previous, current, names)


def _host_reading(metric: MetricId, previous: Sample | None, current: Sample | None) -> Reading:
    if current is None:
        return Reading(None, "the host could not be read")
    if fields := _HOST_CPU.get(metric):
        # an old kernel has no steal; a sum over what there is stays true
        names = tuple(f"cpu_{each}_seconds" for each in fields)
        present = tuple(name for name in names if name in current.raw) or names
        if previous is None:
            return Reading(None, _missing(current, present) or "first reading")
        return _percent(previous, current, present)
    if metric.family == _NET:
        names = (f"net_bytes:{metric.name}",)
        if previous is None:
            return Reading(None, _missing(current, names) or "first reading")
        return _gained(previous, current, names)
    if metric.family == "disk":
        return _gauge(current, f"disk_used_percent:{metric.name}")
    if name := _HOST_GAUGES.get(metric):
        return _gauge(current, name)
    return Reading(None, f"{metric} is not measured by this version")


def _gauge(sample: Sample, name: str, scale: float = 1.0) -> Reading:
    why = _missing(sample, (name,))
    return Reading(None, why) if why else Reading(sample.raw[name] * scale)


def _percent(previous: Sample, current: Sample, names: tuple[str, ...]) -> Reading:
    gain = _gained(previous, current, names)
    if gain.value is None:
        return gain
    return Reading(100.0 * gain.value / gain.elapsed, elapsed=gain.elapsed)


def _gained(previous: Sample, current: Sample, names: tuple[str, ...]) -> Reading:
    why = _missing(current, names) or _missing(previous, names, "first reading")
    if why:
        return Reading(None, why)
    elapsed = current.at - previous.at
    if elapsed <= 0:
        return Reading(None, "no time passed since the last reading")
    gained = _sum(current.raw, names) - _sum(previous.raw, names)
    if gained < 0:
        return Reading(None, "the counter went back", elapsed)
    return Reading(gained, elapsed=elapsed)


def _missing(sample: Sample, names: tuple[str, ...], otherwise: str = "it was not read") -> str:
    for name in names:
        if name not in sample.raw:
            return sample.missing.get(name, otherwise)
    return ""


def _sum(raw: Mapping[str, float], names: tuple[str, ...]) -> float:
    return sum(raw[name] for name in names)
