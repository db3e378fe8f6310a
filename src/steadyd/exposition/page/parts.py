"""PURE: what pages are made of: the frame, tables, states, ages. Every text is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from steadyd.exposition import api
from steadyd.exposition.human import NOTHING, span
from steadyd.model.incident import Action, Incident
from steadyd.model.service import ServiceState
from steadyd.model.snapshot import Snapshot

# in the page itself: to ask for it as well would be a third of the time to the first content
STYLE = Path(__file__).with_name("page.css").read_text("utf-8")
REFRESH_SECONDS = 30  # of a browser without JavaScript

MOST = 15  # rows of what may be many
WITHHELD = f"{api.WITHHELD}; show_details = true under [web] of steadyd.toml shows it to all"

Cell = tuple[str, str]  # class and escaped HTML

_TONES = {
    ServiceState.ACTIVE: "good",
    ServiceState.FAILED: "bad",
    ServiceState.INACTIVE: "calm",
}
_OUTCOMES = {"healed": "good", "not_healed": "bad", "came_back": "bad", "failed": "bad"}


def frame(
    snapshot: Snapshot, title: str, main: str, root: str = "", feed: str = "", *, why: bool = False
) -> str:
    """Return a whole page. `root` leads to `/`, `feed` are the parameters of its events.

    `why`: services have their stories on their pages.
    """
    host = escape(snapshot.hostname)
    up = age(snapshot.started_at, snapshot.at)
    skip = ("main", "what is told") if root else ("services", "the services")
    hint = "" if why else " · <code>steadyd why NAME</code> on the host tells why."
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<noscript><meta http-equiv="refresh" content="{REFRESH_SECONDS}"></noscript>\n'
        f"<title>{title}</title>\n"
        f'<link rel="icon" href="{root}icon.svg">\n'
        f"<style>{STYLE}</style>\n"
        f'<script src="{root}page.js" defer></script>\n</head>\n'
        f'<body data-feed="{root}events?{escape(feed)}" data-at="{snapshot.at:.3f}">\n'
        f'<a class="skip" href="#{skip[0]}">Skip to {skip[1]}</a>\n'
        f'<header><h1><a href="{root or "./"}">{host}</a></h1>'
        f"<p>steadyd {escape(snapshot.version)}, up {up}</p>"
        '<p id="live" class="calm" hidden>live</p></header>\n'
        '<p id="lost" class="note bad" role="alert" hidden>The daemon does not answer: what you '
        "see is old. Trying again.</p>\n"
        '<p id="said" class="unseen" role="status"></p>\n'
        f'<main id="main">\n{main}</main>\n'
        f'<footer><a href="{root}metrics">/metrics</a> · '
        f'<a href="{root}api/v1/status">/api/v1/status</a>{hint}</footer>\n</body>\n</html>\n'
    )


def part(name: str, html: str) -> str:
    """Return a part of a page that events may replace."""
    return f'<div id="{name}">{html}</div>\n'


def headline(snapshot: Snapshot) -> str:
    """Return the state of everything in a few words."""
    bad = sum(1 for view in snapshot.services if view.state is ServiceState.FAILED)
    if snapshot.open or bad:
        return f"{len(snapshot.open)} open, {bad} failed"
    return "all steady"


def age(at: float | None, now: float | None) -> str:
    """Return how long ago that was; without `now` the reader's clock tells (page.js)."""
    if not at or at <= 0:
        return NOTHING
    text = "" if now is None else span(now - at)
    return f'<time datetime="{api.rfc3339(at) or ""}" data-at="{at:.0f}">{text}</time>'


def link(name: str, root: str = "") -> str:
    """Return the name of a service, leading to its page."""
    return f'<a href="{root}service/{quote(name, safe="")}">{strong(name)}</a>'


def state(state: ServiceState, reason: str = "") -> str:
    """Return a state and its reason."""
    tone = _TONES.get(state, "warn")
    small = f"<small>{escape(reason)}</small>" if reason else ""
    return f'<span class="state {tone}">{escape(str(state))}</span>{small}'


def did(action: Action, trusted: bool) -> str:
    """Return a verb and what came of it."""
    outcome = str(action.outcome).replace("_", " ") if action.outcome else "under way"
    tone = _OUTCOMES.get(str(action.outcome), "calm")
    reason = action.reason if trusted else ""
    small = f"<small>{escape(reason)}</small>" if reason else ""
    return f'{escape(str(action.verb))}: <span class="{tone}">{escape(outcome)}</span>{small}'


def severity(incident: Incident) -> str:
    """Return the class of a severity."""
    return "bad" if incident.severity == "critical" else "warn"


def table(
    title: str,
    heads: Sequence[str],
    rows: Iterable[tuple[Cell, ...]],
    kind: str = "",
) -> str:
    """Return a table, "" without rows; a head that ends with `>` is of numbers."""
    lines = [f"<tr>{cells(row)}</tr>\n" for row in rows]
    return filled(title, heads, "".join(lines), kind) if lines else ""


def rest(shown: int, count: int, where: str) -> str:
    """Return how many are not shown, and who tells of all; "" if all are."""
    if count <= shown:
        return ""
    return f'<p class="calm">{count - shown:,} more; <code>{where}</code> tells all.</p>\n'


def filled(title: str, heads: Sequence[str], rows: str, kind: str = "") -> str:
    """Return a table of rows that are made; `kind` says how it looks where there is no room."""
    look = f' class="{kind}"' if kind else ""
    head = "".join(
        f'<th scope="col" class="n">{text[:-1]}</th>'
        if text.endswith(">")
        else f'<th scope="col">{text}</th>'
        for text in heads
    )
    return (
        f'<h2>{title}</h2>\n<div class="scroll"><table{look}>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody>\n</table></div>\n"
    )


def cells(row: Iterable[Cell]) -> str:
    """Return the cells of a row."""
    return "".join(f'<td class="{kind}">{html}</td>' for kind, html in row)


def ok(good: bool, yes: str, no: str = "does not answer") -> Cell:
    """Return a cell of what is well or not."""
    return ("state good", yes) if good else ("state bad", no)


def strong(text: str) -> str:
    """Return a text that stands out."""
    return f"<strong>{escape(text)}</strong>"


def note(text: str) -> str:
    """Return a line that is to be seen."""
    return f'<p class="note">{escape(text)}</p>\n'
