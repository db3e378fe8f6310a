"""The collector of services: what the init systems say of them and what their processes use."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric

from steadyd.exposition.families import Family
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
_MODES = (("system", "total_system_seconds"), ("user", "total_user_seconds"))


def collect(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the families of all watched services."""
    services = snapshot.services
    yield _inits(snapshot)
    yield _states(services)
    yield _infos(services)
    yield _changes(services)
    yield _restarts(services)
    yield _cpu(services)
    yield _memory(services)
    for name, help_, raw in _FROM_SAMPLE:
        family = Family(f"steadyd_service_{name}", "gauge", help_, ("name",))
        for service in services:
            if service.sample is not None and raw in service.sample.raw:
                family.add((service.name,), service.sample.raw[raw])
        yield family


def _inits(snapshot: Snapshot) -> Family:
    family = Family("steadyd_init_up", "gauge", "Whether the init system answers.", ("init",))
    for init in snapshot.inits:
        family.add((init.name,), float(init.up))
    return family


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
    for service in services:
        for cause, count in service.restarts.items():
            family.add((cause, service.name), count)
    return family


def _cpu(services: Iterable[ServiceView]) -> Family:
    family = Family(
        "steadyd_service_cpu_seconds",
        "counter",
        "CPU time of the service, with ended children.",
        ("mode", "name"),
    )
    for service in services:
        if service.sample is not None:
            for mode, raw in _MODES:
                if raw in service.sample.raw:
                    family.add((mode, service.name), service.sample.raw[raw])
    return family


def _memory(services: Iterable[ServiceView]) -> Family:
    family = Family(
        "steadyd_service_memory_bytes",
        "gauge",
        "Memory of all processes of the service; shared pages count in each.",
        ("memtype", "name"),
    )
    for service in services:
        if service.sample is not None and "total_rss" in service.sample.raw:
            family.add(("resident", service.name), service.sample.raw["total_rss"])
    return family
