"""Hours and days: is a window open, and when does it open next? Pure.

Wall-clock times of a zone: one that does not exist moves to the next instant that does; of one
that comes twice a start takes the first and an end the second (language.md, Values).
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from steadyd.model.condition import Window

DAY = timedelta(days=1)
WEEK = 7


def is_open(window: Window, wall: float, local: tzinfo) -> bool:
    """Tell whether a rule with this window may open at a wall-clock time; `local`: the host's."""
    inside = any(begin <= wall < end for begin, end in _around(window, wall, local))
    return inside is not window.outside


def openings(window: Window, wall: float, local: tzinfo, count: int = 3) -> list[float]:
    """Return the next wall-clock times at which a window opens, soonest first."""
    zone = _zone(window, local)
    first = datetime.fromtimestamp(wall, zone).date() - DAY
    # a week for each, one for what a turn of the clock swallowed, one for yesterday and the last
    edges = _merged(sorted(_spans(window, first, WEEK * (count + 2), zone)))
    times = [end if window.outside else begin for begin, end in edges]
    return [at for at in times if at > wall][:count]


def _around(window: Window, wall: float, local: tzinfo) -> Iterator[tuple[float, float]]:
    zone = _zone(window, local)
    first = datetime.fromtimestamp(wall, zone).date() - DAY
    yield from _spans(window, first, 3, zone)


def _spans(window: Window, first: date, days: int, zone: tzinfo) -> Iterator[tuple[float, float]]:
    for day in (first + DAY * n for n in range(days)):
        if window.days and day.weekday() not in window.days:
            continue
        last = day if window.end > window.start else day + DAY
        begin = _instant(day, window.start, zone, fold=0)
        end = _instant(last, window.end, zone, fold=1)
        if begin < end:  # else the turn of the clock swallowed it
            yield begin, end


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for begin, end in spans:
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def _instant(day: date, minutes: int, zone: tzinfo, *, fold: int) -> float:
    at = datetime(day.year, day.month, day.day, minutes // 60, minutes % 60, tzinfo=zone, fold=fold)
    told = at.astimezone(UTC).astimezone(zone)
    if told.replace(tzinfo=None, fold=0) == at.replace(tzinfo=None, fold=0):
        return at.timestamp()
    # it does not exist: the instant at which the clock jumps over it
    before, after = at.replace(fold=1).timestamp(), at.replace(fold=0).timestamp()
    return _jump(min(before, after), max(before, after), zone)


def _jump(low: float, high: float, zone: tzinfo) -> float:
    """Return the instant between two at which the zone's offset changes, to the second."""
    offset = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return float(round(high))


def _zone(window: Window, local: tzinfo) -> tzinfo:
    return _named(window.zone) if window.zone else local


@lru_cache(maxsize=64)
def _named(zone: str) -> tzinfo:
    return ZoneInfo(zone)
