"""`with KEY VALUE`: a bad value never loses a rule, but one that decides about verbs takes them."""

import pytest

from steadyd.model.rule import Budget, CheckParams, Severity
from steadyd.rulefiles.compile import Compiled
from steadyd.rulefiles.folder import defaults_of
from tests.fakes.rulefiles import compiled, places, unmark


def check(params: str) -> Compiled:
    return compiled(f"check service a with {params} if cpu:user > 5 then alert, restart")


def meaning(params: str) -> CheckParams:
    return check(params).drafts[0].check.params


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("owner ops", "owner", "ops"),
        ("cooldown 90s", "cooldown", 90),
        ("budget 5/2h", "budget", Budget(5, 7200)),
        ("budget 0/1h", "budget", Budget(0, 3600)),
        ("dry_run yes", "dry_run", True),
        ("dry_run no", "dry_run", False),
        ("verify 2m", "verify", 120),
        ("settle 250ms", "settle", 0.25),
        ("severity critical", "severity", Severity.CRITICAL),
        (
            'runbook "https://wiki.example.org/a?b=c#d"',
            "runbook",
            "https://wiki.example.org/a?b=c#d",
        ),
        ("watch no", "watch", False),
        ("init systemd", "init", "systemd"),
        ("unit puma@5000.service", "unit", "puma@5000.service"),
        ("reload_signal HUP", "reload_signal", "HUP"),
        ("reload_signal sigusr2", "reload_signal", "USR2"),
        ('owner "o p s"', "owner", "o p s"),
        (r'owner "\u0041\x42\103\t"', "owner", ""),
        (r'owner "\u0041\x42\103"', "owner", "ABC"),
    ],
)
def test_a_parameter_means_what_it_says(written: str, field: str, value: object) -> None:
    assert getattr(meaning(written), field) == value


def test_without_parameters_the_defaults_hold() -> None:
    params = compiled("check service a").drafts[0].check.params

    assert (params.cooldown, params.budget, params.settle) == (60, Budget(3, 3600), 10)
    assert (params.dry_run, params.watch, params.alert_only) == (False, True, False)


@pytest.mark.parametrize(
    "bad",
    [
        "dry_run §maybe",
        "dry_run §Yes",
        "init §upstar",
        'unit §" "',
        'unit §"a\\tb"',
        'depends §"\\n"',
        "budget §3",
        "budget §3/",
        "budget §x/1h",
        "budget §-1/1h",
        "budget §3/1k",
        "budget §3/1h/2h",
        "cooldown §5",
        "cooldown §-5s",
        "cooldown §soon",
    ],
)
def test_a_bad_value_that_decides_about_verbs_leaves_only_alerts(bad: str) -> None:
    text, expected = unmark(f"check service a with owner ops, {bad} if cpu:user > 5 then restart")

    said = compiled(text)

    [error] = [each for each in said.diagnostics if each.is_error]
    assert places([error]) == expected
    assert "this check only alerts" in error.message
    assert error.help
    [draft] = said.drafts
    assert draft.check.params.alert_only
    assert draft.check.params.owner == "ops"
    assert [rule.params.alert_only for rule in draft.check.rules] == [True]


@pytest.mark.parametrize(
    "bad",
    [
        'owner §" "',
        "verify §5",
        "settle §x",
        "severity §bad",
        "runbook §wiki",
        'runbook §"javascript://x"',
        "watch §maybe",
        "reload_signal §KILL",
        "reload_signal §STOP",
        "port §63x",
        "port §65536",
        "port §-1",
        "warmup §5",
        "quiet §5",
    ],
)
def test_any_other_bad_value_takes_the_default(bad: str) -> None:
    text, expected = unmark(f"check service a with {bad}, cooldown 5m if cpu:user > 5 then restart")

    said = compiled(text)

    [error] = [each for each in said.diagnostics if each.is_error]
    assert places([error]) == expected
    assert "the default is used" in error.message
    params = said.drafts[0].check.params
    assert params == CheckParams(cooldown=300, given=params.given)
    assert said.disabled == 0


def test_an_unknown_key_is_a_warning_with_the_nearest_known_one() -> None:
    [said] = check("cooldwn 5m").diagnostics

    assert (said.severity, said.line, said.column) == ("warning", 1, 22)
    assert said.message == "the parameter `cooldwn` is not known"
    assert said.help == "did you mean cooldown?"


def test_of_a_repeated_key_the_first_counts() -> None:
    said = check("cooldown 5m, cooldown 9m, cooldown soon")

    assert said.drafts[0].check.params.cooldown == 300
    assert [each.severity for each in said.diagnostics] == ["warning", "warning"]
    assert "the first one counts" in said.diagnostics[0].message


def test_parameters_of_daemons_are_kept_as_they_are() -> None:
    written = (
        'hostname db1, port 5432, username u, password "s e c", database d, endpoint /x, socket /s'
    )

    params = meaning(written)

    assert check(written).diagnostics == ()
    assert dict(params.given)["password"] == "s e c"
    assert dict(params.given)["port"] == "5432"


def test_a_password_is_in_no_message() -> None:
    said = compiled("check service a with password hunter2, password hunter2, pasword hunter2")

    assert len(said.diagnostics) == 2
    assert "hunter2" not in str(said.diagnostics)


def test_defaults_of_the_configuration_hold_where_a_check_says_nothing() -> None:
    defaults = defaults_of({"cooldown": "9m", "dry_run": "yes"})

    assert (defaults.cooldown, defaults.dry_run, defaults.given) == (540, True, ())
    with pytest.raises(ValueError, match="bad value `soon` of `cooldown`"):
        defaults_of({"cooldown": "soon"})
    with pytest.raises(ValueError, match=r"`cooldwn` is not known; did you mean cooldown\?"):
        defaults_of({"cooldwn": "5m"})
