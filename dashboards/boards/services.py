"""Services health: what is wrong, since when, what was done about it, and did it help."""

from collections.abc import Iterator
from typing import Any

from dashboards.parts import (
    ALERT_WORDS,
    BAD,
    CALM,
    DOUBTFUL,
    GOOD,
    HOST_CHOICES,
    MARKS,
    OF_NAMES,
    SERIES_LINK,
    STATE_NUMBERS,
    STATE_WORDS,
    Column,
    Line,
    Panel,
    bars,
    board,
    choice,
    curves,
    finished,
    last_gain,
    lines,
    mapping,
    mark,
    now,
    number,
    of_daemons,
    of_hosts,
    of_services,
    row,
    rows,
    source,
    state_number,
    timeline,
    to_service,
    unscraped,
)

ACTIVE, FAILED = 'state="active"', 'state="failed"'
FIRING = 'alertstate="firing"'
OTHER = 'state!="active"'
RESIDENT = 'memtype="resident"'
OOM = 'cause="oom"'
WAITING = 'state=~"pending|dead"'
ALERTS = of_services("steadyd_alerts")
ACTIONS = of_services("steadyd_actions_total")
OUTCOMES = "steadyd_action_outcomes_total"
CAUSES = {"init": "red", "oom": "dark-red", "rule": "orange", "operator": "blue"}
NO_IO = "no rule names `io:read` or `io:write`"
HURT = 'outcome=~"not_healed|came_back|failed|unknown"'
WHO = "{{instance}} {{name}}"
_TO_SERVICE = to_service("__data.fields.Service", "__data.fields.Host")
HOST = Column("Host", label="instance", width=140)
SERVICE = Column("Service", label="name", link=_TO_SERVICE, width=140)


def made() -> dict[str, Any]:
    """Return the board as Grafana's JSON."""
    found = board(
        "steadyd-services",
        "Services health",
        "What is wrong with the services that steadyd watches, since when, what was done about it"
        " and whether it helped.",
    )
    for variable in (source(), *HOST_CHOICES, choice("name", "Service", OF_NAMES)):
        found.with_variable(variable)
    mark(found, MARKS)
    found.with_row(row("Now"))
    for panel in (*numbers(), alerts(), done(), states(), not_active()):
        found.with_panel(panel)
    found.with_row(row("Resources"))
    for panel in resources():
        found.with_panel(panel)
    found.with_row(row("Restarts, actions, notifications"))
    for panel in _happened():
        found.with_panel(panel)
    found.with_row(row("The daemon itself", collapsed=list(_itself())))
    return finished(found, MARKS)


def numbers() -> Iterator[Panel]:
    """Yield the line that says at first sight whether all is well."""
    yield number(
        "Active",
        "Services that are active.",
        now(f"sum({of_services('steadyd_service_state', ACTIVE)})"),
        GOOD,
    )
    yield number(
        "Failed",
        "Services that ended badly and that their init system does not start again.",
        now(f"sum({of_services('steadyd_service_state', FAILED)})"),
        BAD,
    )
    yield number(
        "Alerts firing",
        "Rules whose condition holds now.",
        now(f"count({of_services('steadyd_alerts', FIRING)}) or vector(0)"),
        BAD,
    )
    yield number(
        "Actions, last hour",
        "Verbs that steadyd asked of init systems, whatever the time range of the board.",
        now(f"round(sum(increase({ACTIONS}[1h])))"),
        CALM,
    )
    yield number(
        "Did not help, last hour",
        "Verbs of the last hour after which the trouble stayed or came back, or that failed.",
        now(f"round(sum(increase({of_services(OUTCOMES, HURT)}[1h])))"),
        DOUBTFUL,
    )
    yield number(
        "Rule files",
        "Whether the last reload took all files. Of a broken one the last good text is in force;"
        " `steadyd check` tells the line.",
        now(f"min({of_hosts('steadyd_config_last_reload_successful')})"),
        BAD,
        words=mapping({"0": ("broken", "red"), "1": ("good", "green")}),
    )
    yield number(
        "Out of sight",
        "Daemons that Prometheus scraped within a day and now cannot, and init systems that their"
        " daemon cannot reach: what is shown of their services may be old or missing.",
        now(f"{unscraped()} + (count({of_hosts('steadyd_init_up')} == 0) or vector(0))"),
        BAD,
    )
    yield number(
        "Not delivered",
        "Messages that wait for their target or were given up; `steadyd status` tells why.",
        now(f"sum({of_hosts('steadyd_outbox_parcels', WAITING)})"),
        DOUBTFUL,
    )


def alerts(size: tuple[int, int] = (12, 8), *, of_one: bool = False) -> Panel:
    """Return the table of what is wrong by the rules."""
    by = "instance, name, alertname, severity, alertstate"
    # there was a scrape one step before, and it did not have the alert
    scraped = f"and on (job, instance) {of_hosts('steadyd_build_info')} offset $__interval"
    began = f"timestamp(({ALERTS} unless {ALERTS} offset $__interval) {scraped})"
    since = f"time() - max_over_time({began}[$__range:$__interval])"
    acted = f"max by (job, instance, name) ({last_gain(ACTIONS)})"
    last = f"time() - max by ({by}) ({ALERTS} * on (job, instance, name) group_left () {acted})"
    return rows(
        "Alerts",
        "Rules that fire, or will if it lasts. `For` looks back over the time range of the board:"
        " of what was there before, or when the daemon was first seen, it is the whole range."
        " `steadyd why SERVICE` on the host tells the numbers, and the rule with its runbook.",
        (
            *(() if of_one else (HOST, SERVICE)),
            Column("Alert", label="alertname"),
            Column("State", label="alertstate", words=ALERT_WORDS, width=70),
            Column("Severity", label="severity", width=80),
            Column(
                "For",
                expr=f"max by ({by}) (({since} or {ALERTS} * $__range_s) and {ALERTS})",
                unit="s",
                width=90,
            ),
            Column("Last action", expr=last, unit="s", width=100),
        ),
        size=size,
        none="none",
        sort=("State", "up"),
    )


def done(size: tuple[int, int] = (12, 8), *, of_one: bool = False) -> Panel:
    """Return the table of verbs and what came of them."""
    by = "action" if of_one else "instance, name, action"

    def came(counter: str) -> str:
        return f"round(sum by ({by}) (increase({counter}[$__range]))) > 0"

    def outcome(title: str, word: str, colour: str, width: int) -> Column:
        matcher = f'outcome="{word}"'
        expr = came(of_services(OUTCOMES, matcher))
        return Column(title, expr=expr, steps=((None, colour),), width=width)

    return rows(
        "What was done",
        "Verbs that were asked of init systems within the time range, and what came of them: the"
        " trouble ended, stayed, or ended and came back soon; the verb failed; or nobody knows.",
        (
            *(() if of_one else (HOST, SERVICE)),
            Column("Verb", label="action"),
            Column(
                "Ago", expr=f"time() - max by ({by}) ({last_gain(ACTIONS)})", unit="s", width=80
            ),
            Column("Asked", expr=came(ACTIONS), width=60),
            outcome("Healed", "healed", "green", 70),
            outcome("Not healed", "not_healed", "orange", 90),
            outcome("Came back", "came_back", "orange", 90),
            outcome("Failed", "failed", "red", 65),
            outcome("Unknown", "unknown", "orange", 80),
        ),
        size=size,
        none="none",
        sort=("Ago", "up"),
    )


def states() -> Panel:
    """Return the states over time."""
    return timeline(
        "States",
        "The state of each service, as its init system tells it.",
        lines(state_number("job, instance, name"), WHO),
        STATE_NUMBERS,
        size=(16, 9),
        links=(SERIES_LINK,),
    )


def not_active() -> Panel:
    """Return the table of services that are not active."""
    by = "instance, name, state"
    state = f"{of_services('steadyd_service_state', OTHER)} == 1"
    since = of_services("steadyd_service_state_change_time_seconds")
    joined = f"({state}) * on (job, instance, name) group_left () {since}"
    return rows(
        "Not active",
        "Services in another state than active, and for how long. `inactive` may be meant: what"
        " somebody stopped is not started again.",
        (
            HOST,
            SERVICE,
            Column("State", label="state", words=STATE_WORDS, width=90),
            Column("For", expr=f"time() - max by ({by}) ({joined})", unit="s", width=80),
        ),
        size=(8, 9),
        none="none",
        sort=("For", "up"),
        hidden=(f"max by ({by}) ({state})",),
    )


def resources() -> Iterator[Panel]:
    """Yield what the services use."""
    memory = of_services("steadyd_service_memory_bytes", RESIDENT)
    yield curves(
        "CPU",
        "Cores that the service keeps busy, with ended children.",
        lines(
            "sum by (job, instance, name) "
            f"(rate({of_services('steadyd_service_cpu_seconds_total')}[$__rate_interval]))",
            WHO,
        ),
        unit="suffix:cores",
        links=(SERIES_LINK,),
    )
    yield curves(
        "Memory",
        "Resident memory of all processes; shared pages count in each. Dashed: the lowest limit"
        " of the cgroup and its slices, where a rule names `memory:limit_ratio`.",
        lines(memory, WHO),
        lines(of_services("steadyd_service_memory_limit_bytes"), f"{WHO} limit"),
        unit="bytes",
        styles=(Line("B", dashed=True),),
        links=(SERIES_LINK,),
    )
    yield curves(
        "File descriptors",
        "Open descriptors of the fullest process against its soft limit.",
        lines(of_services("steadyd_service_worst_fd_ratio"), WHO),
        unit="percentunit",
        steps=((None, "green"), (0.8, "orange"), (0.95, "red")),
        links=(SERIES_LINK,),
    )
    yield curves(
        "Processes",
        "Processes of the service, without zombies.",
        lines(of_services("steadyd_service_processes"), WHO),
        unit="short",
        links=(SERIES_LINK,),
    )
    yield curves(
        "Threads",
        "Threads of all processes of the service.",
        lines(of_services("steadyd_service_threads"), WHO),
        unit="short",
        links=(SERIES_LINK,),
    )
    yield curves(
        "Uptime",
        "Age of the main process: each drop is a restart.",
        lines(f"time() - {of_services('steadyd_service_start_time_seconds')}", WHO),
        unit="s",
        links=(SERIES_LINK,),
    )
    yield curves(
        "Storage",
        "Bytes read, and below zero bytes written, where a rule names `io:read` or `io:write`.",
        lines(
            f"rate({of_services('steadyd_service_read_bytes_total')}[$__rate_interval])",
            f"{WHO} read",
        ),
        lines(
            f"rate({of_services('steadyd_service_write_bytes_total')}[$__rate_interval])",
            f"{WHO} written",
        ),
        unit="Bps",
        size=(12, 8),
        none=NO_IO,
        styles=(Line("B", negative=True),),
        links=(SERIES_LINK,),
    )
    yield bars(
        "Killed for lack of memory",
        "Restarts after the kernel or systemd-oomd killed, and processes killed in the cgroup"
        " where a rule names `init:oom_kills`.",
        lines(
            "sum by (job, instance, name) "
            f"(increase({of_services('steadyd_service_restarts_total', OOM)}[$__rate_interval]))"
            " > 0",
            f"{WHO} restarted",
        ),
        lines(
            f"increase({of_services('steadyd_service_oom_kills_total')}[$__rate_interval]) > 0",
            f"{WHO} killed",
        ),
        size=(12, 8),
    )


def grown(by: str, counter: str) -> str:
    """Give what a counter gained, where it did."""
    return f"round(sum by ({by}) (increase({counter}[$__rate_interval]))) > 0"


def _happened() -> Iterator[Panel]:
    yield bars(
        "Restarts by cause",
        "Restarts of services: asked by a rule, made by the init system on its own (`init`), after"
        " a kill for lack of memory, by an operator, a watchdog, a package, the boot.",
        lines(grown("cause", of_services("steadyd_service_restarts_total")), "{{cause}}"),
        colours=CAUSES,
    )
    yield bars(
        "Actions",
        "Verbs asked of init systems, and those that were refused or failed.",
        lines(grown("action", ACTIONS), "{{action}}"),
        lines(grown("action", of_services("steadyd_actions_failed_total")), "{{action}} failed"),
    )
    yield bars(
        "What came of them",
        "Outcomes of verbs: the trouble ended, stayed, ended and came back soon; the verb failed.",
        lines(grown("outcome", of_services(OUTCOMES)), "{{outcome}}"),
        colours={
            "healed": "green",
            "not_healed": "orange",
            "came_back": "yellow",
            "failed": "red",
            "unknown": "purple",
        },
    )
    yield bars(
        "Held back",
        "Verbs that a rule called for and that were not asked, by reason; `steadyd why` explains.",
        lines(grown("reason", of_services("steadyd_actions_suppressed_total")), "{{reason}}"),
    )
    yield bars(
        "Messages",
        "Attempts to deliver a message, and those that failed, by kind of target.",
        lines(grown("integration", of_hosts("steadyd_notifications_total")), "{{integration}}"),
        lines(
            grown("integration", of_hosts("steadyd_notifications_failed_total")),
            "{{integration}} failed",
        ),
    )
    yield curves(
        "Outbox",
        "Messages that are not delivered: waiting, on their way, given up.",
        lines(f"sum by (state) ({of_hosts('steadyd_outbox_parcels')})", "{{state}}"),
        unit="short",
        stacked=True,
    )


def _itself() -> Iterator[Panel]:
    bucket = of_hosts("steadyd_rule_evaluation_duration_seconds_bucket")
    yield curves(
        "Evaluation, 95 of 100",
        "Time within which 95 of 100 evaluations of a group of rules are done.",
        lines(
            "histogram_quantile(0.95, sum by (job, instance, group, le) "
            f"(rate({bucket}[$__rate_interval])))",
            "{{instance}} {{group}}",
        ),
        unit="s",
    )
    failed = f"rate({of_hosts('steadyd_rule_evaluation_failures_total')}[$__rate_interval])"
    evaluated = f"rate({of_hosts('steadyd_rule_evaluations_total')}[$__rate_interval])"
    yield curves(
        "Evaluations without a value",
        "Share of evaluations that found nothing to compare; `steadyd doctor` names them.",
        lines(f"{failed} / {evaluated}", "{{instance}} {{group}}"),
        unit="percentunit",
    )
    stamp = of_hosts("steadyd_rule_group_last_evaluation_timestamp_seconds")
    yield curves(
        "Age of the last evaluation",
        "Stays below the cycle of the group. Growing means that the daemon is stuck.",
        lines(f"time() - {stamp}", "{{instance}} {{group}}"),
        unit="s",
    )
    yield curves(
        "Scrape, by collector",
        "Time that each part of /metrics took.",
        lines(of_hosts("steadyd_scrape_duration_seconds"), "{{instance}} {{collector}}"),
        unit="s",
    )
    yield bars(
        "Missed and disturbed",
        "Cycles that did not run in time, events that came too fast, steps of the wall clock,"
        " messages given up.",
        *(
            lines(
                grown("job, instance", of_hosts(f"steadyd_{counter}_total")),
                f"{{{{instance}}}} {what}",
            )
            for counter, what in (
                ("scheduler_missed_runs", "missed cycles"),
                ("fact_queue_overflows", "overflows"),
                ("clock_steps", "clock steps"),
                ("dead_parcels", "messages given up"),
            )
        ),
    )
    yield curves(
        "Rules",
        "Rules in force, and those with an error, which are not.",
        lines(of_hosts("steadyd_rules"), "{{instance}} in force"),
        lines(of_hosts("steadyd_rules_disabled"), "{{instance}} disabled"),
        unit="short",
    )
    yield curves(
        "Memory of the daemon",
        "Resident memory of steadyd itself.",
        lines(of_daemons("process_resident_memory_bytes"), "{{instance}}"),
        unit="bytes",
    )
    yield curves(
        "CPU of the daemon",
        "Cores that steadyd itself keeps busy.",
        lines(rate_of_daemons("process_cpu_seconds_total"), "{{instance}}"),
        unit="suffix:cores",
    )
    took = of_hosts("steadyd_action_duration_seconds_bucket")
    yield curves(
        "Duration of verbs, 95 of 100",
        "Time within which init systems answered 95 of 100 verbs.",
        lines(
            "histogram_quantile(0.95, sum by (job, instance, action, le) "
            f"(rate({took}[$__rate_interval])))",
            "{{instance}} {{action}}",
        ),
        unit="s",
    )
    yield curves(
        "Oldest message not delivered",
        "Age of the oldest message that still waits, 0 without one.",
        lines(of_hosts("steadyd_undelivered_oldest_age_seconds"), "{{instance}}"),
        unit="s",
    )
    yield versions()
    yield rows(
        "Init systems",
        "Which init systems are watched where, and their versions where they name them.",
        (
            Column("Host", label="instance"),
            Column("Init", label="init"),
            Column("Version", label="version"),
        ),
        size=(8, 8),
        none="none",
        sort=("Host", "up"),
        hidden=(f"max by (instance, init, version) ({of_hosts('steadyd_init_info')})",),
    )


def rate_of_daemons(counter: str) -> str:
    """Give the rate of a counter that every job may have, of steadyd's own processes."""
    build = of_hosts("steadyd_build_info")
    return f"rate({of_hosts(counter)}[$__rate_interval]) and on (job, instance) {build}"


def versions(size: tuple[int, int] = (8, 8)) -> Panel:
    """Return the table of versions."""
    return rows(
        "Versions",
        "Which steadyd runs where.",
        (
            Column("Host", label="instance"),
            Column("steadyd", label="version"),
            Column("Python", label="python_version"),
        ),
        size=size,
        none="none",
        sort=("Host", "up"),
        hidden=(f"max by (instance, version, python_version) ({of_hosts('steadyd_build_info')})",),
    )
