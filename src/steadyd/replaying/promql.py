"""PURE: the metrics of rules in PromQL, of what steadyd itself exports.

A counter is its gain over the step before, unknown where it went back, as a tick has it. Source of
the names: contract.md, section 5, and `exposition/services.py`.
"""

import json
import re
from typing import Final

from steadyd.model.metric import Kind, MetricId, Subject
from steadyd.model.rule import HOST
from steadyd.probes.catalogue import CATALOGUE, metric_id

_UNSAID: Final = "steadyd exports no such metric"

# metric of a rule -> family, labels, and what makes its unit that of rules
_GAUGES: Final[dict[str, tuple[str, str, float]]] = {
    "memory:rss": ("main_memory_bytes", "", 1),
    "memory:total_rss": ("memory_bytes", 'memtype="resident"', 1),
    "memory:pss": ("memory_bytes", 'memtype="proportionalResident"', 1),
    "memory:current": ("memory_current_bytes", "", 1),
    "memory:working_set": ("memory_working_set_bytes", "", 1),
    "memory:swap": ("memory_swap_bytes", "", 1),
    "process:count": ("processes", "", 1),
    "process:threads": ("threads", "", 1),
    "process:fds": ("open_fds", "", 1),
    "process:fd_ratio": ("worst_fd_ratio", "", 100),
    "pressure:cpu": ("pressure_ratio", 'kind="some",resource="cpu"', 100),
    "pressure:memory": ("pressure_ratio", 'kind="some",resource="memory"', 100),
    "pressure:memory_full": ("pressure_ratio", 'kind="full",resource="memory"', 100),
    "pressure:io": ("pressure_ratio", 'kind="some",resource="io"', 100),
}
# the same of counters; None: the gain itself, else per second times this
_COUNTERS: Final[dict[str, tuple[str, str, float | None]]] = {
    "cpu:user": ("main_cpu_seconds_total", 'mode="user"', 100),
    "cpu:system": ("main_cpu_seconds_total", 'mode="system"', 100),
    "cpu:total_user": ("cpu_seconds_total", 'mode="user"', 100),
    "cpu:total_system": ("cpu_seconds_total", 'mode="system"', 100),
    "cpu:tree": ("cpu_seconds_total", "", 100),
    "cpu:throttled": ("cpu_throttled_seconds_total", "", 100),
    "io:read": ("read_bytes_total", "", None),
    "io:write": ("write_bytes_total", "", None),
    "init:oom_kills": ("oom_kills_total", "", None),
    "init:restarts": ("restarts_total", "", None),
}
NAMES: Final = frozenset(map(metric_id, (*_GAUGES, *_COUNTERS, "init:up", "init:uptime")))


class Unsaid(Exception):
    """There is no query for a metric; str() says why."""


def query(service: str, metric: MetricId, step: float, host: str = "") -> str:
    """Return the query of a metric of a service, at most one series for each instance.

    `step` is in seconds; `host` is the label `instance`, with or without its port. Raises Unsaid.
    """
    if service == HOST:
        return _of_host(metric, step, host)
    where, name = _where(service, host), str(metric)
    if name == "init:up":
        return _up(where)
    if name == "init:uptime":
        return f"time() - max by (instance) (steadyd_service_start_time_seconds{{{where}}})"
    if name in _GAUGES:
        family, labels, scale = _GAUGES[name]
        found = f"max by (instance) (steadyd_service_{family}{{{_and(where, labels)}}})"
        return found if scale == 1 else f"{found} * {scale:g}"
    if name in _COUNTERS:
        family, labels, factor = _COUNTERS[name]
        gained = _gained(f"steadyd_service_{family}{{{_and(where, labels)}}}", step)
        return gained if factor is None else f"{gained} / {step!r} * {factor:g}"
    entry = CATALOGUE.lookup(Subject.SERVICE, metric)
    if entry is None or _is_ours(entry.id):
        raise Unsaid(_UNSAID)
    labels = f"family={text(metric.family)},metric={text(metric.name)}"
    series = f"steadyd_daemon_metric{{{_and(where, labels)}}}"
    return _gained(series, step) if entry.kind is Kind.COUNTER else f"max by (instance) ({series})"


def _of_host(metric: MetricId, step: float, host: str) -> str:
    entry = CATALOGUE.lookup(Subject.HOST, metric)
    if entry is None:
        raise Unsaid(_UNSAID)
    labels = f"family={text(metric.family)},metric={text(metric.name)}"
    found = f"max by (instance) (steadyd_host_metric{{{_and(labels, _instance(host))}}})"
    return f"{found} * {step!r}" if entry.gains else found


def services(host: str = "") -> str:
    """Return the selector of which the label `name` tells the services that were watched."""
    return f"steadyd_service_state{{{_instance(host)}}}"


def text(value: str) -> str:
    """Return a string of PromQL: a name may hold quotes, backslashes and newlines."""
    return json.dumps(value, ensure_ascii=False)


def _is_ours(metric: MetricId) -> bool:
    """Tell whether steadyd measures it, and no server says it."""
    return metric.family in ("memory", "cpu", "process", "init", "io", "pressure")


def _where(service: str, host: str) -> str:
    return _and(f"name={text(service)}", _instance(host))


def _instance(host: str) -> str:
    return f"instance=~{text(re.escape(host) + '(:[0-9]+)?')}" if host else ""


def _and(*matchers: str) -> str:
    return ",".join(matcher for matcher in matchers if matcher)


def _gained(series: str, step: float) -> str:
    """Return what a counter gained; several of one instance (modes, causes) are added up."""
    ago = f"{max(1, round(step * 1000))}ms"
    total = "sum by (instance) ({})".format
    return f"(({total(series)} - {total(f'{series} offset {ago}')}) >= 0)"


def _up(where: str) -> str:
    """1 up, 0 down, and nothing while the init acts."""
    state = "max by (instance) (steadyd_service_state{{{},state=~{}}})".format
    up = state(where, text("active|reloading"))
    acts = state(where, text("activating|deactivating|unknown"))
    return f"({up}) unless on (instance) ({acts} == 1)"
