"""Skipping what cannot change anything gives the very events of the full run."""

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from steadyd.model.rule import RuleSet
from steadyd.probes.catalogue import CATALOGUE, metric_id
from steadyd.replaying.recording import Recording, column
from steadyd.replaying.replay import replay
from tests.fakes.rulefiles import rules

PER_PROCESS = frozenset(metric.id for metric in CATALOGUE.metrics if metric.per_process)
GAINS = frozenset({metric_id("io:read")})
START = 1_790_000_000.0

values = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 5.0, 9.0]))
ops = st.sampled_from([">", "<", ">=", "<=", " == ", " != "])
compared = st.builds(
    lambda metric, op, amount: f"{metric} {op} {amount}",
    st.sampled_from(["process:count", "process:threads", "process:fds", "cpu:tree"]),
    ops,
    st.sampled_from([0, 1, 3, 5, 9]),
)
rates = st.sampled_from(["io:read > 1/sec", "io:read < 20/min", "rate io:read over 1m > 0"])
over = st.builds(
    lambda function, op, amount: f"{function} process:count over 1m {op} {amount}",
    st.sampled_from(["avg", "min", "max", "p90", "delta"]),
    ops,
    st.sampled_from([0, 1, 5]),
)
words = st.sampled_from(["down", "flapping", "crashed", "oom", "init:up < 1", "init:uptime < 1m"])
leaf = st.one_of(compared, compared, rates, over, words)
conditions = st.recursive(
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
untils = st.one_of(st.just(""), st.builds(" until {}{}".format, conditions, holds))
windows = st.sampled_from(["", "", " between 14:14 and 14:18", " not between 14:14 and 14:15"])
steps = st.lists(
    st.sampled_from(
        ["alert", "reload", "restart", "stop", "start", "after 40s restart", "after 1m alert ops"]
    ),
    min_size=1,
    max_size=3,
).map(", ".join)
ifs = st.builds("  if {}{}{}{} then {}\n".format, conditions, holds, untils, windows, steps)
params = st.sampled_from(
    ["", "with cooldown 20s", "with budget 1/2m, verify 20s", "with verify 15s, cooldown 5s"]
)
checks = st.builds(
    lambda some: "".join(
        f"check service {name} {given}\n{''.join(texts)}"
        for name, (given, texts) in zip(("web", "db"), some, strict=False)
    ),
    st.lists(st.tuples(params, st.lists(ifs, min_size=1, max_size=3)), min_size=1, max_size=2),
)
TICKS = 60
runs = st.lists(st.tuples(values, st.integers(1, 12)), max_size=20).map(
    lambda some: [value for value, times in some for _ in range(times)][:TICKS]
)
series = st.dictionaries(
    st.sampled_from(
        ["process:count", "process:threads", "process:fds", "cpu:tree", "io:read", "init:up",
         "init:uptime", "init:oom_kills"]
    ).map(metric_id),
    runs.map(column),
)  # fmt: skip


def in_force(text: str) -> RuleSet:
    return rules(text)


@settings(
    max_examples=150,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(checks, st.tuples(series, series), st.sampled_from([15.0, 7.3, 0.1]))
def test_skipping_changes_nothing(text: str, told: tuple[dict, dict], step: float) -> None:  # type: ignore[type-arg]
    recording = Recording(
        START, step, TICKS, dict(zip(("web", "db"), told, strict=True)), counters=GAINS
    )
    in_force_now = in_force(text)

    full = replay(in_force_now, recording, per_process=PER_PROCESS, skip=False)
    quick = replay(in_force_now, recording, per_process=PER_PROCESS)

    assert quick == full
