"""PURE: what a replay found, rule by rule."""

from enum import StrEnum

from msgspec import Struct

from steadyd.model.rule import Rule


class Kind(StrEnum):
    """What happened to a rule."""

    OPENED = "opened"
    ACTED = "acted"
    DEFERRED = "deferred"
    SUPPRESSED = "suppressed"
    OUTCOME = "outcome"
    ESCALATED = "escalated"
    CLOSED = "closed"


class Event(Struct, frozen=True):
    """One event at a wall-clock time in seconds.

    `verb` is that which would have run (`reload`), `reason` why one would not have (the words of
    `steadyd_actions_suppressed_total`); "" where there is none.
    """

    at: float
    kind: Kind
    text: str
    value: float | None = None
    threshold: float | None = None
    verb: str = ""
    reason: str = ""


class Told(Struct, frozen=True):
    """A rule with its events in order, and by name what the history does not tell of it."""

    rule: Rule
    events: tuple[Event, ...]
    dark: tuple[tuple[str, str], ...] = ()


class Summary(Struct, frozen=True):
    """Events of a rule counted; `seconds` it was open until `end`, `open` if it still is.

    `verbs` counts those that would have run, `stopped` by reason those that would not have.
    """

    opened: int
    seconds: float
    open: bool
    verbs: dict[str, int]
    stopped: dict[str, int]


class Story(Struct, frozen=True):
    """A whole replay, from `start` to `end` (wall-clock seconds)."""

    start: float
    end: float
    step: float
    rules: tuple[Told, ...]


def spans(told: Told, end: float) -> list[tuple[float, float]]:
    """Return from when to when incidents of a rule were open."""
    found: list[tuple[float, float]] = []
    since: float | None = None
    for event in told.events:
        if event.kind is Kind.OPENED:
            since = event.at
        elif event.kind is Kind.CLOSED and since is not None:
            found.append((since, event.at))
            since = None
    return found if since is None else [*found, (since, end)]


def summary(told: Told, end: float) -> Summary:
    """Count the events of a rule."""
    open_ = spans(told, end)
    closed = sum(event.kind is Kind.CLOSED for event in told.events)
    verbs: dict[str, int] = {}
    stopped: dict[str, int] = {}
    for event in told.events:
        if event.kind is Kind.ACTED:
            verbs[event.verb] = verbs.get(event.verb, 0) + 1
        elif event.kind in (Kind.SUPPRESSED, Kind.DEFERRED):
            stopped[event.reason] = stopped.get(event.reason, 0) + 1
    seconds = sum(last - first for first, last in open_)
    return Summary(len(open_), seconds, closed < len(open_), verbs, stopped)
