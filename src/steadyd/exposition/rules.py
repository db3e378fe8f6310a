"""The collector of rules: how they are evaluated, what they found, and what was done about it."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import HistogramMetricFamily, Metric

from steadyd.exposition.families import Family, go_float
from steadyd.model.snapshot import Histogram, Snapshot


def collect(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the families of rules, alerts and actions."""
    counters = snapshot.counters
    yield _single("steadyd_rules", "Rules in force.", snapshot.rules_loaded)
    yield _single(
        "steadyd_rules_disabled", "Rules with an error, not in force.", snapshot.rules_disabled
    )
    yield from _evaluations(snapshot)
    yield _alerts(snapshot)
    yield _counter(
        "actions", "Verbs asked of an init system.", ("action", "name"), _turned(counters.actions)
    )
    yield _counter(
        "actions_failed",
        "Verbs that an init system refused, or that failed.",
        ("action", "name"),
        _turned(counters.actions_failed),
    )
    yield _counter(
        "actions_suppressed",
        "Verbs that were not asked of an init system, by reason.",
        ("name", "reason"),
        counters.suppressed.items(),
    )
    yield _counter(
        "action_outcomes",
        "What came of the verbs that were asked.",
        ("action", "name", "outcome"),
        (((verb, name, out), count) for (name, verb, out), count in counters.outcomes.items()),
    )
    yield _histogram(
        "steadyd_action_duration_seconds",
        "How long init systems needed for a verb.",
        "action",
        counters.action_seconds,
    )


def _evaluations(snapshot: Snapshot) -> Iterator[Metric]:
    counters = snapshot.counters
    yield _counter(
        "rule_evaluations",
        "Evaluations of rules.",
        ("group",),
        (((group,), count) for group, count in counters.evaluations.items()),
    )
    yield _counter(
        "rule_evaluation_failures",
        "Evaluations of rules that found no value to compare.",
        ("group",),
        (((group,), count) for group, count in counters.evaluation_failures.items()),
    )
    yield _histogram(
        "steadyd_rule_evaluation_duration_seconds",
        "How long the evaluation of a group of rules took.",
        "group",
        counters.evaluation_seconds,
    )
    family = Family(
        "steadyd_rule_group_last_evaluation_timestamp_seconds",
        "gauge",
        "When the group was evaluated last, in seconds since 1970-01-01.",
        ("group",),
    )
    for group, at in counters.last_evaluation_at.items():
        family.add((group,), at)
    yield family


def _alerts(snapshot: Snapshot) -> Family:
    labels = ("alertname", "alertstate", "name", "severity")
    family = Family("steadyd_alerts", "gauge", "1 for each pending or firing alert.", labels)
    # two rules may look at the same metric of a service: they are one series
    for values in dict.fromkeys(
        (a.alertname, a.alertstate, a.name, str(a.severity)) for a in snapshot.alerts
    ):
        family.add(values, 1.0)
    return family


def _single(name: str, help_: str, value: float) -> Family:
    family = Family(name, "gauge", help_)
    family.add((), value)
    return family


def _counter(
    name: str, help_: str, labels: tuple[str, ...], counts: Iterable[tuple[tuple[str, ...], int]]
) -> Family:
    family = Family(f"steadyd_{name}", "counter", help_, labels)
    for values, count in counts:
        family.add(values, count)
    return family


def _turned(counts: Mapping[tuple[str, str], int]) -> Iterator[tuple[tuple[str, ...], int]]:
    return (((verb, name), count) for (name, verb), count in counts.items())


def _histogram(
    name: str, help_: str, label: str, views: Mapping[str, Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, help_, labels=[label])
    for value, view in views.items():
        buckets = [(go_float(bound), float(count)) for bound, count in view.buckets]
        if buckets:
            family.add_metric([value], buckets, view.sum)
    return family
