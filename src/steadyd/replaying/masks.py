"""PURE: at which ticks a condition can be true or false, found at the speed of C.

Only for skipping evaluations that change nothing: a tick that is named in vain costs time, one
that is not named would be wrong. That both runs agree is tested on random histories and rules.

A mask has one byte for each tick. `true` and `false` are both 0 where it is unknown; Kleene's
tables are then: not swaps them, and is `&` of the true and `|` of the false ones.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import repeat
from operator import and_, or_

from msgspec import Struct

from steadyd.model.condition import (
    UP,
    All,
    Any,
    Comparison,
    Condition,
    Event,
    EventWord,
    Not,
    Operator,
)
from steadyd.model.rule import Rule
from steadyd.replaying.recording import Column, Recording, column

_OPPOSITE = {
    Operator.ABOVE: Operator.AT_MOST,
    Operator.BELOW: Operator.AT_LEAST,
    Operator.AT_LEAST: Operator.BELOW,
    Operator.AT_MOST: Operator.ABOVE,
    Operator.EQUAL: Operator.UNEQUAL,
    Operator.UNEQUAL: Operator.EQUAL,
}


class Mask(Struct, frozen=True):
    """Where a condition is true, and where it is false."""

    true: bytes
    false: bytes


class Masks(Struct, frozen=True):
    """What is to be known of a rule: its condition, and where its incident would end."""

    opens: Mask
    ends: Mask | None = None


def masks_of(rule: Rule, recording: Recording) -> Masks | None:
    """Return the masks of a rule, None where it must be evaluated at each tick."""
    opens = _mask(rule, rule.condition, recording)
    if opens is None or rule.until is None:
        return None if opens is None else Masks(opens)
    ends = _mask(rule, rule.until.condition, recording)
    if ends is None:
        return None
    both = Mask(_joined(and_, [opens.false, ends.true]), b"")
    return Masks(opens, both)


def _mask(rule: Rule, condition: Condition, recording: Recording) -> Mask | None:
    match condition:
        case Not():
            inner = _mask(rule, condition.term, recording)
            return None if inner is None else Mask(inner.false, inner.true)
        case All() | Any():
            found = [_mask(rule, term, recording) for term in condition.terms]
            masks = [mask for mask in found if mask is not None]
            if len(masks) < len(found):
                return None
            trues, falses = [m.true for m in masks], [m.false for m in masks]
            if isinstance(condition, All):
                return Mask(_joined(and_, trues), _joined(or_, falses))
            return Mask(_joined(or_, trues), _joined(and_, falses))
        case Event(word=EventWord.DOWN):
            return _down(rule.service, recording)
        case Comparison(over=None) if condition.metric.family != "init":
            return _compared(rule.service, condition, recording)
        case _:
            return None


def _joined(how: Callable[[int, int], int], masks: Sequence[bytes]) -> bytes:
    length = len(masks[0])
    number = reduce(how, (int.from_bytes(mask, "little") for mask in masks))
    return number.to_bytes(length, "little")


def _down(service: str, recording: Recording) -> Mask:
    known = recording.series.get(service, {}).get(UP)
    if known is None:
        return Mask(bytes(recording.ticks), b"\1" * recording.ticks)
    return Mask(
        _where(known, Operator.BELOW, 1.0, recording.ticks),
        _where(known, Operator.AT_LEAST, 1.0, recording.ticks),
    )


def _compared(service: str, leaf: Comparison, recording: Recording) -> Mask:
    known = recording.series.get(service, {}).get(leaf.metric)
    if known is None:
        return Mask(bytes(recording.ticks), bytes(recording.ticks))
    limit, ticks = leaf.amount.value, recording.ticks
    if leaf.amount.per:  # the very arithmetic of truth.scaled
        per, step = leaf.amount.per, recording.step
        known = column(value / step * per for value in known)
    return Mask(
        _where(known, leaf.operator, limit, ticks),
        _where(known, _OPPOSITE[leaf.operator], limit, ticks),
    )


def _where(values: Column, how: Operator, limit: float, ticks: int) -> bytes:
    """Return where `value OP limit`; nothing but `!=` holds for a NaN, and that is taken out."""
    limit = float(limit)
    match how:  # limit < value is value > limit
        case Operator.ABOVE:
            found = bytes(map(limit.__lt__, values))
        case Operator.BELOW:
            found = bytes(map(limit.__gt__, values))
        case Operator.AT_LEAST:
            found = bytes(map(limit.__le__, values))
        case Operator.AT_MOST:
            found = bytes(map(limit.__ge__, values))
        case Operator.EQUAL:
            found = bytes(map(limit.__eq__, values))
        case Operator.UNEQUAL:
            known = bytes(map(float.__eq__, values, values))
            found = _joined(and_, [bytes(map(limit.__ne__, values)), known]) if known else b""
    return found + bytes(repeat(0, ticks - len(found)))
