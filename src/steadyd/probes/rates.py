"""PURE: two samples in, readings out. What cannot be said truly is unknown, with the reason.

Percent of CPU is of one core, over the time that truly passed between the samples. A counter of
another process is another counter: its first reading is unknown.
"""

from collections.abc import Iterable, Mapping

from steadyd.model.metric import MetricId, Reading, Sample

_SERVICE_GAUGES = {
    MetricId("memory", "rss"): ("rss", 1.0),
    MetricId("memory", "total_rss"): ("total_rss", 1.0),
    MetricId("process", "count"): ("processes", 1.0),
    MetricId("process", "threads"): ("threads", 1.0),
    MetricId("process", "fds"): ("open_fds", 1.0),
    MetricId("process", "fd_ratio"): ("worst_fd_ratio", 100.0),
    MetricId("process", "zombies"): ("zombies", 1.0),
}
_SERVICE_CPU = {
    MetricId("cpu", "user"): ("user_seconds",),
    MetricId("cpu", "system"): ("system_seconds",),
    MetricId("cpu", "total_user"): ("total_user_seconds",),
    MetricId("cpu", "total_system"): ("total_system_seconds",),
    MetricId("cpu", "tree"): ("total_user_seconds", "total_system_seconds"),
}
_HOST_GAUGES = {
    MetricId("load", "1"): "load1",
    MetricId("load", "5"): "load5",
    MetricId("load", "15"): "load15",
    MetricId("swap"): "swap_used_percent",
}
_HOST_CPU = {
    MetricId("cpu"): ("user", "nice", "system", "iowait", "irq", "softirq", "steal"),
    MetricId("cpu", "user"): ("user",),
    MetricId("cpu", "system"): ("system",),
    MetricId("cpu", "iowait"): ("iowait",),
    MetricId("cpu", "steal"): ("steal",),
}

NO_PROCESS = "no process of the service was found"
FIRST = "first reading of this process"


def service_readings(
    wanted: Iterable[MetricId], previous: Sample | None, current: Sample | None
) -> dict[MetricId, Reading]:
    """Return the readings of a service's metrics, without `init:*`, which no sample has.

    `previous` is the sample of the last tick, None at first.
    """
    return {
        metric: _service_reading(metric, previous, current)
        for metric in wanted
        if metric.family != "init"
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
    if names := _SERVICE_CPU.get(metric):
        if previous is None or previous.main != current.main:
            return Reading(None, _missing(current, names) or FIRST)
        return _percent(previous, current, names)
    return Reading(None, f"{metric} is not measured by this version")


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
    if metric.family == "disk":
        return _gauge(current, f"disk_used_percent:{metric.name}")
    if name := _HOST_GAUGES.get(metric):
        return _gauge(current, name)
    return Reading(None, f"{metric} is not measured by this version")


def _gauge(sample: Sample, name: str, scale: float = 1.0) -> Reading:
    why = _missing(sample, (name,))
    return Reading(None, why) if why else Reading(sample.raw[name] * scale)


def _percent(previous: Sample, current: Sample, names: tuple[str, ...]) -> Reading:
    why = _missing(current, names) or _missing(previous, names)
    if why:
        return Reading(None, why)
    elapsed = current.at - previous.at
    if elapsed <= 0:
        return Reading(None, "no time passed since the last reading")
    gained = _sum(current.raw, names) - _sum(previous.raw, names)
    if gained < 0:
        return Reading(None, "the counter went back", elapsed)
    return Reading(100.0 * gained / elapsed, elapsed=elapsed)


def _missing(sample: Sample, names: tuple[str, ...]) -> str:
    for name in names:
        if name not in sample.raw:
            return sample.missing.get(name, f"there is no {name}")
    return ""


def _sum(raw: Mapping[str, float], names: tuple[str, ...]) -> float:
    return sum(raw[name] for name in names)
