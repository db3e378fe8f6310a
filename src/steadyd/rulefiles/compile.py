"""PURE: the parse of one file into rules, held against the catalogue and the known routes.

A semantic error disables its rule alone; a route that nobody knows is an error that disables
nothing, since the alert then goes to the default route.
"""

import re
from collections.abc import Collection, Sequence
from typing import Final, NoReturn, Protocol

from msgspec import Struct

from steadyd.model.metric import Dimension, Kind, Metric, MetricId, Subject
from steadyd.model.rule import (
    HOST,
    Act,
    Alert,
    Amount,
    Check,
    CheckParams,
    Comparison,
    Condition,
    Event,
    EventWord,
    Hold,
    Operator,
    Rule,
    Source,
    Step,
    Verb,
)
from steadyd.rulefiles import params, quotes, tree
from steadyd.rulefiles.amounts import Unit
from steadyd.rulefiles.diagnostics import Diagnostic, Report, printable, quoted

_SMALL: Final = 64 * 1024  # bytes; a memory size below it is a forgotten unit

# Letters of unit names (systemd.unit(5)) with a glob sign; other texts are plain names.
_GLOB: Final = re.compile(r"[\w@.:\\-]*[*?\[][\w@.:\\*?\[\]!-]*")

_DEFAULTS: Final = CheckParams()
_INSTANT: Final = Hold()
_ALERT: Final = Alert()
_ACTS: Final = {str(verb): Act(verb) for verb in Verb}

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
    """What a file is held against. `routes` None: not known, so that any route is good."""

    catalogue: MetricCatalogue
    routes: Collection[str] | None = None
    defaults: CheckParams = _DEFAULTS


class Draft(Struct, frozen=True):
    """A check of one file before the files are merged; `starts` are the offsets of its rules."""

    check: Check
    starts: tuple[int, ...]


class Compiled(Struct, frozen=True):
    """One file's rules. `disabled` counts those with a semantic error; they are left out."""

    path: str
    drafts: tuple[Draft, ...]
    disabled: int
    diagnostics: tuple[Diagnostic, ...]


def compile_file(path: str, file: tree.File, known: Known) -> Compiled:
    """Return the rules of one file, with what its text means wrongly."""
    return _Compiler(path, file, known).run()


class _Disabled(Exception):
    """A semantic error was reported: this rule, or check, does not run."""


class _Compiler:
    def __init__(self, path: str, file: tree.File, known: Known) -> None:
        self._path, self._file, self._known = path, file, known
        self._report = Report(file.places)
        self._disabled = 0
        self._good: dict[tuple[Subject, str, str, str, str], Comparison] = {}

    def run(self) -> Compiled:
        drafts: list[Draft] = []
        for check in self._file.checks:
            try:
                drafts.append(self._check(check))
            except _Disabled:
                self._disabled += len(check.rules)
        return Compiled(self._path, tuple(drafts), self._disabled, self._report.done())

    def _check(self, check: tree.Check) -> Draft:
        service = HOST if check.name is None else self._service(check.name)
        meaning = params.read(check.params, self._known.defaults, self._report)
        if meaning.owner:
            owners = [each.value_start for each in check.params if each.key == "owner"]
            self._known_route(meaning.owner, owners[0] if owners else check.start)
        self._exposed(check.exposed)
        rules: list[Rule] = []
        starts: list[int] = []
        for written in check.rules:
            try:
                rules.append(self._rule(service, written, meaning))
                starts.append(written.start)
            except _Disabled:
                self._disabled += 1
        source = self._source(check.start)
        return Draft(Check(service, meaning, tuple(rules), source), tuple(starts))

    def _service(self, name: tree.Word) -> str:
        service = self._bare(name.text, name.start)
        if service == HOST:
            self._refuse(name.start, "no service can be called host", "see `with unit`")
        if not service.isprintable():
            self._refuse(name.start, "the name of a service holds a control character")
        if _GLOB.fullmatch(service):
            self._refuse(
                name.start,
                f"the glob {quoted(service)} is not understood by this version",
                "write one check for each unit",
            )
        return service

    def _exposed(self, words: Sequence[tree.Word]) -> None:
        for word in words:
            if word.text != "memstats":
                self._report.error(word.start, f"cannot expose {quoted(word.text)}", "memstats?")
            else:
                self._report.warning(word.start, "expose has no effect in this version")

    # One rule

    def _rule(self, service: str, written: tree.Rule, meaning: CheckParams) -> Rule:
        subject = Subject.HOST if service == HOST else Subject.SERVICE
        steps = tuple(self._step(subject, action) for action in written.actions)
        hold = self._hold(written)
        source = self._source(written.start)
        if isinstance(written.condition, tree.Event):
            condition: Condition = self._event(subject, written.condition)
        else:
            condition = self._comparison(subject, written.condition)
        return Rule(service, condition, hold, steps, source, meaning)

    def _step(self, subject: Subject, action: tree.Action) -> Step:
        if action.name == "alert":
            if not action.route:
                return _ALERT
            route = printable(self._bare(action.route, action.route_start))
            self._known_route(route, action.route_start)
            return Alert(route)
        if subject is Subject.HOST:
            self._refuse(action.start, f"the host cannot {action.name}", "a host rule can alert")
        return _ACTS[action.name]

    def _hold(self, written: tree.Rule) -> Hold:
        hold = written.hold
        if hold is None:
            return _INSTANT
        if isinstance(written.condition, tree.Event) and hold.cycles is not None:
            self._refuse(
                hold.start, "an event does not last for cycles", "write a duration: for 30s"
            )
        if hold.cycles is not None and hold.cycles < 1:
            self._report.warning(hold.start, f"a rule for {hold.cycles} cycles never fires")
        return Hold(hold.cycles, hold.seconds)

    def _event(self, subject: Subject, event: tree.Event) -> Event:
        if subject is Subject.HOST:
            self._refuse(event.start, f"{quoted(event.word)} is an event of services")
        return Event(EventWord(event.word))

    def _comparison(self, subject: Subject, written: tree.Comparison) -> Comparison:
        """Judge a comparison; one that is written like a good one is good."""
        text = (subject, written.family, written.name, written.operator, written.raw)
        good = self._good.get(text)
        if good is None:
            said = self._report.count
            good = self._judge(subject, written)
            if self._report.count == said:
                self._good[text] = good
        return good

    def _judge(self, subject: Subject, written: tree.Comparison) -> Comparison:
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
        per = self._per(entry, id, written)
        self._judge_amount(entry, id, written)
        if not entry.probed:
            self._report.warning(
                written.start, f"{id} is not measured in this version; it reads unknown"
            )
        amount = Amount(written.raw, float(written.quantity.value), per)
        return Comparison(id, Operator(written.operator), amount)

    def _refuse_metric(self, subject: Subject, id: MetricId, start: int) -> NoReturn:
        catalogue = self._known.catalogue
        other = Subject.SERVICE if subject is Subject.HOST else Subject.HOST
        if catalogue.lookup(other, id) is not None:
            self._refuse(start, f"{quoted(str(id))} is a metric of a {other}, not of a {subject}")
        near = self._report.nearest(str(id), catalogue.names(subject))
        self._refuse(start, f"nobody knows the metric {quoted(str(id))} of a {subject}", near)

    def _judge_amount(self, metric: Metric, id: MetricId, written: tree.Comparison) -> None:
        quantity, shown = written.quantity, quoted(written.raw)
        if quantity.overflows:
            self._refuse(written.raw_start, f"{shown} does not fit into 64 bits")
        unit, dimension = quantity.unit, metric.dimension
        if unit in _FITTING and dimension not in _FITTING[unit]:
            # A spelling that Inspeqtor refuses is refused at its place.
            old = unit in (Unit.PERCENT, Unit.BINARY)
            place = written.raw_start if old else written.after
            text = f"{shown} cannot be an amount of {id}"
            self._refuse(place, text, _MENDS[dimension])
        small = quantity.value < _SMALL and metric.kind is Kind.GAUGE
        if dimension is Dimension.BYTES and small:
            text = f"{shown} is {quantity.value} bytes, less than 64 KiB"
            self._report.warning(written.raw_start, text, "is the unit missing? 6g, 512m")

    def _per(self, metric: Metric, id: MetricId, written: tree.Comparison) -> float:
        if not written.quantity.per:
            return 0.0
        if metric.kind is Kind.COUNTER and metric.dimension is not Dimension.PERCENT:
            return written.quantity.per
        text = f"{id} does not count up: the time in {quoted(written.raw)} has no effect"
        self._report.warning(written.raw_start, text)
        return 0.0

    # Help

    def _bare(self, text: str, start: int) -> str:
        if not quotes.is_quoted(text):
            return text
        self._report.warning(start, f"the quotes around {quoted(text)} are taken off")
        return quotes.bare(text)

    def _known_route(self, route: str, start: int) -> None:
        routes = self._known.routes
        if routes is not None and route not in routes:
            near = self._report.nearest(route, routes)
            text = f"there is no route {quoted(route)}; its alerts go to the default route"
            self._report.error(start, text, near)

    def _refuse(self, start: int, message: str, help: str = "") -> NoReturn:
        self._report.error(start, message, help)
        raise _Disabled

    def _source(self, start: int) -> Source:
        places = self._file.places
        return Source(self._path, places.line(start), places.column(start))
