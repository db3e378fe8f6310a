"""PURE: the parse of one file into rules, held against the catalogue and the known routes.

A semantic error disables its rule alone; a route that nobody knows is an error that disables
nothing, since the alert then goes to the default route.
"""

import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from steadyd.model.condition import Hold, Until
from steadyd.model.metric import Subject
from steadyd.model.rule import (
    HOST,
    Act,
    Alert,
    Check,
    CheckParams,
    Exec,
    Job,
    Rule,
    Source,
    Step,
    Verb,
)
from steadyd.model.service import is_glob
from steadyd.rulefiles import params, tree
from steadyd.rulefiles.diagnostics import Diagnostic, printable, quoted
from steadyd.rulefiles.judging import Conditions, Disabled, Known

_INSTANT: Final = Hold()
_ALERT: Final = Alert()
_ACTS: Final = {str(verb): Act(verb) for verb in Verb}
_EXCLUSIVE: Final = ("start", "stop")  # with SIGKILL and SIGSTOP: of a unit named literally


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
    jobs: tuple[Job, ...] = ()


def compile_file(path: str, file: tree.File, known: Known) -> Compiled:
    """Return the rules of one file, with what its text means wrongly."""
    return _Compiler(path, file, known).run()


class _Compiler(Conditions):
    def __init__(self, path: str, file: tree.File, known: Known) -> None:
        super().__init__(file.places, known)
        self._path, self._file = path, file
        self._disabled = 0

    def run(self) -> Compiled:
        drafts: list[Draft] = []
        for check in self._file.checks:
            try:
                drafts.append(self._check(check))
            except Disabled:
                self._disabled += len(check.rules)
        jobs = tuple(job for some in self._file.jobs for job in self._jobs(some))
        return Compiled(self._path, tuple(drafts), self._disabled, self._report.done(), jobs)

    def _jobs(self, written: tree.Jobs) -> Iterator[Job]:
        owner = ""
        for param in written.params:
            if param.key != "owner":
                text = f"the parameter {quoted(param.key)} has no meaning for jobs"
                self._report.warning(param.start, text)
            elif not owner:
                owner = printable(param.value)
                self._known_route(owner, param.value_start)
        for job in written.jobs:
            name = self._bare(job.name, job.start)
            if not name.isprintable():
                self._report.error(job.start, "the name of a job holds a control character")
                continue
            if job.every <= 0:
                text = f"{quoted(name)} is overdue at once, and again a minute after each report"
                self._report.warning(job.period_start, text)
            yield Job(name, float(job.every), self._source(job.start), owner)

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
            except Disabled:
                self._disabled += 1
        source = self._source(check.start)
        return Draft(Check(service, meaning, tuple(rules), source), tuple(starts))

    def _service(self, name: tree.Word) -> str:
        service = self._bare(name.text, name.start)
        if service == HOST:
            self._refuse(name.start, "no service can be called host", "see `with unit`")
        if not service.isprintable():
            self._refuse(name.start, "the name of a service holds a control character")
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
        return Rule(
            service,
            self._condition(subject, written.condition),
            self._hold(written.condition, written.hold),
            tuple(self._step(service, action) for action in written.actions),
            self._source(written.start),
            meaning,
            self._until(subject, written.until),
            self._window(written.window),
        )

    def _until(self, subject: Subject, until: tree.Until | None) -> Until | None:
        if until is None:
            return None
        hold = self._hold(until.condition, until.hold)
        return Until(self._condition(subject, until.condition), hold)

    def _step(self, service: str, action: tree.Action) -> Step:
        if action.name == "alert":
            if not action.argument:
                return Alert(after=action.after) if action.after else _ALERT
            route = printable(self._bare(action.argument, action.argument_start))
            self._known_route(route, action.argument_start)
            return Alert(route, action.after)
        if action.name == "exec":
            return self._exec(action)
        if service == HOST:
            self._refuse(action.start, f"the host cannot {action.name}", "a host rule can alert")
        if action.name == "signal":
            return self._signal(service, action)
        if action.name in _EXCLUSIVE and is_glob(service):
            mend = "name the unit literally in a check of its own"
            self._refuse(action.start, f"{action.name} is not done to a glob", mend)
        if not action.after:
            return _ACTS[action.name]
        return Act(Verb(action.name), after=action.after)

    def _signal(self, service: str, action: tree.Action) -> Act:
        try:
            name = params.signal_name(self._bare(action.argument, action.argument_start))
        except ValueError as wanted:
            text = f"{quoted(action.argument)} is no signal"
            self._refuse(action.argument_start, text, str(wanted))
        if name in params.MIGHTY and is_glob(service):
            mend = "name the unit literally in a check of its own"
            self._refuse(action.start, f"SIG{name} is not sent to a glob", mend)
        return Act(Verb.SIGNAL, name, action.after)

    def _exec(self, action: tree.Action) -> Exec:
        program = action.argument.split()
        if not program or not program[0].startswith("/"):
            mend = 'exec "/usr/local/bin/help-me puma"'
            self._refuse(action.argument_start, "exec wants the absolute path of a program", mend)
        if not action.argument.isprintable():
            self._refuse(action.argument_start, "the program of exec holds a control character")
        try:
            shlex.split(action.argument)
        except ValueError as why:
            self._refuse(action.argument_start, f"the program of exec: {why}")
        return Exec(action.argument, action.after)

    # Help

    def _known_route(self, route: str, start: int) -> None:
        routes = self._known.routes
        if routes is not None and route not in routes:
            near = self._report.nearest(route, routes)
            text = f"there is no route {quoted(route)}; its alerts go to the default route"
            self._report.error(start, text, near)

    def _source(self, start: int) -> Source:
        places = self._file.places
        return Source(self._path, places.line(start), places.column(start))
