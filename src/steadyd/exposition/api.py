"""PURE: what the HTTP interface and the command line answer (contract.md, section 4).

Times are RFC 3339 UTC with milliseconds, durations seconds, sizes bytes. A missing value is None,
its reason stands beside it. `trusted` is false for plain HTTP: then free text that came from
elsewhere (an init system's answer, a line of a file) is left out.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from steadyd.model.incident import Action, Incident, Line
from steadyd.model.metric import MetricId, Reading
from steadyd.model.service import ServiceState
from steadyd.model.silence import Silence
from steadyd.model.snapshot import Chapter, FileView, ServiceView, Snapshot, Why
from steadyd.ports import ReloadReport, Right, TestReport

Json = dict[str, Any]

WITHHELD = "shown on the control socket and with authentication only"

_YEAR_10000 = 253_402_300_799.0

# metrics that are shown even if no rule names them: the name in Sample.raw, and the factor
_ALWAYS = {
    "memory:rss": ("rss", 1.0),
    "memory:total_rss": ("total_rss", 1.0),
    "process:count": ("processes", 1.0),
    "process:threads": ("threads", 1.0),
    "process:fds": ("open_fds", 1.0),
    "process:fd_ratio": ("worst_fd_ratio", 100.0),
}


def rfc3339(seconds: float | None) -> str | None:
    """Return a wall-clock time as text; None for none (0, or outside of years 1970 to 9999)."""
    if not seconds or not 0 < seconds < _YEAR_10000:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def number(value: float | None) -> float | None:
    """Return a number that JSON has, else None."""
    return value if value is not None and math.isfinite(value) else None


def seen_by(snapshot: Snapshot, trusted: bool) -> Snapshot:
    """Return what a reader may see: what init systems answered is for the trusted."""
    if trusted:
        return snapshot
    inits = (replace(each, reason=WITHHELD) if each.reason else each for each in snapshot.inits)
    services = map(_seen_by_strangers, snapshot.services)
    return replace(snapshot, inits=tuple(inits), services=tuple(services))


def _seen_by_strangers(view: ServiceView) -> ServiceView:
    """Leave out why there is no state, or no right; why it is in the state it has is no secret."""
    known = bool(view.unit) and view.state is not ServiceState.UNKNOWN
    if (known or not view.reason) and not view.denied:
        return view
    reason = view.reason if known or not view.reason else WITHHELD
    return replace(view, reason=reason, denied=dict.fromkeys(view.denied, WITHHELD))


def service(view: ServiceView) -> Json:
    """Return a `service`; `why` tells why there is no unit."""
    return {
        "name": view.name,
        "unit": view.unit or None,
        "init": view.init or None,
        "state": str(view.state),
        "reason": view.reason,
        "pids": [process.pid for process in view.processes],
        "main_pid": view.main_pid or None,
        "since": rfc3339(view.since),
        "why": None if view.unit else view.reason or "it was not looked up yet",
        "denied": dict(view.denied),
    }


def action(value: Action, trusted: bool = True) -> Json:
    """Return an `action`."""
    return {
        "id": value.id,
        "incident": value.incident,
        "service": value.service,
        "verb": str(value.verb),
        "asked_at": rfc3339(value.asked_at),
        "finished_at": rfc3339(value.finished_at),
        "outcome": str(value.outcome) if value.outcome else None,
        "reason": value.reason if trusted or not value.reason else WITHHELD,
    }


def incident(value: Incident, actions: Iterable[Action], trusted: bool = True) -> Json:
    """Return an `incident` with its actions."""
    return {
        "id": value.id,
        "service": value.service,
        "rule": value.rule,
        "source": value.source,
        "metric": value.topic,
        "state": "open" if value.closed_at is None else "closed",
        "close_reason": str(value.close_reason) if value.close_reason else None,
        "opened_at": rfc3339(value.opened_at),
        "closed_at": rfc3339(value.closed_at),
        "severity": str(value.severity),
        "value": number(value.value),
        "threshold": number(value.threshold),
        "actions": [action(each, trusted) for each in actions],
    }


def services(snapshot: Snapshot, limit: int | None = None) -> Json:
    """Return the answer to `services`."""
    return {"services": [service(view) for view in snapshot.services[:limit]]}


def incidents(pairs: Iterable[tuple[Incident, Sequence[Action]]], trusted: bool = True) -> Json:
    """Return the answer to `incidents`."""
    return {"incidents": [incident(value, acts, trusted) for value, acts in pairs]}


def actions(values: Iterable[Action], trusted: bool = True) -> Json:
    """Return the answer to `actions`."""
    return {"actions": [action(value, trusted) for value in values]}


def status(snapshot: Snapshot, trusted: bool = True) -> Json:
    """Return the answer to `status`."""
    snapshot = seen_by(snapshot, trusted)
    host, acts = snapshot.host, by_incident(snapshot.actions)
    return {
        "version": snapshot.version,
        "hostname": snapshot.hostname,
        "at": rfc3339(snapshot.at),
        "started_at": rfc3339(snapshot.started_at),
        "ready": snapshot.ready,
        "dry_run": snapshot.dry_run,
        "inits": [
            {"name": init.name, "up": init.up, "reason": init.reason} for init in snapshot.inits
        ],
        "services": [service(view) | measured(view) | _used(view) for view in snapshot.services],
        "host": measured(host) if host else None,
        "incidents": [
            incident(each, acts.get(each.id, ()), trusted)
            | {"no_data_since": rfc3339(snapshot.dark.get(each.id))}
            for each in snapshot.open
        ],
        "rules": {"loaded": snapshot.rules_loaded, "disabled": snapshot.rules_disabled},
        "files": [_file(view, trusted) for view in snapshot.files],
        "outbox": {
            "pending": snapshot.outbox.pending,
            "dead": snapshot.outbox.dead,
            "oldest_age_seconds": snapshot.outbox.oldest_age_seconds,
        },
        "silences": [silence(each, trusted) for each in snapshot.silences],
        "jobs": jobs(snapshot),
        "trouble": list(snapshot.trouble) if trusted else [WITHHELD for _ in snapshot.trouble],
    }


def _used(view: ServiceView) -> Json:
    """Return CPU seconds of all processes of a service, None if unknown, and its restarts."""
    raw = view.sample.raw if view.sample else {}
    times = [raw[key] for key in ("total_user_seconds", "total_system_seconds") if key in raw]
    return {
        "cpu_seconds": number(sum(times)) if times else None,
        "restarts": sum(view.restarts.values()),
    }


def why(value: Why) -> Json:
    """Return the answer to `why`."""
    return {
        "service": service(value.service),
        "incidents": [_chapter(chapter) for chapter in value.chapters],
    }


def reloaded(report: ReloadReport) -> Json:
    """Return what a reload came to."""
    answer: Json = {
        "ok": report.ok,
        "loaded": report.loaded,
        "disabled": report.disabled,
        "errors": list(report.errors),
        "denied": [
            {"service": service, "verb": verb, "why": why}
            for service, verbs in report.denied.items()
            for verb, why in verbs.items()
        ],
    }
    return answer if report.ok else answer | {"error": "\n".join(report.errors)}


def silences(values: Iterable[Silence], trusted: bool = True) -> Json:
    """Return the answer to `silence list`."""
    return {"silences": [silence(value, trusted) for value in values]}


def silence(value: Silence, trusted: bool = True) -> Json:
    """Return one silence or deploy."""
    return {
        "id": value.id,
        "kind": str(value.kind),
        "services": list(value.services),
        "since": rfc3339(value.since),
        "until": rfc3339(value.until),
        "comment": value.comment if trusted or not value.comment else WITHHELD,
        "by": value.by if trusted else WITHHELD,
    }


def jobs(snapshot: Snapshot) -> list[Json]:
    """Return the recurring jobs."""
    return [
        {
            "name": job.name,
            "every_seconds": job.every,
            "last": rfc3339(job.last),
            "due": rfc3339(job.due),
            "overdue": job.overdue,
        }
        for job in snapshot.jobs
    ]


def rights(values: Iterable[Right]) -> Json:
    """Return what the rules may ask of the init systems."""
    return {
        "rights": [
            {
                "service": right.service,
                "init": right.init,
                "unit": right.unit,
                "verb": str(right.verb),
                "words": list(right.words),
            }
            for right in values
        ]
    }


def tested(reports: Iterable[TestReport]) -> Json:
    """Return how the targets of a route took a test alert."""
    return {
        "targets": [
            {"route": r.route, "target": r.target, "ok": r.ok, "reason": r.reason} for r in reports
        ]
    }


def measured(view: ServiceView) -> Json:
    """Return the `metrics` of a service, and under `missing` why a number is not there."""
    metrics: dict[str, float | None] = {}
    missing: dict[str, str] = {}
    raw: Mapping[str, float] = view.sample.raw if view.sample else {}
    for name, (key, factor) in _ALWAYS.items():
        if key in raw:
            metrics[name] = number(raw[key] * factor)
    for metric, reading in view.readings.items():
        name, value = str(metric), number(reading.value)
        if value is not None:
            metrics[name] = value
        elif metrics.setdefault(name, None) is None:
            missing[name] = reading.why_missing or "it is no number"
    return {"metrics": metrics, "missing": missing}


def export(snapshot: Snapshot) -> Json:
    """Return all numbers in the form of Inspeqtor's `export`."""
    host = snapshot.host.readings if snapshot.host else {}
    return {
        "exported_at": int(snapshot.at),
        "host": {"name": snapshot.hostname, "metrics": _values(host)},
        "services": {
            each.name: {
                "name": each.name,
                "pid": each.main_pid,
                "metrics": _values(each.readings),
            }
            for each in snapshot.services
        },
    }


def curve(values: Sequence[float | None], cycle: float) -> Json:
    """Return the last readings of a metric and what is to be said of them."""
    known = [value for value in values if value is not None]
    return {
        "values": list(values),
        "cycle_seconds": cycle,
        "min": min(known, default=None),
        "max": max(known, default=None),
        "avg": sum(known) / len(known) if known else None,
        "now": values[-1] if values else None,
    }


def _values(readings: Mapping[MetricId, Reading]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for metric, reading in readings.items():
        value = number(reading.value)
        if value is not None:
            found.setdefault(metric.family, {})[metric.name] = value
    return found


def by_incident(values: Iterable[Action]) -> dict[str, list[Action]]:
    """Return the actions by the id of their incident."""
    found: dict[str, list[Action]] = {}
    for value in values:
        found.setdefault(value.incident, []).append(value)
    return found


def _file(view: FileView, trusted: bool) -> Json:
    error = view.error if trusted or view.error is None else WITHHELD
    report = view.report if trusted else error
    return {"path": view.path, "ok": view.ok, "error": error, "report": report}


def _chapter(chapter: Chapter) -> Json:
    events = {"events": [_line(line) for line in chapter.lines]}
    return incident(chapter.incident, chapter.actions) | events


def _line(line: Line) -> Json:
    return {
        "at": rfc3339(line.at),
        "kind": str(line.kind),
        "text": line.text,
        "value": number(line.value),
        "threshold": number(line.threshold),
    }
