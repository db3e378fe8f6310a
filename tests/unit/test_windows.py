"""Windows: hours, days, zones, and the two nights on which the clock turns."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from steadyd.evaluation.windows import is_open, openings
from steadyd.model.condition import Window

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: tzinfo = UTC) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def window(text: str, days: tuple[int, ...] = (), zone: str = "", outside: bool = False) -> Window:
    begin, end = (int(t[:2]) * 60 + int(t[3:]) for t in text.split("-"))
    return Window(begin, end, zone, days, outside)


@pytest.mark.parametrize(
    ("text", "days", "now", "told"),
    [
        ("08:00-18:00", (), "2026-11-23T07:59:59", False),
        ("08:00-18:00", (), "2026-11-23T08:00:00", True),
        ("08:00-18:00", (), "2026-11-23T17:59:59", True),
        ("08:00-18:00", (), "2026-11-23T18:00:00", False),
        ("22:00-06:00", (), "2026-11-23T23:00:00", True),
        ("22:00-06:00", (), "2026-11-23T05:59:00", True),
        ("22:00-06:00", (), "2026-11-23T06:00:00", False),
        # the day is the one on which it starts: 2026-11-23 is a Monday
        ("22:00-06:00", (0,), "2026-11-24T05:00:00", True),
        ("22:00-06:00", (0,), "2026-11-23T05:00:00", False),
        ("22:00-06:00", (6,), "2026-11-23T05:00:00", True),
        ("08:00-18:00", (5, 6), "2026-11-23T12:00:00", False),
    ],
)
def test_hours_and_days(text: str, days: tuple[int, ...], now: str, told: bool) -> None:
    assert is_open(window(text, days), at(now), UTC) is told
    assert is_open(window(text, days, outside=True), at(now), UTC) is not told


def test_the_zone_is_the_one_named_else_the_hosts() -> None:
    noon = at("2026-07-01T10:30:00")  # 12:30 in Berlin

    assert is_open(window("12:00-13:00", zone="Europe/Berlin"), noon, UTC)
    assert is_open(window("12:00-13:00"), noon, BERLIN)
    assert not is_open(window("12:00-13:00"), noon, UTC)


@pytest.mark.parametrize(
    ("text", "opens"),
    [
        # 2026-03-29 has no 02:30 in Berlin: it moves to the next instant that exists, 03:00
        ("02:30-05:00", ["2026-03-28T01:30:00", "2026-03-29T01:00:00", "2026-03-30T00:30:00"]),
        # a window that lies wholly within the hour that does not exist is left out
        ("02:15-02:45", ["2026-03-28T01:15:00", "2026-03-30T00:15:00", "2026-03-31T00:15:00"]),
    ],
)
def test_a_time_that_does_not_exist_moves_to_the_next_that_does(
    text: str, opens: list[str]
) -> None:
    told = openings(window(text), at("2026-03-27T12:00:00"), BERLIN)

    assert told == [at(each) for each in opens]


def test_of_a_time_that_comes_twice_a_start_takes_the_first_and_an_end_the_second() -> None:
    # 2026-10-25: 03:00 becomes 02:00 in Berlin; 02:30 is 00:30 and 01:30 in UTC
    start, end = window("02:30-05:00"), window("01:00-02:30")

    assert openings(start, at("2026-10-24T12:00:00"), BERLIN)[0] == at("2026-10-25T00:30:00")
    assert is_open(end, at("2026-10-25T01:29:00"), BERLIN)
    assert not is_open(end, at("2026-10-25T01:31:00"), BERLIN)


def test_what_is_outside_opens_when_the_window_ends() -> None:
    told = openings(window("08:00-18:00", outside=True), at("2026-11-23T12:00:00"), UTC)

    assert told[0] == at("2026-11-23T18:00:00")


@given(
    st.integers(0, 1439),
    st.integers(0, 1439).filter(bool),
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.integers(0, 2 * 365 * 86_400),
    st.sets(st.integers(0, 6), max_size=7),
    st.booleans(),
)
@example(210, 60, "Asia/Kathmandu", 326 * 86_400 + 82_000, {1}, False)  # just after a weekly one
def test_it_is_open_from_each_opening_on_and_shut_just_before(
    start: int, length: int, zone: str, later: int, days: set[int], outside: bool
) -> None:
    w = Window(start, (start + length) % 1440, zone, tuple(sorted(days)), outside)
    now = at("2026-01-01T00:00:00") + later

    told = openings(w, now, UTC)

    assert len(told) == 3
    for opening in told:
        assert is_open(w, opening, UTC)
        assert not is_open(w, opening - 1, UTC)
