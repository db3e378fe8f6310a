"""What a rule means: sentences of the language, each held on an engine in virtual time."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from steadyd.model.fact import (
    Alerted,
    Answered,
    Bound,
    ForeignAlert,
    JobRan,
    RulesChanged,
    Sampled,
    Silenced,
    Step,
    UnitSeen,
)
from steadyd.model.incident import CloseReason, Outcome, Suppression
from steadyd.model.metric import Reading
from steadyd.model.rule import Check, Job, Rule, RuleSet, Source
from steadyd.model.service import ServiceState
from steadyd.model.silence import Silence, SilenceKind
from tests.fakes.rulefiles import compiled
from tests.fakes.world import CYCLE, FAILED, RSS, UP, World

M = 1 << 20


def rules(text: str, params: str = "") -> tuple[Rule, ...]:
    said = compiled(f"check service web {params} {text}")
    assert [d.message for d in said.diagnostics if d.is_error] == []
    return said.drafts[0].check.rules


def world(text: str, params: str = "", **options: Any) -> World:
    made = World(*rules(text, params), **options)
    made.tick(1 * M)
    return made


def ticks(world: World, *megabytes: float | None) -> list[Step]:
    return [world.tick(None if value is None else value * M) for value in megabytes]


def told(*steps: Step) -> list[str]:
    return [str(n.occasion) for step in steps for n in step.notifications]


def verbs(*steps: Step) -> list[str]:
    return [
        f"{i.action.verb} {i.signal}".strip() if not i.command else i.command
        for step in steps
        for i in step.intents
    ]


def answered(world: World, step: Step, error: str = "", after: float = 1.0) -> Step:
    (intent,) = step.intents
    return world.step(UnitSeen(UP), Answered(intent.action.id, error), after=after)


def run_to(world: World, done: Callable[[Step], bool], value: float, limit: float = 3600) -> Step:
    """Let time pass, with a tick in each cycle, until something is true of a step."""
    end, next_tick = world.now + limit, world.now + CYCLE
    while world.now < end:
        at = world.engine.wake_at()
        if at is not None and at < next_tick:
            step = world.wake(value * M)
        else:
            step = world.tick(value * M, after=next_tick - world.now)
            next_tick += CYCLE
        if done(step):
            return step
    raise AssertionError("it never happened")


# -- conditions


def test_and_needs_both_and_unknown_never_opens() -> None:
    w = world("if memory:total_rss > 100m and init:uptime > 1h then alert")

    assert told(*ticks(w, 200, None, 200)) == []
    w.step(UnitSeen(replace(UP, since=w.moment().wall - 7200)))
    assert told(*ticks(w, 200)) == ["opened"]


def test_or_opens_by_the_one_that_is_true_and_says_which() -> None:
    w = world("if process:count > 5 or memory:total_rss > 100m then alert")

    (step,) = ticks(w, 200)
    incident = step.notifications[0].incident
    assert incident is not None
    assert (incident.topic, incident.operator) == ("memory:total_rss", ">")
    assert (incident.value, incident.threshold) == (200 * M, 100 * M)


def test_an_aggregate_opens_when_its_window_says_so() -> None:
    w = world("if avg memory:total_rss over 1m > 100m then alert")

    assert told(*ticks(w, 200, 200)) == []  # three quarters of a minute were seen
    assert told(*ticks(w, 200)) == ["opened"]
    assert told(*ticks(w, 1, 1, 1)) == []
    assert told(*ticks(w, 1)) == ["closed"]


def test_what_a_new_rule_finds_in_a_history_was_observed_and_may_be_acted_upon() -> None:
    w = World(*rules("if avg memory:total_rss over 1m > 100m then alert, signal USR1"))
    steps = ticks(w, 200, 200, 200, 200)

    assert told(*steps) == ["opened"]
    assert verbs(*steps, w.wake(200 * M)) == ["signal USR1"]
    incident = steps[-1].notifications[0].incident
    assert incident is not None
    assert incident.what == "avg memory:total_rss over 60s"


def test_a_restart_of_the_service_starts_aggregates_again() -> None:
    w = world("if max memory:total_rss over 1m > 100m then alert")
    ticks(w, 1, 1, 1)
    w.step(UnitSeen(replace(UP, invocation="b", main_pid=8)))

    assert told(*ticks(w, 200, 200, 200)) == []
    assert told(*ticks(w, 200)) == ["opened"]


def test_a_forecast_opens_before_the_amount_is_reached() -> None:
    w = world("if memory:total_rss will reach 1g within 1h then alert", "with warmup 1m")

    opened = run_to_growth(w)
    assert opened < 700


def run_to_growth(w: World) -> float:
    for number in range(1000):
        value = 100 + number * 2.0  # 8 MiB a minute
        if told(w.tick(value * M)):
            return value
    raise AssertionError("never")


# -- holds


def test_three_of_five_cycles() -> None:
    w = world("if memory:total_rss > 100m for 3 of 5 cycles then alert")

    assert told(*ticks(w, 200, 1, 200, 1)) == []
    assert told(*ticks(w, 200)) == ["opened"]
    w = world("if memory:total_rss > 100m for 3 of 5 cycles then alert")
    assert told(*ticks(w, 200, 1, 1, 200, 1, 200, 1, 1, 200)) == []


# -- until


def test_with_until_it_closes_when_that_is_true_and_the_condition_is_not() -> None:
    w = world("if memory:total_rss > 100m until < 50m then alert")

    assert told(*ticks(w, 200, 80, 80, 80)) == ["opened"]
    (closed,) = ticks(w, 40)
    assert told(closed) == ["closed"]


def test_until_with_a_hold_of_its_own() -> None:
    w = world("if memory:total_rss > 100m until < 50m for 1m then alert")

    assert told(*ticks(w, 200, 40, 40, 40, 80)) == ["opened"]
    step = run_to(w, lambda s: told(s) == ["closed"], 40)
    assert step.notifications[0].incident is not None


def test_until_may_be_of_something_else_and_never_closes_on_unknown() -> None:
    w = world("if memory:total_rss > 100m until init:uptime > 1h then alert")

    assert told(*ticks(w, 200, 1, 1, 1, None)) == ["opened"]
    w.step(UnitSeen(replace(UP, since=w.moment().wall - 7200)))
    assert told(*ticks(w, None, 200)) == []
    assert told(*ticks(w, 1)) == ["closed"]


# -- windows


def test_a_window_gates_opening_and_holds_count_outside_it() -> None:
    w = world("if memory:total_rss > 100m for 2 cycles between 08:00 and 09:00 then alert")
    midnight = w.moment().wall // 86_400 * 86_400
    to_eight = midnight + 86_400 + 8 * 3600 - w.moment().wall

    w.now += to_eight - 4 * CYCLE
    assert told(*ticks(w, 200, 200, 200)) == []
    assert told(*ticks(w, 200)) == ["opened"]  # it is eight, and the hold was met before


def test_an_incident_closes_outside_its_window_and_verbs_wait_for_it() -> None:
    w = world("if memory:total_rss > 100m between 08:00 and 09:00 then alert, after 5m restart")
    midnight = w.moment().wall // 86_400 * 86_400
    w.now += midnight + 86_400 + 9 * 3600 - w.moment().wall - 2 * CYCLE

    assert told(*ticks(w, 200)) == ["opened"]
    step = run_to(w, lambda s: bool(s.suppressed), 200)
    assert step.suppressed == [("web", Suppression.WINDOW)]
    assert told(*ticks(w, 1, 1)) == ["closed"]


# -- events


def test_crashed_latches_until_the_unit_has_been_up_for_settle() -> None:
    w = world("if crashed then alert", "with settle 40s")
    again = replace(UP, invocation="b", main_pid=8, respawns=1)

    opened = w.step(UnitSeen(again), after=1)
    assert told(opened) == ["opened"]
    assert told(*ticks(w, 1, 1)) == []
    step = run_to(w, lambda s: told(s) == ["closed"], 1)
    assert step.notifications[0].incident is not None


def test_crashes_are_counted_one_by_one_and_a_stop_or_our_restart_is_none() -> None:
    w = world("if crashed then alert\nif memory:total_rss > 100m then restart")
    stopped = replace(UP, state=ServiceState.INACTIVE, main_pid=0, stopped=True)

    assert told(w.step(UnitSeen(stopped)), w.step(UnitSeen(replace(UP, invocation="b")))) == []
    w.tick(200 * M)
    (intent,) = w.wake(200 * M).intents
    ours = replace(UP, invocation="c", main_pid=9)
    assert told(w.step(UnitSeen(ours), Answered(intent.action.id), after=1)) == []
    assert told(w.step(UnitSeen(replace(FAILED, invocation="c")), after=1)) == ["opened"]


def test_oom_is_told_of_a_crash_by_the_kernel_for_lack_of_memory() -> None:
    w = world("if oom then alert\nif crashed then alert")

    step = w.step(UnitSeen(replace(FAILED, result="oom-kill")), after=1)
    assert sorted(n.incident.topic for n in step.notifications if n.incident) == ["crashed", "oom"]


def test_flapping_is_three_changes_in_ten_minutes() -> None:
    w = world("if flapping then alert")

    first = w.step(UnitSeen(replace(UP, invocation="b", respawns=1)), after=1)
    second = w.step(UnitSeen(replace(UP, invocation="c", respawns=2)), after=60)
    assert told(first, second) == ["opened"]
    step = run_to(w, lambda s: told(s) == ["closed"], 1)
    assert step.notifications[0].incident is not None
    assert step.notifications[0].incident.close_reason is CloseReason.RECOVERED


def test_two_crashes_more_than_ten_minutes_apart_are_no_flapping() -> None:
    w = world("if flapping then alert")
    w.step(UnitSeen(replace(UP, invocation="b", respawns=1)), after=1)

    step = w.step(UnitSeen(replace(UP, invocation="c", respawns=2)), after=601)
    assert told(step, *ticks(w, 1)) == []


# -- ladders


LADDER = "if memory:total_rss > 100m then alert, reload, after 10m restart, after 15m alert ops"


def test_later_steps_run_at_their_time_while_the_condition_is_true() -> None:
    w = world(LADDER)
    began = w.now + CYCLE
    ticks(w, 200)
    first = w.wake(200 * M)
    assert verbs(first) == ["reload"]
    answered(w, first)
    second = run_to(w, lambda s: bool(s.intents), 200)
    assert verbs(second) == ["restart"]
    assert w.now - began == pytest.approx(600, abs=1)
    answered(w, second)
    third = run_to(w, lambda s: "escalated" in told(s), 200)
    assert third.notifications[0].route == "ops"
    assert w.now - began == pytest.approx(900, abs=1)
    closed = run_to(w, lambda s: "closed" in told(s), 1)
    assert sorted(n.route for n in closed.notifications) == ["default", "ops"]


def test_what_did_not_help_when_the_next_step_falls_due_did_not_help() -> None:
    w = world("if memory:total_rss > 100m then reload, after 2m restart", "with cooldown 1s")
    ticks(w, 200)
    answered(w, w.wake(200 * M))
    second = run_to(w, lambda s: bool(s.intents), 200)

    assert verbs(second) == ["restart"]
    assert [outcome for _, _, outcome in second.outcomes] == [Outcome.NOT_HEALED]


def test_a_later_step_waits_while_the_condition_is_false_and_not_after_closing() -> None:
    w = world("if memory:total_rss > 100m until < 10m then alert, after 1m restart")
    ticks(w, 200)
    assert verbs(*ticks(w, 5)) == []

    with pytest.raises(AssertionError, match="never"):
        run_to(w, lambda s: bool(s.intents), 5, limit=600)


def test_a_step_that_ran_is_not_run_again_after_a_crash_of_ours() -> None:
    w = world(LADDER)
    ticks(w, 200)
    answered(w, w.wake(200 * M))
    reborn = w.reborn(*rules(LADDER))
    reborn.step(Bound("web", "systemd", "web.service"), UnitSeen(UP))
    second = run_to(reborn, lambda s: bool(s.intents), 200)

    assert verbs(second) == ["restart"]


def test_start_stop_and_signal_are_asked_of_the_init() -> None:
    w = world("if memory:total_rss > 100m then signal USR2, stop", "with cooldown 1s, verify 10s")
    ticks(w, 200)
    first = w.wake(200 * M)
    assert verbs(first) == ["signal USR2"]
    answered(w, first)
    second = run_to(w, lambda s: bool(s.intents), 200)
    assert verbs(second) == ["stop"]


def test_a_stop_of_ours_opens_no_down() -> None:
    w = world("if memory:total_rss > 100m then alert, stop\nif down then alert ops")
    ticks(w, 200)
    first = w.wake(200 * M)
    stopped = replace(UP, state=ServiceState.INACTIVE, main_pid=0, stopped=True)
    step = w.step(UnitSeen(stopped), Answered(first.intents[0].action.id), after=1)

    assert [outcome for _, _, outcome in step.outcomes] == [Outcome.HEALED]
    assert "opened" not in told(step, *ticks(w, None, None, None))
    w.step(UnitSeen(replace(UP, invocation="b")), after=1)
    again = w.step(UnitSeen(replace(FAILED, invocation="b")), after=1)
    assert told(again) == ["opened"]


def test_exec_runs_only_what_is_allowed() -> None:
    text = 'if memory:total_rss > 100m then exec "/bin/helper a b", restart'
    w = world(text, exec_allowed=frozenset({"/bin/helper"}))
    ticks(w, 200)
    assert verbs(w.wake(200 * M)) == ["/bin/helper a b"]

    w = world(text)
    ticks(w, 200)
    step = w.wake(200 * M)
    assert step.suppressed == [("web", Suppression.IMPOSSIBLE)]
    assert verbs(step) == ["restart"]


def test_a_service_waits_for_what_it_depends_on() -> None:
    web = rules("if memory:total_rss > 100m then restart", "with depends db")
    db = tuple(replace(r, service="db") for r in rules("if memory:total_rss > 100m then restart"))
    w = World()
    checks = [Check(r[0].service, r[0].params, r, Source("a", 1)) for r in (web, db)]
    w.step(RulesChanged(RuleSet(tuple(checks)), frozenset({"default"})))
    w.step(Bound("web", "systemd", "web.service"), UnitSeen(UP))
    w.step(Bound("db", "systemd", "db.service"), UnitSeen(replace(UP, unit="db.service")))
    calm, high = Reading(1.0 * M), Reading(200.0 * M)
    w.step(Sampled({"web": {RSS: calm}, "db": {RSS: calm}}, tick=True), after=CYCLE)
    w.step(Sampled({"web": {RSS: calm}, "db": {RSS: high}}, tick=True), after=CYCLE)
    w.now += 0.3
    assert verbs(w.step(Sampled({"db": {RSS: high}}))) == ["restart"]
    w.step(Sampled({"web": {RSS: high}, "db": {RSS: high}}, tick=True), after=CYCLE)
    w.now += 0.3
    step = w.step(Sampled({"web": {RSS: high}}))
    assert step.suppressed == [("web", Suppression.DEPENDS)]


def test_services_of_one_group_are_acted_upon_one_at_a_time() -> None:
    text = "if memory:total_rss > 100m then restart"
    some = [
        tuple(replace(r, service=name) for r in rules(text, f"with group {group}"))
        for name, group in (("web", "all"), ("db", "all"), ("cron", "other"))
    ]
    w = World()
    checks = [Check(r[0].service, r[0].params, r, Source("a", 1)) for r in some]
    w.step(RulesChanged(RuleSet(tuple(checks)), frozenset({"default"})))
    names = [check.service for check in checks]
    for name in names:
        unit = f"{name}.service"
        w.step(Bound(name, "systemd", unit), UnitSeen(replace(UP, unit=unit)))

    def tick(value: float) -> Step:
        readings = {name: {RSS: Reading(value * M)} for name in names}
        return w.step(Sampled(readings, tick=True), after=CYCLE)

    tick(1)
    tick(200)
    w.now += 0.3
    step = w.step(Sampled({name: {RSS: Reading(200.0 * M)} for name in names}))
    assert sorted(i.action.service for i in step.intents) == ["cron", "web"]
    assert step.suppressed == [("db", Suppression.BUSY)]
    web = next(i.action for i in step.intents if i.action.service == "web")
    assert verbs(w.step(Answered(web.id))) == ["restart"]


def test_a_changed_rule_of_the_same_metrics_inherits_the_incident_and_its_steps() -> None:
    w = world(LADDER)
    ticks(w, 200)
    answered(w, w.wake(200 * M))
    w.files(*rules(LADDER.replace("100m", "120m")))
    second = run_to(w, lambda s: bool(s.intents), 200)

    assert verbs(second) == ["restart"]
    assert len(w.engine.incidents) == 1


def test_a_history_outlives_the_daemon() -> None:
    text = "if avg memory:total_rss over 2m > 100m then alert"
    w = world(text)  # a tick of 1 MB
    ticks(w, *[200] * 4)
    later = w.reborn(*rules(text), same_boot=False, away=0)
    later.step(Bound("web", "systemd", "web.service"), UnitSeen(UP))

    assert told(*ticks(later, 200)) == []
    assert told(*ticks(later, 200)) == ["opened"]  # 7 of 8 cycles


def test_a_history_does_not_outlive_the_process() -> None:
    text = "if max memory:total_rss over 2m > 100m then alert"
    w = world(text)
    ticks(w, *[200] * 4)
    again = replace(UP, invocation="b", main_pid=8)
    later = w.reborn(*rules(text), away=0)
    later.step(Bound("web", "systemd", "web.service"), UnitSeen(again))
    ticks(later, 1)
    last = later.reborn(*rules(text), away=0)
    last.step(Bound("web", "systemd", "web.service"), UnitSeen(again))

    assert told(*ticks(last, *[1] * 7)) == []
    assert told(*ticks(last, 200)) == ["opened"]


def test_an_open_incident_of_which_nothing_is_known_stays_open_and_says_since_when() -> None:
    w = world("if memory:total_rss > 100m then alert")
    (incident,) = (n.incident for n in ticks(w, 200)[0].notifications)
    assert incident is not None
    assert w.engine.dark == {}
    since = w.moment().wall + CYCLE
    assert told(*ticks(w, None, None, None)) == []
    assert w.engine.dark == {incident.id: since}
    ticks(w, 200, None)
    assert w.engine.dark == {incident.id: w.moment().wall}
    assert told(*ticks(w, 1, 1)) == ["closed"]
    assert w.engine.dark == {}


# -- silences and deploys


def silenced(world: World, seconds: float, *services: str, deploy: bool = False) -> Step:
    kind = SilenceKind.DEPLOY if deploy else SilenceKind.SILENCE
    now = world.moment().wall
    silences = (Silence("s", kind, now, now + seconds, services),) if seconds else ()
    return world.step(Silenced(silences))


RESTARTS = "if memory:total_rss > 100m then alert, restart"


def test_what_opens_inside_a_silence_is_told_and_acted_upon_when_it_ended() -> None:
    w = world(RESTARTS, "with settle 20s")
    silenced(w, 120)
    ended = w.now + 120

    assert told(*ticks(w, 200, 200, 200)) == []
    assert len(w.engine.incidents) == 1
    step = run_to(w, lambda s: bool(told(s)), 200)
    assert told(step) == ["opened"]
    assert w.now == pytest.approx(ended + 20, abs=1)
    assert verbs(step) == ["restart"]


def test_what_opens_and_closes_inside_a_silence_is_a_line_and_no_message() -> None:
    w = world(RESTARTS)
    silenced(w, 600, deploy=True)

    steps = [*ticks(w, 200), w.wake(200 * M), *ticks(w, 200, 1, 1)]
    assert told(*steps) == []
    assert "nobody was told" in [line.text for step in steps for line in step.lines][-1]
    suppressed = [reason for step in steps for _, reason in step.suppressed]
    assert suppressed == [Suppression.DEPLOY]


def test_a_resolve_of_an_earlier_alert_is_never_muted_and_no_verb_runs_inside() -> None:
    w = world("if memory:total_rss > 100m then alert, after 1m restart, after 2m alert ops")
    assert told(*ticks(w, 200)) == ["opened"]
    silenced(w, 600)

    steps = ticks(w, *[200] * 20)
    assert told(*steps) == []
    assert verbs(*steps) == []
    assert told(*ticks(w, 1, 1)) == ["closed"]


def test_for_quiet_after_its_start_a_service_is_silenced() -> None:
    w = world(RESTARTS, "with quiet 5m")
    started = w.moment().wall
    w.step(UnitSeen(replace(UP, since=started)))
    assert told(*ticks(w, 200, 200)) == []
    step = run_to(w, lambda s: bool(told(s)), 200)
    assert w.moment().wall == pytest.approx(started + 300 + 10, abs=1)  # 10 s settle
    assert (told(step), verbs(step)) == (["opened"], ["restart"])

    w = world(RESTARTS, "with quiet 5m")
    w.step(UnitSeen(replace(UP, since=w.moment().wall)))
    ticks(w, *[200] * 10)
    w.step(UnitSeen(replace(UP, since=w.moment().wall)))  # it started again: quiet again
    again = w.moment().wall
    run_to(w, lambda s: bool(told(s)), 200)
    assert w.moment().wall == pytest.approx(again + 300 + 10, abs=1)


def test_quiet_hides_no_event_and_nothing_of_a_start_in_the_future() -> None:
    w = world("if crashed then alert", "with quiet 5m")
    w.step(UnitSeen(replace(UP, since=w.moment().wall)))
    again = replace(UP, invocation="b", main_pid=8, respawns=1, since=w.moment().wall + 1)
    assert told(w.step(UnitSeen(again), after=1)) == ["opened"]

    w = world(RESTARTS, "with quiet 5m")
    w.step(UnitSeen(replace(UP, since=w.moment().wall + 1e6)))
    assert told(*ticks(w, 200)) == ["opened"]


def test_a_silence_ends_early_and_is_of_some_services_only() -> None:
    w = world(RESTARTS, "with settle 1s")
    silenced(w, 600, "w*")
    assert told(*ticks(w, 200)) == []
    silenced(w, 0)
    assert told(*ticks(w, 200)) == ["opened"]

    w = world(RESTARTS)
    silenced(w, 600, "other")
    assert told(*ticks(w, 200)) == ["opened"]


def test_a_service_that_goes_down_inside_a_deploy_and_stays_down_is_told() -> None:
    w = world("if down for 10s then alert, restart", "with settle 5s")
    silenced(w, 60, deploy=True)
    w.step(UnitSeen(FAILED), after=1)

    step = run_to(w, lambda s: bool(told(s)), 1)
    assert told(step) == ["opened"]


def test_silences_survive_a_crash_of_ours() -> None:
    w = world(RESTARTS)
    silenced(w, 600)
    ticks(w, 200)
    reborn = w.reborn(*rules(RESTARTS))
    reborn.step(Bound("web", "systemd", "web.service"), UnitSeen(UP))

    assert told(*ticks(reborn, 200, 200)) == []
    assert told(run_to(reborn, lambda s: bool(told(s)), 200)) == ["opened"]


# -- recurring jobs


def jobs(world: World, *names: str, every: float = 300.0) -> Step:
    some = tuple(Job(name, every, Source("jobs.inq", 1), "ops") for name in names)
    return world.step(RulesChanged(RuleSet((), 0, some), frozenset({"default", "ops"})))


def test_a_job_is_overdue_after_its_interval_and_a_minute_told_once_and_told_when_it_ran() -> None:
    w = World()
    jobs(w, "sweep", "backup")
    assert told(w.step(JobRan("backup"), after=350)) == []
    w.now = w.engine.wake_at() or 0
    step = w.step()
    assert [n.route for n in step.notifications] == ["ops"]
    assert [n.incident.service for n in step.notifications if n.incident] == ["sweep"]
    assert told(w.step(after=100)) == []
    assert told(w.step(JobRan("sweep"), after=1)) == ["closed"]
    assert told(w.step(JobRan("nobody"))) == []


def test_a_job_is_muted_by_a_silence_and_not_forgotten() -> None:
    w = World()
    jobs(w, "sweep")
    silenced(w, 1000)
    assert told(w.step(after=500)) == []
    assert told(w.step(after=501)) == ["opened"]


def test_the_last_report_survives_and_a_job_that_is_gone_is_withdrawn() -> None:
    w = World()
    jobs(w, "sweep")
    w.step(JobRan("sweep"), after=200)
    reborn = w.reborn(away=100)
    jobs(reborn, "sweep")
    assert told(reborn.step(after=259)) == []
    assert told(reborn.step(after=2)) == ["opened"]
    assert told(jobs(reborn)) == ["closed"]


def test_time_during_which_the_host_was_down_extends_a_job() -> None:
    w = World()
    jobs(w, "sweep")
    reborn = w.reborn(away=10_000, same_boot=False, alive=w.moment().wall)
    jobs(reborn, "sweep")

    assert told(reborn.step(after=350)) == []
    assert told(reborn.step(after=20)) == ["opened"]


# -- alerts of others


def test_alerted_is_true_while_alertmanager_says_so_for_this_service() -> None:
    w = world("if alerted HighLatency for 20s then alert, restart")

    def tell(service: str, firing: bool, name: str = "HighLatency") -> Step:
        return w.step(Alerted((ForeignAlert(name, {"name": service}, firing),)), after=1)

    assert told(tell("other", True), tell("web", True, "Another"), *ticks(w, 1, 1)) == []
    assert told(tell("web", True)) == []
    step = run_to(w, lambda s: bool(told(s)), 1)
    assert told(step) == ["opened"]
    assert verbs(step) == ["restart"]
    assert told(tell("web", False), *ticks(w, 1, 1)) == ["closed"]
