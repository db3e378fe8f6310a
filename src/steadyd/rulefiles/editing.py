"""PURE: what an editor asks about a rule text: what may stand here, and what is this."""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from steadyd.model.metric import Metric, MetricId, Subject
from steadyd.rulefiles.diagnostics import printable
from steadyd.rulefiles.judging import MetricCatalogue
from steadyd.rulefiles.lexer import END, INVALID, NAME, Tokens, scan

EVENTS: Final = {
    "down": "The service is not up (`init:up < 1`).",
    "crashed": "The service ended and nobody had asked for it; true until it has settled.",
    "oom": "The kernel killed a process of the service for lack of memory.",
    "flapping": "Three or more changes between up and down in ten minutes.",
    "alerted": "`alerted NAME`: Alertmanager says that this alert fires for the service.",
}
FUNCTIONS: Final = ("avg", "min", "max", "p50", "p90", "p95", "p99", "delta", "rate")
ACTIONS: Final = {
    "alert": "Tell a route: `alert ROUTE`, else the check's owner or the default route.",
    "reload": "Ask the init system to reload the service.",
    "restart": "Ask the init system to restart the service.",
    "start": "Ask the init system to start the service.",
    "stop": "Ask the init system to stop the service.",
    "signal": "`signal NAME`: send a signal to the service's main process.",
    "exec": '`exec "/path/of/program …"`: run a program of yours.',
    "after": "`after DURATION STEP`: a later step, if the condition is still true then.",
}
KEYS: Final = {
    "owner": "The route of this check's alerts.",
    "cooldown": "Time between two verbs on this service (1m; at most 7d).",
    "budget": "How many verbs in what time: 3/1h; verbs are remembered for 7d.",
    "dry_run": "yes: tell what would be done, and do nothing.",
    "verify": "How long after a verb the condition may stay true (restart 1m, reload 5m).",
    "settle": "How long the service may take to come up (10s).",
    "severity": "info, warning or critical.",
    "runbook": "A URL that stands in every message.",
    "watch": "no: without the alert on `down` that every check has.",
    "init": "The init system that keeps the service.",
    "unit": "The name of the service in its init system.",
    "pidfile": "The pid file of a service that no init system keeps.",
    "match": "Text in the command line of a service that no init system keeps.",
    "reload_signal": "The signal that reloads, where the init system cannot.",
    "depends": "Another service: while a verb is under way on it, none is run on this one.",
    "group": "Services of one group are acted upon one at a time.",
    "warmup": "How long after its start a process says nothing for forecasts (10m).",
    "quiet": "How long after its start the service is silenced.",
    "alert_label": "The label of Alertmanager's alerts that names the service.",
    "hostname": "Where the server listens.",
    "port": "Where the server listens.",
    "socket": "Where the server listens.",
    "username": "How to sign in to the server.",
    "password": "How to sign in to the server; `file:NAME` keeps it out of the rules.",
    "endpoint": "The path of the server's status page, or the URL to ask.",
    "database": "The database to ask.",
}
_OPENERS: Final = frozenset(("check", "with", "expose", "if", "then"))
_TERM_BEFORE: Final = frozenset(("if", "and", "or", "not", "(", "until", *FUNCTIONS))
_PERIODS: Final = ("minutes", "hours", "days")
_PERIOD_BEFORE: Final = {"happens": ("every",), "every": ("minute", "hour", "day", *_PERIODS)}
_SPAN: Final = re.compile(r"[0-9.]+(?:ms|s|m|min|h|d)")
_MOST: Final = 200  # names that are offered of routes


class Sort(StrEnum):
    """What a proposal is."""

    METRIC = "metric"
    WORD = "word"
    KEY = "key"
    ACTION = "action"
    ROUTE = "route"


class Proposal(NamedTuple):
    """A text that may stand between `start` and the cursor."""

    text: str
    sort: Sort
    help: str
    start: int


class Hover(NamedTuple):
    """What is told of the text between two offsets."""

    start: int
    end: int
    text: str


class Catalogue(MetricCatalogue, Protocol):
    """The catalogue of metrics, as far as an editor needs it."""

    @property
    def metrics(self) -> Sequence[Metric]:
        """Return all entries."""


def proposals(
    text: str, offset: int, catalogue: Catalogue, routes: Collection[str] = ()
) -> list[Proposal]:
    """Return what may stand at a place, without regard to what is already written of it."""
    start = _start(text, offset)
    tokens = scan(text[:start])
    kinds, texts = tokens.kinds, tokens.texts
    last = kinds.index(END)  # two may stand behind a last blank
    kinds, texts = ["", *kinds[:last]], ["", *texts[:last]]
    if INVALID in kinds[-1:] or _in_comment(text, start):
        return []
    place = len(kinds) - 1
    while place and kinds[place] not in _OPENERS:
        place -= 1
    opener, before = kinds[place], texts[-1] if kinds[-1] != NAME else texts[-1].lower()
    found = {
        "": _words("check"),
        "check": _of_check(before, len(kinds) - place),
        "with": _of_with(before),
        "expose": _words("memstats") if before in ("expose", ",") else _words("if"),
        "if": _of_condition(before, _subject(kinds), catalogue),
        "then": _of_steps(before, routes),
    }[opener]
    return [Proposal(*each, start) for each in found]


_Found = Iterator[tuple[str, Sort, str]]


def _words(*words: str) -> _Found:
    return ((word, Sort.WORD, "") for word in words)


def _of_check(before: str, words: int) -> _Found:
    if before == "check":
        return _words("service", "host", "jobs")
    if before in _PERIOD_BEFORE:
        return _words(*_PERIOD_BEFORE[before])
    return iter(()) if before == "service" and words == 2 else _words("with", "expose", "if")


def _of_with(before: str) -> _Found:
    if before in ("with", ","):
        return ((key, Sort.KEY, help) for key, help in KEYS.items())
    return iter(()) if before in KEYS else _words("expose", "if")


def _of_condition(before: str, subject: Subject, catalogue: Catalogue) -> _Found:
    if before in (">", "<", ">=", "<=", "==", "!=", ":", "for", "over", "within", "between"):
        return
    if before not in _TERM_BEFORE:
        yield from _words("for", "and", "or", "until", "between", "then", "over", "will")
        return
    for metric in catalogue.metrics:
        if metric.subject is subject:
            yield str(metric.id), Sort.METRIC, f"{metric.help} ({metric.dimension}, {metric.kind})"
    if before in FUNCTIONS:
        return
    yield from _words("not", *FUNCTIONS)
    if subject is Subject.SERVICE:
        yield from ((word, Sort.WORD, help) for word, help in EVENTS.items())


def _of_steps(before: str, routes: Collection[str]) -> _Found:
    if before == "alert":
        return ((route, Sort.ROUTE, "") for route in sorted(routes)[:_MOST])
    if before == "signal":
        return _words("HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH", "TTIN", "TTOU", "CONT")
    if before in ("then", ",") or _SPAN.fullmatch(before):
        return ((word, Sort.ACTION, help) for word, help in ACTIONS.items())
    return _words("if", "check")


def hover(text: str, offset: int, catalogue: Catalogue) -> Hover | None:
    """Return what is known of the word at a place."""
    tokens = scan(text)
    place = bisect_right(tokens.starts, offset) - 1
    if place < 0 or tokens.starts[place] + len(tokens.texts[place]) < offset:
        return None
    start, end = _metric(tokens, place)
    words = "".join(tokens.texts[start:end])
    family, _, name = words.replace("(", ":").rstrip(")").partition(":")
    subject = _subject(tokens.kinds[:place])
    entry = catalogue.lookup(subject, MetricId(family, name))
    where = tokens.starts[start], tokens.starts[end - 1] + len(tokens.texts[end - 1])
    if entry is not None:
        dark = "" if entry.probed else "\n\nNot measured in this version: it reads unknown."
        told = f"{entry.help}\n\n{entry.dimension}, {entry.kind} of a {entry.subject}{dark}"
        return Hover(*where, f"`{printable(words, 200)}`: {told}")
    word = tokens.texts[place]
    known = (EVENTS | KEYS | ACTIONS).get(word)
    if known is None:
        return None
    begin = tokens.starts[place]
    return Hover(begin, begin + len(word), f"`{word}`: {known}")


def _metric(tokens: Tokens, place: int) -> tuple[int, int]:
    """Return which tokens may be one metric with the one at a place."""
    kinds = tokens.kinds
    if kinds[place] in (":", "(", ")") and place:
        place -= 1
    if place > 1 and kinds[place - 1] in (":", "(") and kinds[place - 2] == NAME:
        place -= 2
    if kinds[place + 1 : place + 3] == [":", NAME]:
        return place, place + 3
    if kinds[place + 1 : place + 4] == ["(", NAME, ")"]:
        return place, place + 4
    return place, place + 1


def _subject(kinds: Sequence[str]) -> Subject:
    """Return what the check is about that the last of some tokens belongs to."""
    for place in range(len(kinds) - 1, 0, -1):
        if kinds[place - 1] == "check":
            return Subject.HOST if kinds[place] == "host" else Subject.SERVICE
    return Subject.SERVICE


def _start(text: str, offset: int) -> int:
    """Return where the word begins that ends at a place; a metric is one word here."""
    while offset and text[offset - 1] not in ' \t\r\n,()<>"#':
        offset -= 1
    return offset


def _in_comment(text: str, offset: int) -> bool:
    line = text.rfind("\n", 0, offset) + 1
    kinds = scan(text[:offset] + "x", comments=True).kinds if "#" in text[line:offset] else []
    return "comment" in kinds[-2:]
