"""What changed on a page, as server-sent events (HTML Standard, section 9.2).

An event is one line of JSON: `at` (the daemon's clock), `title`, `said` (for screen readers),
`parts` and `rows` (HTML by id, by name of the service) where they changed, or `stale`: the page is
to be asked for again. What is made of one state is made once for all who look at the same.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from html import unescape

import msgspec
from msgspec import Struct
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from steadyd.exposition.page import overview, service
from steadyd.exposition.page.parts import headline
from steadyd.exposition.page.rows import Past, Rows, View, select, table
from steadyd.model.snapshot import Snapshot
from steadyd.ports import Daemon

MOST_STREAMS = 64
GAP_SECONDS = 1.0  # between two events
BEAT_SECONDS = 10.0  # after which a reader is told that we are there, and proxies too
RETRY_MS = 2000


class Page(Struct, frozen=True):
    """Which page it is: the overview by its view, or that of a service by its name."""

    view: View
    name: str = ""


class Made(Struct, frozen=True):
    """A page as it is now: its title, parts by id, rows by name in their order, open incidents.

    `shape` is what cannot be changed piece by piece.
    """

    at: float
    title: str
    parts: Mapping[str, str]
    rows: Mapping[str, str]
    open: Mapping[str, str]
    shape: object = None


class Live:
    """Makes pages as readers have them, and what changed from one state to the next."""

    def __init__(self, daemon: Daemon, past: Past) -> None:
        self.streams = 0
        self._daemon, self._past, self._rows = daemon, past, Rows(past)
        self._revision = -1
        self._snapshot: Snapshot | None = None
        self._made: dict[Page, Made] = {}
        self._stories: dict[str, tuple[object, str]] = {}

    async def made(self, page: Page) -> Made:
        """Return a page as it is now."""
        snapshot = self._now()
        if (found := self._made.get(page)) is not None:
            return found
        made = self._service(snapshot, page) if page.name else self._overview(snapshot, page.view)
        if page.name and page.view.trusted:
            story = await self._story(snapshot, page.name)
            made = msgspec.structs.replace(made, parts={**made.parts, "story": story})
        self._made[page] = made
        return made

    def _now(self) -> Snapshot:
        revision = self._daemon.revision
        if self._snapshot is None or self._revision != revision:
            self._snapshot, self._revision = self._daemon.snapshot(), revision
            self._made = {}
            self._rows.keep({view.name for view in self._snapshot.services})
        return self._snapshot

    def _overview(self, snapshot: Snapshot, view: View) -> Made:
        shown = select(snapshot, view)
        above, below = overview.parts(snapshot, view, self._past, None)
        rows = {each.name: self._rows.live(each, snapshot.at) for each in shown.services}
        title = f"{headline(snapshot)}: {snapshot.hostname}, steadyd"
        return Made(
            snapshot.at,
            title,
            above | below,
            rows,
            _open(snapshot),
            (tuple(rows), table(shown, (), view)),
        )

    def _service(self, snapshot: Snapshot, page: Page) -> Made:
        view = service.find(snapshot, page.name)
        if view is None:  # no rule names it any more
            return Made(snapshot.at, "", {}, {}, {}, "gone")
        parts = service.parts(snapshot, view, self._past, self._daemon.cycle_seconds, None)
        title = f"{unescape(service.title(snapshot, view))}, steadyd"
        return Made(snapshot.at, title, parts, {}, _open(snapshot, page.name))

    async def _story(self, snapshot: Snapshot, name: str) -> str:
        """Return the story of a service; the store is asked only where there is news."""
        news = (
            tuple(each.id for each in snapshot.open if each.service == name),
            tuple((a.id, a.outcome) for a in snapshot.actions if a.service == name),
        )
        known = self._stories.get(name)
        if known is None or known[0] != news:
            why = await self._daemon.why(name)
            known = self._stories[name] = (news, service.story(why, None) if why else "")
        return known[1]


def _open(snapshot: Snapshot, name: str = "") -> dict[str, str]:
    return {
        each.id: f"{each.service}: {each.topic}"
        for each in snapshot.open
        if not name or each.service == name
    }


def difference(before: Made, now: Made) -> dict[str, object]:
    """Return what an event has to tell; nothing to tell is an empty one."""
    said = [f"{text} opened" for id, text in now.open.items() if id not in before.open]
    said += [f"{text} closed" for id, text in before.open.items() if id not in now.open]
    news: dict[str, object] = {}
    if now.title != before.title:
        news["title"] = now.title
    if said:
        news["said"] = ", ".join(said[:5])
    if now.shape != before.shape:
        return {**news, "stale": True}
    parts = {id: html for id, html in now.parts.items() if before.parts.get(id) != html}
    rows = {name: html for name, html in now.rows.items() if before.rows.get(name) is not html}
    return news | ({"parts": parts} if parts else {}) | ({"rows": rows} if rows else {})


class Stream(Response):
    """The events of a page, until the reader leaves. `since`: the state that the reader has."""

    media_type = "text/event-stream"

    def __init__(self, daemon: Daemon, live: Live, page: Page, since: str) -> None:
        super().__init__(headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._daemon, self._live, self._page, self._since = daemon, live, page, since

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        linger: Callable[[], None] = scope["state"]["linger"]
        self._live.streams += 1
        left = asyncio.ensure_future(_left(receive))
        try:
            await send(start)
            await self._tell(send, left, linger)
        finally:
            self._live.streams -= 1
            left.cancel()

    async def _tell(
        self, send: Send, left: "asyncio.Future[None]", linger: Callable[[], None]
    ) -> None:
        revision = self._daemon.revision
        before = await self._live.made(self._page)
        stale = {"at": before.at, "stale": True} if stamp(self._daemon) != self._since else None
        await _send(send, f"retry: {RETRY_MS}\n{_line(stale) if stale else ':'}\n\n")
        while not left.done():
            linger()
            moved = asyncio.ensure_future(self._daemon.changed(revision))
            try:
                await asyncio.wait(
                    (moved, left), timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                moved.cancel()
            if left.done():
                return
            revision, text = self._daemon.revision, ":\n\n"
            now = await self._live.made(self._page)
            if news := difference(before, now):
                text = f"{_line({'at': now.at, **news})}\n\n"
            before = now
            if moved.done() and text == ":\n\n":
                pass  # nothing that this page shows
            else:
                await _send(send, text)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(left), GAP_SECONDS)


def stamp(daemon: Daemon) -> str:
    """Return which state this is, of which run of the daemon."""
    return f"{daemon.snapshot().started_at:.0f}-{daemon.revision}"


def _line(value: Mapping[str, object]) -> str:
    return f"data: {msgspec.json.encode(value).decode()}"


async def _send(send: Send, text: str) -> None:
    body = text.encode("utf-8", "replace")
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
