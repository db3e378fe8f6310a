"""What is to be told, to whom, and how an attempt to tell it ended."""

from enum import StrEnum

from msgspec import Struct

from steadyd.model.incident import Action, Incident
from steadyd.model.rule import Rule

DEFAULT_ROUTE = "default"


class Occasion(StrEnum):
    """Why a notification is sent."""

    OPENED = "opened"
    ESCALATED = "escalated"
    GAVE_UP = "gave_up"
    CLOSED = "closed"
    CONFIGURATION = "configuration"
    TEST = "test"


class Notification(Struct, frozen=True):
    """Something that people are to be told, before it is put into words and split by target.

    `rule` is None where the rule has gone meanwhile. `actions` are those of the incident so far.
    `remarks` are whole sentences (why a verb was not run, an unknown route …). `text` carries
    the title and body of occasions without an incident (title, newline, body).
    """

    occasion: Occasion
    route: str
    at: float
    incident: Incident | None = None
    rule: Rule | None = None
    actions: tuple[Action, ...] = ()
    remarks: tuple[str, ...] = ()
    text: str = ""


class Tone(StrEnum):
    """Apprise's notify_type."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


class Message(Struct, frozen=True):
    """A notification in words; plain text."""

    title: str
    body: str
    tone: Tone


class Target(Struct, frozen=True):
    """One address behind a route. `id` is a keyed hash of the URL, safe to store and to show.

    `scheme` is the Apprise schema ("slack"), the label `integration`.
    """

    id: str
    route: str
    scheme: str


class ParcelState(StrEnum):
    """Every parcel ends delivered, folded or dead."""

    NEW = "new"
    SENDING = "sending"
    DELIVERED = "delivered"
    FOLDED = "folded"
    DEAD = "dead"


class Parcel(Struct, frozen=True):
    """One message for one target. Times are wall-clock seconds.

    `id` is made of incident, occasion and target, so that posting it twice adds nothing.
    """

    id: str
    target: str
    route: str
    scheme: str
    incident: str
    occasion: Occasion
    message: Message
    posted_at: float
    due_at: float
    state: ParcelState = ParcelState.NEW
    tries: int = 0
    last_error: str = ""


class Receipt(StrEnum):
    """How one attempt ended, as the sender judges it."""

    DELIVERED = "delivered"
    TRY_AGAIN = "try again"
    REFUSED = "refused"
