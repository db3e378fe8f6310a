"""What a replay found, as text of 80 columns and as JSON."""

import textwrap
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from steadyd.cli.terminal import clean
from steadyd.exposition.api import number, rfc3339
from steadyd.exposition.human import measure, span
from steadyd.replaying.story import Event, Kind, Story, Summary, Told, summary

WIDTH = 80
MOST = 40  # events of a rule that are printed; JSON has all


def as_json(story: Story) -> dict[str, Any]:
    """Return what `--format json` prints."""
    return {
        "start": rfc3339(story.start),
        "end": rfc3339(story.end),
        "step_seconds": story.step,
        "rules": [_rule(told, summary(told, story.end)) for told in story.rules],
    }


def as_text(story: Story) -> Iterator[str]:
    """Yield the lines for people; of an implicit rule only if it did something."""
    shown = [told for told in story.rules if told.events or not told.rule.implicit]
    length = span(story.end - story.start)
    yield f"{_at(story.start)} to {_at(story.end)} UTC: {length}, every {span(story.step)}"
    if not shown:
        yield "no rule"
    for told in shown:
        yield ""
        yield from _wrapped(f"{told.rule.service}: {told.rule}", "", "    ")
        yield from _wrapped(_summary(summary(told, story.end)), "  ", "    ")
        for what, why in told.dark:
            yield from _wrapped(f"{what} is unknown: {why}", "  ", "    ")
        for event in told.events[:MOST]:
            head = f"  {_at(event.at)}  {event.kind:<10}  "
            yield from _wrapped(_said(told, event), head, " " * len(head))
        if len(told.events) > MOST:
            yield f"  … and {len(told.events) - MOST} more; --format json has them all"
    if any(event.kind is Kind.ACTED for told in shown for event in told.events):
        yield ""
        yield "The past stays as it was: that a verb would have helped is not assumed."


def _said(told: Told, event: Event) -> str:
    if event.kind is not Kind.OPENED or event.value is None:
        return "" if event.kind is Kind.OPENED else event.text
    value = measure(told.rule.topic, event.value)
    if event.threshold is None:
        return value
    return f"{value} against {measure(told.rule.topic, event.threshold)}"


def _summary(found: Summary) -> str:
    if not found.opened:
        return "never opened"
    times = "once" if found.opened == 1 else f"{found.opened} times"
    said = f"opened {times}, open for {span(found.seconds)}"
    said += "; still open at the end" if found.open else ""
    said += f"; ran {_counts(found.verbs)}" if found.verbs else ""
    return said + (f"; not run: {_counts(found.stopped)}" if found.stopped else "")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ×{count}" for name, count in counts.items())


def _rule(told: Told, found: Summary) -> dict[str, Any]:
    return {
        "service": told.rule.service,
        "rule": str(told.rule),
        "source": str(told.rule.source),
        "implicit": told.rule.implicit,
        "summary": {
            "opened": found.opened,
            "open_seconds": round(found.seconds, 3),
            "open_at_end": found.open,
            "verbs": found.verbs,
            "not_run": found.stopped,
        },
        "events": [
            {
                "at": rfc3339(event.at),
                "kind": str(event.kind),
                "text": event.text,
                "value": number(event.value),
                "threshold": number(event.threshold),
                "verb": event.verb or None,
                "reason": event.reason or None,
            }
            for event in told.events
        ],
        "unknown": [{"what": what, "why": why} for what, why in told.dark],
    }


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    told = f"{first}{clean(text)}".rstrip()
    return textwrap.wrap(told, WIDTH, subsequent_indent=rest, break_on_hyphens=False)


def _at(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S")
