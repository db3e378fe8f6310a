"""The machine of one rule, as walks: one letter per evaluation in, one per decision out.

T true, f false, u unknown at a tick; capitals T and small t: t, n(ot) and i(gnorance) are the
same between ticks, by an event. O opened, R resolved, . nothing.
"""

import pytest

from steadyd.evaluation import machine
from steadyd.evaluation.truth import leaf_truth, truth
from steadyd.model.condition import Amount, Comparison, Event, EventWord, Hold, Operator
from steadyd.model.decision import Decision, Opened
from steadyd.model.fact import Phase, RuleState, Spell
from steadyd.model.metric import MetricId, Reading
from steadyd.model.rule import Alert, Rule, Source

CYCLE = 15.0
ABOVE = Comparison(MetricId("memory", "rss"), Operator.ABOVE, Amount("10", 10))
VALUES = {"T": 11.0, "f": 10.0, "u": None, "t": 11.0, "n": 10.0, "i": None}


def rule(hold: Hold, condition: Comparison | Event = ABOVE) -> Rule:
    return Rule("web", condition, hold, (Alert(),), Source("a.inq", 1))


def look(value: float | None) -> machine.Look:
    return machine.Look(leaf_truth(ABOVE, Reading(value), CYCLE))


def walk(r: Rule, steps: str, seconds: float = CYCLE) -> str:
    state, at, told = RuleState(), 0.0, ""
    for letter in steps:
        decisions: tuple[Decision, ...]
        tick = letter in "Tfu"
        at += seconds if tick else 0.1
        state, decisions = machine.step(r, state, look(VALUES[letter]), at, tick=tick, cycle=CYCLE)
        told += "".join("O" if isinstance(d, Opened) else "R" for d in decisions) or "."
    return told


@pytest.mark.parametrize(
    ("cycles", "steps", "told"),
    [
        pytest.param(None, "TTT", "O..", id="no hold opens at one evaluation, once"),
        pytest.param(None, "tTT", "O..", id="no hold opens at an event"),
        pytest.param(3, "TTTT", "..O.", id="three ticks in a row"),
        pytest.param(3, "TTfTTT", ".....O", id="a false tick starts again"),
        pytest.param(3, "TTuT", "...O", id="one unknown cycle neither adds nor breaks"),
        pytest.param(3, "TTuuTTT", "......O", id="two unknown cycles break"),
        pytest.param(2, "Ttttf", ".....", id="only ticks count cycles"),
        pytest.param(3, "TTnTTT", ".....O", id="the last value of a cycle counts: false"),
        pytest.param(3, "TTntT", "....O", id="the last value of a cycle counts: true again"),
        pytest.param(0, "TTTT", "....", id="a count below one never fires"),
        pytest.param(-3, "TTTT", "....", id="a negative count never fires"),
        pytest.param(None, "TfTff", "O...R", id="one false tick is no recovery"),
        pytest.param(None, "Tuuuu", "O....", id="unknown never closes"),
        pytest.param(None, "Tff", "O.R", id="two false ticks close"),
        pytest.param(None, "Tnf", "O.R", id="an event counts as the first of the two"),
        pytest.param(None, "Tnn", "O..", id="events alone do not close"),
        pytest.param(None, "TffTff", "O.RO.R", id="it can open again"),
        pytest.param(None, "uuu", "...", id="unknown never opens"),
    ],
)
def test_cycles(cycles: int | None, steps: str, told: str) -> None:
    assert walk(rule(Hold(cycles=cycles)), steps) == told


def test_a_timed_hold_is_met_by_observed_seconds() -> None:
    assert walk(rule(Hold(seconds=30)), "TTTT", seconds=10) == "...O"


def test_a_gap_of_more_than_two_cycles_starts_a_timed_hold_again() -> None:
    r = rule(Hold(seconds=40))
    state, _ = machine.step(r, RuleState(), look(11.0), 0.0, tick=True, cycle=CYCLE)
    state, decisions = machine.step(r, state, look(11.0), 50.0, tick=True, cycle=CYCLE)

    assert decisions == ()
    assert state.opening.held == 0.0


def test_a_timed_hold_tells_when_it_is_due() -> None:
    r = rule(Hold(seconds=40))
    state, _ = machine.step(r, RuleState(), look(11.0), 100.0, tick=True, cycle=CYCLE)
    assert machine.due(r, state) == 140.0
    state, decisions = machine.step(r, state, look(11.0), 120.0, tick=False, cycle=CYCLE)
    assert decisions == ()
    assert machine.due(r, state) == 140.0
    state, decisions = machine.step(r, state, look(11.0), 140.0, tick=False, cycle=CYCLE)
    assert isinstance(decisions[0], Opened)
    assert machine.due(r, state) is None


def test_a_rule_that_was_never_false_opens_as_new_unless_its_hold_was_observed() -> None:
    for hold, steps, new in ((Hold(), "T", True), (Hold(), "fT", False), (Hold(2), "TT", False)):
        state, at = RuleState(), 0.0
        opened: list[Decision] = []
        for letter in steps:
            at += CYCLE
            state, decisions = machine.step(
                rule(hold), state, look(VALUES[letter]), at, tick=True, cycle=CYCLE
            )
            opened += decisions

        assert isinstance(opened[0], Opened)
        assert opened[0].new is new


def test_down_is_up_below_one() -> None:
    r = rule(Hold(), Event(EventWord.DOWN))

    assert truth(r.condition, lambda _: Reading(0.0), CYCLE) is True
    assert truth(r.condition, lambda _: Reading(1.0), CYCLE) is False
    assert truth(r.condition, lambda _: Reading(None, "acting"), CYCLE) is None


def test_an_amount_per_second_is_held_against_the_true_elapsed_time() -> None:
    per_second = Comparison(MetricId("io", "read"), Operator.ABOVE, Amount("10/sec", 10, 1.0))
    r = rule(Hold(), per_second)

    assert truth(r.condition, lambda _: Reading(100.0, elapsed=5.0), CYCLE) is True
    assert truth(r.condition, lambda _: Reading(100.0, elapsed=20.0), CYCLE) is False
    assert truth(r.condition, lambda _: Reading(149.0), CYCLE) is False


def test_another_process_starts_a_hold_again_and_leaves_what_is_open() -> None:
    pending = RuleState(Phase.PENDING, Spell(2, 1, 15.0, 3.0), settled=True)
    firing = RuleState(Phase.FIRING)

    assert machine.restarted(pending) == RuleState(settled=True)
    assert machine.restarted(firing) is firing
