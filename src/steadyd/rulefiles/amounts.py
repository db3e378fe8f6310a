"""PURE: `6g`, `95%`, `1k/sec`, `90s`: the numbers of the language and their units."""

import re
from enum import Enum, auto
from functools import lru_cache
from typing import Final, NamedTuple

_LARGEST: Final = 2**63 - 1  # Inspeqtor's numbers are int64
_LONGEST: Final = 3650 * 86400.0  # seconds; longer is a slip, and timers overflow somewhere

_INTEGER: Final = re.compile(r"([+-]?)([0-9]++)")
_AMOUNT: Final = re.compile(r"([+-]?)([0-9]++)(?:\.([0-9]++))?([A-Za-z]{1,3}|%)?(/sec|/min|/h)?")
_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|min|m|h|d)")

_PER: Final = {None: 0.0, "/sec": 1.0, "/min": 60.0, "/h": 3600.0}
_BINARY: Final = {unit: 1024**power for power, unit in enumerate("kmgtp", 1)}
_TIME: Final = {  # milliseconds
    "ms": 1,
    "s": 1000,
    "min": 60_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
}


class Unit(Enum):
    """What was written behind the digits. BYTES and TIME are spellings Inspeqtor does not know."""

    NONE = auto()
    PERCENT = auto()
    BINARY = auto()
    BYTES = auto()
    TIME = auto()


class Quantity(NamedTuple):
    """An amount understood. `value` is whole wherever the text is; seconds for Unit.TIME.

    `per` is the seconds after the slash, 0 without one. `overflows`: more than 64 bits hold.
    """

    value: int | float
    unit: Unit
    per: float
    overflows: bool


class BadNumber(ValueError):
    """The text is no amount, count or duration; str() says why."""


def integer(text: str) -> int:
    """Return a count: a decimal 64-bit integer, sign allowed, as Go's ParseInt reads it.

    Raises BadNumber.
    """
    found = _INTEGER.fullmatch(text)
    if found is None:
        raise BadNumber("is no whole number")
    return _whole(*found.groups())


@lru_cache(maxsize=4096)
def amount(text: str) -> Quantity:
    """Return what an amount says. Raises BadNumber: Inspeqtor has a value error for it, too."""
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise BadNumber("is no amount")
    sign, digits, decimals, suffix, per = found.groups()
    unit, factor, divisor = _unit(suffix or "")
    value = _whole(sign, digits)
    if decimals:
        if len(decimals) > 30:
            raise BadNumber("has too many decimals")
        value = int(sign + digits.lstrip("0") + decimals)
        divisor *= 10 ** len(decimals)
    value *= factor
    whole, rest = divmod(value, divisor)
    overflows = not (-_LARGEST - 1) * divisor <= value <= _LARGEST * divisor
    return Quantity(value / divisor if rest else whole, unit, _PER[per], overflows)


def duration(text: str) -> float:
    """Return the seconds of `90s`, `5m`, `1.5h`; `m` is minutes here. Raises BadNumber."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise BadNumber("is no duration such as 90s, 5m or 2h")
    seconds = float(found[1]) * _TIME[found[2]] / 1000
    if seconds > _LONGEST:
        raise BadNumber("is longer than ten years")
    return seconds


def _unit(suffix: str) -> tuple[Unit, int, int]:
    """Return the unit, what a number of it is multiplied by, and what then divided by."""
    if not suffix:
        return Unit.NONE, 1, 1
    if suffix == "%":
        return Unit.PERCENT, 1, 1
    lower = suffix.lower()
    if lower in _BINARY:
        return Unit.BINARY, _BINARY[lower], 1
    if lower in ("kb", "mb", "gb", "tb"):
        return Unit.BYTES, _BINARY[lower[0]], 1
    if suffix in _TIME:
        return Unit.TIME, _TIME[suffix], 1000
    raise BadNumber(f"has the unknown unit {suffix}")


def _whole(sign: str, digits: str) -> int:
    significant = digits.lstrip("0") or "0"
    if len(significant) > 19:
        raise BadNumber("does not fit into 64 bits")
    value = int(sign + significant)
    if not -_LARGEST - 1 <= value <= _LARGEST:
        raise BadNumber("does not fit into 64 bits")
    return value
