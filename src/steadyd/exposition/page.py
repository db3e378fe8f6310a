"""PURE: the status page at `/`: plain HTML, no script, every text escaped."""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from steadyd.exposition.api import WITHHELD, by_incident
from steadyd.exposition.human import NOTHING, count, measure, size, span
from steadyd.model.incident import Action, Incident
from steadyd.model.service import ServiceState
from steadyd.model.snapshot import ServiceView, Snapshot

REFRESH_SECONDS = 30
ACTIONS = 20  # shown on the page

_ORDER = (
    ServiceState.FAILED,
    ServiceState.UNKNOWN,
    ServiceState.DEACTIVATING,
    ServiceState.ACTIVATING,
    ServiceState.RELOADING,
    ServiceState.INACTIVE,
    ServiceState.ACTIVE,
)
_TONES = {
    ServiceState.ACTIVE: "good",
    ServiceState.FAILED: "bad",
    ServiceState.INACTIVE: "calm",
}

STYLE = """\
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #dde2e8; --back: #f6f7f9;
  --card: #ffffff; --good: #1a7f4b; --bad: #c0262d; --warn: #9a6400; --link: #1f5fbf; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --soft: #98a3b3; --line: #2d3542; --back: #12161c; --card: #1a2029;
    --good: #4fc98a; --bad: #ff7b7b; --warn: #e8b04a; --link: #86b4ff; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem clamp(1rem, 4vw, 3rem) 3rem; color: var(--ink);
  background: var(--back); font: 15px/1.5 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
header p, footer { color: var(--soft); margin: 0; }
footer { margin-top: 2.5rem; font-size: .9rem; }
a { color: var(--link); }
ul.facts { list-style: none; display: flex; flex-wrap: wrap; gap: .6rem; padding: 0;
  margin: 1.2rem 0 0; }
ul.facts li { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .45rem .9rem; }
ul.facts b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
ul.facts span { color: var(--soft); font-size: .85rem; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .9rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
tr:last-child td { border-bottom: 0; }
th { color: var(--soft); font-weight: 600; font-size: .82rem; white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.w { overflow-wrap: anywhere; min-width: 9rem; }
td small { color: var(--soft); display: block; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.calm { color: var(--soft); }
.state { font-weight: 600; white-space: nowrap; }
.note { border: 1px solid var(--warn); border-radius: .5rem; padding: .5rem .9rem; margin: 1rem 0 0;
  background: var(--card); overflow-wrap: anywhere; }
code { font: .92em ui-monospace, monospace; overflow-wrap: anywhere; }
"""

Cell = tuple[str, str]  # class and escaped HTML


def page(snapshot: Snapshot, trusted: bool) -> str:
    """Return the whole page. Free text from elsewhere is shown to `trusted` readers only."""
    host = escape(snapshot.hostname)
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">\n'
        f"<title>{_headline(snapshot)}: {host}, steadyd</title>\n"
        '<link rel="stylesheet" href="style.css">\n</head>\n<body>\n'
        f"<header><h1>{host}</h1><p>steadyd {escape(snapshot.version)}, up "
        f"{span(snapshot.at - snapshot.started_at)}</p></header>\n<main>\n",
        _facts(snapshot),
        *(_note(text if trusted else WITHHELD) for text in snapshot.trouble),
    ]
    if not snapshot.ready:
        parts.append(_note("Not ready: not all services have been looked up yet."))
    if snapshot.dry_run:
        parts.append(_note("Dry run: no verb is carried out."))
    parts += [
        _incidents(snapshot, trusted),
        _services(snapshot),
        _actions(snapshot, trusted),
        _surroundings(snapshot, trusted),
        "</main>\n<footer>"
        '<a href="metrics">/metrics</a> · <a href="api/v1/status">/api/v1/status</a> · '
        "<code>steadyd why NAME</code> on the host tells why.</footer>\n</body>\n</html>\n",
    ]
    return "".join(parts)


def _headline(snapshot: Snapshot) -> str:
    bad = sum(1 for view in snapshot.services if view.state is ServiceState.FAILED)
    if snapshot.open or bad:
        return f"{len(snapshot.open)} open, {bad} failed"
    return "all steady"


def _facts(snapshot: Snapshot) -> str:
    states = Counter(view.state for view in snapshot.services)
    outbox, failed = snapshot.outbox, states[ServiceState.FAILED]
    waiting = f"oldest {span(outbox.oldest_age_seconds)}" if outbox.pending else "to be told"
    facts = [
        (f"{states[ServiceState.ACTIVE]} / {len(snapshot.services)}", "services active", ""),
        (str(failed), "failed", "bad" if failed else ""),
        (str(len(snapshot.open)), "open incidents", "warn" if snapshot.open else ""),
        (count(snapshot.rules_loaded), "rules in force", ""),
        (str(snapshot.rules_disabled), "rules disabled", "bad" if snapshot.rules_disabled else ""),
        (str(outbox.pending), f"messages, {waiting}", "warn" if outbox.pending else ""),
        (str(outbox.dead), "messages given up", "bad" if outbox.dead else ""),
    ]
    items = "".join(
        f'<li><b class="{tone}">{value}</b><span>{escape(text)}</span></li>'
        for value, text, tone in facts
    )
    return f'<ul class="facts">{items}</ul>\n'


def _incidents(snapshot: Snapshot, trusted: bool) -> str:
    if not snapshot.open:
        return ""
    acts = by_incident(snapshot.actions)
    rows = [
        (
            ("w", _strong(incident.service)),
            ("state " + _severity(incident), escape(str(incident.severity))),
            ("w", f"{escape(incident.topic)}<small>{escape(incident.rule)}</small>"),
            ("n", escape(measure(incident.topic, incident.value))),
            ("n", escape(measure(incident.topic, incident.threshold))),
            ("n", span(snapshot.at - incident.opened_at) + _dark(snapshot, incident)),
            ("w", "<br>".join(_did(each, trusted) for each in acts.get(incident.id, ()))),
        )
        for incident in snapshot.open
    ]
    heads = ("Service", "Severity", "Rule", "Value>", "Limit>", "Open for>", "Actions")
    return _table("Open incidents", heads, rows)


def _dark(snapshot: Snapshot, incident: Incident) -> str:
    since = snapshot.dark.get(incident.id)
    return "" if since is None else f"<small>no data for {span(snapshot.at - since)}</small>"


def _services(snapshot: Snapshot) -> str:
    if not snapshot.services:
        return "<h2>Services</h2><p>No rule file names a service yet.</p>\n"
    rows = [
        _service(view, snapshot.at)
        for view in sorted(snapshot.services, key=lambda v: (_ORDER.index(v.state), v.name))
    ]
    heads = ("Service", "State", "Since>", "Memory>", "CPU time>", "Processes>", "Restarts>",
             "Unit")  # fmt: skip
    return _table("Services", heads, rows)


def _service(view: ServiceView, now: float) -> tuple[Cell, ...]:
    raw = view.sample.raw if view.sample else {}
    tone = _TONES.get(view.state, "warn")
    cpu = [raw[key] for key in ("total_user_seconds", "total_system_seconds") if key in raw]
    reason = f"<small>{escape(view.reason)}</small>" if view.reason else ""
    where = f"{escape(view.unit)}<small>{escape(view.init)}</small>" if view.unit else NOTHING
    return (
        ("w", _strong(view.name)),
        ("w", f'<span class="state {tone}">{escape(str(view.state))}</span>{reason}'),
        ("n", span(now - view.since) if view.since > 0 else NOTHING),
        ("n", size(raw.get("total_rss"))),
        ("n", span(sum(cpu)) if cpu else NOTHING),
        ("n", count(raw.get("processes"))),
        ("n", count(sum(view.restarts.values()))),
        ("w", where),
    )


def _actions(snapshot: Snapshot, trusted: bool) -> str:
    if not snapshot.actions:
        return ""
    rows = [
        (
            ("n", f"{span(snapshot.at - each.asked_at)} ago"),
            ("w", _strong(each.service)),
            ("w", _did(each, trusted)),
            ("n", span(each.finished_at - each.asked_at) if each.finished_at else NOTHING),
        )
        for each in snapshot.actions[:ACTIONS]
    ]
    return _table("Last actions", ("Asked>", "Service", "What came of it", "Took>"), rows)


def _surroundings(snapshot: Snapshot, trusted: bool) -> str:
    inits: list[tuple[Cell, ...]] = [
        (("w", _strong(init.name)), _ok(init.up, "answers"), ("w", escape(init.reason)))
        for init in snapshot.inits
    ]
    files: list[tuple[Cell, ...]] = [
        (
            ("w", f"<code>{escape(view.path)}</code>"),
            _ok(view.ok, "in force", "has errors"),
            ("w", escape((view.error or "") if trusted or view.ok else WITHHELD)),
        )
        for view in snapshot.files
    ]
    return _table("Init systems", ("Name", "State", "Why"), inits) + _table(
        "Rule files", ("File", "State", "Why"), files
    )


def _table(title: str, heads: Sequence[str], rows: Iterable[tuple[Cell, ...]]) -> str:
    """Return a table; a head that ends with `>` is of numbers."""
    lines = [
        "<tr>" + "".join(f'<td class="{kind}">{html}</td>' for kind, html in row) + "</tr>\n"
        for row in rows
    ]
    if not lines:
        return ""
    head = "".join(
        f'<th scope="col" class="n">{text[:-1]}</th>'
        if text.endswith(">")
        else f'<th scope="col">{text}</th>'
        for text in heads
    )
    return (
        f'<h2>{title}</h2>\n<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        f"{''.join(lines)}</tbody>\n</table></div>\n"
    )


def _did(action: Action, trusted: bool) -> str:
    outcome = str(action.outcome).replace("_", " ") if action.outcome else "under way"
    reason = action.reason if trusted else ""
    small = f"<small>{escape(reason)}</small>" if reason else ""
    return f"{escape(str(action.verb))}: {escape(outcome)}{small}"


def _severity(incident: Incident) -> str:
    return "bad" if incident.severity == "critical" else "warn"


def _ok(good: bool, yes: str, no: str = "does not answer") -> Cell:
    return ("state good", yes) if good else ("state bad", no)


def _strong(text: str) -> str:
    return f"<strong>{escape(text)}</strong>"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>\n'
