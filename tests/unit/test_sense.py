"""What never or always is by its own text is a warning; the rule runs all the same."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from steadyd.model.condition import Operator
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.compile import compile_file
from steadyd.rulefiles.judging import Known
from steadyd.rulefiles.parser import parse
from steadyd.rulefiles.sense import Span, possible
from tests.fakes.rulefiles import compiled, places, unmark

SERVICE = {
    "if §init:up > 1 then alert": "`init:up > 1` is never true: init:up is from 0 to 1",
    "if §init:up >= 0 then alert": "is always true",
    "if §process:count < 0 then alert": "is never true: process:count is never below 0",
    "if §process:fd_ratio > 100% then alert": "is never true: process:fd_ratio is from 0 to 100",
    "if §avg process:fd_ratio over 5m > 100% then alert": "is never true",
    "if down until §init:up > 1 then alert": "is never true",
    "if cpu:user > 5 and §cpu:user < 3 then alert": (
        "`cpu:user > 5` and `cpu:user < 3`: never true together"
    ),
    "if cpu:user > 5 and down and §cpu:user <= 5 then alert": "never true together",
    "if cpu:user == 5 and §cpu:user != 5 then alert": "never true together",
    "if cpu:user > 5 and §not cpu:user > 5 then alert": "never true together",
    "if cpu:user > 5 or §cpu:user < 6 then alert": "`cpu:user > 5` or `cpu:user < 6`: always true",
    "if cpu:user > 5 or §not cpu:user > 5 then alert": "always true",
    "if down or §not down then alert": "always true",
    "if down and oom and §not down then alert": "never true together",
    "if down and §down then alert": "`down` stands here twice",
    "if cpu:user > 5 or oom or §cpu:user > 5 then alert": "`cpu:user > 5` stands here twice",
    "if memory:rss > 1g and §memory:rss > 1024m then alert": "stands here twice",
    "if cpu:user > 5 for §6000 cycles then alert": "6000 cycles of 15s are 1.0 days",
    "if cpu:user > 5 for §3 of 6000 cycles then alert": "6000 cycles of 15s are 1.0 days",
}
HOST = {
    "if §disk:/ > 100% then alert": "`disk:/ > 100%` is never true: disk:/ is from 0 to 100",
    "if §swap > 200 then alert": "is never true",
    "if §disk:/ <= 100% then alert": "is always true",
    "if §disk:/ < 0% then alert": "is never true",
}


@pytest.mark.parametrize(
    ("head", "marked", "wanted"),
    [("service a", *each) for each in SERVICE.items()] + [("host", *each) for each in HOST.items()],
)
def test_what_makes_no_sense_is_a_warning_at_its_place(head: str, marked: str, wanted: str) -> None:
    text, expected = unmark(f"check {head}\n  {marked}\n")

    said = compile_file("a.inq", parse(text), Known(CATALOGUE, cycle=15.0))

    assert places(said.diagnostics) == expected, said.diagnostics
    assert wanted in said.diagnostics[0].message
    assert not said.diagnostics[0].is_error
    assert len(said.drafts[0].check.rules) == 1


@pytest.mark.parametrize(
    "rule",
    [
        "if cpu:user > 350% then alert",
        "if cpu:user > 3 and cpu:user < 5 then alert",
        "if cpu:user < 3 or cpu:user > 5 then alert",
        "if io:read > 100k/sec and io:read < 100k then alert",
        "if io:read > 100k/min and io:read < 100k/sec then alert",
        "if cpu:user > 5 and cpu:system < 3 then alert",
        "if memory:rss > 5g and avg memory:rss over 5m < 3g then alert",
        "if process:fd_ratio >= 100% then alert",
        "if delta process:fd_ratio over 5m < 0 then alert",
        "if init:up < 1 then alert",
        "if cpu:user >= 5 and cpu:user <= 5 then alert",
        "if down and not oom then alert",
        "if cpu:user > 5 for 5000 cycles then alert",
        "if redis:connected_clients > -1 then alert",
    ],
)
def test_what_makes_sense_is_not_talked_about(rule: str) -> None:
    file = parse(f"check service a\n  {rule}\n")

    assert compile_file("a.inq", file, Known(CATALOGUE, cycle=15.0)).diagnostics == ()


def test_where_the_cycle_is_not_known_a_hold_in_cycles_is_not_judged() -> None:
    assert compiled("check service a if cpu:user > 5 for 60000 cycles then alert").diagnostics == ()


_CLAIMS = st.lists(st.tuples(st.sampled_from(Operator), st.integers(-1, 4).map(float)), max_size=5)


@given(_CLAIMS, st.sampled_from((Span(), Span(0, 1), Span(0), Span(2, 2))))
@example([(Operator.ABOVE, 0.0), (Operator.EQUAL, 0.0)], Span(0))
@example([(Operator.BELOW, 1.0), (Operator.AT_MOST, 1.0), (Operator.AT_LEAST, 1.0)], Span())
def test_what_is_possible_is_what_some_value_fulfils(
    claims: list[tuple[Operator, float]], within: Span
) -> None:
    tried = (value / 4 for value in range(-8, 25))

    found = any(
        within.low <= value <= within.high and all(op.holds(value, limit) for op, limit in claims)
        for value in tried
    )

    assert possible(claims, within) == found
