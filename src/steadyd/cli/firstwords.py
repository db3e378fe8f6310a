"""What the daemon says when it is ready: what it bound, what is dark, what it may not do."""

import logging
from collections.abc import Iterable, Iterator

from steadyd.model.rule import HOST
from steadyd.model.snapshot import ServiceView, Snapshot

FIRST_READING = "first reading"  # how the reason of a counter begins that was read once
MOST = 20  # services that are named, and of those in trouble as well

Word = tuple[int, str]  # level of logging, and the line


def first_words(snapshot: Snapshot, routed: bool, most: int = MOST) -> Iterator[Word]:
    """Yield the lines; `routed`: whether alerts reach anybody."""
    bound = [view for view in snapshot.services if view.unit]
    yield from _cut([(logging.INFO, _bound(view)) for view in bound], most, "steadyd services")
    lost = [view for view in snapshot.services if not view.unit]
    lines = [(logging.WARNING, f"{v.name}: not found: {v.reason or 'no answer'}") for v in lost]
    yield from _cut(lines, most, "steadyd services")
    dark = [line for view in _all(snapshot) for line in _dark(view)]
    yield from _cut([(logging.WARNING, line) for line in dark], most, "steadyd doctor")
    denied = [
        f"{view.name}: no right to {verb}: {why}"
        for view in snapshot.services
        for verb, why in view.denied.items()
    ]
    yield from _cut([(logging.WARNING, line) for line in denied], most, "steadyd doctor")
    if not routed:
        yield (
            logging.WARNING,
            'no route: alerts go to this log; in steadyd.toml: [routes] default = ["file:slack"]',
        )


def _all(snapshot: Snapshot) -> Iterable[ServiceView]:
    return (*snapshot.services, *([snapshot.host] if snapshot.host else []))


def _bound(view: ServiceView) -> str:
    pids = [process.pid for process in view.processes]
    if not pids:
        return f"{view.name}: {view.init} {view.unit}, {view.state}, no process"
    more = f" and {len(pids) - 1} more" if len(pids) > 1 else ""
    return (
        f"{view.name}: {view.init} {view.unit}, {view.state}, pid {view.main_pid or pids[0]}{more}"
    )


def _dark(view: ServiceView) -> Iterator[str]:
    """Yield the metrics that rules name and that cannot be read; of what runs only.

    What is counted needs two readings: at the start it is not dark yet.
    """
    if not view.processes and view.name != HOST:
        return
    for metric, reading in sorted(view.readings.items()):
        why = reading.why_missing
        if metric in view.named and why and not why.startswith(FIRST_READING):
            yield f"{view.name}: {metric} is dark: {why}; `steadyd doctor` helps"


def _cut(lines: list[Word], most: int, command: str) -> Iterator[Word]:
    yield from lines[:most]
    if len(lines) > most:
        yield (lines[0][0], f"and {len(lines) - most} more; `{command}` tells all")
