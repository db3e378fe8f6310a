"""What became of a rule that fired: the incident, the actions taken, and the story line by line."""

import hashlib
from enum import StrEnum

from msgspec import Struct

from steadyd.model.rule import Severity


class CloseReason(StrEnum):
    """Why an incident is over."""

    RECOVERED = "recovered"
    WITHDRAWN = "withdrawn"


class Outcome(StrEnum):
    """What came of an action."""

    HEALED = "healed"
    NOT_HEALED = "not_healed"
    CAME_BACK = "came_back"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    UNKNOWN = "unknown"


class Suppression(StrEnum):
    """Why a verb was not asked of the init (the label `reason`, contract.md section 5)."""

    DRY_RUN = "dry_run"
    SILENCE = "silence"
    DEPLOY = "deploy"
    COOLDOWN = "cooldown"
    BUDGET = "budget"
    HOST_BUDGET = "host_budget"
    BUSY = "busy"
    DEPENDS = "depends"
    RIGHTS = "rights"
    IMPOSSIBLE = "impossible"
    START_LIMIT = "start_limit"
    KILL_SWITCH = "kill_switch"
    DEMOTED = "demoted"
    NEW_RULE = "new_rule"
    STOPPED = "stopped"
    ALERT_ONLY = "alert_only"
    WINDOW = "window"


class LineKind(StrEnum):
    """The kinds of lines in `steadyd why`."""

    OPENED = "opened"
    ACTION = "action"
    OUTCOME = "outcome"
    SUPPRESSED = "suppressed"
    DEFERRED = "deferred"
    NOTIFICATION = "notification"
    CLOSED = "closed"


class Incident(Struct, frozen=True):
    """One opening of one rule on one service, until it closes. Times are wall-clock seconds.

    `rule_key` is the rule's identity, `rule` and `source` its text and place when it opened.
    `topic` is the metric or event word that it is told with, `topics` are all of the rule's;
    `what` (else the topic), `operator`, `value` and `threshold` are what was compared. `routes`
    were told that it opened, or are to be when the silence ends in which it did (`muted_until`).
    """

    id: str
    service: str
    rule_key: str
    rule: str
    source: str
    topic: str
    severity: Severity
    opened_at: float
    value: float | None
    threshold: float | None
    routes: tuple[str, ...] = ()
    closed_at: float | None = None
    close_reason: CloseReason | None = None
    close_text: str = ""
    operator: str = ""
    what: str = ""
    muted_until: float | None = None
    topics: tuple[str, ...] = ()


class Action(Struct, frozen=True):
    """A verb asked of an init system (or `exec`), or suppressed. Times are wall-clock seconds.

    `step` is the index in the rule's steps. `finished_at` is when the init answered;
    `outcome` comes later, when the healing was verified. `ran` tells that the init was really asked
    (and a budget spent). `invocation` and `main_pid` are the
    unit's before the verb: they tell after a crash of ours whether it was carried out.
    """

    id: str
    incident: str
    service: str
    init: str
    unit: str
    verb: str
    step: int
    asked_at: float
    finished_at: float | None = None
    outcome: Outcome | None = None
    reason: str = ""
    invocation: str = ""
    main_pid: int = 0
    ran: bool = False


class Line(Struct, frozen=True):
    """One line of the story of an incident."""

    incident: str
    at: float
    kind: LineKind
    text: str
    value: float | None = None
    threshold: float | None = None


def make_id(*parts: str) -> str:
    """Make an id that is the same for the same parts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
