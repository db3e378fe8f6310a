"""The collector of the daemon itself: what was built, what was loaded, what was missed."""

import platform
from collections.abc import Iterator
from typing import Literal

from prometheus_client.core import Metric

from steadyd.exposition.families import Family
from steadyd.model.snapshot import Snapshot

_UNKNOWN = "unknown"  # a wheel does not tell what it was built from


def collect(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the families about us."""
    build = Family(
        "steadyd_build_info",
        "gauge",
        "1; which steadyd this is.",
        ("branch", "python_version", "revision", "version"),
    )
    build.add((_UNKNOWN, platform.python_version(), _UNKNOWN, snapshot.version), 1.0)
    yield build
    for name, help_, value in (
        (
            "config_last_reload_successful",
            "Whether the last reload took all files.",
            snapshot.config_ok,
        ),
        (
            "config_last_reload_success_timestamp_seconds",
            "When a reload took all files last, in seconds since 1970-01-01, 0: never.",
            snapshot.config_loaded_at,
        ),
    ):
        gauge = Family(f"steadyd_{name}", "gauge", help_)
        gauge.add((), float(value))
        yield gauge
    counters = snapshot.counters
    for name, help_, count in (
        ("scheduler_missed_runs", "Cycles that were not run in time.", counters.missed_runs),
        ("fact_queue_overflows", "Times that events came too fast.", counters.overflows),
        ("clock_steps", "Steps of the wall clock.", counters.clock_steps),
    ):
        counter = Family(f"steadyd_{name}", "counter", help_)
        counter.add((), count)
        yield counter


# The names and texts that every Prometheus client library has for its own process.
_PROCESS: tuple[tuple[str, Literal["gauge", "counter"], str, str], ...] = (
    ("virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", "virtual"),
    ("resident_memory_bytes", "gauge", "Resident memory size in bytes.", "rss"),
    (
        "start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        "start_time_seconds",
    ),
    ("cpu_seconds", "counter", "Total user and system CPU time spent in seconds.", "cpu_seconds"),
    ("open_fds", "gauge", "Number of open file descriptors.", "open_fds"),
    ("max_fds", "gauge", "Maximum number of open file descriptors.", "max_fds"),
)


def process(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the families about our own process."""
    for name, kind, help_, key in _PROCESS:
        if key in snapshot.own:
            family = Family(f"process_{name}", kind, help_)
            family.add((), snapshot.own[key])
            yield family
