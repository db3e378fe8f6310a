"""What a snapshot tells of rules, read off a real engine."""

import pytest
from msgspec.structs import replace

from steadyd.model.condition import UP as INIT_UP
from steadyd.model.condition import All, Amount, Any, Comparison, Condition, Operator
from steadyd.model.fact import UnitSeen
from steadyd.model.metric import MetricId
from steadyd.model.service import ServiceState
from steadyd.view import watched_of
from tests.fakes.world import ALERT, BIG, DOWN, RSS, World, rule
from tests.fakes.world import UP as RUNS

SWAP = Comparison(MetricId("swap"), Operator.ABOVE, Amount("5", 5))
STATE = Comparison(INIT_UP, Operator.BELOW, Amount("1", 1))


def test_a_rule_tells_why_there_is_nothing_to_compare_until_there_is() -> None:
    world = World(rule(BIG, ALERT))
    (before,) = watched_of(world.engine, "web")
    assert before.missing.keys() == {RSS}
    world.tick(None)
    (dark,) = watched_of(world.engine, "web")
    assert (dark.phase, dark.missing, dark.unknown) == ("ok", {RSS: "no data"}, True)
    world.tick(1)
    (known,) = watched_of(world.engine, "web")
    assert (known.phase, known.missing) == ("ok", {})


@pytest.mark.parametrize("condition", [DOWN, STATE])
def test_a_state_that_nobody_knows_is_told_as_a_state(condition: Condition) -> None:
    world = World(rule(condition, ALERT))
    world.step(UnitSeen(replace(RUNS, state=ServiceState.UNKNOWN, reason="no answer")))
    assert world.engine.reading("web", INIT_UP).value is None
    (told,) = watched_of(world.engine, "web")
    assert told.missing == {}


def test_what_is_false_by_another_part_is_not_unknown() -> None:
    world = World(rule(All((BIG, SWAP)), ALERT), rule(Any((BIG, SWAP)), ALERT))
    world.tick(1)
    both, either = watched_of(world.engine, "web")
    assert (both.unknown, either.unknown) == (False, True)
    assert list(both.missing) == list(either.missing) == [SWAP.metric]


def test_of_several_metrics_those_without_a_reading_are_named() -> None:
    world = World(rule(Any((BIG, SWAP)), ALERT))
    world.tick(1)
    (told,) = watched_of(world.engine, "web")
    assert list(told.missing) == [SWAP.metric]
