"""PURE: the rules of all files as one set: identity, duplicates, and the implicit `down` rule."""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from steadyd.model.condition import UP, Event, EventWord, Hold
from steadyd.model.rule import HOST, Alert, Check, CheckParams, Job, Rule, RuleSet
from steadyd.rulefiles.compile import Compiled, Draft
from steadyd.rulefiles.diagnostics import Diagnostic, Level

_IMPLICIT_HOLD: Final = Hold(seconds=10.0)  # language.md, Up, down and events
_MOST: Final = 1000  # warnings of one file


class Merged(Struct, frozen=True):
    """All rules, and by path what was found only by looking at the files together."""

    rules: RuleSet
    diagnostics: Mapping[str, tuple[Diagnostic, ...]]


def merge(files: Iterable[Compiled]) -> Merged:
    """Return one check for each service, in the order of first mention.

    Rules keep the parameters of the check they were written in; the check has those of the first
    one, but any that names a unit or an init decides where the others are silent.
    """
    merger = _Merger()
    disabled = 0
    for file in files:
        disabled += file.disabled
        for draft in file.drafts:
            merger.add(file.path, draft)
        for job in file.jobs:
            merger.add_job(file.path, job)
    found = {path: tuple(some) for path, some in merger.diagnostics.items()}
    return Merged(RuleSet(merger.checks(), disabled, merger.jobs()), found)


class _Merger:
    def __init__(self) -> None:
        self.diagnostics: dict[str, list[Diagnostic]] = {}
        self._drafts: dict[str, list[Check]] = {}
        self._seen: dict[str, dict[int, Rule]] = {}  # by key, then by what `with` says
        self._params: dict[CheckParams, int] = {}
        self._jobs: dict[str, Job] = {}

    def add(self, path: str, draft: Draft) -> None:
        rules: list[Rule] = []
        params = self._params.setdefault(draft.check.params, len(self._params))
        for rule, start in zip(draft.check.rules, draft.starts, strict=True):
            equals = self._seen.setdefault(rule.key, {})
            if params in equals:
                self._warn(path, rule, start, equals[params])
                continue
            ordinal = len(equals)
            equals[params] = rule
            rules.append(replace(rule, ordinal=ordinal) if ordinal else rule)
        check = replace(draft.check, rules=tuple(rules))
        self._drafts.setdefault(check.service, []).append(check)

    def add_job(self, path: str, job: Job) -> None:
        """Take a job; of two with one name the first one counts."""
        twin = self._jobs.setdefault(job.name, job)
        found = self.diagnostics.setdefault(path, [])
        if twin is not job and len(found) < _MOST:
            text = f"the job {job.name} stands at {twin.source} already; that one counts"
            place = job.source
            found.append(Diagnostic(Level.ERROR, place.line, place.column, text))

    def jobs(self) -> tuple[Job, ...]:
        return tuple(self._jobs.values())

    def checks(self) -> tuple[Check, ...]:
        return tuple(_one(service, parts) for service, parts in self._drafts.items())

    def _warn(self, path: str, rule: Rule, start: int, twin: Rule) -> None:
        found = self.diagnostics.setdefault(path, [])
        if len(found) < _MOST:
            place = rule.source
            text = f"this rule stands at {twin.source} already; it runs once"
            found.append(Diagnostic(Level.WARNING, place.line, place.column, text, offset=start))


def _one(service: str, parts: list[Check]) -> Check:
    first = parts[0]
    rules = tuple(rule for part in parts for rule in part.rules)
    params = _params([part.params for part in parts])
    watched = any(UP in rule.metrics for rule in rules)
    if service != HOST and params.watch and not watched:
        implicit = Rule(
            service,
            Event(EventWord.DOWN),
            _IMPLICIT_HOLD,
            (Alert(),),
            first.source,
            params,
            implicit=True,
        )
        rules = (*rules, implicit)
    return Check(service, params, rules, first.source)


def _params(some: list[CheckParams]) -> CheckParams:
    first = some[0]
    if len(some) == 1:
        return first
    return replace(
        first,
        unit=next((each.unit for each in some if each.unit), ""),
        init=next((each.init for each in some if each.init), ""),
        watch=all(each.watch for each in some),
    )
