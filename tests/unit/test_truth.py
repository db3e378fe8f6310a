"""Three-valued logic, aggregates and forecasts."""

from itertools import product

import pytest

from steadyd.evaluation.history import Series, aggregate, forecast, leads_to
from steadyd.evaluation.truth import truth
from steadyd.model.condition import (
    All,
    Amount,
    Any,
    Comparison,
    Condition,
    Forecast,
    Function,
    Leaf,
    Not,
    Operator,
)
from steadyd.model.metric import MetricId, Reading

CYCLE = 15.0
VALUES = {True: 11.0, False: 9.0, None: None}


def leaf(name: str) -> Comparison:
    return Comparison(MetricId("x", name), Operator.ABOVE, Amount("10", 10))


A, B = leaf("a"), leaf("b")


def told(condition: Condition, a: bool | None, b: bool | None) -> bool | None:
    values = {"a": VALUES[a], "b": VALUES[b]}

    def read(asked: Leaf) -> Reading:
        assert isinstance(asked, Comparison)
        return Reading(values[asked.metric.name])

    return truth(condition, read, CYCLE)


@pytest.mark.parametrize(("a", "b"), [*product((True, False, None), repeat=2)])
def test_kleenes_tables(a: bool | None, b: bool | None) -> None:
    both = False if False in (a, b) else None if None in (a, b) else True
    either = True if True in (a, b) else None if None in (a, b) else False

    assert told(All((A, B)), a, b) is both
    assert told(Any((A, B)), a, b) is either
    assert told(Not(A), a, b) is (None if a is None else not a)
    assert told(Not(All((A, B))), a, b) is told(Any((Not(A), Not(B))), a, b)  # De Morgan


# -- history


def series(values: list[float | None], *, counter: bool = False, start: float = 0.0) -> Series:
    found = Series(86_400.0, counter=counter)
    for number, value in enumerate(values):
        found.add(start + CYCLE * number, Reading(value, elapsed=CYCLE if counter else 0.0))
    return found


GAUGE: list[float | None] = [float(n) for n in range(1, 21)]  # 5 minutes


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (Function.AVG, 10.5),
        (Function.MIN, 1.0),
        (Function.MAX, 20.0),
        (Function.P50, 10.0),
        (Function.P90, 18.0),
        (Function.P95, 19.0),
        (Function.P99, 20.0),
        (Function.DELTA, 19.0),
        (Function.RATE, 19 / (19 * CYCLE)),
    ],
)
def test_aggregates_of_a_gauge(function: Function, value: float) -> None:
    reading = aggregate(series(GAUGE), function, 300.0, CYCLE * 19, CYCLE)

    assert reading.value == pytest.approx(value)


def test_aggregates_of_a_counter_are_of_what_it_gained() -> None:
    found = series([3.0] * 20, counter=True)

    assert aggregate(found, Function.DELTA, 300.0, CYCLE * 19, CYCLE).value == 60.0
    assert aggregate(found, Function.RATE, 300.0, CYCLE * 19, CYCLE).value == pytest.approx(0.2)


def test_an_aggregate_is_unknown_until_four_fifths_of_its_window_have_samples() -> None:
    for count, known in ((15, False), (16, True)):
        reading = aggregate(series(GAUGE[:count]), Function.AVG, 300.0, CYCLE * (count - 1), CYCLE)
        assert (reading.value is not None) is known
    gaps: list[float | None] = [*GAUGE[:10], *[None] * 10]
    reading = aggregate(series(gaps), Function.AVG, 300.0, CYCLE * 19, CYCLE)
    assert reading.value is None
    assert "150 s of 300 s" in reading.why_missing


def test_old_points_are_dropped_and_another_process_begins_anew() -> None:
    found = Series(60.0, counter=False)
    for number in range(100):
        found.add(CYCLE * number, Reading(1.0))
    assert len(found.points) == 5
    found.restart()
    found.add(5000.0, Reading(2.0))
    assert found.began == 5000.0


def ask(limit: float, within: float) -> Forecast:
    return Forecast(MetricId("disk", "/"), Amount("", limit), within)


def reaches(found: Series, limit: float, within: float, now: float) -> bool | None:
    asked = ask(limit, within)
    return leads_to(asked, found, forecast(asked, found, now, 600.0))


def test_a_trend_is_followed_through_saw_teeth_and_spikes() -> None:
    # one more each minute, garbage up to 30 on top, and a single spike
    values: list[float | None] = [n / 4 + n % 8 * 4 for n in range(400)]
    values[300] = 100_000.0
    found, now = series(values), CYCLE * 399

    told = forecast(ask(0, 3600), found, now, 600.0).value
    assert told == pytest.approx(399 / 4 + 60, abs=8)
    assert reaches(found, 150, 3600, now) is True
    assert reaches(found, 200, 3600, now) is False


def test_a_falling_trend_reaches_what_lies_below() -> None:
    found, now = series([1000.0 - n for n in range(200)]), CYCLE * 199

    assert reaches(found, 700, 3600, now) is True
    assert reaches(found, 100, 3600, now) is False


def test_no_trend_is_told_before_there_is_enough_history() -> None:
    young, now = series([float(n) for n in range(45)]), CYCLE * 44  # 40 are warm-up

    assert reaches(young, 1, 3600, now) is None
    assert reaches(Series(86_400.0, counter=False), 1, 3600, now) is None
    asked = ask(1, 3600)
    assert "not enough history" in forecast(asked, young, now, 600.0).why_missing


def test_a_flat_line_leads_nowhere() -> None:
    found, now = series([50.0] * 200), CYCLE * 199

    assert reaches(found, 90, 86_400, now) is False
