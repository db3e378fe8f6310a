"""Fleet: which hosts need a look first."""

from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.models.dashboard import VariableHide

from dashboards.boards.services import (
    ACTIVE,
    FAILED,
    FIRING,
    HURT,
    OUTCOMES,
    WAITING,
    grown,
    versions,
)
from dashboards.parts import (
    BAD,
    DOUBTFUL,
    GOOD,
    HOST_CHOICES,
    MARKS,
    Column,
    Panel,
    Steps,
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
    of_hosts,
    ranking,
    row,
    rows,
    source,
    unscraped,
)

_BY = "instance"
_MARKS = tuple(each._replace(on=False) for each in MARKS if "$name" not in each.expr)
_SERVICES = "/d/steadyd-services/services-health?var-datasource=${datasource}"
_GOOD_OR_BROKEN = mapping({"0": ("broken", "red"), "1": ("good", "green")})
_WHOLE = mapping({"0": ("degraded", "orange"), "1": ("running", "green")})
_ANY: Steps = ((None, "text"), (1, "orange"))
_RED: Steps = ((None, "text"), (1, "red"))


def made() -> dict[str, Any]:
    """Return the board as Grafana's JSON."""
    found = board(
        "steadyd-fleet",
        "Fleet",
        "All hosts that run steadyd: which of them need a look first.",
    )
    family = choice(
        "family",
        "Family",
        f"label_values({of_hosts('steadyd_host_metric')}, family)",
        hide=VariableHide.HIDE_VARIABLE,
    )
    for variable in (source(), *HOST_CHOICES, family):
        found.with_variable(variable)
    mark(found, _MARKS)
    for title, panels in (
        ("Now", (*_numbers(), _hosts())),
        ("Highest", _highest()),
        ("Over time", _over_time()),
    ):
        found.with_row(row(title))
        for panel in panels:
            found.with_panel(panel)
    found.with_row(row("What rules read of the hosts", collapsed=[_read()]))
    return finished(found, _MARKS)


def _numbers() -> Iterator[Panel]:
    yield number(
        "Hosts",
        "Daemons that Prometheus scraped just now.",
        now(f"count({of_hosts('steadyd_build_info')})"),
        GOOD,
    )
    yield number(
        "Silent hosts",
        "Daemons that Prometheus scraped within a day and now cannot.",
        now(unscraped()),
        BAD,
    )
    yield number(
        "Services",
        "Services that are active.",
        now(f"sum({of_hosts('steadyd_service_state', ACTIVE)})"),
        GOOD,
    )
    yield number(
        "Failed",
        "Services that ended badly and that their init system does not start again.",
        now(f"sum({of_hosts('steadyd_service_state', FAILED)})"),
        BAD,
    )
    yield number(
        "Alerts firing",
        "Rules whose condition holds now.",
        now(f"count({of_hosts('steadyd_alerts', FIRING)}) or vector(0)"),
        BAD,
    )
    yield number(
        "Did not help, last hour",
        "Verbs after which the trouble stayed or came back, or that failed.",
        now(f"round(sum(increase({of_hosts(OUTCOMES, HURT)}[1h])))"),
        DOUBTFUL,
    )
    yield number(
        "Broken rule files",
        "Hosts whose last reload did not take all files.",
        now(
            f"count({of_hosts('steadyd_config_last_reload_successful')} == 0) or vector(0)",
        ),
        BAD,
    )
    yield number(
        "Init unreachable",
        "Init systems that their daemon cannot reach: it can neither see nor heal.",
        now(f"count({of_hosts('steadyd_init_up')} == 0) or vector(0)"),
        BAD,
    )


def _each(expr: str, by: str = "sum") -> str:
    return f"{by} by ({_BY}) ({expr})"


def _hour(counter: str) -> str:
    return f"round({_each(f'increase({counter}[1h])')})"


def _hosts() -> Panel:
    version = "max by (instance, version)"
    build = f"{version} ({of_hosts('steadyd_build_info')})"

    def of(expr: str) -> str:
        """Give each row the same labels."""
        return f"{build} * on ({_BY}) group_left () ({expr})"

    firing = _each(of_hosts("steadyd_alerts", FIRING))
    none = _each(of_hosts("steadyd_build_info")) + " * 0"
    state = "steadyd_service_state"
    return rows(
        "Hosts",
        "One row per daemon that Prometheus scraped just now, the most troubled first. Counts of"
        " the last hour, whatever the time range of the board.",
        (
            Column(
                "Host",
                label="instance",
                link=f"{_SERVICES}&var-instance=${{__value.text:percentencode}}",
            ),
            Column("Alerts", expr=of(f"{firing} or {none}"), steps=_RED, width=80),
            Column("Failed", expr=of(_each(of_hosts(state, FAILED))), steps=_RED, width=80),
            Column(
                "Whole host",
                expr=of(_each(of_hosts("steadyd_init_system_running"))),
                words=_WHOLE,
                width=100,
            ),
            Column("Active", expr=of(_each(of_hosts(state, ACTIVE))), width=80),
            Column("Actions", expr=of(_hour(of_hosts("steadyd_actions_total"))), width=80),
            Column("Did not help", expr=of(_hour(of_hosts(OUTCOMES, HURT))), steps=_ANY, width=110),
            Column(
                "Restarts", expr=of(_hour(of_hosts("steadyd_service_restarts_total"))), width=90
            ),
            Column(
                "Rule files",
                expr=of(_each(of_hosts("steadyd_config_last_reload_successful"), "min")),
                words=_GOOD_OR_BROKEN,
                width=90,
            ),
            Column(
                "Not delivered",
                expr=of(_each(of_hosts("steadyd_outbox_parcels", WAITING))),
                steps=_ANY,
                width=110,
            ),
            Column(
                "Missed cycles",
                expr=of(_hour(of_hosts("steadyd_scheduler_missed_runs_total"))),
                steps=_ANY,
                width=110,
            ),
            Column("Version", label="version", width=110),
        ),
        size=(24, 8),
        none="none",
        sort=("Alerts", "down"),
    )


def _highest() -> Iterator[Panel]:
    who = "{{instance}} {{name}}"
    by = "job, instance, name"

    def top(expr: str) -> str:
        return f"topk(10, {expr})"

    memory = of_hosts("steadyd_service_memory_bytes", 'memtype="resident"')
    cpu = of_hosts("steadyd_service_cpu_seconds_total")
    yield ranking(
        "Memory",
        "The ten services with most resident memory.",
        now(top(memory), who),
        unit="bytes",
    )
    yield ranking(
        "CPU",
        "The ten services that keep most cores busy.",
        now(top(f"sum by ({by}) (rate({cpu}[$__rate_interval]))"), who),
        unit="suffix:cores",
    )
    for title, description, counter in (
        ("Restarts", "The ten services restarted most, whoever did.", "steadyd_service_restarts"),
        ("Actions", "The ten services that steadyd acted on most.", "steadyd_actions"),
    ):
        gained = f"increase({of_hosts(f'{counter}_total')}[$__range])"
        yield ranking(
            title,
            f"{description} Within the time range.",
            now(top(f"round(sum by ({by}) ({gained})) > 0"), who),
            unit="short",
        )


def _over_time() -> Iterator[Panel]:
    host = "{{instance}}"
    yield curves(
        "Alerts firing",
        "Rules whose condition holds, by host.",
        lines(_each(of_hosts("steadyd_alerts", FIRING)), host),
        unit="short",
        stacked=True,
    )
    yield bars(
        "Actions",
        "Verbs asked of init systems, by host.",
        lines(
            grown("job, instance", of_hosts("steadyd_actions_total")),
            host,
        ),
    )
    yield versions()


def _read() -> Panel:
    return curves(
        "$family",
        "What rules read of the host, under their names and in their units: percent of CPU are of"
        " one core, counters are per second.",
        lines(of_hosts("steadyd_host_metric", 'family=~"$family"'), "{{instance}} {{metric}}"),
        unit="short",
        size=(6, 7),
        repeat="family",
    )
