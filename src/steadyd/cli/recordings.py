"""Where `steadyd replay` has its numbers from: a file, or the ring of the running daemon."""

import argparse
import os
import stat
import time
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

import msgspec
from msgspec import Struct

from steadyd.cli.client import ask
from steadyd.cli.terminal import clean, plain
from steadyd.model.condition import UP
from steadyd.model.metric import MetricId
from steadyd.model.rule import HOST, RuleSet
from steadyd.model.service import is_glob
from steadyd.probes.catalogue import CATALOGUE, metric_id
from steadyd.replaying.recording import LONGEST, UPTIME, Column, Recording, column
from steadyd.rulefiles.amounts import BadNumber, duration
from steadyd.rulefiles.globs import Member, expand

LARGEST = 256 << 20  # bytes of a file
MOST = 10_000  # series
DAY = 86_400.0
ASKING = 60.0  # seconds for all that is asked of the daemon
_YEAR_9999 = 253_370_764_800.0


class NoHistory(Exception):
    """There is nothing to replay; str() is one line that says why. `code` is the exit code."""

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.code = code


class Asked(Struct, frozen=True):
    """What the rules read: metrics by service, those of globs under the glob."""

    rules: RuleSet

    @property
    def metrics(self) -> Mapping[str, frozenset[MetricId]]:
        """Return the metrics by service, with what tells whether it was up."""
        found: dict[str, frozenset[MetricId]] = {}
        for rule in self.rules.rules:
            known = found.get(rule.service, frozenset())
            own = frozenset() if rule.service == HOST else frozenset((UP, UPTIME))
            found[rule.service] = known | rule.metrics | own
        return found


class _File(Struct, forbid_unknown_fields=True):
    start: str
    step_seconds: float
    series: dict[str, dict[str, list[float | None]]]


def from_file(path: str) -> Recording:
    """Read a recording: `{"start": …, "step_seconds": …, "series": {NAME: {METRIC: […]}}}`.

    Raises NoHistory.
    """
    shown = clean(path)
    try:
        told = msgspec.json.decode(_bytes(path), type=_File)
    except OSError as error:
        raise NoHistory(f"{shown}: {error.strerror}; name a file that can be read") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NoHistory(f"{shown} is no recording: {clean(error)}") from None
    start = when(told.start, 0.0)
    ticks = max((len(v) for some in told.series.values() for v in some.values()), default=0)
    check(told.step_seconds, ticks, sum(map(len, told.series.values())))
    series = {
        name: {metric_id(metric): column(values) for metric, values in some.items()}
        for name, some in told.series.items()
    }
    return Recording(start, told.step_seconds, ticks, series, counters=counters(series))


def from_daemon(args: argparse.Namespace, rules: RuleSet) -> Recording:
    """Ask the running daemon for its last readings. Raises NoHistory, Unreachable."""
    until = time.monotonic() + ASKING
    asked = Asked(rules)
    if any(is_glob(name) for name in asked.metrics):
        answer = ask(args, "/api/v1/services")
        names = [str(each.get("name", "")) for each in answer.data.get("services", ())]
        asked = Asked(with_members(rules, {name: {} for name in names}))
    found: dict[str, dict[str, list[float | None]]] = {}
    missing: dict[tuple[str, MetricId], str] = {}
    cycle = 0.0
    for name, metrics in asked.metrics.items():
        for metric in sorted(metrics):
            if metric in (UP, UPTIME):
                continue  # the ring has them not: a service counts as up
            path = f"/api/v1/show/{quote(name, safe='')}/{quote(str(metric), safe='')}"
            answer = ask(args, path, deadline=max(0.01, until - time.monotonic()))
            if answer.error:
                missing[name, metric] = plain(answer.error)
                continue
            found.setdefault(name, {})[str(metric)] = _values(answer.data)
            cycle = float(answer.data["cycle_seconds"])
    if not found:
        why = next(iter(missing.values()), "these rules read nothing that it keeps")
        raise NoHistory(f"the daemon has no history for these rules: {why}", 1)
    ticks = max(len(values) for some in found.values() for values in some.values())
    check(cycle, ticks, 0)
    series = {
        name: {
            metric_id(metric): column([None] * (ticks - len(values)) + values)
            for metric, values in some.items()
        }
        for name, some in found.items()
    }
    start = time.time() - (ticks - 1) * cycle
    return Recording(start, cycle, ticks, series, missing, counters(series))


def with_members(rules: RuleSet, names: Mapping[str, object]) -> RuleSet:
    """Return the rules with each glob replaced by the services that it stands for."""
    recording = Recording(0.0, 1.0, 0, {name: {} for name in names})
    members = {
        check.service: [Member("", name) for name in recording.members(check.service)]
        for check in rules.checks
        if is_glob(check.service)
    }
    return expand(rules, members)


def between(recording: Recording, start: float | None, end: float | None) -> Recording:
    """Return the part of a recording from one wall-clock time to another. Raises NoHistory."""
    step, last = recording.step, recording.ticks
    first = 0 if start is None else max(0, -int((recording.start - start) // step))
    if end is not None:
        last = min(last, int((end - recording.start) // step) + 1)
    if first >= last:
        raise NoHistory("nothing was recorded between --start and --end")
    series = {
        name: {metric: values[first:last] for metric, values in some.items()}
        for name, some in recording.series.items()
    }
    return msgspec.structs.replace(
        recording, start=recording.start + first * step, ticks=last - first, series=series
    )


def when(text: str, now: float) -> float:
    """Return the wall-clock time of an RFC 3339 text or an age such as `7d`. Raises NoHistory."""
    try:
        return now - duration(text)
    except BadNumber:
        pass
    try:
        at = datetime.fromisoformat(text)
        seconds = at.timestamp() if at.tzinfo is not None else -1.0
    except (ValueError, OverflowError, OSError):
        seconds = -1.0
    if not 0 < seconds < _YEAR_9999:
        wanted = "a time such as 2026-11-23T08:00:00Z or an age such as 7d"
        raise NoHistory(f"{clean(text)[:80]!r} is no time: {wanted} is wanted")
    return seconds


def counters(series: Mapping[str, Mapping[MetricId, Column]]) -> frozenset[MetricId]:
    """Return the metrics of which a value is what was gained."""
    from steadyd.model.metric import Subject

    found = set()
    for name, some in series.items():
        for metric in some:
            entry = CATALOGUE.lookup(Subject.HOST if name == HOST else Subject.SERVICE, metric)
            if entry and entry.gains:
                found.add(metric)
    return frozenset(found)


def _values(data: Mapping[str, object]) -> list[float | None]:
    try:
        return msgspec.convert(data["values"], list[float | None])
    except (KeyError, msgspec.ValidationError):
        raise NoHistory("what answers there is no steadyd", 1) from None


def check(step: float, ticks: int, series: int) -> None:
    """Raise NoHistory if that is no step, or too much."""
    if not 0.1 <= step <= DAY:
        raise NoHistory(f"a step of {step:g} s cannot be replayed: 0.1 s to a day can")
    if not 0 < ticks <= LONGEST:
        raise NoHistory(f"{ticks} instants cannot be replayed: 1 to {LONGEST} can")
    if series > MOST:
        raise NoHistory(f"{series} series are too many: at most {MOST}")


def _bytes(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        told = os.fstat(handle)
        if not stat.S_ISREG(told.st_mode):
            raise NoHistory(f"{clean(path)} is no regular file")
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise NoHistory(f"{clean(path)} is larger than {LARGEST >> 20} MiB")
    return data
