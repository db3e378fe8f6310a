"""The engine as its users see it: facts in, notifications and intents out, in virtual time."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from steadyd.model.condition import Amount, Hold
from steadyd.model.fact import Answered, Bound, Step, Unbound, UnitSeen, UnitUnknown
from steadyd.model.incident import CloseReason, LineKind, Outcome, Suppression
from steadyd.model.notification import Occasion
from steadyd.model.rule import Alert, Budget, CheckParams, Rule, Source, Verb
from steadyd.model.service import ServiceState
from tests.fakes.world import (
    ALERT,
    BIG,
    CYCLE,
    DOWN,
    FAILED,
    RELOAD,
    RESTART,
    UP,
    World,
    rule,
)


def occasions(step: Step) -> list[Occasion]:
    return [n.occasion for n in step.notifications]


def suppressed(step: Step) -> list[Suppression]:
    return [reason for _, reason in step.suppressed]


def outcomes(steps: Sequence[Step]) -> list[str]:
    return [outcome for step in steps for _, _, outcome in step.outcomes]


def test_the_main_job_alert_reload_healed_told_twice() -> None:
    world = World(rule(BIG, ALERT, RELOAD))
    world.tick(1)
    opened = world.tick(101)
    assert occasions(opened) == [Occasion.OPENED]
    (intent,) = world.wake(101).intents
    assert intent.action.verb is Verb.RELOAD
    assert occasions(world.step(UnitSeen(UP), Answered(intent.action.id), after=1)) == []
    assert occasions(world.tick(50)) == []
    closed = world.tick(50)

    assert occasions(closed) == [Occasion.CLOSED]
    assert closed.notifications[0].actions[0].outcome is Outcome.HEALED
    assert closed.notifications[0].incident is not None
    assert closed.notifications[0].incident.close_reason is CloseReason.RECOVERED
    assert world.engine.incidents == {}
    assert outcomes([closed]) == [Outcome.HEALED]


def test_a_single_high_sample_of_a_process_sum_runs_no_verb() -> None:
    world = World(rule(BIG, ALERT, RELOAD))
    world.tick(1)
    world.tick(101)

    assert world.wake(50).intents == []


def test_down_restarts_at_once_and_the_second_look_closes_within_a_second() -> None:
    world = World(rule(DOWN, ALERT, RESTART))
    world.tick(None)
    opened = world.step(UnitSeen(FAILED), after=3)
    assert occasions(opened) == [Occasion.OPENED]
    (intent,) = opened.intents
    again = replace(UP, main_pid=8, invocation="b")
    world.step(UnitSeen(again), Answered(intent.action.id), after=0.2)
    before = world.now
    closed = world.wake()

    assert occasions(closed) == [Occasion.CLOSED]
    assert world.now - before == pytest.approx(1.0)
    assert world.engine.units["systemd", "web.service"].restarts == {"rule": 1}
    assert outcomes([closed]) == [Outcome.HEALED]


def test_changes_inside_a_job_of_ours_open_no_down() -> None:
    world = World(rule(BIG, RESTART), rule(DOWN, ALERT))
    world.open_on_big()
    stopping = replace(UP, state=ServiceState.INACTIVE, main_pid=0)

    assert occasions(world.step(UnitSeen(stopping), after=0.1)) == []


def test_a_respawning_init_is_left_alone_and_down_after_settle() -> None:
    world = World(rule(DOWN, ALERT, RESTART))
    world.tick(None)
    respawning = replace(
        UP, state=ServiceState.ACTIVATING, acting=True, respawning=True, main_pid=0
    )
    assert occasions(world.step(UnitSeen(respawning))) == []
    late = world.wake()

    assert occasions(late) == [Occasion.OPENED]
    assert late.intents == []
    assert suppressed(late) == [Suppression.BUSY]


def test_an_operators_stop_is_told_once_and_not_undone() -> None:
    world = World(rule(DOWN, ALERT, RESTART))
    world.tick(None)
    stopped = replace(UP, state=ServiceState.INACTIVE, main_pid=0, stopped=True)
    told = world.step(UnitSeen(stopped))
    assert occasions(told) == [Occasion.OPENED]
    assert told.intents == []
    assert suppressed(told) == [Suppression.STOPPED]
    steps = [world.tick(None) for _ in range(60)]

    assert [o for step in steps for o in occasions(step)] == []
    assert world.engine.incidents == {}  # withdrawn after five minutes
    assert occasions(world.step(UnitSeen(UP))) == []


def test_an_incident_of_a_unit_that_is_gone_is_withdrawn_after_five_minutes_and_told() -> None:
    world = World(rule(BIG, ALERT))
    world.tick(1)
    world.tick(101)
    world.step(UnitUnknown("systemd", "web.service", "not found"))
    steps = [world.tick(None) for _ in range(20)]

    assert [o for step in steps for o in occasions(step)] == [Occasion.CLOSED]
    assert world.now - 1000 > 300


def test_an_init_that_cannot_be_reached_keeps_incidents_open_and_opens_none() -> None:
    world = World(rule(BIG, ALERT), rule(DOWN, ALERT))
    world.tick(1)
    world.tick(101)
    world.step(UnitUnknown("systemd", "", "the bus does not answer"))
    steps = [world.tick(None) for _ in range(40)]

    assert [o for step in steps for o in occasions(step)] == []
    assert len(world.engine.incidents) == 1


def test_an_unknown_service_opens_nothing() -> None:
    world = World(rule(DOWN, ALERT, hold=Hold(seconds=10)))
    world.step(Unbound("web", "systemd: no such unit"))
    steps = [world.tick(None) for _ in range(40)]

    assert [o for step in steps for o in occasions(step)] == []


def test_a_failed_verb_is_followed_by_the_next_after_the_cooldown() -> None:
    world = World(rule(BIG, ALERT, RELOAD, RESTART, params=CheckParams(cooldown=30)))
    action = world.open_on_big()
    failed = world.step(Answered(action.id, "the job failed"), after=1)
    assert outcomes([failed]) == [Outcome.FAILED]
    assert failed.intents == []
    assert suppressed(failed) == [Suppression.COOLDOWN]
    (intent,) = world.wake(101).intents

    assert intent.action.verb is Verb.RESTART
    assert world.now - 1000 == pytest.approx(CYCLE * 2 + 0.25 + 30)


def test_a_verb_that_does_not_help_is_not_healed_and_people_hear_that_nothing_more_is_tried() -> (
    None
):
    world = World(rule(BIG, ALERT, RELOAD, params=CheckParams(verify=40)))
    action = world.open_on_big()
    world.step(Answered(action.id), after=1)
    steps = [world.tick(101) for _ in range(6)]

    assert outcomes(steps) == [Outcome.NOT_HEALED]
    assert [o for step in steps for o in occasions(step)] == [Occasion.GAVE_UP]


def test_what_comes_back_soon_came_back() -> None:
    world = World(rule(BIG, ALERT, RELOAD, params=CheckParams(verify=100, cooldown=0)))
    action = world.open_on_big()
    world.step(Answered(action.id), after=1)
    steps = [world.tick(1), world.tick(1), world.tick(101)]

    assert outcomes(steps) == [Outcome.HEALED, Outcome.CAME_BACK]


def test_a_lack_of_right_is_suppressed_with_the_mend_and_remembered() -> None:
    world = World(rule(BIG, ALERT, RELOAD))
    action = world.open_on_big()
    refused = world.step(
        Answered(action.id, "access denied; steadyd grants polkit", Suppression.RIGHTS), after=1
    )
    assert suppressed(refused) == [Suppression.RIGHTS]
    assert occasions(refused) == [Occasion.GAVE_UP]
    assert "steadyd grants polkit" in refused.notifications[0].actions[0].reason
    steps = [world.tick(1), world.tick(1), world.tick(101, after=120), world.wake(101)]

    assert [i for step in steps for i in step.intents] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("kill_switch", Suppression.KILL_SWITCH),
        ("dry_run", Suppression.DRY_RUN),
        ("budget", Suppression.BUDGET),
        ("no_reload", Suppression.IMPOSSIBLE),
    ],
)
def test_every_no_is_counted_told_and_in_the_story(change: str, reason: Suppression) -> None:
    params = CheckParams(budget=Budget(0, 3600)) if change == "budget" else CheckParams()
    world = World(rule(DOWN, ALERT, RELOAD, params=params), dry_run=change == "dry_run")
    world.tick(None)
    world.kill_switch = change == "kill_switch"
    told = world.step(UnitSeen(replace(FAILED, can_reload=change != "no_reload")))

    assert suppressed(told) == [reason]
    assert told.intents == []
    assert told.notifications[0].actions[0].outcome is Outcome.SUPPRESSED
    assert [line.kind for line in told.lines].count(LineKind.SUPPRESSED) == 1


def test_the_host_budget_is_shared() -> None:
    world = World(rule(DOWN, RESTART), host_budget=Budget(0, 3600))
    world.tick(None)

    assert suppressed(world.step(UnitSeen(FAILED))) == [Suppression.HOST_BUDGET]


def test_nothing_acts_because_of_the_start_up() -> None:
    world = World(rule(BIG, ALERT, RELOAD))
    first = world.tick(101)

    assert occasions(first) == [Occasion.OPENED]
    assert first.intents == []
    assert suppressed(first) == [Suppression.NEW_RULE]
    assert [i for _ in range(5) for i in world.tick(101).intents] == []


def test_a_restart_by_anybody_starts_holds_on_process_metrics_again() -> None:
    world = World(rule(BIG, ALERT, hold=Hold(3)))
    world.tick(101)
    world.tick(101)
    world.step(UnitSeen(replace(UP, main_pid=9, invocation="b")))

    assert occasions(world.tick(101)) == []
    assert occasions(world.tick(101)) == []
    assert occasions(world.tick(101)) == [Occasion.OPENED]
    assert world.engine.units["systemd", "web.service"].restarts == {"operator": 1}


def test_an_edit_that_moves_a_line_changes_nothing() -> None:
    world = World(rule(BIG, ALERT))
    world.tick(1)
    world.tick(101)
    moved = replace(rule(BIG, ALERT), source=Source("b.inq", 99))
    told = world.files(moved)

    assert occasions(told) == []
    assert len(world.engine.incidents) == 1


def test_a_changed_rule_inherits_the_incident_and_the_steps_it_ran() -> None:
    world = World(rule(BIG, ALERT, RELOAD))
    world.open_on_big()
    other = replace(BIG, amount=Amount("90", 90))
    told = world.files(rule(other, ALERT, RELOAD))
    assert occasions(told) == []
    steps = [world.tick(95) for _ in range(4)]

    assert [i for step in steps for i in step.intents] == []
    assert len(world.engine.incidents) == 1


def test_a_rule_that_is_gone_withdraws_its_incident_and_says_so() -> None:
    world = World(rule(BIG, ALERT))
    world.tick(1)
    world.tick(101)
    told = world.files(rule(DOWN, ALERT))

    assert occasions(told) == [Occasion.CLOSED]
    assert told.notifications[0].incident is not None
    assert told.notifications[0].incident.close_reason is CloseReason.WITHDRAWN


def test_an_unknown_route_goes_to_the_default_route_and_says_so() -> None:
    world = World(rule(BIG, Alert("nobody")))
    world.tick(1)
    (notification,) = world.tick(101).notifications

    assert notification.route == "default"
    assert any("nobody" in remark for remark in notification.remarks)


def test_alerts_go_to_the_route_else_the_owner_and_never_twice() -> None:
    world = World(rule(BIG, ALERT, Alert("ops"), params=CheckParams(owner="ops")))
    world.tick(1)

    assert [n.route for n in world.tick(101).notifications] == ["ops"]


# -- after a crash of ours


def test_a_crash_keeps_the_incident_and_repeats_nothing() -> None:
    rules = (rule(BIG, ALERT, RELOAD),)
    world = World(*rules)
    world.open_on_big()
    again = world.reborn(*rules)
    steps = [again.step(Bound("web", "systemd", "web.service"), UnitSeen(UP))]
    steps += [again.tick(101) for _ in range(4)]

    assert [o for step in steps for o in occasions(step)] == [Occasion.GAVE_UP]
    assert [i for step in steps for i in step.intents] == []
    assert outcomes(steps) == [Outcome.UNKNOWN]


def test_a_restart_that_was_carried_out_while_we_were_away_is_verified() -> None:
    rules = (rule(BIG, ALERT, RESTART),)
    world = World(*rules)
    world.open_on_big()
    again = world.reborn(*rules)
    fresh = replace(UP, main_pid=9, invocation="b")
    steps = [again.step(Bound("web", "systemd", "web.service"), UnitSeen(fresh))]
    steps += [again.tick(1), again.tick(1)]

    assert outcomes(steps) == [Outcome.HEALED]


def test_a_hold_goes_on_after_a_short_pause_and_not_after_a_long_one_or_a_boot() -> None:
    rules = (rule(BIG, ALERT, hold=Hold(3)),)
    for away, same_boot, ticks in ((5.0, True, 1), (60.0, True, 3), (5.0, False, 3)):
        world = World(*rules)
        world.tick(1)
        world.tick(101)
        world.tick(101)
        again = world.reborn(*rules, same_boot=same_boot, away=away)
        again.step(Bound("web", "systemd", "web.service"), UnitSeen(UP))
        told = [len(occasions(again.tick(101, after=1))) for _ in range(3)]

        assert told.index(1) + 1 == ticks


def test_cooldown_and_budget_survive_a_restart_of_ours() -> None:
    rules = (rule(BIG, ALERT, RELOAD, params=CheckParams(cooldown=600, verify=10)),)
    world = World(*rules)
    action = world.open_on_big()
    world.step(Answered(action.id), after=1)
    again = world.reborn(*rules)
    again.step(Bound("web", "systemd", "web.service"), UnitSeen(UP))
    again.tick(1)
    again.tick(1)
    steps = [again.tick(101), again.wake(101)]

    assert [r for step in steps for r in suppressed(step)] == [Suppression.COOLDOWN]


def test_a_verb_under_way_when_its_rule_is_taken_away_has_an_unknown_outcome() -> None:
    world = World(rule(BIG, ALERT, RELOAD))
    action = world.open_on_big()
    world.files()
    assert world.kept.actions[action.id].outcome is Outcome.UNKNOWN
    world.step(Answered(action.id))
    done = world.kept.actions[action.id]
    assert (done.outcome, done.finished_at is not None) == (Outcome.UNKNOWN, True)
    assert world.engine.ladder.actions == {}


def test_no_verb_runs_on_a_condition_that_is_not_known() -> None:
    rules = (rule(BIG, ALERT, RELOAD, RESTART, params=CheckParams(cooldown=60, verify=30)),)
    world = World(*rules)
    world.step(Answered(world.open_on_big().id), after=1)
    steps = [world.tick(None) for _ in range(40)]

    assert [i for step in steps for i in step.intents] == []
    assert outcomes(steps) == []  # it is not known either whether it helped
    steps = [world.tick(101), world.tick(101)]
    assert outcomes(steps) == [Outcome.NOT_HEALED]
    assert [i.action.verb for step in steps for i in step.intents] == [Verb.RESTART]


def test_a_second_look_without_data_runs_no_verb() -> None:
    world = World(rule(BIG, ALERT, RELOAD))
    world.tick(1)
    world.tick(101)

    assert world.wake(None).intents == []
    assert [i.action.verb for i in world.tick(101).intents] == [Verb.RELOAD]


def test_a_deferred_verb_waits_after_a_crash_of_ours_for_a_fresh_reading() -> None:
    rules = (rule(BIG, ALERT, RELOAD, params=CheckParams(cooldown=60, verify=10)),)
    world = World(*rules)
    world.step(Answered(world.open_on_big().id), after=1)
    world.tick(1)
    world.tick(1)
    world.tick(101, after=1)
    assert world.wake(101).intents == []  # the cooldown defers it
    again = world.reborn(*rules, away=70)
    steps = [again.step(Bound("web", "systemd", "web.service"), UnitSeen(UP))]
    steps += [again.tick(1), again.tick(1)]

    assert [i for step in steps for i in step.intents] == []
    assert occasions(steps[-1]) == [Occasion.CLOSED]


def test_what_was_deferred_is_confirmed_by_a_fresh_reading_when_it_may_go() -> None:
    world = World(rule(BIG, ALERT, RELOAD, params=CheckParams(cooldown=60, verify=10)))
    world.step(Answered(world.open_on_big().id), after=1)
    world.tick(1)
    world.tick(1)
    world.tick(101, after=1)
    world.wake(101)
    while (at := world.engine.wake_at()) is not None and world.now + CYCLE <= at:
        world.tick(101)

    assert world.wake(1).intents == []
    assert [i.action.verb for i in world.tick(101).intents] == [Verb.RELOAD]


def test_an_edit_of_the_cooldown_reaches_a_verb_that_it_defers() -> None:
    def file(cooldown: float) -> Rule:
        return rule(BIG, ALERT, RELOAD, params=CheckParams(cooldown=cooldown, verify=10))

    world = World(file(3600))
    world.step(Answered(world.open_on_big().id), after=1)
    world.tick(1)
    world.tick(1)
    world.tick(101)
    assert world.wake(101).intents == []
    steps = [world.files(file(1)), world.tick(101)]

    assert [i.action.verb for step in steps for i in step.intents] == [Verb.RELOAD]


def test_a_timed_alert_that_an_edit_adds_to_an_open_incident_is_sent() -> None:
    world = World(rule(BIG, ALERT))
    world.tick(1)
    world.tick(101)
    world.files(rule(BIG, ALERT, Alert("ops", after=60)))
    steps = [world.tick(101) for _ in range(6)]

    assert [n.route for step in steps for n in step.notifications] == ["ops"]


def test_a_verb_of_which_the_answer_was_lost_has_its_time_before_the_next_one() -> None:
    rules = (rule(BIG, ALERT, RELOAD, RESTART, params=CheckParams(cooldown=1)),)
    world = World(*rules)
    world.open_on_big()
    again = world.reborn(*rules)
    asked = again.now
    steps = [again.step(Bound("web", "systemd", "web.service"), UnitSeen(UP))]
    while not steps[-1].intents:
        steps.append(again.tick(101))

    assert again.now - asked >= 300  # what a reload has by default


def test_a_budget_of_a_week_is_kept_for_a_week() -> None:
    params = CheckParams(cooldown=1, verify=10, budget=Budget(2, 7 * 86_400))
    world = World(rule(BIG, ALERT, RELOAD, params=params))
    asked = []
    for _ in range(4):
        step = world.tick(1), world.tick(1), world.tick(101, after=86_400.0), world.wake(101)
        asked += [i for each in step for i in each.intents]
        world.step(*(Answered(i.action.id) for each in step for i in each.intents))

    assert len(asked) == 2
