"""What a replay tells: sentences of the language, held on recorded history."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace as changed

from steadyd.probes.catalogue import CATALOGUE, metric_id
from steadyd.replaying.recording import Recording, column
from steadyd.replaying.replay import replay
from steadyd.replaying.story import Kind, Told, summary
from tests.fakes.rulefiles import rules

START, STEP = 1_790_000_010.0, 15.0
PER_PROCESS = frozenset(metric.id for metric in CATALOGUE.metrics if metric.per_process)


def told(text: str, **series: Sequence[float | None]) -> Told:
    """Replay the first rule of a check of `web`; `_` in a name of a series stands for `:`."""
    known = {metric_id(name.replace("_", ":", 1)): column(some) for name, some in series.items()}
    ticks = max(map(len, series.values()))
    recording = Recording(START, STEP, ticks, {"web": known})
    story = replay(rules(f"check service web {text}"), recording, per_process=PER_PROCESS)
    return next(each for each in story.rules if not each.rule.implicit)


def at(found: Told, *kinds: Kind) -> list[float]:
    """Return the ticks of the events of some kinds."""
    return [(event.at - START) / STEP for event in found.events if event.kind in kinds]


def words(found: Told) -> list[str]:
    return [f"{event.kind} {event.verb or event.reason}".strip() for event in found.events]


def test_a_hold_of_cycles_opens_at_its_last_tick_and_two_good_ones_close() -> None:
    found = told("if process:count > 5 for 3 cycles then alert",
                 process_count=[1, 9, 9, 9, 9, 1, 9, 1, 1, 1])  # fmt: skip

    assert at(found, Kind.OPENED) == [3]
    assert at(found, Kind.CLOSED) == [8]
    (opened, _) = found.events
    assert (opened.value, opened.threshold) == (9, 5)


def test_a_timed_hold_opens_when_it_is_met_also_between_two_ticks() -> None:
    found = told("if process:count > 5 for 20s then alert", process_count=[1, 9, 9, 9, 1])

    assert at(found, Kind.OPENED) == pytest.approx([1 + 20 / 15])


def test_a_gap_of_one_tick_keeps_a_hold_and_a_longer_one_breaks_it() -> None:
    text = "if process:count > 5 for 3 cycles then alert"

    assert at(told(text, process_count=[1, 9, None, 9, 9, 1]), Kind.OPENED) == [4]
    assert at(told(text, process_count=[1, 9, None, None, 9, 9, 1]), Kind.OPENED) == []


def test_unknown_neither_opens_nor_closes() -> None:
    found = told("if process:count > 5 then alert", process_count=[1, 9, *[None] * 50, 9, 1])

    assert words(found) == ["opened"]
    assert summary(found, START + 53 * STEP).open


def test_until_closes_when_its_condition_held() -> None:
    found = told("if process:count > 5 until < 2 for 2 cycles then alert",
                 process_count=[1, 9, 4, 4, 1, 4, 1, 1, 1])  # fmt: skip

    assert (at(found, Kind.OPENED), at(found, Kind.CLOSED)) == ([1], [7])


def test_a_ladder_goes_on_since_the_past_stays_as_it_was() -> None:
    found = told("with verify 30s, cooldown 1s if process:count > 5 then alert, reload, restart,"
                 " after 5m alert ops", process_count=[1, *[9] * 40, 1, 1])  # fmt: skip

    assert [word for word in words(found) if not word.startswith("outcome")] == [
        "opened", "acted reload", "acted restart", "escalated", "closed",
    ]  # fmt: skip
    assert at(found, Kind.ESCALATED) == [21]
    assert "reload not healed" in found.events[2].text


def test_the_budget_stops_verbs_and_the_summary_counts_them() -> None:
    burst = [9, 9, 1, 1, 1, 1, 1, 1]
    found = told("with budget 2/1h if process:count > 5 for 2 cycles then alert, restart",
                 process_count=[1, *burst * 5])  # fmt: skip
    counted = summary(found, START + 40 * STEP)

    assert counted.opened == 5
    assert (counted.verbs, counted.stopped) == ({"restart": 2}, {"budget": 3})
    assert counted.seconds == 5 * 2 * STEP
    assert not counted.open


def test_the_cooldown_defers_a_verb_and_tells_it_once() -> None:
    burst = [9, 9, 1, 1]
    found = told("with cooldown 2m if process:count > 5 for 2 cycles then alert, restart",
                 process_count=[1, *burst, *[9] * 12])  # fmt: skip

    assert words(found).count("deferred cooldown") == 1
    acted = at(found, Kind.ACTED)
    assert acted == [2, 10]


def test_a_window_gates_the_opening() -> None:
    # the history begins at 14:13:30 UTC
    found = told(
        "if process:count > 5 between 14:15 and 14:20 then alert", process_count=[1, *[9] * 20]
    )

    assert at(found, Kind.OPENED) == [6]


def test_a_step_that_a_window_defers_runs_when_it_opens_again() -> None:
    found = told(
        "if process:count > 5 not between 14:15 and 14:17 then alert, after 2m restart",
        process_count=[1, *[9] * 40],
    )

    assert words(found)[:3] == ["opened", "deferred window", "acted restart"]
    assert at(found, Kind.OPENED, Kind.DEFERRED, Kind.ACTED) == [1, 9, 14]


def test_a_rule_that_is_true_from_the_start_only_alerts() -> None:
    assert words(told("if process:threads > 5 then alert, restart", process_threads=[9, 9])) == [
        "opened", "suppressed new_rule",
    ]  # fmt: skip


def test_down_is_what_init_up_says_and_without_it_the_service_is_up() -> None:
    found = told("if down for 20s then alert, restart", init_up=[1, 1, 0, 0, 0, 0, 1, 1, 1])
    quiet = told("if down then alert", process_count=[1, 2])

    assert words(found)[:2] == ["opened", "acted restart"]
    assert at(found, Kind.OPENED) == pytest.approx([2 + 20 / 15])
    assert at(found, Kind.CLOSED) == [6]  # the event and the tick are two evaluations
    assert quiet.events == ()


def test_a_restart_of_the_service_starts_its_holds_again() -> None:
    text = "if process:count > 5 for 3 cycles then alert"
    ages = [100.0, 115.0, 130.0, 5.0, 20.0, 35.0, 50.0]

    assert at(told(text, process_count=[1, *[9] * 6], init_uptime=ages), Kind.OPENED) == [5]
    assert at(told(text, process_count=[1, *[9] * 6]), Kind.OPENED) == [3]


def test_an_aggregate_is_that_of_the_recorded_ticks() -> None:
    found = told(
        "if avg process:count over 1m > 5 then alert", process_count=[1, 1, 1, 1, 9, 9, 9, 1]
    )

    assert at(found, Kind.OPENED) == [6]


def test_what_the_history_does_not_tell_is_said_with_the_reason() -> None:
    found = told("if process:fds > 1 or crashed then alert", process_count=[1])

    assert dict(found.dark) == {
        "process:fds": "it is not in the history",
        "crashed": "the history does not tell why a service was down",
    }


def test_the_history_is_that_of_its_service_and_its_start() -> None:
    known = {"db": {metric_id("process:count"): column([9, 9])}}
    recording = Recording(START, STEP, 2, known)
    story = replay(rules("check service web if process:count > 5 then alert"), recording)

    assert [each.events for each in story.rules] == [(), ()]
    later = changed(recording, start=START + 3600)
    assert replay(rules("check service web if down then alert"), later).start == START + 3600


def test_an_event_is_judged_on_the_tick_before_it_also_when_ticks_are_skipped() -> None:
    text = "check service web if not (process:threads > 5 and down) for 2 cycles then alert"
    known = {metric_id("process:threads"): column([*[9] * 8, 1, *[9] * 4]),
             metric_id("init:up"): column([*[0] * 9, 1, 1, 0, 0])}  # fmt: skip
    recording = Recording(START, STEP, 13, {"web": known})
    quick = replay(rules(text), recording)

    assert quick == replay(rules(text), recording, skip=False)


def test_a_host_rule_has_no_init_system() -> None:
    some: dict[str, Any] = {"host": {metric_id("load:1"): column([1, 9, 9])}}
    story = replay(rules("check host if load:1 > 5 then alert, exec \"/bin/page\""),
                   Recording(START, STEP, 3, some))  # fmt: skip

    (host,) = story.rules
    assert words(host) == ["opened", "acted exec"]
