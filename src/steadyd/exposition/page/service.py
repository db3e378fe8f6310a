"""PURE: the page of one service: its states, a curve for each metric that rules see, its story."""

from collections.abc import Sequence
from html import escape

from steadyd.exposition.human import NOTHING, count, limit, measure, size, span
from steadyd.exposition.page.draw import chart, timeline
from steadyd.exposition.page.parts import (
    MOST,
    WITHHELD,
    Cell,
    age,
    did,
    frame,
    note,
    part,
    rest,
    severity,
    state,
    strong,
    table,
)
from steadyd.exposition.page.rows import Beside, View, curves
from steadyd.model.incident import Action, Incident
from steadyd.model.rule import HOST
from steadyd.model.snapshot import TICKS, Chapter, ServiceView, Snapshot, Watched, Why

ROOT = "../"
INCIDENTS = 20  # of the story
_PHASES = {"ok": "good", "pending": "warn", "firing": "bad"}


def find(snapshot: Snapshot, name: str) -> ServiceView | None:
    """Return a watched service, or the host; None if nobody watches it."""
    if name == HOST:
        return snapshot.host
    return next((view for view in snapshot.services if view.name == name), None)


def page(
    snapshot: Snapshot, view: ServiceView, why: Why | None, beside: Beside, cycle: float, feed: str
) -> str:
    """Return the whole page; `why` is None for readers who may not see free text."""
    made = parts(snapshot, view, beside, cycle, snapshot.at)
    made["story"] = story(why, snapshot.at)
    # a name may hold slashes, which are escaped in the address: pages are always one level down
    return frame(
        snapshot,
        f"{title(snapshot, view)}, steadyd",
        "".join(part(name, html) for name, html in made.items()),
        ROOT,
        feed,
        why=why is not None,
    )


def missing(snapshot: Snapshot, name: str, feed: str) -> str:
    """Return the page of a service that no rule names: the way back, and to those like it."""
    near = escape(View(q=name[:100]).query())
    html = (
        f"<h2>{escape(name)}</h2>\n<p>No rule names a service like this. It may have been taken "
        "out of the rule files, or it is written otherwise.</p>\n"
        f'<p><a href="{ROOT}">All services</a> · <a href="{ROOT}?{near}">those like it</a></p>\n'
    )
    title = f"{escape(name)}: not found, {escape(snapshot.hostname)}, steadyd"
    return frame(snapshot, title, part("missing", html), ROOT, feed, why=True)


def title(snapshot: Snapshot, view: ServiceView) -> str:
    """Return the name and state of a service and its host, as HTML."""
    count = sum(1 for each in snapshot.open if each.service == view.name)
    told = [] if view.name == HOST else [str(view.state)]
    told += [f"{count} open"] if count else []
    what = f": {', '.join(told)}" if told else ""
    return f"{escape(view.name)}{escape(what)}, {escape(snapshot.hostname)}"


def parts(
    snapshot: Snapshot, view: ServiceView, beside: Beside, cycle: float, now: float | None
) -> dict[str, str]:
    """Return the parts of the page but for the story."""
    drawn = "".join(chart(curve, cycle) for curve in curves(view, beside, TICKS))
    return {
        "head": _head(view, beside, snapshot.at, now),
        "open": _open(snapshot, view, now),
        "charts": f"<h2>What rules watch</h2>\n{drawn}" if drawn else "",
        "rules": _rules(view, beside),
        "numbers": _numbers(view),
    }


def story(why: Why | None, now: float | None) -> str:
    """Return the incidents of a service with every decision, newest first."""
    if why is None:
        text = f"Why it did what it did is {WITHHELD}."
        return f'<h2>Why</h2>\n<p class="calm">{escape(text)}</p>\n'
    if not why.chapters:
        return '<h2>Why</h2>\n<p class="calm">No incident yet.</p>\n'
    return "<h2>Why</h2>\n" + "".join(_chapter(each, now) for each in why.chapters[:INCIDENTS])


def _head(view: ServiceView, beside: Beside, at: float, now: float | None) -> str:
    if view.name == HOST:
        return "<h2>Host</h2>\n"
    states = beside.states(view.name)
    unit = f"{escape(view.unit)} <small>{escape(view.init)}</small>" if view.unit else NOTHING
    since = f" for {age(view.since, now)}" if view.since > 0 else ""
    denied = "".join(note(f"No right to {verb}: {why}") for verb, why in view.denied.items())
    return (
        f"<h2>{escape(view.name)}</h2>\n"
        f'<p class="big">{state(view.state, view.reason)}{since}</p>\n'
        f'<div class="card">{timeline(states, at)}'
        '<p class="axis"><span>1h ago</span><span>now</span></p></div>\n'
        f'<p class="calm">Unit: {unit}</p>\n{denied}'
    )


def _open(snapshot: Snapshot, view: ServiceView, now: float | None) -> str:
    found = [each for each in snapshot.open if each.service == view.name]
    rows: list[tuple[Cell, ...]] = [
        (
            ("state " + severity(each), escape(str(each.severity))),
            ("w", f"{escape(each.topic)}<small>{escape(each.rule)}</small>"),
            ("n", escape(measure(each.topic, each.value))),
            ("n", escape(limit(each.topic, each.threshold))),
            ("n", age(each.opened_at, now)),
        )
        for each in found[:MOST]
    ]
    heads = ("Severity", "Rule", "Value>", "Limit>", "Open for>")
    return table("Open incidents", heads, rows, "here") + rest(MOST, len(found), "steadyd status")


def _rules(view: ServiceView, beside: Beside) -> str:
    alive = bool(view.processes) or view.name == HOST
    rows = [_rule(rule, alive) for rule in beside.watched(view.name)]
    return table("Rules", ("State", "Rule"), rows)


def _rule(rule: Watched, alive: bool) -> tuple[Cell, ...]:
    """Return a rule and where it stands: one that cannot be judged of what runs is not well."""
    phase = "unknown" if rule.unknown and rule.phase == "ok" else rule.phase
    why = "; ".join(f"{metric}: {text}" for metric, text in rule.missing.items())
    dark = "warn" if alive else "calm"
    small = f'<small class="{dark}">no reading of {escape(why)}</small>' if why else ""
    return (
        (f"state {_PHASES.get(phase, dark)}", escape(phase)),
        ("w", f"<code>{escape(str(rule.rule))}</code>{small}"),
    )


def _numbers(view: ServiceView) -> str:
    raw = view.sample.raw if view.sample else {}
    numbers = [
        ("Memory of all processes", size(raw.get("total_rss"))),
        ("Memory of the main process", size(raw.get("rss"))),
        ("Processes", count(raw.get("processes"))),
        ("Threads", count(raw.get("threads"))),
        ("Open files", count(raw.get("open_fds"))),
        ("CPU time", span(_cpu(view)) if _cpu(view) is not None else NOTHING),
        ("Main process", str(view.main_pid) if view.main_pid else NOTHING),
    ]
    numbers = [pair for pair in numbers if pair[1] != NOTHING]
    numbers += [
        (f"Restarts by {cause}", count(times)) for cause, times in view.restarts.items() if times
    ]
    rows: list[tuple[Cell, ...]] = [(("w", escape(name)), ("n", text)) for name, text in numbers]
    return table("Numbers", ("What", "Now>"), rows)


def _cpu(view: ServiceView) -> float | None:
    raw = view.sample.raw if view.sample else {}
    times = [raw[key] for key in ("total_user_seconds", "total_system_seconds") if key in raw]
    return sum(times) if times else None


def _chapter(chapter: Chapter, now: float | None) -> str:
    incident, events = chapter.incident, ""
    for line in chapter.lines:
        events += (
            f"<li><b>{escape(str(line.kind))}</b> {escape(line.text)} "
            f'<span class="calm">{age(line.at, now)} ago</span></li>'
        )
    opened = " open" if incident.closed_at is None else ""
    return (
        f'<details class="card" data-id="{escape(incident.id)}"{opened}><summary>'
        f"{_summary(incident, chapter.actions, now)}</summary>\n"
        f"<p><code>{escape(incident.rule)}</code><br><small>{escape(incident.source)}, incident "
        f"{escape(incident.id)}</small></p>\n<ol>{events}</ol></details>\n"
    )


def _summary(incident: Incident, actions: Sequence[Action], now: float | None) -> str:
    tone = severity(incident) if incident.closed_at is None else "good"
    word = "open" if incident.closed_at is None else str(incident.close_reason or "closed")
    done = " · ".join(did(each, False) for each in actions)
    return (
        f"{strong(incident.topic)} {escape(measure(incident.topic, incident.value))} "
        f'<span class="state {tone}">{escape(word)}</span> '
        f'<span class="calm">{age(incident.opened_at, now)} ago</span> {done}'
    )
