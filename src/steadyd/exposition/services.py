"""The collector of services: what the init systems say of them and what their processes use."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from prometheus_client.core import Metric

from steadyd.exposition.families import Family
from steadyd.model.metric import MetricId
from steadyd.model.service import ServiceState
from steadyd.model.snapshot import ServiceView, Snapshot

# family, help, and the name in Sample.raw
_FROM_SAMPLE = (
    ("processes", "Processes of the service, without zombies.", "processes"),
    ("threads", "Threads of all processes of the service.", "threads"),
    ("open_fds", "Open file descriptors of all processes of the service.", "open_fds"),
    (
        "worst_fd_ratio",
        "Open file descriptors of the fullest process against its soft limit, 0 to 1.",
        "worst_fd_ratio",
    ),
    (
        "start_time_seconds",
        "Start of the main process, in seconds since 1970-01-01.",
        "start_time_seconds",
    ),
)
# the same of what is in a sample only where a rule names it
_EXTRA: tuple[tuple[str, Literal["gauge", "counter"], str, str], ...] = (
    (
        "memory_current_bytes",
        "gauge",
        "Memory charged to the cgroup of the service, page cache included.",
        "memory_current",
    ),
    (
        "memory_working_set_bytes",
        "gauge",
        "Memory charged to the cgroup of the service, without inactive page cache.",
        "memory_working_set",
    ),
    (
        "memory_swap_bytes",
        "gauge",
        "Swap charged to the cgroup of the service.",
        "memory_swap",
    ),
    (
        "memory_limit_bytes",
        "gauge",
        "The lowest memory limit of the service and its slices.",
        "memory_limit",
    ),
    (
        "cpu_throttled_seconds",
        "counter",
        "Time in which the CPU quota held the service back, summed over the cores.",
        "throttled_seconds",
    ),
    ("read_bytes", "counter", "Bytes that the service read from storage.", "read_bytes"),
    ("write_bytes", "counter", "Bytes that the service wrote to storage.", "write_bytes"),
    (
        "oom_kills",
        "counter",
        "Processes in the cgroup of the service that were killed for lack of memory.",
        "oom_kills",
    ),
)
_PRESSURES = (
    (("some", "cpu"), "pressure_cpu_percent"),
    (("some", "io"), "pressure_io_percent"),
    (("some", "memory"), "pressure_memory_percent"),
    (("full", "memory"), "pressure_memory_full_percent"),
)
_RICH = frozenset((*(raw for *_, raw in _EXTRA), *(raw for _, raw in _PRESSURES)))
_RSS = MetricId("memory", "rss")
_MAIN_CPU = (
    (MetricId("cpu", "system"), "system_seconds"),
    (MetricId("cpu", "user"), "user_seconds"),
)
_OF_MAIN = frozenset((_RSS, *(metric for metric, _ in _MAIN_CPU)))
Sampled = tuple[str, Mapping[str, float]]  # a name, and what was read of it
_MODES = (("system", "total_system_seconds"), ("user", "total_user_seconds"))


def collect(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the families of all watched services."""
    services = snapshot.services
    sampled = [(each.name, each.sample.raw) for each in services if each.sample is not None]
    yield from _inits(snapshot)
    yield _states(services)
    yield _infos(services)
    yield _changes(services)
    yield _restarts(services)
    yield _cpu(sampled)
    yield _memory(sampled)
    for name, help_, raw in _FROM_SAMPLE:
        family = Family(f"steadyd_service_{name}", "gauge", help_, ("name",))
        family.rows = [((service,), numbers[raw]) for service, numbers in sampled if raw in numbers]
        yield family
    yield from _tasks(services)
    yield from _main(services)
    yield from _named(services)
    yield from _daemons(services)
    if snapshot.host is not None:
        yield from _host(snapshot.host)


def _main(services: Iterable[ServiceView]) -> Iterator[Metric]:
    """Yield what rules name of main processes alone; else the families of the whole are enough."""
    named = [
        (service.name, service.named, service.sample.raw)
        for service in services
        if service.sample is not None and not service.named.isdisjoint(_OF_MAIN)
    ]
    memory = Family(
        "steadyd_service_main_memory_bytes",
        "gauge",
        "Resident memory of the main process alone.",
        ("name",),
    )
    memory.rows = [((n,), raw["rss"]) for n, some, raw in named if _RSS in some and "rss" in raw]
    cpu = Family(
        "steadyd_service_main_cpu_seconds",
        "counter",
        "CPU time of the main process alone.",
        ("mode", "name"),
    )
    cpu.rows = [
        ((metric.name, name), raw[key])
        for name, some, raw in named
        for metric, key in _MAIN_CPU
        if metric in some and key in raw
    ]
    yield from (family for family in (memory, cpu) if family.rows)


def _host(host: ServiceView) -> Iterator[Metric]:
    family = Family(
        "steadyd_host_metric",
        "gauge",
        "What rules read of the host, under their names and in their units; counters per second.",
        ("family", "metric"),
    )
    family.rows = [((metric.family, metric.name), value) for metric, value in host.daemon.items()]
    if family.rows:
        yield family


def _named(services: Iterable[ServiceView]) -> Iterator[Metric]:
    """Yield what only rules that name it have measured; a family that nobody has is left out."""
    rich = [
        (service.name, service.sample.raw)
        for service in services
        if service.sample is not None and not _RICH.isdisjoint(service.sample.raw)
    ]
    if not rich:
        return
    for metric, kind, help_, key in _EXTRA:
        family = Family(f"steadyd_service_{metric}", kind, help_, ("name",))
        family.rows = [((name,), raw[key]) for name, raw in rich if key in raw]
        if family.rows:
            yield family
    family = Family(
        "steadyd_service_pressure_ratio",
        "gauge",
        "Share of the last 10 s in which some task of the service (or all: full) waited, 0 to 1.",
        ("kind", "name", "resource"),
    )
    family.rows = [
        ((share, name, resource), raw[key] / 100)
        for name, raw in rich
        for (share, resource), key in _PRESSURES
        if key in raw
    ]
    if family.rows:
        yield family


def _daemons(services: Iterable[ServiceView]) -> Iterator[Metric]:
    family = Family(
        "steadyd_daemon_metric",
        "gauge",
        "What the server said of itself last, under the names that rules use.",
        ("family", "metric", "name"),
    )
    family.rows = [
        ((metric.family, metric.name, service.name), value)
        for service in services
        if service.daemon
        for metric, value in service.daemon.items()
    ]
    if family.rows:
        yield family


def _inits(snapshot: Snapshot) -> Iterator[Metric]:
    up = Family("steadyd_init_up", "gauge", "Whether the init system answers.", ("init",))
    up.rows = [((init.name,), float(init.up)) for init in snapshot.inits]
    yield up
    help_ = "The version that the init system names, empty where it names none."
    info = Family("steadyd_init_info", "gauge", help_, ("init", "version"))
    info.rows = [((init.name, init.version), 1.0) for init in snapshot.inits if init.up]
    yield info
    help_ = "Whether the init system says that the whole host is as it should be."
    running = Family("steadyd_init_system_running", "gauge", help_, ())
    running.rows = [((), float(i.running)) for i in snapshot.inits if i.running is not None]
    if running.rows:
        yield running


def _tasks(services: Iterable[ServiceView]) -> Iterator[Metric]:
    """Yield the tasks of services whose cgroup may hold so many and no more."""
    limited = [each for each in services if each.tasks_max]
    tasks = Family(
        "steadyd_service_tasks",
        "gauge",
        "Tasks (threads of all processes) of a service with a limit of them.",
        ("name",),
    )
    tasks.rows = [
        ((each.name,), each.sample.raw["threads"])
        for each in limited
        if each.sample is not None and "threads" in each.sample.raw
    ]
    most = Family(
        "steadyd_service_tasks_max",
        "gauge",
        "Tasks that the service may have, as its init system was told.",
        ("name",),
    )
    most.rows = [((each.name,), float(each.tasks_max)) for each in limited]
    yield from (family for family in (tasks, most) if family.rows)


def _states(services: Iterable[ServiceView]) -> Family:
    family = Family(
        "steadyd_service_state",
        "gauge",
        "1 for the state that the service is in, 0 for the others.",
        ("name", "state"),
    )
    states = [(state, str(state)) for state in ServiceState]
    family.rows = [
        ((service.name, word), 1.0 if service.state is state else 0.0)
        for service in services
        for state, word in states
    ]
    return family


def _infos(services: Iterable[ServiceView]) -> Family:
    family = Family(
        "steadyd_service_info",
        "gauge",
        "1; which unit of which init system the service is.",
        ("init", "name", "type", "unit"),
    )
    for service in services:
        family.add((service.init, service.name, service.type, service.unit), 1.0)
    return family


def _changes(services: Iterable[ServiceView]) -> Family:
    family = Family(
        "steadyd_service_state_change_time_seconds",
        "gauge",
        "When the state changed last, in seconds since 1970-01-01.",
        ("name",),
    )
    for service in services:
        if service.since > 0:
            family.add((service.name,), service.since)
    return family


def _restarts(services: Iterable[ServiceView]) -> Family:
    family = Family(
        "steadyd_service_restarts",
        "counter",
        "Restarts of the service by what caused them.",
        ("cause", "name"),
    )
    family.rows = [
        ((cause, service.name), count)
        for service in services
        for cause, count in service.restarts.items()
    ]
    return family


def _cpu(sampled: Iterable[Sampled]) -> Family:
    family = Family(
        "steadyd_service_cpu_seconds",
        "counter",
        "CPU time of the service, with ended children.",
        ("mode", "name"),
    )
    family.rows = [
        ((mode, name), raw[key]) for name, raw in sampled for mode, key in _MODES if key in raw
    ]
    return family


def _memory(sampled: Iterable[Sampled]) -> Family:
    family = Family(
        "steadyd_service_memory_bytes",
        "gauge",
        "Memory of all processes of the service; shared pages count in each if resident.",
        ("memtype", "name"),
    )
    for name, raw in sampled:
        if "total_rss" in raw:
            family.add(("resident", name), raw["total_rss"])
        if "pss" in raw:
            family.add(("proportionalResident", name), raw["pss"])
    return family
