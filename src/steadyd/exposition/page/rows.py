"""PURE: which services a page shows, and a row for each: state, timeline, curves."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import replace

from steadyd.exposition.human import NOTHING, count, size
from steadyd.exposition.page.draw import SPARK, Curve, compared, spark, timeline
from steadyd.exposition.page.parts import Cell, age, cells, filled, link, state
from steadyd.model.condition import UP
from steadyd.model.metric import MetricId
from steadyd.model.service import ServiceState
from steadyd.model.snapshot import ServiceView, Snapshot, Watched

PER_PAGE = 40
# curves in a row, what fires first; the page of the service has all
_FEW, _SPARKS, _SPARKS_OF_MANY = 20, 3, 2
_MEMORY = MetricId("memory", "total_rss")
_GROWTH = 4  # readings that are added at once to a curve that is not full: level, it stays as it is
_HEADS = ("Service", "State", "For>", "Last hour", "Watched", "Memory>", "Processes>", "Restarts>",
          "Unit")  # fmt: skip

_ORDER = (
    ServiceState.FAILED,
    ServiceState.UNKNOWN,
    ServiceState.DEACTIVATING,
    ServiceState.ACTIVATING,
    ServiceState.RELOADING,
    ServiceState.INACTIVE,
    ServiceState.ACTIVE,
)
_RANK = {state: rank for rank, state in enumerate(_ORDER)}

States = Sequence[tuple[float, ServiceState]]
Curves = Callable[[str, MetricId, int], Sequence[float | None]]


class Beside(Struct, frozen=True):
    """What is asked for the services that are shown only: readings, changes of state, rules."""

    curve: Curves
    states: Callable[[str], States]
    watched: Callable[[str], Sequence[Watched]]


class View(Struct, frozen=True):
    """What a reader wants to see, and whether free text may be among it. Pages count from 1."""

    q: str = ""
    state: str = ""
    page: int = 1
    trusted: bool = False

    def query(self, page: int | None = None) -> str:
        """Return it as the parameters of an address; `page` is another page of the same."""
        number = self.page if page is None else page
        wanted = {"q": self.q, "state": self.state, "page": str(number) if number > 1 else ""}
        return urlencode({name: value for name, value in wanted.items() if value})


def view_of(query: Mapping[str, str], trusted: bool) -> View:
    """Return the view that parameters of an address ask for; what makes no sense is left out."""
    page, wanted = query.get("page", ""), query.get("state", "")
    number = int(page) if page.isascii() and page.isdigit() and len(page) < 6 else 1
    known = wanted if wanted in set(map(str, ServiceState)) else ""
    return View(query.get("q", "")[:100].strip(), known, max(1, number), trusted)


class Shown(Struct, frozen=True):
    """The services of one view: those of its page, and how many there are in all."""

    services: tuple[ServiceView, ...]
    first: int
    matching: int
    page: int

    @property
    def pages(self) -> int:
        """Return how many pages there are."""
        return max(1, -(-self.matching // PER_PAGE))


def select(snapshot: Snapshot, view: View) -> Shown:
    """Return what a view shows: those in trouble first, then by name."""
    troubled = {incident.service for incident in snapshot.open}
    wanted, text = view.state, view.q.casefold()
    found = [
        service
        for service in snapshot.services
        if (not wanted or service.state == wanted) and (not text or text in service.name.casefold())
    ]
    found.sort(key=lambda s: (_RANK[s.state], s.name not in troubled, s.name))
    page = min(view.page, max(1, -(-len(found) // PER_PAGE)))
    first = (page - 1) * PER_PAGE
    return Shown(tuple(found[first : first + PER_PAGE]), first, len(found), page)


def sparks_of(snapshot: Snapshot) -> int:
    """Return how many curves a row may have: with many rows they are what a page weighs."""
    return _SPARKS if len(snapshot.services) <= _FEW else _SPARKS_OF_MANY


def curves(view: ServiceView, beside: Beside, most: int) -> list[Curve]:
    """Return what rules compare of a service; its state has a timeline of its own."""
    return [
        replace(each, values=tuple(beside.curve(view.name, each.metric, most)))
        for each in compared(beside.watched(view.name))
        if each.metric != UP
    ]


def memory(view: ServiceView, beside: Beside) -> float | None:
    """Return the memory of all its processes: by the tick whose curve is drawn, if one is.

    A scrape takes samples between two ticks; two numbers of one thing would differ.
    """
    if drawn := beside.curve(view.name, _MEMORY, 1):
        return drawn[-1]
    return view.sample.raw.get("total_rss") if view.sample else None


class Rows:
    """Rows of the services, each made once for all who look while nothing in it changes.

    Curves move with each tick, the rest of a row seldom.
    """

    def __init__(self, beside: Beside) -> None:
        self._beside = beside
        self._ends: dict[str, tuple[object, tuple[str, str]]] = {}
        self._rows: dict[str, tuple[object, str]] = {}

    def live(self, view: ServiceView, now: float, most: int) -> str:
        """Return a row for an event: the reader's clock fills in the ages."""
        states = self._beside.states(view.name)
        found = [_grown(curve) for curve in curves(view, self._beside, SPARK)]
        raw, used = view.sample.raw if view.sample else {}, memory(view, self._beside)
        key = (
            *(view.state, view.reason, view.since, view.unit, view.init),
            *(size(used), raw.get("processes"), sum(view.restarts.values())),
            *(states, now // 60),
        )
        known = self._ends.get(view.name)
        if known is None or known[0] != key:
            known = self._ends[view.name] = (key, _ends(view, states, used, now, live=True))
        seen = (found, known[1], most)
        if (row := self._rows.get(view.name)) is None or row[0] != seen:
            text = _row(known[1], found, most)
            if row is not None and row[1] == text:  # less than a line's width apart
                text = row[1]
            row = self._rows[view.name] = (seen, text)
        return row[1]

    def keep(self, names: set[str]) -> None:
        """Forget the rows of services that are gone."""
        for name in self._ends.keys() - names:
            del self._ends[name], self._rows[name]

    def still(self, view: ServiceView, now: float, most: int) -> str:
        """Return a row for a page, with at most so many curves."""
        states = self._beside.states(view.name)
        used = memory(view, self._beside)
        return _row(_ends(view, states, used, now), curves(view, self._beside, SPARK), most)


def table(shown: Shown, rows: Sequence[str], view: View) -> str:
    """Return the table of services, and the way to other pages of it."""
    if not shown.services:
        text = "No service is like this." if view.q or view.state else ""
        return f'<p class="calm">{text or "No rule file names a service yet."}</p>\n'
    last = shown.first + len(shown.services)
    of = f"{shown.first + 1}–{last} of {shown.matching}" if shown.pages > 1 else ""
    title = f'Services <small class="calm">{of}</small>' if of else "Services"
    return filled(title, _HEADS, "".join(rows), "services") + _pages(shown, view)


def _grown(curve: Curve) -> Curve:
    extra = len(curve.values) % _GROWTH
    return replace(curve, values=curve.values[extra:]) if len(curve.values) > extra > 0 else curve


def _row(ends: tuple[str, str], found: Sequence[Curve], most: int) -> str:
    before, after = ends
    drawn = sorted(found, key=lambda curve: not curve.firing)[:most]
    more = f"<small>{len(found) - most} more</small>" if len(found) > most else ""
    return f"{before}{''.join(map(spark, drawn)) or NOTHING}{more}{after}"


def _ends(
    view: ServiceView, states: States, used: float | None, now: float, *, live: bool = False
) -> tuple[str, str]:
    """Return what stands in a row before the curves, and after them."""
    raw = view.sample.raw if view.sample else {}
    unit = f"{escape(view.unit)}<small>{escape(view.init)}</small>" if view.unit else NOTHING
    before: tuple[Cell, ...] = (
        ("w", link(view.name)),
        ("w", state(view.state, view.reason)),
        ("n", age(view.since, None if live else now)),
        ("t", timeline(states, now)),
    )
    after: tuple[Cell, ...] = (
        ("n", size(used)),
        ("n", count(raw.get("processes"))),
        ("n", count(sum(view.restarts.values()))),
        ("w u", unit),
    )
    head = f'<tr data-name="{escape(view.name)}">{cells(before)}<td class="s">'
    return head, f"</td>{cells(after)}</tr>\n"


def choose(view: View) -> str:
    """Return the form that chooses services."""
    options = "".join(
        f"<option{' selected' if str(state) == view.state else ''}>{state}</option>"
        for state in _ORDER
    )
    return (
        '<form method="get" role="search"><label>Name '
        '<input type="search" name="q" maxlength="100" '
        f'value="{escape(view.q)}" placeholder="press / to search"></label> '
        '<label>State <select name="state"><option value="">any</option>'
        f"{options}</select></label> <button>Show</button></form>\n"
    )


def _pages(shown: Shown, view: View) -> str:
    if shown.pages == 1:
        return ""
    links = []
    for text, rel, number in (
        ("‹ before", "prev", shown.page - 1),
        ("next ›", "next", shown.page + 1),
    ):
        if 1 <= number <= shown.pages:
            links.append(f'<a rel="{rel}" href="./?{escape(view.query(number))}">{text}</a>')
    return (
        f'<nav aria-label="Pages">{" ".join(links)} '
        f'<span class="calm">page {shown.page} of {shown.pages}</span></nav>\n'
    )
