"""Service detail: one service, its states, what was done for it, and all that is measured of it."""

from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.models.dashboard import VariableHide

from dashboards.boards.services import (
    ACTIONS,
    CAUSES,
    FIRING,
    HURT,
    NO_IO,
    OUTCOMES,
    alerts,
    done,
    grown,
)
from dashboards.parts import (
    BAD,
    CALM,
    DOUBTFUL,
    HOST_CHOICES,
    MARKS,
    NEUTRAL,
    OF_NAMES,
    ON_HOSTS,
    STATE_NUMBERS,
    Column,
    Line,
    Panel,
    bars,
    board,
    choice,
    curves,
    finished,
    lines,
    mapping,
    mark,
    now,
    number,
    of_services,
    row,
    rows,
    source,
    state_number,
    timeline,
)

ALERT_NUMBERS = mapping({"1": ("pending", "yellow"), "2": ("firing", "red")})
NOT_BY_HAND = 'cause!~"operator|package|boot"'
_SERVER = f'steadyd_daemon_metric{{{ON_HOSTS}, name=~"$name"}}'


def made() -> dict[str, Any]:
    """Return the board as Grafana's JSON."""
    found = board(
        "steadyd-service",
        "Service detail",
        "One service: its state and since when, what was done for it, what it uses and what its"
        " server says.",
    )
    variables = (
        source(),
        *HOST_CHOICES,
        choice("name", "Service", OF_NAMES, one=True),
        choice(
            "metric",
            "Metric",
            f"label_values({_SERVER}, metric)",
            hide=VariableHide.HIDE_VARIABLE,
        ),
    )
    for variable in variables:
        found.with_variable(variable)
    mark(found, MARKS)
    for title, panels in (
        ("Now", _now()),
        ("What happened", _happened()),
        ("What it uses", _uses()),
        ("What its server says", _says()),
    ):
        found.with_row(row(title))
        for panel in panels:
            found.with_panel(panel)
    return finished(found, MARKS, one_name=True)


def _now() -> Iterator[Panel]:
    yield number(
        "State",
        "The worst state of this service on the chosen hosts, as the init system tells it.",
        now(f"max({state_number('job, instance, name')})"),
        NEUTRAL,
        words=STATE_NUMBERS,
    )
    changed = of_services("steadyd_service_state_change_time_seconds")
    yield number(
        "For",
        "Time since the state changed last.",
        now(f"time() - max({changed})"),
        CALM,
        unit="s",
    )
    yield number(
        "Uptime",
        "Age of the youngest main process.",
        now(f"time() - max({of_services('steadyd_service_start_time_seconds')})"),
        CALM,
        unit="s",
        none="not running",
    )
    yield number(
        "Alerts firing",
        "Rules of this service whose condition holds now.",
        now(f"count({of_services('steadyd_alerts', FIRING)}) or vector(0)"),
        BAD,
    )
    restarts = of_services("steadyd_service_restarts_total", NOT_BY_HAND)
    yield number(
        "Restarts, last hour",
        "Restarts that nobody asked for by hand, whatever the time range of the board.",
        now(f"round(sum(increase({restarts}[1h])))"),
        DOUBTFUL,
    )
    yield number(
        "Actions, last hour",
        "Verbs that steadyd asked of the init system for this service.",
        now(f"round(sum(increase({ACTIONS}[1h])))"),
        CALM,
    )
    yield number(
        "Did not help, last hour",
        "Verbs after which the trouble stayed or came back, or that failed.",
        now(f"round(sum(increase({of_services(OUTCOMES, HURT)}[1h])))"),
        DOUBTFUL,
    )
    yield rows(
        "Unit",
        "Which unit of which init system the service is.",
        (
            Column("Init", label="init", width=90),
            Column("Unit", label="unit"),
        ),
        size=(3, 4),
        none="none",
        sort=("Unit", "up"),
        hidden=(f"max by (init, unit) ({of_services('steadyd_service_info')})",),
    )


def _happened() -> Iterator[Panel]:
    yield timeline(
        "State",
        "The state of the service, as the init system tells it.",
        lines(state_number("job, instance, name"), "{{instance}}"),
        STATE_NUMBERS,
        size=(12, 5),
    )
    firing = of_services("steadyd_alerts", FIRING)
    pending = of_services("steadyd_alerts", 'alertstate="pending"')
    by = "job, instance, alertname"
    yield timeline(
        "Alerts",
        "Rules whose condition holds (red) or would fire if it lasts (yellow).",
        lines(f"max by ({by}) ({firing} * 2 or {pending})", "{{alertname}}"),
        ALERT_NUMBERS,
        size=(12, 5),
        none="none in this time range",
    )
    yield alerts((10, 7), of_one=True)
    yield done((14, 7), of_one=True)
    yield bars(
        "Restarts by cause",
        "Restarts of the service by what caused them.",
        lines(grown("cause", of_services("steadyd_service_restarts_total")), "{{cause}}"),
        size=(12, 7),
        colours=CAUSES,
    )
    yield bars(
        "Held back",
        "Verbs that a rule called for and that were not asked, by reason.",
        lines(grown("reason", of_services("steadyd_actions_suppressed_total")), "{{reason}}"),
        size=(12, 7),
    )


def _rate(counter: str, legend: str, by: str = "job, instance") -> Any:
    """Ask for the rate of a counter of this service."""
    return lines(
        f"sum by ({by}) (rate({of_services(counter)}[$__rate_interval]))",
        f"{{{{instance}}}} {legend}",
    )


def _gauge(metric: str, legend: str = "", *matchers: str) -> Any:
    return lines(of_services(metric, *matchers), f"{{{{instance}}}} {legend}".strip())


def _uses() -> Iterator[Panel]:
    yield curves(
        "CPU",
        "Cores kept busy, by mode, with ended children; time that a CPU quota held back; and of"
        " the main process alone where a rule names `cpu:user` or `cpu:system`.",
        _rate("steadyd_service_cpu_seconds_total", "{{mode}}", "job, instance, mode"),
        _rate("steadyd_service_cpu_throttled_seconds_total", "throttled"),
        _rate("steadyd_service_main_cpu_seconds_total", "main {{mode}}", "job, instance, mode"),
        unit="suffix:cores",
        styles=(Line("B", dashed=True), Line("C", dashed=True)),
    )
    yield curves(
        "Memory",
        "Resident memory of all processes, and what rules name beside it: proportional, of the"
        " main process alone, of the cgroup with and without inactive page cache, swap. Dashed:"
        " the lowest limit above the service.",
        _gauge("steadyd_service_memory_bytes", "{{memtype}}"),
        _gauge("steadyd_service_main_memory_bytes", "main process"),
        _gauge("steadyd_service_memory_current_bytes", "cgroup"),
        _gauge("steadyd_service_memory_working_set_bytes", "working set"),
        _gauge("steadyd_service_memory_swap_bytes", "swap"),
        _gauge("steadyd_service_memory_limit_bytes", "limit"),
        unit="bytes",
        styles=(Line("F", dashed=True),),
    )
    yield curves(
        "Waiting",
        "Share of time in which some task of the service (or all: full) waited for a resource.",
        _gauge("steadyd_service_pressure_ratio", "{{resource}} {{kind}}"),
        unit="percentunit",
        top=1,
        none="no rule names `pressure:…`",
    )
    yield curves(
        "File descriptors",
        "Open file descriptors of all processes.",
        _gauge("steadyd_service_open_fds"),
        unit="short",
        size=(6, 8),
    )
    yield curves(
        "Share of limits",
        "Open descriptors of the fullest process against its soft limit; tasks against the most"
        " that the unit may have.",
        _gauge("steadyd_service_worst_fd_ratio", "descriptors"),
        lines(
            f"{of_services('steadyd_service_tasks')} / {of_services('steadyd_service_tasks_max')}",
            "{{instance}} tasks",
        ),
        unit="percentunit",
        steps=((None, "green"), (0.8, "orange"), (0.95, "red")),
        size=(6, 8),
    )
    yield curves(
        "Processes and threads",
        "Processes, without zombies, and threads.",
        _gauge("steadyd_service_processes", "processes"),
        _gauge("steadyd_service_threads", "threads"),
        unit="short",
        size=(6, 8),
    )
    yield curves(
        "Storage",
        "Bytes read, and below zero bytes written, where a rule names `io:read` or `io:write`.",
        _rate("steadyd_service_read_bytes_total", "read"),
        _rate("steadyd_service_write_bytes_total", "written"),
        unit="Bps",
        size=(6, 8),
        none=NO_IO,
        styles=(Line("B", negative=True),),
    )


def _says() -> Iterator[Panel]:
    yield curves(
        "$metric",
        "What the server said of itself last, under the name that rules use.",
        lines(
            of_services("steadyd_daemon_metric", 'metric=~"$metric"'),
            "{{instance}} {{family}}:{{metric}}",
        ),
        unit="short",
        size=(6, 6),
        repeat="metric",
    )
