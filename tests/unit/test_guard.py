"""May we act? One row per reason, and that each reason is decisive alone."""

import pytest
from msgspec.structs import replace

from steadyd.healing.guard import Later, No, Situation, Yes, may_act
from steadyd.model.incident import Suppression
from steadyd.model.rule import Budget, CheckParams, Verb
from steadyd.model.service import ServiceState, UnitStatus

STATUS = UnitStatus("systemd", "web.service", ServiceState.ACTIVE, can_reload=True)
FREE = Situation(1000.0, Verb.RELOAD, CheckParams(), STATUS)
NO_RELOAD = replace(STATUS, can_reload=False)


def test_nothing_in_the_way_is_yes() -> None:
    assert isinstance(may_act(FREE), Yes)


@pytest.mark.parametrize(
    ("situation", "reason", "final", "next_step"),
    [
        (replace(FREE, kill_switch=True), Suppression.KILL_SWITCH, True, False),
        (replace(FREE, dry_run=True), Suppression.DRY_RUN, True, False),
        (replace(FREE, params=CheckParams(dry_run=True)), Suppression.DRY_RUN, True, False),
        (replace(FREE, params=CheckParams(alert_only=True)), Suppression.ALERT_ONLY, True, False),
        (replace(FREE, new=True), Suppression.NEW_RULE, True, False),
        (replace(FREE, status=None), Suppression.BUSY, False, None),
        (replace(FREE, status=replace(STATUS, stopped=True)), Suppression.STOPPED, True, False),
        (replace(FREE, status=NO_RELOAD), Suppression.IMPOSSIBLE, True, True),
        (replace(FREE, refused="no right"), Suppression.RIGHTS, True, True),
        (replace(FREE, busy=True), Suppression.BUSY, False, None),
        (replace(FREE, status=replace(STATUS, acting=True)), Suppression.BUSY, False, None),
        (replace(FREE, status=replace(STATUS, respawning=True)), Suppression.BUSY, False, None),
        (replace(FREE, verbs=(950.0,)), Suppression.COOLDOWN, False, None),
        (replace(FREE, verbs=(100.0, 200.0, 300.0)), Suppression.BUDGET, True, False),
        (replace(FREE, host_verbs=(1.0,) * 10), Suppression.HOST_BUDGET, True, False),
    ],
)
def test_each_reason_is_decisive(
    situation: Situation, reason: Suppression, final: bool, next_step: bool | None
) -> None:
    answer = may_act(situation)

    assert isinstance(answer, No if final else Later)
    assert answer.reason is reason
    if isinstance(answer, No):
        assert answer.next_step is next_step


def test_a_cooldown_tells_when_it_ends() -> None:
    answer = may_act(replace(FREE, verbs=(950.0,), params=CheckParams(cooldown=60)))

    assert isinstance(answer, Later)
    assert answer.at == 1010.0


def test_a_reload_signal_makes_a_reload_possible() -> None:
    params = CheckParams(reload_signal="USR1")

    assert isinstance(may_act(replace(FREE, status=NO_RELOAD, params=params)), Yes)


def test_a_budget_counts_only_its_window() -> None:
    params = CheckParams(budget=Budget(1, 100), cooldown=0)

    assert isinstance(may_act(replace(FREE, verbs=(899.0,), params=params)), Yes)
    assert isinstance(may_act(replace(FREE, verbs=(901.0,), params=params)), No)
