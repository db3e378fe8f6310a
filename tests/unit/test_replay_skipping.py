"""Skipping what cannot change anything gives the very events of the full run."""

from typing import TypeAlias

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from steadyd.model.metric import MetricId
from steadyd.probes.catalogue import CATALOGUE, metric_id
from steadyd.replaying.recording import Column, Recording, column
from steadyd.replaying.replay import replay
from tests.fakes.rulefiles import rules

PER_PROCESS = frozenset(metric.id for metric in CATALOGUE.metrics if metric.per_process)
GAINS = frozenset({metric_id("io:read")})
START = 1_790_000_000.0

values = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 5.0, 9.0]))
ops = st.sampled_from([">", "<", ">=", "<=", " == ", " != "])
compared = st.builds(
    lambda metric, op, amount: f"{metric} {op} {amount}",
    st.sampled_from(["process:count", "process:count", "process:threads"]),
    ops,
    st.sampled_from([0, 1, 3, 5, 9]),
)
rates = st.sampled_from(["io:read > 20/min", "io:read >= 20/min", "io:read != 20/min"])
over = st.builds(
    lambda function, op, amount: f"{function} process:count over 1m {op} {amount}",
    st.sampled_from(["avg", "min", "max", "p90", "delta"]),
    ops,
    st.sampled_from([0, 1, 5]),
)
words = st.sampled_from(
    ["rate io:read over 1m > 0", "flapping", "crashed", "oom", "init:up < 1", "init:uptime < 1m"]
)
plain = st.one_of(compared, compared, compared, rates, st.just("down"))


def joined(leaf: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            inner.map(lambda text: f"not ({text})"),
            st.builds("({}) and ({})".format, inner, inner),
            st.builds("({}) or ({})".format, inner, inner),
        ),
        max_leaves=3,
    )


holds = st.sampled_from(
    ["", "", " for 2 cycles", " for 3 of 5 cycles", " for 20s", " for 30s", " for 47s"]
)
windows = st.sampled_from(
    [
        "",
        "",
        " between 14:14 and 14:18",
        " not between 14:14 and 14:15",
        " not between 14:15 and 14:17",
    ]
)
steps = st.lists(
    st.sampled_from(
        ["alert", "reload", "restart", "stop", "start", "after 40s restart", "after 1m alert ops"]
    ),
    min_size=1,
    max_size=3,
).map(", ".join)


def written(conditions: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    untils = st.one_of(st.just(""), st.builds(" until {}{}".format, conditions, holds))
    return st.builds("  if {}{}{}{} then {}\n".format, conditions, holds, untils, windows, steps)


params = st.sampled_from(
    [
        "",
        "with cooldown 20s",
        "with budget 1/2m, verify 20s",
        "with verify 15s, cooldown 5s",
        "with group a, quiet 2m",
    ]
)


def checks(ifs: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return checks of one or two services, the texts of their rules from a strategy."""
    return st.builds(
        lambda some: "".join(
            f"check service {name} {given}\n{''.join(texts)}"
            for name, (given, texts) in zip(("web", "db"), some, strict=False)
        ),
        st.lists(st.tuples(params, st.lists(ifs, min_size=1, max_size=2)), min_size=1, max_size=2),
    )


Known: TypeAlias = "dict[MetricId, Column]"
TICKS = 60
runs = st.lists(st.tuples(values, st.integers(1, 12)), min_size=5, max_size=20).map(
    lambda some: column([value for value, times in some for _ in range(times)][:TICKS])
)
series = st.fixed_dictionaries(
    {metric_id("process:count"): runs, metric_id("process:threads"): runs},
    optional={
        metric_id(name): runs for name in ("io:read", "init:up", "init:uptime", "init:oom_kills")
    },
)

# a rule that skips nothing makes every tick matter: most examples have none of that kind
skipping = checks(written(joined(plain)))
others = checks(written(joined(st.one_of(plain, over, words))))
told = st.tuples(series, series)
lengths = st.sampled_from([15.0, 15.0, 7.3, 0.1])
habits = settings(phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))


def compare(text: str, told: tuple[Known, Known], step: float) -> None:
    columns = dict(zip(("web", "db"), told, strict=True))
    recording = Recording(START, step, TICKS, columns, counters=GAINS)
    full = replay(rules(text), recording, per_process=PER_PROCESS, skip=False)
    quick = replay(rules(text), recording, per_process=PER_PROCESS)

    assert quick == full


@settings(habits, max_examples=500)
@given(skipping, told, lengths)
def test_skipping_changes_nothing(text: str, told: tuple[Known, Known], step: float) -> None:
    compare(text, told, step)


@settings(habits, max_examples=100)
@given(others, told, lengths)
def test_rules_that_skip_nothing_change_nothing_for_those_that_do(
    text: str, told: tuple[Known, Known], step: float
) -> None:
    compare(text, told, step)
