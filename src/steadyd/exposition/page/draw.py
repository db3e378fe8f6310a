"""PURE: curves with their thresholds and state timelines, as SVG without any style of its own."""

from collections.abc import Sequence
from html import escape

from msgspec import Struct
from msgspec.structs import replace

from steadyd.exposition.human import limit, measure, span
from steadyd.model.condition import Comparison, Function, Operator
from steadyd.model.metric import MetricId
from steadyd.model.service import ServiceState
from steadyd.model.snapshot import Watched

SPARK = 48  # readings of a sparkline
HOUR = 3600
_HEIGHT = 40
_OPEN = ("firing", "recovering")
_DIFFERENCES = (Function.DELTA, Function.RATE)  # are in another unit than the readings


class Curve(Struct, frozen=True):
    """The last readings of a metric, oldest first, and the limits that rules set it.

    `missing` says why there is none now.
    """

    metric: MetricId
    values: tuple[float | None, ...]
    limits: tuple[float, ...] = ()
    firing: bool = False
    missing: str = ""


def compared(watched: Sequence[Watched]) -> list[Curve]:
    """Return what rules compare, as curves without readings yet."""
    found: dict[MetricId, Curve] = {}
    for rule in watched:
        for each in rule.compared:
            known = found.get(each.metric) or Curve(each.metric, ())
            limit = each.amount.value
            new = (limit,) if _drawable(each) and limit not in known.limits else ()
            found[each.metric] = replace(
                known,
                limits=known.limits + new,
                firing=known.firing or rule.phase in _OPEN,
                missing=known.missing or rule.missing.get(each.metric, ""),
            )
    return list(found.values())


def _drawable(comparison: Comparison) -> bool:
    """Tell whether it compares with a limit in the unit of the curve; `!=` names what is wished."""
    over = comparison.over
    if comparison.amount.per or comparison.operator is Operator.UNEQUAL:
        return False
    return over is None or over.function not in _DIFFERENCES


def spark(curve: Curve) -> str:
    """Return a small curve with its metric, its newest value and the nearest limit."""
    name, now = str(curve.metric), _last(curve.values)
    limits = " · ".join(limit(name, value) for value in curve.limits)
    tone = ' class="bad"' if curve.firing else ""
    shown = f"<b{tone}>{escape(measure(name, now))}</b>" + (
        f" / {escape(limits)}" if limits else ""
    )
    return f'<span class="spark">{_svg(curve, "curve")}<small>{escape(name)} {shown}</small></span>'


def chart(curve: Curve, cycle: float) -> str:
    """Return a large curve with its extremes; a reading is `cycle` seconds after the one before."""
    name, now = str(curve.metric), _last(curve.values)
    known = [value for value in curve.values if value is not None]
    why = f' <span class="warn">no reading: {escape(curve.missing)}</span>' if curve.missing else ""
    if not known:
        return (
            f'<figure class="chart"><figcaption><strong>{escape(name)}</strong>'
            f"{why or ' no reading yet'}</figcaption></figure>\n"
        )
    low, high = _range(curve)
    limits = ", ".join(limit(name, value) for value in curve.limits)
    mean = sum(known) / len(known)
    parts = [f"least {measure(name, min(known))}", f"mean {measure(name, mean)}",
             f"most {measure(name, max(known))}"]  # fmt: skip
    told = f"{name}, {', '.join(parts)}" + (f", limit {limits}" if limits else "")
    tone = ' class="bad"' if curve.firing else ""
    return (
        f'<figure class="chart"><figcaption><strong>{escape(name)}</strong> '
        f"<b{tone}>{escape(measure(name, now))}</b>"
        + (f' <span class="bad">limit {escape(limits)}</span>' if limits else "")
        + f'{why} <span class="calm">{escape(" · ".join(parts))}</span></figcaption>'
        f'<div class="plot"><p class="scale"><span>{escape(limit(name, high))}</span>'
        f"<span>{escape(limit(name, low))}</span></p>"
        f'<div>{_svg(curve, "curve", told)}<p class="axis">'
        f"<span>{span(len(curve.values) * cycle)} ago</span><span>now</span></p></div></div>"
        "</figure>\n"
    )


def _last(values: Sequence[float | None]) -> float | None:
    return values[-1] if values else None


def _range(curve: Curve) -> tuple[float, float]:
    """Return the least and the most that a drawing shows."""
    known = [value for value in curve.values if value is not None]
    all_ = [*known, *curve.limits] or [0.0]
    low, high = min(all_), max(all_)
    return (low - 1, high + 1) if low == high else (low, high)


def _svg(curve: Curve, kind: str, told: str = "") -> str:
    """Return the drawing; `told` is what it says, "" where the text beside says the same."""
    role = f'role="img" aria-label="{escape(told)}"' if told else 'aria-hidden="true"'
    low, high = _range(curve)
    scale = (_HEIGHT - 4) / (high - low)
    heights = [
        None if value is None else round(_HEIGHT - 2 - (value - low) * scale)
        for value in curve.values
    ]
    width = max(len(heights) - 1, 1)
    lines = "".join(
        f'<path class="limit" d="M0 {_HEIGHT - 2 - (value - low) * scale:.0f}h{width}"/>'
        for value in curve.limits
    )
    return (
        f'<svg class="{kind}{" over" if curve.firing else ""}" viewBox="0 0 {width} {_HEIGHT}" '
        f'preserveAspectRatio="none" {role}>'
        f'<path class="line" d="{_path(heights)}"/>{lines}</svg>'
    )


def _path(heights: Sequence[int | None]) -> str:
    """Return the steps of a line: one for each flat piece; without a reading it is interrupted."""
    steps: list[str] = []
    before, flat = None, 0
    for at, height in enumerate((*heights, None)):
        if height is not None and height == before:
            flat += 1
            continue
        if flat or (height is None and steps and steps[-1].startswith("M")):
            steps.append(f"h{flat}")  # a reading alone is a dot
        if height is not None:
            steps.append(f"M{at} {height}" if before is None else _slope(steps, height - before))
        before, flat = height, 0
    return "".join(steps)


def _slope(steps: Sequence[str], rise: int) -> str:
    """Return a step to the next reading; a letter counts on for what follows."""
    letter = " " if steps[-1][0] in "l " else "l"
    return f"{letter}1{rise:d}" if rise < 0 else f"{letter}1 {rise:d}"


def timeline(states: Sequence[tuple[float, ServiceState]], now: float) -> str:
    """Return the states of the last hour, to the minute, as a bar; a change is at least a minute.

    `states` are the changes, oldest first: when, and to what.
    """
    end = int(now // 60 + 1) * 60
    start = end - HOUR
    changes = [(max(at, start), state) for at, state in states]
    ends = [*(at for at, _ in changes[1:]), float(end)][: len(changes)]
    shown = [
        (at, until, state)
        for (at, state), until in zip(changes, ends, strict=True)
        if until > start
    ]
    bars = "".join(
        f'<rect class="{state}" x="{(at - start) / 60:.1f}" '
        f'width="{max(1.0, (until - at) / 60):.1f}" height="8"/>'
        for at, until, state in shown
    )
    told = ", ".join(
        f"{state} {_lasting(until - at) if until < end else _lasting(now - at, going_on=True)}"
        for at, until, state in shown[-4:]
    )
    return (
        '<svg class="states" viewBox="0 0 60 8" preserveAspectRatio="none" role="img" '
        f'aria-label="states: {escape(told) or "not known"}">{bars}</svg>'
    )


def _lasting(seconds: float, *, going_on: bool = False) -> str:
    """Return how long; of what goes on in whole minutes, so that a page is not told each second."""
    if not going_on:
        return f"for {span(seconds)}"
    return f"for {span(seconds // 60 * 60)}" if seconds >= 60 else "just now"
