"""PURE: conditions, holds and windows against the catalogue: what they mean, or why nothing."""

import zoneinfo
from collections.abc import Collection, Sequence
from functools import cache
from typing import Final, NoReturn, Protocol

from msgspec import Struct

from steadyd.model.condition import (
    DAYS,
    All,
    Amount,
    Any,
    Comparison,
    Condition,
    Event,
    EventWord,
    Forecast,
    Function,
    Hold,
    Not,
    Operator,
    Over,
    Window,
    seconds,
)
from steadyd.model.metric import Dimension, Kind, Metric, MetricId, Subject
from steadyd.model.rule import CheckParams
from steadyd.rulefiles import quotes, sense, tree
from steadyd.rulefiles.amounts import Unit
from steadyd.rulefiles.diagnostics import Report, quoted
from steadyd.rulefiles.lexer import Places

RETENTION: Final = 86_400.0  # seconds of history that are kept
_SMALL: Final = 64 * 1024  # bytes; a memory size below it is a forgotten unit
_INSTANT: Final = Hold()
_DEFAULTS: Final = CheckParams()
_GROUPS: Final = {"weekdays": (0, 1, 2, 3, 4), "weekend": (5, 6)}

_FITTING: Final = {
    Unit.PERCENT: (Dimension.PERCENT,),
    Unit.BINARY: (Dimension.BYTES, Dimension.COUNT),
    Unit.BYTES: (Dimension.BYTES,),
    Unit.TIME: (Dimension.SECONDS,),
}
_MENDS: Final = {
    Dimension.BYTES: "it is measured in bytes: write 512m or 6g",
    Dimension.PERCENT: "it is measured in per cent: write 80%",
    Dimension.COUNT: "it is a plain number: write 100 or 5k",
    Dimension.SECONDS: "it is measured in seconds: write 90s, 5min or 2h",
}


class MetricCatalogue(Protocol):
    """What the compiler asks of the catalogue of metrics."""

    def lookup(self, subject: Subject, metric: MetricId) -> Metric | None:
        """Return the entry of a metric, None if nobody knows it."""

    def names(self, subject: Subject) -> Sequence[str]:
        """Return all names, for a suggestion."""


class Known(Struct, frozen=True):
    """What a file is held against. `routes` None: not known, so that any route is good.

    `cycle` is the time between two ticks in seconds, 0 where it is not known.
    """

    catalogue: MetricCatalogue
    routes: Collection[str] | None = None
    defaults: CheckParams = _DEFAULTS
    cycle: float = 0.0


class Disabled(Exception):
    """A semantic error was reported: this rule, or check, does not run."""


class Conditions:
    """Judges conditions of one file."""

    def __init__(self, places: Places, known: Known) -> None:
        self._known = known
        self._report = Report(places)
        self._good: dict[tuple[Subject, str, str, str, str, tree.Over | None], Comparison] = {}

    def _condition(self, subject: Subject, written: tree.Condition) -> Condition:
        match written:
            case tree.Comparison():
                return self._comparison(subject, written)
            case tree.Event():
                return self._event(subject, written)
            case tree.Forecast():
                return self._forecast(subject, written)
            case tree.Not():
                return Not(self._condition(subject, written.term))
            case tree.Joined():
                return self._joined(subject, written)

    def _joined(self, subject: Subject, written: tree.Joined) -> Condition:
        kind = All if written.word == "and" else Any
        joined = kind(tuple(self._condition(subject, term) for term in written.terms))
        for number, odd in sense.of_joined(joined):
            self._report.warning(tree.start_of(written.terms[number]), odd)
        return joined

    def _hold(self, condition: tree.Condition, hold: tree.Hold | None) -> Hold:
        if hold is None:
            return _INSTANT
        if hold.cycles is not None and _events_only(condition):
            mend = "write a duration: for 30s"
            self._refuse(hold.start, "an event does not last for cycles", mend)
        if hold.cycles is not None and hold.cycles < 1:
            self._report.warning(hold.start, f"a rule for {hold.cycles} cycles never fires")
        if hold.of is not None and hold.cycles is not None:
            if hold.of < hold.cycles:
                text = f"{hold.cycles} of {hold.of} cycles cannot be"
                self._refuse(hold.start, text, f"write `for {hold.of} of {hold.cycles} cycles`")
            if hold.of > _MOST_CYCLES:
                self._refuse(hold.start, f"more than {_MOST_CYCLES} cycles are not kept")
        self._judge_length(hold)
        return Hold(hold.cycles, hold.seconds, hold.of)

    def _judge_length(self, hold: tree.Hold) -> None:
        cycle, cycles = self._known.cycle, hold.of or hold.cycles or 0
        if cycle and cycles * cycle > RETENTION:
            text = f"{cycles} cycles of {seconds(cycle)} are {cycles * cycle / 86_400:.1f} days"
            self._report.warning(hold.start, text, "is a duration meant? for 90s, for 2h")

    def _event(self, subject: Subject, event: tree.Event) -> Event:
        if subject is Subject.HOST:
            self._refuse(event.start, f"{quoted(event.word)} is an event of services")
        name = self._bare(event.name, event.start) if event.name else ""
        if not name.isprintable():
            self._refuse(event.start, "the name of an alert holds a control character")
        return Event(EventWord(event.word), name)

    def _comparison(self, subject: Subject, written: tree.Comparison) -> Comparison:
        """Judge a comparison; one that is written like a good one is good."""
        over = written.over and written.over._replace(start=0)
        text = (subject, written.family, written.name, written.operator, written.raw, over)
        good = self._good.get(text)
        if good is None:
            said = self._report.count
            good = self._judge(subject, written)
            if self._report.count == said:
                self._good[text] = good
        return good

    def _judge(self, subject: Subject, written: tree.Comparison) -> Comparison:
        entry, id = self._entry(subject, written)
        over = None
        if written.over is not None:
            over = Over(Function(written.over.function), written.over.seconds)
            if over.seconds > RETENTION:
                text = "history is kept for 24 hours"
                self._refuse(written.over.start, text, "write a shorter duration")
        per = self._per(entry, id, written, over)
        self._judge_amount(entry, id, written, over)
        amount = Amount(written.raw, float(written.quantity.value), per)
        compared = Comparison(id, Operator(written.operator), amount, over)
        if odd := sense.of_comparison(
            compared, sense.span(entry, id, over.function if over else None)
        ):
            self._report.warning(written.start, odd)
        return compared

    def _forecast(self, subject: Subject, written: tree.Forecast) -> Forecast:
        reached = written.reached
        entry, id = self._entry(subject, reached)
        if entry.gains:
            text = f"{id} counts up: where it will be says nothing"
            self._refuse(reached.start, text, "compare what it gains")
        per = self._per(entry, id, reached, None)
        self._judge_amount(entry, id, reached, None)
        amount = Amount(reached.raw, float(reached.quantity.value), per)
        return Forecast(id, amount, written.within)

    def _entry(self, subject: Subject, written: tree.Comparison) -> tuple[Metric, MetricId]:
        family, name = written.family, written.name
        if '"' in (family[0], name[:1]):
            family = self._bare(family, written.start)
            name = self._bare(name, written.start)
            if not (family + name).isprintable():
                self._refuse(written.start, "the name of a metric holds a control character")
        id = MetricId(family, name)
        entry = self._known.catalogue.lookup(subject, id)
        if entry is None:
            self._refuse_metric(subject, id, written.start)
        if not entry.probed:
            self._report.warning(
                written.start, f"{id} is not measured in this version; it reads unknown"
            )
        return entry, id

    def _refuse_metric(self, subject: Subject, id: MetricId, start: int) -> NoReturn:
        catalogue = self._known.catalogue
        other = Subject.SERVICE if subject is Subject.HOST else Subject.HOST
        if catalogue.lookup(other, id) is not None:
            self._refuse(start, f"{quoted(str(id))} is a metric of a {other}, not of a {subject}")
        near = self._report.nearest(str(id), catalogue.names(subject))
        self._refuse(start, f"nobody knows the metric {quoted(str(id))} of a {subject}", near)

    def _judge_amount(
        self, metric: Metric, id: MetricId, written: tree.Comparison, over: Over | None
    ) -> None:
        quantity, shown = written.quantity, quoted(written.raw)
        if quantity.overflows:
            self._refuse(written.raw_start, f"{shown} does not fit into 64 bits")
        unit, dimension = quantity.unit, metric.dimension
        if unit in _FITTING and dimension not in _FITTING[unit]:
            # A spelling that Inspeqtor refuses is refused at its place.
            old = unit in (Unit.PERCENT, Unit.BINARY) and over is None
            place = written.raw_start if old else written.after
            text = f"{shown} cannot be an amount of {id}"
            self._refuse(place, text, _MENDS[dimension])
        gauge = metric.kind is Kind.GAUGE and (over is None or over.function not in _CHANGES)
        if dimension is Dimension.BYTES and quantity.value < _SMALL and gauge:
            text = f"{shown} is {quantity.value} bytes, less than 64 KiB"
            self._report.warning(written.raw_start, text, "is the unit missing? 6g, 512m")

    def _per(
        self, metric: Metric, id: MetricId, written: tree.Comparison, over: Over | None
    ) -> float:
        per = written.quantity.per
        if over is not None and over.function is Function.RATE:
            return per or 1.0
        if not per:
            return 0.0
        if metric.gains:
            return per
        text = f"{id} does not count up: the time in {quoted(written.raw)} has no effect"
        self._report.warning(written.raw_start, text)
        return 0.0

    def _window(self, written: tree.Window | None) -> Window | None:
        if written is None:
            return None
        begin, end = (int(hours) * 60 + int(minutes) for hours, minutes in written[1:3])
        if begin == end:
            self._refuse(written.start, "the window begins when it ends", "it would be empty")
        days: set[int] = set()
        for word in written.days:
            if word.text in _GROUPS:
                days |= set(_GROUPS[word.text])
            elif word.text in DAYS:
                days.add(DAYS.index(word.text))
            else:
                near = self._report.nearest(word.text, (*DAYS, *_GROUPS))
                mend = near or "a day is mon … sun, weekdays or weekend"
                self._refuse(word.start, f"{quoted(word.text)} is no day", mend)
        if written.zone and written.zone not in _zones():
            near = self._report.nearest(written.zone, _zones())
            mend = near or "a zone is such as Europe/Berlin or UTC"
            self._refuse(written.zone_start, f"{quoted(written.zone)} is no time zone", mend)
        return Window(begin, end, written.zone, tuple(sorted(days)), written.outside)

    def _bare(self, text: str, start: int) -> str:
        if not quotes.is_quoted(text):
            return text
        name = quotes.bare(text)
        if quotes.NEEDLESS.fullmatch(name):
            self._report.warning(start, f"the quotes around {quoted(text)} are taken off")
        return name

    def _refuse(self, start: int, message: str, help: str = "") -> NoReturn:
        self._report.error(start, message, help)
        raise Disabled


_CHANGES: Final = (Function.DELTA, Function.RATE)
_MOST_CYCLES: Final = 10_000


@cache
def _zones() -> frozenset[str]:
    """Return the names of all zones; to find them takes a walk over many files."""
    return frozenset(zoneinfo.available_timezones())


def _events_only(condition: tree.Condition) -> bool:
    match condition:
        case tree.Event():
            return True
        case tree.Not():
            return _events_only(condition.term)
        case tree.Joined():
            return all(map(_events_only, condition.terms))
        case _:
            return False
