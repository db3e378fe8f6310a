"""PURE: numbers as people read them, for the page and the command line."""

from collections.abc import Sequence
from itertools import pairwise

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_PERCENT = ("cpu", "disk", "swap")
NOTHING = "–"
BLOCKS = "▁▂▃▄▅▆▇█"


def size(value: float | None) -> str:
    """Return bytes as `238.4 MiB`."""
    if value is None:
        return NOTHING
    unit = 0
    while abs(value) >= 1024 and unit < len(_BINARY) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_BINARY[unit]}" if unit else f"{value:.0f} B"


def span(seconds: float | None) -> str:
    """Return a duration as `3m 12s`; at most two units."""
    if seconds is None:
        return NOTHING
    whole, parts = max(0, round(seconds)), list[str]()
    for name, length in _UNITS:
        count, whole = divmod(whole, length)
        if count or (name == "s" and not parts):
            parts.append(f"{count}{name}")
        elif parts:
            break
    return " ".join(parts[:2])


def took(seconds: float | None) -> str:
    """Return how long something short lasted, as `0.2s`; from ten seconds on as `span`."""
    if seconds is None or seconds >= 9.95:
        return span(seconds)
    return f"{seconds:.1f}s" if seconds >= 0.05 else "under 0.1s"


def count(value: float | None) -> str:
    """Return a count, with its decimals if it has some."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def measure(metric: str, value: float | None) -> str:
    """Return the value of a metric in its unit, by the metric's name."""
    family, _, name = metric.partition(":")
    if value is None:
        return NOTHING
    if family == "memory":
        return size(value)
    if family in _PERCENT or name == "fd_ratio":
        return f"{value:.1f} %"
    return count(value)


def limit(metric: str, value: float | None) -> str:
    """Return what a rule compares with: as `measure`, without a needless `.0`."""
    return measure(metric, value).replace(".0 ", " ")


def number(count: int, noun: str) -> str:
    """Return `1 message`, `2 messages`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def sparkline(values: Sequence[float | None]) -> str:
    """Return values as blocks of eight heights, oldest left, blanks for gaps; "" for none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    width = (high - low) or 1.0
    return "".join(
        " " if value is None else BLOCKS[round((value - low) / width * (len(BLOCKS) - 1))]
        for value in values
    )


def squeezed(values: Sequence[float | None], most: int) -> list[float | None]:
    """Return at most that many values of the same time: peaks and dips stay."""
    known = [value for value in values if value is not None]
    if len(values) <= most or not known:
        return list(values)
    mean = sum(known) / len(known)
    ends = [len(values) * step // most for step in range(most + 1)]
    parts = [[v for v in values[a:b] if v is not None] for a, b in pairwise(ends)]
    return [max(part, key=lambda v: abs(v - mean), default=None) for part in parts]
