"""What a parse means: metrics, amounts, routes, verbs; one bad rule disables itself alone."""

import time

import pytest

from steadyd.model.condition import Amount, Comparison, Event, Hold, Operator
from steadyd.model.rule import Act, Alert, Verb
from steadyd.rulefiles.compile import Compiled
from steadyd.rulefiles.merge import merge
from tests.fakes.rulefiles import compiled, places, unmark


def errors(said: Compiled) -> list[str]:
    return [each.message for each in said.diagnostics if each.is_error]


def warnings(said: Compiled) -> list[str]:
    return [each.message for each in said.diagnostics if not each.is_error]


def test_a_rule_becomes_what_it_says() -> None:
    said = compiled(
        "check service puma with owner ops\n"
        "  if memory:total_rss > 1.5g for 3 cycles then alert, reload, alert dev\n"
        "  if down for 10s then restart\n"
        "  if cpu(user) <= 5% then alert\n"
    )

    assert said.diagnostics == ()
    [draft] = said.drafts
    first, second, third = draft.check.rules
    assert isinstance(first.condition, Comparison)
    assert str(first.condition.metric) == "memory:total_rss"
    assert first.condition.operator is Operator.ABOVE
    assert first.condition.amount == Amount("1.5g", 1.5 * 2**30)
    assert first.hold == Hold(cycles=3)
    assert first.steps == (Alert(), Act(Verb.RELOAD), Alert("dev"))
    assert isinstance(second.condition, Event)
    assert (second.hold, second.steps) == (Hold(seconds=10), (Act(Verb.RESTART),))
    assert isinstance(third.condition, Comparison)
    assert str(third.condition.metric) == "cpu:user"
    assert [str(rule.source) for rule in draft.check.rules] == ["a.inq:2", "a.inq:3", "a.inq:4"]
    assert {rule.params.owner for rule in draft.check.rules} == {"ops"}


# -- semantic errors: `§` is where it is told; the other rules run

DISABLING = {
    "if §memory:total_rs > 1g then alert": "nobody knows the metric `memory:total_rs`",
    "if §teapot:x < 5 then alert": "nobody knows the metric `teapot:x`",
    "if §memory > 5m then alert": "nobody knows the metric `memory`",
    "if §disk:/ > 5% then alert": "a metric of a host, not of a service",
    "if §load:1 > 5 then alert": "a metric of a host, not of a service",
    "if §swap > 5% then alert": "a metric of a host, not of a service",
    "if memory:rss > §80% then alert": "cannot be an amount of memory:rss",
    "if memory:rss > 5s §then alert": "cannot be an amount of memory:rss",
    "if memory:rss > 5min §for 3 cycles then alert": "cannot be an amount of memory:rss",
    "if init:uptime < §5m then alert": "cannot be an amount of init:uptime",
    "if init:uptime < §5k then alert": "cannot be an amount of init:uptime",
    "if cpu:user > 5kb §then alert": "cannot be an amount of cpu:user",
    "if cpu:user > §5k then alert": "cannot be an amount of cpu:user",
    "if process:count > §5% then alert": "cannot be an amount of process:count",
    "if process:count > 5kb §then alert": "cannot be an amount of process:count",
    "if memory:rss > §8192p then alert": "does not fit into 64 bits",
    "if memory:rss > §9007199254740993k then alert": "does not fit into 64 bits",
    "if down for §3 cycles then alert": "an event does not last for cycles",
}


@pytest.mark.parametrize("marked", DISABLING)
def test_a_semantic_error_disables_its_rule_alone(marked: str) -> None:
    text, expected = unmark(
        f"check service a\n  if cpu:user > 5 then alert\n  {marked}\n  if down then alert\n"
    )

    said = compiled(text)

    [error] = [each for each in said.diagnostics if each.is_error]
    assert places([error]) == expected
    assert DISABLING[marked] in error.message
    assert said.disabled == 1
    assert [str(rule.topic) for rule in said.drafts[0].check.rules] == ["cpu:user", "down"]


HOST = {
    "if cpu > 50 then §restart": "the host cannot restart",
    "if cpu > 50 then alert, §reload": "the host cannot reload",
    "if §down then alert": "`down` is an event of services",
    "if §memory:rss > 5g then alert": "a metric of a service, not of a host",
    "if §memory:free < 1g then alert": "nobody knows the metric `memory:free` of a host",
    "if disk:/srv > §5g then alert": "cannot be an amount of disk:/srv",
    "if §disk > 5% then alert": "nobody knows the metric `disk`",
    "if §disk:* > 5% then alert": "nobody knows the metric `disk:*`",
}


@pytest.mark.parametrize("marked", HOST)
def test_what_a_host_does_not_have_disables_the_rule(marked: str) -> None:
    text, expected = unmark(f"check host\n  {marked}\n  if load:1 > 5 then alert\n")

    said = compiled(text)

    assert places(each for each in said.diagnostics if each.is_error) == expected
    assert HOST[marked] in errors(said)[0]
    assert (said.disabled, len(said.drafts[0].check.rules)) == (1, 1)


@pytest.mark.parametrize(
    ("rule", "help"),
    [
        ("if memory:total_rs > 1g then alert", "did you mean memory:total_rss?"),
        ("if mem:rss > 1g then alert", "did you mean memory:rss?"),
        ("if redis:used_memry > 1g then alert", "did you mean redis:used_memory?"),
        ("if memory:rss > 80% then alert", "it is measured in bytes: write 512m or 6g"),
        ("if init:uptime < 5m then alert", "it is measured in seconds: write 90s, 5min or 2h"),
        ("if down for 3 cycles then alert", "write a duration: for 30s"),
    ],
)
def test_a_semantic_error_tells_the_mend(rule: str, help: str) -> None:
    assert compiled(f"check service a {rule}").diagnostics[0].help == help


@pytest.mark.parametrize(
    "rule",
    [
        "if memory:rss > 6g then alert",
        "if memory:rss > 6gb then alert",
        "if memory:rss > 6442450944 then alert",
        "if process:count > 5k then alert",
        "if cpu:user > 95% for 2 cycles then alert",
        "if cpu:user > 95 then alert",
        "if init:uptime < 90s then alert",
        "if init:uptime < 300 then alert",
        "if init:up == 0 then alert",
        "if init:restarts > 3/h then alert",
    ],
)
def test_good_rules_raise_no_finger(rule: str) -> None:
    assert compiled(f"check service a {rule}").diagnostics == ()


WARNINGS = {
    "if memory:rss > §5 then alert": "`5` is 5 bytes, less than 64 KiB",
    "if memory:rss > §63k then alert": "less than 64 KiB",
    "if cpu:user > 5 for §0 cycles then alert": "a rule for 0 cycles never fires",
    "if cpu:user > 5 for §-3 cycles then alert": "a rule for -3 cycles never fires",
    "if cpu:user > §5%/sec then alert": "does not count up",
    "if memory:rss > §5g/h then alert": "does not count up",
    'if §"cpu":user > 5 then alert': 'the quotes around `"cpu"` are taken off',
    'if cpu:user > 5 then alert §"ops"': 'the quotes around `"ops"` are taken off',
}


@pytest.mark.parametrize("marked", WARNINGS)
def test_what_is_probably_not_meant_is_a_warning_and_runs(marked: str) -> None:
    text, expected = unmark(f"check service a\n  {marked}\n")

    said = compiled(text)

    assert places(said.diagnostics) == expected
    assert WARNINGS[marked] in warnings(said)[0]
    assert (said.disabled, len(said.drafts[0].check.rules)) == (0, 1)


def test_the_same_slip_is_told_of_each_rule_that_makes_it() -> None:
    said = compiled("check service a\n" + "if memory:rss > 5 then alert\n" * 3)

    assert places(said.diagnostics) == [(2, 17), (3, 17), (4, 17)]


def test_64_kib_is_not_small_and_a_counter_of_bytes_may_be() -> None:
    assert warnings(compiled("check service a if memory:rss > 64k then alert")) == []
    assert warnings(compiled("check service a if io:read > 5/sec then alert")) == []


# -- routes


def test_an_unknown_route_is_an_error_that_disables_nothing() -> None:
    text, expected = unmark(
        "check service a with cooldown 5m, owner §opps\n"
        "  if cpu:user > 5 then alert §devv, restart\n"
    )

    said = compiled(text, routes={"", "ops", "dev"})

    assert places(said.diagnostics) == expected
    assert [each.help for each in said.diagnostics] == ["did you mean ops?", "did you mean dev?"]
    assert all("its alerts go to the default route" in message for message in errors(said))
    assert (said.disabled, len(said.drafts[0].check.rules)) == (0, 1)
    assert said.drafts[0].check.rules[0].steps == (Alert("devv"), Act(Verb.RESTART))


def test_known_routes_and_unknown_sets_of_routes_are_good() -> None:
    text = "check service a with owner ops if cpu:user > 5 then alert dev"

    assert compiled(text, routes={"ops", "dev"}).diagnostics == ()
    assert compiled(text, routes=None).diagnostics == ()


# -- names


@pytest.mark.parametrize("name", ["puma@*", "worker-?", "web[12]", "*"])
def test_a_glob_is_a_service_of_several_units(name: str) -> None:
    said = compiled(f'check service "{name}" if cpu:user > 5 then alert, restart')

    assert errors(said) == []
    assert said.drafts[0].check.service == name


@pytest.mark.parametrize("step", ["start", "stop", "signal KILL", "signal SIGSTOP"])
def test_what_is_dangerous_needs_a_unit_named_literally(step: str) -> None:
    assert errors(compiled(f"check service puma if cpu:user > 5 then {step}")) == []

    said = compiled(f"check service puma* if cpu:user > 5 then alert, {step}")

    assert said.disabled == 1
    assert "glob" in errors(said)[0]


@pytest.mark.parametrize(
    "name",
    ["puma", "puma.service", "agendrix-web@5000.service", "a/b", "x'y", "世界", '"a b"', '"a*b c"'],
)
def test_other_names_are_services(name: str) -> None:
    said = compiled(f"check service {name}")

    assert errors(said) == []
    assert said.drafts[0].check.service == name.strip('"')


@pytest.mark.parametrize(
    "name", ['"host"', '"a\tb"', '"a\nb"', '"a\x00b"', '"\x1b[2J"', '"\u202e"']
)
def test_a_name_that_no_service_can_have_disables_its_check(name: str) -> None:
    said = compiled(f"check service {name} if down then alert\ncheck service b")

    assert len(errors(said)) == 1
    assert "\n" not in errors(said)[0]
    assert errors(said)[0].isprintable()
    assert said.disabled == 1
    assert [draft.check.service for draft in said.drafts] == ["b"]


def test_only_memstats_can_be_exposed() -> None:
    assert "cannot expose `vars`" in errors(compiled("check service a expose vars"))[0]
    assert warnings(compiled("check service a expose memstats")) == [
        "expose has no effect in this version"
    ]


def test_a_metric_name_may_hold_blanks_in_quotes() -> None:
    said = compiled('check host if disk:"/srv data" > 5 then alert')

    assert errors(said) == []
    assert said.drafts[0].check.rules[0].topic == "disk:/srv data"


def test_no_control_character_of_a_name_gets_into_rules_or_messages() -> None:
    text = 'check host if disk:"/a\x1b[2J" > 5% then alert if load:1 > 5 then alert "x\ny"\n'

    said = compiled(text, routes={"ops"})

    assert said.disabled == 1
    found = places(each for each in said.diagnostics if each.is_error)
    assert found == [(1, 15), (1, text.index('"x') + 1)]
    assert all(each.message.isprintable() for each in said.diagnostics)
    [rule] = said.drafts[0].check.rules
    assert rule.key.isprintable()


HEAD = "check service a with owner ops "
MANY_PARAMS = HEAD + "".join(f",k{number} v" for number in range(2000)) + "\n"
UNITS = {
    "unknown metrics": (HEAD, "if memry:rss > 1g then alert\n"),
    "unknown routes": (HEAD, "if cpu:user > 1 then alert opps\n"),
    "slips": (HEAD, "if memory:rss > 1 for 0 cycles then alert\n"),
    "quoted": (HEAD, 'if "cpu":user > 1 then alert\n'),
    "rules under many parameters": (MANY_PARAMS, "if cpu:user > 1 then alert\n"),
    "checks": ("", "check service a if down then alert\n"),
    "unknown parameters": ("check service a with a b", ",cooldwn soon"),
    "repeated parameters": ("check service a with a b", ",cooldown soon"),
}


@pytest.mark.parametrize("name", UNITS)
def test_the_time_is_linear_in_the_length(name: str) -> None:
    head, unit = UNITS[name]

    def seconds(size: int) -> float:
        text = head + unit * (size // len(unit))
        started = time.process_time()
        merge([compiled(text, routes={"ops"})])
        return time.process_time() - started

    seconds(2**12)
    assert seconds(2**18) < 40 * seconds(2**14) + 0.5  # 16 would be exact; quadratic is 256
