"""Is a condition true? By Kleene's tables: what is unknown counts where it decides. Pure.

and    true if all are, false if one is      or    true if one is, false if all are
not    unknown stays unknown
"""

from collections.abc import Callable

from steadyd.model.condition import (
    All,
    Any,
    Comparison,
    Condition,
    Event,
    EventWord,
    Forecast,
    Leaf,
    Not,
)
from steadyd.model.metric import Reading

Read = Callable[[Leaf], Reading]


def truth(condition: Condition, read: Read, cycle: float) -> bool | None:
    """Tell whether a condition is true on what `read` returns; None is unknown."""
    match condition:
        case Not():
            inner = truth(condition.term, read, cycle)
            return None if inner is None else not inner
        case All():
            return _all([truth(term, read, cycle) for term in condition.terms])
        case Any():
            some = [truth(term, read, cycle) for term in condition.terms]
            none = _all([None if each is None else not each for each in some])
            return None if none is None else not none
        case _:
            return leaf_truth(condition, read(condition), cycle)


def leaf_truth(leaf: Leaf, reading: Reading, cycle: float) -> bool | None:
    """Tell whether a comparison, forecast or event is true on its reading.

    An amount per second (or minute, hour) is held against value / elapsed; a reading that
    tells no elapsed time was made over one `cycle`. The reading of `down` is that of `init:up`,
    of other events 1 or 0, of a forecast 1 or 0.
    """
    if reading.value is None:
        return None
    match leaf:
        case Event():
            return reading.value < 1 if leaf.word is EventWord.DOWN else reading.value >= 1
        case Forecast():
            return reading.value >= 1
        case Comparison():
            value = scaled(leaf, reading, cycle)
            return leaf.operator.holds(value, leaf.amount.value)


def scaled(leaf: Comparison, reading: Reading, cycle: float) -> float:
    """Return the value that is held against the amount."""
    value, per = reading.value or 0.0, leaf.amount.per
    if not per:
        return value
    # a rate is per second already
    elapsed = 1.0 if leaf.over is not None else reading.elapsed or cycle
    return value / elapsed * per


def _all(some: list[bool | None]) -> bool | None:
    if False in some:
        return False
    return None if None in some else True
