"""PURE: where Inspeqtor does something else with the same text; told once for an old file."""

from collections.abc import Iterator

from steadyd.model.condition import Comparison, Operator
from steadyd.model.metric import Kind, Subject
from steadyd.model.rule import HOST, Rule
from steadyd.rulefiles.compile import Compiled
from steadyd.rulefiles.diagnostics import Diagnostic, Level
from steadyd.rulefiles.judging import MetricCatalogue


def traps(compiled: Compiled, catalogue: MetricCatalogue) -> tuple[Diagnostic, ...]:
    """Return a warning for each trap that a file holds, at the first rule that holds it."""
    found: dict[str, Diagnostic] = {}
    for draft in compiled.drafts:
        for rule, offset in zip(draft.check.rules, draft.starts, strict=True):
            for text in _of(rule, catalogue):
                place = (rule.source.line, rule.source.column)
                warning = Diagnostic(Level.WARNING, *place, text, offset=offset)
                found.setdefault(text, warning)
    return tuple(found.values())


def _of(rule: Rule, catalogue: MetricCatalogue) -> Iterator[str]:
    for verb in dict.fromkeys(rule.verbs):
        yield f"Inspeqtor runs {verb} once more when a rule recovers; steadyd does not"
    if rule.deeds and len(rule.steps) > 1:
        yield "Inspeqtor runs the steps in reverse order; steadyd as they are written"
    condition = rule.condition
    if not isinstance(condition, Comparison) or condition.operator is not Operator.BELOW:
        return
    subject = Subject.HOST if rule.service == HOST else Subject.SERVICE
    entry = catalogue.lookup(subject, condition.metric)
    if entry is not None and entry.kind is Kind.COUNTER:
        yield (
            "Inspeqtor takes a counter as 0 in its first cycle, so that a `<` rule fires then; "
            "steadyd waits for the second reading"
        )
