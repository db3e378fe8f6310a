"""Identity, duplicates over files, and the rule that every service has without writing it."""

import time

import pytest

from steadyd.model.condition import Event, EventWord, Hold
from steadyd.model.rule import HOST, Alert, Rule
from steadyd.rulefiles.merge import merge
from tests.fakes.rulefiles import compiled, rules


def key(rule: str, head: str = "check service a with watch no") -> str:
    [check] = rules(f"{head} {rule}").checks
    [only] = check.rules
    return only.key


BASE = "if memory:rss > 2g for 3 cycles then alert, restart"


@pytest.mark.parametrize(
    "same",
    [
        BASE,
        "if memory:rss > 2048m for 3 cycles then alert, restart",
        "if memory:rss>2.0gb for 3 cycle then alert , restart",
        "\n\n\tif memory(rss) > 2147483648 # why\n for 3 cycles then\nalert, restart",
        'if "memory":rss > 2g for 3 cycles then alert, restart',
    ],
)
def test_the_same_rule_written_otherwise_keeps_its_key(same: str) -> None:
    assert key(same) == key(BASE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("for 1 cycle", ""),
        ("for 60s", "for 1m"),
        ("for 1.5h", "for 90min"),
    ],
)
def test_holds_that_mean_the_same_are_the_same(one: str, other: str) -> None:
    assert key(f"if cpu:user > 5 {one} then alert") == key(f"if cpu:user > 5 {other} then alert")


def test_with_and_line_and_file_are_no_part_of_the_key() -> None:
    first = key(BASE)

    assert key(BASE, "# moved\n\n\n check service a with watch no, owner ops, cooldown 9m") == first
    [check] = rules("check service b\n", f"check service a with watch no {BASE}").checks[1:]
    assert check.rules[0].key == first


@pytest.mark.parametrize(
    "other",
    [
        "if memory:rss >= 2g for 3 cycles then alert, restart",
        "if memory:rss < 2g for 3 cycles then alert, restart",
        "if memory:rss > 2.001g for 3 cycles then alert, restart",
        "if memory:total_rss > 2g for 3 cycles then alert, restart",
        "if memory:rss > 2g for 4 cycles then alert, restart",
        "if memory:rss > 2g for 3s then alert, restart",
        "if memory:rss > 2g then alert, restart",
        "if memory:rss > 2g for 3 cycles then restart, alert",
        "if memory:rss > 2g for 3 cycles then alert ops, restart",
        "if memory:rss > 2g for 3 cycles then alert",
    ],
)
def test_another_rule_has_another_key(other: str) -> None:
    assert key(other) != key(BASE)


@pytest.mark.parametrize(
    ("one", "other"), [("1000001s", "1000002s"), ("20d", "20.00001d"), ("1.0000001s", "1s")]
)
def test_long_and_fine_durations_are_told_apart(one: str, other: str) -> None:
    assert key(f"if down for {one} then alert") != key(f"if down for {other} then alert")


def test_rates_are_told_apart() -> None:
    keys = {key(f"if init:restarts > 60{per} then alert") for per in ("", "/sec", "/min", "/h")}
    assert len(keys) == 4


def test_host_and_service_are_told_apart() -> None:
    assert key("if cpu:user > 5 then alert") != key("if cpu:user > 5 then alert", "check host")


def test_a_twenty_day_hold_is_shown_in_plain_digits() -> None:
    assert str(Hold(seconds=1728000.0)) == " for 1728000s"
    assert str(Hold(seconds=0.25)) == " for 0.25s"


# -- equals

TWIN = "check service a with watch no\n  if cpu:user > 5 then alert\n"


def test_an_exact_duplicate_runs_once_and_is_a_warning_where_the_second_stands() -> None:
    merged = merge([compiled(TWIN, path="a.inq"), compiled("\n" + TWIN, path="b.inq")])

    assert len(merged.rules.rules) == 1
    assert "a.inq" not in merged.diagnostics
    [warning] = merged.diagnostics["b.inq"]
    assert (warning.severity, warning.line, warning.column) == ("warning", 3, 3)
    assert warning.message == "this rule stands at a.inq:2 already; it runs once"


def test_a_duplicate_in_one_file_is_told_too() -> None:
    merged = merge([compiled(TWIN + "  if cpu:user > 5.0 then alert\n", path="a.inq")])

    assert len(merged.rules.rules) == 1
    assert [(w.line, w.column) for w in merged.diagnostics["a.inq"]] == [(3, 3)]


def test_equals_with_other_parameters_both_run_and_have_ordinals() -> None:
    found = rules(TWIN, TWIN.replace("watch no", "watch no, owner ops"), TWIN).rules

    assert [rule.ordinal for rule in found] == [0, 1]
    assert [rule.params.owner for rule in found] == ["", "ops"]
    assert len({rule.key for rule in found}) == 2


def test_the_same_rule_of_two_services_is_no_duplicate() -> None:
    assert len(rules(TWIN, TWIN.replace("service a", "service b")).rules) == 2


def test_checks_of_one_service_become_one() -> None:
    first = "check service a with watch no, unit x if cpu:user > 5 then alert\n"
    found = rules(
        "check service a with owner ops if cpu:user > 1 then alert\n",
        first + "check service b with watch no",
        "check service a with unit y if cpu:user > 7 then alert\n",
    )

    assert [check.service for check in found.checks] == ["a", "b"]
    params = found.checks[0].params
    assert (params.owner, params.unit, params.watch) == ("ops", "x", False)
    assert [str(rule.source) for rule in found.checks[0].rules] == ["a.inq:1", "b.inq:1", "c.inq:1"]
    assert [rule.params.unit for rule in found.checks[0].rules] == ["", "x", "y"]


def test_disabled_rules_are_counted_over_all_files() -> None:
    bad = "check service {} if nothing:x > 5 then alert"
    assert rules(bad.format("a"), bad.format("b")).disabled == 2


# -- the implicit rule


def implicit(text: str) -> list[Rule]:
    return [rule for rule in rules(text).rules if rule.implicit]


@pytest.mark.parametrize(
    "text",
    [
        "check service a",
        "check service a if cpu:user > 5 then alert",
        "check service a with watch yes",
    ],
)
def test_every_service_has_a_rule_that_it_is_down(text: str) -> None:
    [rule] = implicit(text)

    assert rule.condition == Event(EventWord.DOWN)
    assert rule.hold == Hold(seconds=10)
    assert rule.steps == (Alert(),)
    assert str(rule) == "if down for 10s then alert"


@pytest.mark.parametrize(
    "text",
    [
        "check service a with watch no",
        "check service a if down then alert",
        "check service a if cpu:user > 5 then alert if down for 5m then restart",
        "check service a if init:up < 1 then alert",
        "check service a if init(up) == 0 for 2 cycles then alert",
        "check service a\ncheck service a if down then alert",
        "check service a\ncheck service a with watch no",
        "check host",
        "check host if cpu > 5 then alert",
    ],
)
def test_it_is_absent_where_a_rule_says_it_or_nobody_wants_it(text: str) -> None:
    assert implicit(text) == []


def test_it_is_there_where_the_rule_that_names_down_is_disabled() -> None:
    assert len(implicit("check service a if down for 3 cycles then alert")) == 1


def test_it_has_the_parameters_of_the_check() -> None:
    [rule] = implicit("check service a with owner ops, severity info")
    assert (rule.params.owner, rule.severity) == ("ops", "info")


def test_written_out_it_keeps_its_key() -> None:
    [rule] = implicit("check service a")
    assert key("if down for 10s then alert") == rule.key


def test_there_is_one_host() -> None:
    found = rules("check host if cpu > 5 then alert", "check host if load:1 > 5 then alert")
    assert [check.service for check in found.checks] == [HOST]


def test_thousands_of_checks_with_the_same_rule_take_linear_time() -> None:
    text = "".join(
        f"check service a with owner o{number} if cpu:user > 5 then alert\n"
        for number in range(8000)
    )
    file = compiled(text)
    started = time.process_time()

    found = merge([file]).rules

    assert time.process_time() - started < 2.0  # quadratic: 30 s
    assert [rule.ordinal for rule in found.rules[:8000]] == list(range(8000))
