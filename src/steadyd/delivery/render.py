"""Put a notification into words. Pure. The content is contract.md, section 6."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from steadyd.model.incident import Action, CloseReason, Incident, Outcome
from steadyd.model.metric import Dimension
from steadyd.model.notification import Message, Notification, Occasion, Tone
from steadyd.model.rule import Severity

DimensionOf = Callable[[str], Dimension | None]

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_OUTCOMES = {
    Outcome.HEALED: "{verb} healed it",
    Outcome.NOT_HEALED: "{verb} did not help",
    Outcome.CAME_BACK: "{verb} helped for a while only",
    Outcome.FAILED: "{verb} failed: {reason}",
    Outcome.SUPPRESSED: "no {verb}: {reason}",
    Outcome.UNKNOWN: "{verb} was asked, its outcome is unknown: {reason}",
}
DOWN = ("down", "init:up")


def render(notification: Notification, hostname: str, dimension_of: DimensionOf) -> Message:
    """Return title and body. `dimension_of` tells the dimension of a metric by its name."""
    incident = notification.incident
    if incident is None:
        title, _, body = notification.text.partition("\n")
        tone = Tone.INFO if notification.occasion is Occasion.TEST else Tone.WARNING
        return Message(f"{hostname}: {title}", body, tone)
    title = f"{hostname} {incident.service}: {_headline(notification, incident, dimension_of)}"
    return Message(title, "\n".join(_body(notification, incident)), _tone(notification, incident))


def folded(notification: Notification, hostname: str, dimension_of: DimensionOf) -> Message | None:
    """Return the one message for an opening and a closing that were both still waiting."""
    incident = notification.incident
    if notification.occasion is not Occasion.CLOSED or incident is None:
        return None
    what = _problem(notification, incident, dimension_of).removeprefix("is ")
    span = f"{_clock(incident.opened_at)}–{_clock(incident.closed_at or notification.at)}"
    title = f"{hostname} {incident.service}: was {what} {span}"
    return Message(title, "\n".join(_body(notification, incident)), Tone.SUCCESS)


def together(messages: Sequence[Message], hostname: str) -> Message:
    """Return several messages for one target as one; a single one as it is."""
    if len(messages) == 1:
        return messages[0]
    loudest = max((m.tone for m in messages), key=_LOUDNESS.index)
    body = "\n\n".join(f"{m.title}\n{m.body}" for m in messages)
    return Message(f"{hostname}: {len(messages)} messages", body, loudest)


def amount(value: float, dimension: Dimension | None) -> str:
    """Return a value in units that people read."""
    match dimension:
        case Dimension.BYTES:
            return _bytes(value)
        case Dimension.PERCENT:
            return f"{value:.1f}".removesuffix(".0") + " %"
        case Dimension.SECONDS:
            return duration(value) if value >= 60 else f"{value:.3g} s"
        case _:
            return f"{value:,.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return `3m 12s`; at most two units."""
    whole = max(0, round(seconds))
    parts: list[str] = []
    for name, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count or (name == "s" and not parts):
            parts.append(f"{count}{name}")
    return " ".join(parts[:2])


def _headline(n: Notification, incident: Incident, dimension_of: DimensionOf) -> str:
    match n.occasion:
        case Occasion.CLOSED if incident.close_reason is CloseReason.RECOVERED:
            after = duration((incident.closed_at or n.at) - incident.opened_at)
            was = _problem(n, incident, dimension_of).replace("is down", "was down")
            return f"recovered after {after} ({was})"
        case Occasion.CLOSED:
            return f"{incident.topic} withdrawn: {incident.close_text}"
        case Occasion.GAVE_UP | Occasion.ESCALATED:
            return f"{_problem(n, incident, dimension_of)}, still"
        case _:
            return _problem(n, incident, dimension_of)


def _problem(n: Notification, incident: Incident, dimension_of: DimensionOf) -> str:
    if incident.topic in DOWN:
        return "is down"
    if incident.value is None or incident.threshold is None:
        return incident.topic
    dimension = dimension_of(incident.topic)
    value, limit = amount(incident.value, dimension), amount(incident.threshold, dimension)
    return f"{incident.what or incident.topic} {value} {incident.operator or 'against'} {limit}"


def _body(n: Notification, incident: Incident) -> list[str]:
    said = [_action(action) for action in n.actions]
    said += [remark for remark in n.remarks if remark not in said]
    lines = [f"{text[0].upper()}{text[1:]}." for text in said if text]
    since = datetime.fromtimestamp(incident.opened_at, UTC)
    lines.append(f"Since {since:%Y-%m-%d %H:%M:%S} UTC.")
    lines.append(f"Rule: {incident.rule} ({incident.source})")
    if n.rule is not None and n.rule.params.runbook:
        lines.append(f"Runbook: {n.rule.params.runbook}")
    lines.append(f"Incident {incident.id}. More: steadyd why {incident.service}")
    return lines


def _action(action: Action) -> str:
    if action.outcome is not None:
        return _OUTCOMES[action.outcome].format(verb=action.verb, reason=action.reason)
    if action.finished_at is None:
        return f"{action.verb} asked of {action.init}"
    return f"{action.verb} done by {action.init}, its effect is watched"


def _tone(n: Notification, incident: Incident) -> Tone:
    if n.occasion is Occasion.CLOSED:
        return Tone.SUCCESS if incident.close_reason is CloseReason.RECOVERED else Tone.INFO
    return Tone.FAILURE if incident.severity is Severity.CRITICAL else Tone.WARNING


def _bytes(value: float) -> str:
    size, unit = abs(value), 0
    while size >= 1024 and unit < len(_BINARY) - 1:
        size, unit = size / 1024, unit + 1
    number = f"{size:.1f}".removesuffix(".0") if unit else f"{size:.0f}"
    return f"{'-' if value < 0 else ''}{number} {_BINARY[unit]}"


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M}"


_LOUDNESS = (Tone.INFO, Tone.SUCCESS, Tone.WARNING, Tone.FAILURE)
