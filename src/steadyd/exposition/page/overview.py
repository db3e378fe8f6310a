"""PURE: the status page at `/`, in parts that events can replace one by one."""

from collections import Counter
from html import escape

from steadyd.exposition.api import by_incident
from steadyd.exposition.human import NOTHING, count, limit, measure, number, span, took
from steadyd.exposition.page.draw import SPARK, spark
from steadyd.exposition.page.parts import (
    MOST,
    WITHHELD,
    Cell,
    age,
    did,
    frame,
    headline,
    link,
    note,
    ok,
    part,
    rest,
    severity,
    strong,
)
from steadyd.exposition.page.parts import table as plain_table
from steadyd.exposition.page.rows import (
    Beside,
    Rows,
    View,
    choose,
    curves,
    select,
    sparks_of,
    table,
)
from steadyd.model.incident import Incident
from steadyd.model.service import ServiceState
from steadyd.model.snapshot import FileView, Snapshot

ACTIONS = 15  # shown on the page
INCIDENTS = 20  # newest first


def page(snapshot: Snapshot, view: View, beside: Beside, feed: str = "") -> str:
    """Return the whole page; `feed` are the parameters of its events.

    Free text from elsewhere is shown to trusted readers only.
    """
    rows, shown, most = Rows(beside), select(snapshot, view), sparks_of(snapshot)
    services = table(shown, [rows.still(each, snapshot.at, most) for each in shown.services], view)
    above, below = parts(snapshot, view, beside, snapshot.at)
    middle = {"choose": choose(view), "services": services}
    main = "".join(part(name, html) for name, html in (above | middle | below).items())
    title = f"{headline(snapshot)}: {escape(snapshot.hostname)}, steadyd"
    return frame(snapshot, title, main, feed=feed, why=view.trusted)


def parts(
    snapshot: Snapshot, view: View, beside: Beside, now: float | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Return what stands above the services, and below. Without `now`: the reader tells ages."""
    trusted = view.trusted
    above = {
        "notes": _notes(snapshot, trusted),
        "facts": _facts(snapshot, now),
        "incidents": _incidents(snapshot, trusted, now),
    }
    below = {
        "host": _host(snapshot, beside),
        "actions": _actions(snapshot, trusted, now),
        "delivery": _delivery(snapshot, now),
        "jobs": _jobs(snapshot, now),
        "files": _files(snapshot, trusted),
        "inits": _inits(snapshot),
    }
    return above, below


def _notes(snapshot: Snapshot, trusted: bool) -> str:
    notes = list(snapshot.trouble)
    if notes and not trusted:
        notes = [f"{number(len(notes), 'trouble')} of the daemon: {WITHHELD}."]
    if not snapshot.ready:
        notes.append("Not ready: not all services have been looked up yet.")
    if snapshot.dry_run:
        notes.append("Dry run: no verb is carried out.")
    for each in snapshot.silences:
        what = ", ".join(each.services) or "everything"
        why = f" ({each.comment})" if each.comment and trusted else ""
        notes.append(f"Muted by a {each.kind} for {span(each.until - each.since)}: {what}{why}")
    return "".join(map(note, notes))


def _facts(snapshot: Snapshot, now: float | None) -> str:
    states = Counter(view.state for view in snapshot.services)
    outbox, failed = snapshot.outbox, states[ServiceState.FAILED]
    oldest = age(snapshot.at - outbox.oldest_age_seconds, now)
    waiting = f"to be told, oldest {oldest}" if outbox.pending else "to be told"
    active = f"{states[ServiceState.ACTIVE]} / {len(snapshot.services)}"
    facts = [
        (active, "services active", "" if failed else "good"),
        (str(failed), '<a href="./?state=failed">failed</a>', "bad" if failed else ""),
        (str(len(snapshot.open)), "open incidents", "warn" if snapshot.open else ""),
        (count(snapshot.rules_loaded), "rules in force", ""),
        (str(snapshot.rules_disabled), "rules disabled", "bad" if snapshot.rules_disabled else ""),
        (str(outbox.pending), f"messages {waiting}", "warn" if outbox.pending else ""),
        (str(outbox.dead), "messages given up", "bad" if outbox.dead else ""),
    ]
    items = "".join(
        f'<li><b class="{tone}">{value}</b><span>{html}</span></li>' for value, html, tone in facts
    )
    return f'<ul class="facts">{items}</ul>\n'


def _incidents(snapshot: Snapshot, trusted: bool, now: float | None) -> str:
    if not snapshot.open:
        return ""
    acts = by_incident(snapshot.actions)
    rows: list[tuple[Cell, ...]] = [
        (
            ("w", link(incident.service)),
            ("state " + severity(incident), escape(str(incident.severity))),
            ("w", f"{escape(incident.topic)}<small>{escape(incident.rule)}</small>"),
            ("n", escape(measure(incident.topic, incident.value))),
            ("n", escape(limit(incident.topic, incident.threshold))),
            ("n", age(incident.opened_at, now) + _dark(snapshot, incident, now)),
            ("w", "<br>".join(did(each, trusted) for each in acts.get(incident.id, ())) or NOTHING),
        )
        for incident in snapshot.open[:INCIDENTS]
    ]
    heads = ("Service", "Severity", "Rule", "Value>", "Limit>", "Open for>", "What was done")
    more = rest(INCIDENTS, len(snapshot.open), "steadyd status")
    return plain_table("Open incidents", heads, rows, "incidents") + more


def _dark(snapshot: Snapshot, incident: Incident, now: float | None) -> str:
    since = snapshot.dark.get(incident.id)
    return "" if since is None else f"<small>no data for {age(since, now)}</small>"


def _host(snapshot: Snapshot, beside: Beside) -> str:
    if snapshot.host is None:
        return ""
    sparks = "".join(spark(curve) for curve in curves(snapshot.host, beside, SPARK))
    if not sparks:
        return ""
    return f'<h2><a href="service/host">Host</a></h2>\n<div class="card sparks">{sparks}</div>\n'


def _actions(snapshot: Snapshot, trusted: bool, now: float | None) -> str:
    rows: list[tuple[Cell, ...]] = [
        (
            ("t", f"{age(each.asked_at, now)} ago"),
            ("w", link(each.service)),
            ("w", did(each, trusted)),
            ("n", took(each.finished_at - each.asked_at) if each.finished_at else NOTHING),
        )
        for each in snapshot.actions[:ACTIONS]
    ]
    return plain_table("Last actions", ("Asked", "Service", "What came of it", "Took>"), rows)


def _delivery(snapshot: Snapshot, now: float | None) -> str:
    """Return how the messages fare: what has waited for long is not well."""
    counters, outbox = snapshot.counters, snapshot.outbox
    schemes = sorted(counters.notifications.keys() | counters.notifications_failed.keys())
    rows: list[tuple[Cell, ...]] = [
        (
            ("w", strong(scheme)),
            ("n", count(counters.notifications.get(scheme, 0))),
            ("n", count(counters.notifications_failed.get(scheme, 0))),
        )
        for scheme in schemes
    ]
    if not rows:
        return (
            '<h2>Messages</h2>\n<p class="calm">No route: alerts go to the log of the daemon. '
            "A route in steadyd.toml, or --route default=URL, sends them to people.</p>\n"
        )
    table = plain_table("Messages", ("Channel", "Delivered>", "Attempts that failed>"), rows)
    if not outbox.pending:
        return table
    oldest = age(snapshot.at - outbox.oldest_age_seconds, now)
    waiting = f"{number(outbox.pending, 'message')} not delivered yet, the oldest for {oldest}"
    return f'{table}<p class="warn">{waiting}.</p>\n'


def _jobs(snapshot: Snapshot, now: float | None) -> str:
    rows: list[tuple[Cell, ...]] = [
        (
            ("w", strong(job.name)),
            ok(not job.overdue, "in time", "overdue"),
            ("n", f"{age(job.last, now)} ago" if job.last else "never"),
            ("n", span(job.every)),
        )
        for job in sorted(snapshot.jobs, key=lambda job: not job.overdue)[:MOST]
    ]
    more = rest(MOST, len(snapshot.jobs), "/api/v1/status")
    return plain_table("Jobs", ("Job", "State", "Ran last>", "Every>"), rows) + more


def _files(snapshot: Snapshot, trusted: bool) -> str:
    rows: list[tuple[Cell, ...]] = [
        (
            ("f", f"<code>{escape(view.path)}</code>"),
            ok(view.ok, "in force", "has errors"),
            ("w", _report(view, trusted)),
        )
        for view in sorted(snapshot.files, key=lambda view: (view.ok, view.path))[:MOST]
    ]
    more = rest(MOST, len(snapshot.files), "steadyd check")
    return plain_table("Rule files", ("File", "State", "Report"), rows, "files") + more


def _report(view: FileView, trusted: bool) -> str:
    if not view.error:
        return ""
    report = f"<pre>{escape(view.report or view.error)}</pre>" if trusted else escape(WITHHELD)
    return f"{report}<small>{escape(view.stands)}</small>"


def _inits(snapshot: Snapshot) -> str:
    rows: list[tuple[Cell, ...]] = [
        (("w", strong(init.name)), ok(init.up, "answers"), ("w", escape(init.reason)))
        for init in snapshot.inits
    ]
    return plain_table("Init systems", ("Name", "State", "Why"), rows, "files")
