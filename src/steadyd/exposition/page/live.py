"""What changed on a page, as server-sent events (HTML Standard, section 9.2).

An event is one line of JSON: `at` (the daemon's clock), `title`, `said` (for screen readers),
`parts` and `rows` (HTML by id, by name of the service) where they changed, or `stale`: the page is
to be asked for again. What is made of one state is made once for all who look at the same.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from html import unescape

import msgspec
from msgspec import Struct
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from steadyd.exposition.api import seen_by
from steadyd.exposition.page import overview, service
from steadyd.exposition.page.parts import headline
from steadyd.exposition.page.rows import Beside, Rows, View, select, sparks_of, table
from steadyd.model.snapshot import Snapshot
from steadyd.ports import Daemon

MOST_READERS = 64
MOST_WAITING = 8  # events for one reader
GAP_SECONDS = 1.0  # between two events
BEAT_SECONDS = 15.0  # after which a reader is told that we are there, and proxies too
RETRY_MS = 2000
BEAT = b":\n\n"


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


class Reader:
    """Somebody with an open page: what is still to be told to them."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._news = asyncio.Event()

    def tell(self, text: bytes) -> None:
        """Queue a text; one who does not keep up is told to ask again."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting = [_STALE]
        else:
            self._waiting.append(text)
        self._news.set()

    async def next(self, seconds: float) -> bytes:
        """Return what is to be told, a mere sign of life after that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()
        text, self._waiting = b"".join(self._waiting) or BEAT, []
        return text


class Live:
    """Makes pages as readers have them, and tells all readers of a page what changed on it.

    It works while somebody reads, and for each state once for each page that is open.
    """

    def __init__(self, daemon: Daemon, beside: Beside) -> None:
        self._daemon, self._beside, self._rows = daemon, beside, Rows(beside)
        self._readers: dict[Page, set[Reader]] = {}
        self._told: dict[Page, Made] = {}
        self._stories: dict[str, tuple[object, str]] = {}
        self._following: asyncio.Task[None] | None = None

    @property
    def readers(self) -> int:
        """Return how many pages are open."""
        return sum(map(len, self._readers.values()))

    @contextlib.asynccontextmanager
    async def reading(self, page: Page) -> AsyncIterator[Reader]:
        """Let somebody read while the block lasts."""
        reader = Reader()
        if page not in self._told:
            self._told[page] = await self._made(page, self._daemon.snapshot(detail=False))
        self._readers.setdefault(page, set()).add(reader)
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow())
        try:
            yield reader
        finally:
            self._readers[page].discard(reader)
            if not self._readers[page]:
                del self._readers[page], self._told[page]
            if not self._readers:
                self._following.cancel()
                self._stories.clear()

    async def _follow(self) -> None:
        while True:
            revision = self._daemon.revision
            snapshot = self._daemon.snapshot(detail=False)
            for page in list(self._readers):
                made = await self._made(page, snapshot)
                if page in self._readers:
                    self._tell(page, made)
            self._rows.keep({view.name for view in snapshot.services})
            await asyncio.sleep(GAP_SECONDS)
            await self._daemon.changed(revision)

    def _tell(self, page: Page, now: Made) -> None:
        before, self._told[page] = self._told[page], now
        if news := difference(before, now):
            text = _event({"at": now.at, **news})
            for reader in self._readers[page]:
                reader.tell(text)

    async def _made(self, page: Page, snapshot: Snapshot) -> Made:
        """Return a page as it is now."""
        snapshot = seen_by(snapshot, page.view.trusted)
        if not page.name:
            return self._overview(snapshot, page.view)
        made = self._service(snapshot, page)
        if page.view.trusted and made.parts:
            story = await self._story(snapshot, page.name)
            return msgspec.structs.replace(made, parts={**made.parts, "story": story})
        return made

    def _overview(self, snapshot: Snapshot, view: View) -> Made:
        shown = select(snapshot, view)
        above, below = overview.parts(snapshot, view, self._beside, None)
        most = sparks_of(snapshot)
        rows = {each.name: self._rows.live(each, snapshot.at, most) for each in shown.services}
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
        parts = service.parts(snapshot, view, self._beside, self._daemon.cycle_seconds, None)
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
        linger: Callable[[], None] = scope["state"]["linger"]
        telling = asyncio.ensure_future(self._tell(send, linger))
        left = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((telling, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling

    async def _tell(self, send: Send, linger: Callable[[], None]) -> None:
        async with self._live.reading(self._page) as reader:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            first = BEAT if str(self._daemon.revision) == self._since else _STALE
            await _send(send, f"retry: {RETRY_MS}\n".encode() + first)
            while True:
                linger()
                await _send(send, await reader.next(BEAT_SECONDS))


def _event(value: Mapping[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


_STALE = _event({"stale": True})


async def _send(send: Send, text: bytes) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
