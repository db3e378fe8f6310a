"""The events of pages, over real sockets, from a daemon that answers from memory."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from steadyd.exposition import web as web_module
from steadyd.exposition.page import live
from steadyd.exposition.web import Web
from steadyd.model.service import ServiceState
from steadyd.model.silence import Silence, SilenceKind
from steadyd.model.snapshot import OutboxView, Snapshot
from tests.fakes.exposition import AT, HOSTILE, SECRET, FakeDaemon, incident, service, snapshot
from tests.fakes.http import ask, port_of, serving


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "GAP_SECONDS", 0.0)


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon(replace(snapshot(60), outbox=OutboxView()))


@pytest.fixture
async def web(daemon: FakeDaemon) -> AsyncIterator[Web]:
    async with serving(daemon) as web:
        yield web


class Reader:
    """One open page."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.head = b""

    async def raw(self) -> str:
        """Return the next event or comment."""
        async with asyncio.timeout(5):
            text = b""
            while not text.endswith(b"\n\n"):
                size = int(await self.reader.readline(), 16)
                text += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
        return text.decode()

    async def event(self) -> dict[str, Any]:
        """Return what the next event tells."""
        while True:
            for line in (await self.raw()).splitlines():
                if line.startswith("data: "):
                    return dict(json.loads(line[6:]))


@contextlib.asynccontextmanager
async def reading(web: Web, query: str = "", since: str | None = None) -> AsyncIterator[Reader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(web))
    if since is None:
        html = (await ask(web, f"/?{query}")).text
        since = re.search(r"since=(\d+)", html)[1]  # type: ignore[index]
    writer.write(f"GET /events?{query}&since={since} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    page = Reader(reader, writer)
    async with asyncio.timeout(5):
        page.head = await reader.readuntil(b"\r\n\r\n")
    try:
        yield page
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def silence(name: str) -> Silence:
    return Silence("s", SilenceKind.SILENCE, AT, AT + 60, (name,), "", "")


def changed(now: Snapshot, name: str, **facts: Any) -> Snapshot:
    services = tuple(replace(s, **facts) if s.name == name else s for s in now.services)
    return replace(now, services=services)


async def test_only_what_changed_is_told(web: Web, daemon: FakeDaemon) -> None:
    async with reading(web) as page:
        assert b"text/event-stream" in page.head
        assert "retry:" in await page.raw()
        daemon.now = changed(daemon.now, "app0003", reason="reloading its workers")
        daemon.pulse.beat()
        news = await page.event()
        assert set(news) == {"at", "rows"}
        assert list(news["rows"]) == ["app0003"]
        assert "reloading its workers" in news["rows"]["app0003"]
        daemon.now = replace(daemon.now, rules_disabled=7)
        daemon.pulse.beat()
        news = await page.event()
        assert list(news["parts"]) == ["facts"]


async def test_a_state_that_looks_the_same_is_not_told(web: Web, daemon: FakeDaemon) -> None:
    async with reading(web) as page:
        await page.raw()
        for second in range(1, 4):
            daemon.now = replace(daemon.now, at=AT + second)
            daemon.pulse.beat()
            await asyncio.sleep(0)
        daemon.now = replace(daemon.now, rules_loaded=13)
        daemon.pulse.beat()
        assert ">13<" in (await page.event())["parts"]["facts"]


async def test_incidents_are_said_aloud_and_services_in_trouble_move_up(
    web: Web, daemon: FakeDaemon
) -> None:
    async with reading(web) as page:
        await page.raw()
        daemon.now = replace(daemon.now, open=(incident(name="app0007"),))
        daemon.pulse.beat()
        news = await page.event()
        assert news["said"] == "app0007: memory:total_rss opened"
        assert news["title"].startswith("1 open, 0 failed")
        assert news["stale"]  # another order
        daemon.now = replace(daemon.now, open=())
        daemon.pulse.beat()
        assert (await page.event())["said"] == "app0007: memory:total_rss closed"


async def test_who_was_away_is_told_to_ask_again(web: Web, daemon: FakeDaemon) -> None:
    for since in ("1", str(daemon.revision + 1), "nonsense", ""):
        async with reading(web, since=since) as page:
            assert (await page.event())["stale"]


async def test_a_page_is_told_of_its_own_services_only(web: Web, daemon: FakeDaemon) -> None:
    async with reading(web, "page=2") as second, reading(web, "q=app0001") as one:
        for page in (second, one):
            await page.raw()
        daemon.now = changed(daemon.now, "app0001", reason="one")
        daemon.now = changed(daemon.now, "app0055", reason="two")
        daemon.pulse.beat()
        assert list((await second.event())["rows"]) == ["app0055"]
        assert list((await one.event())["rows"]) == ["app0001"]


async def test_the_page_of_a_service_is_live_too(web: Web, daemon: FakeDaemon) -> None:
    daemon.now = replace(daemon.now, services=(*daemon.now.services, service(HOSTILE)))
    async with reading(web, f"name={quote(HOSTILE)}") as page:
        await page.raw()
        daemon.now = changed(daemon.now, HOSTILE, state=ServiceState.FAILED, reason=HOSTILE)
        daemon.pulse.beat()
        news = await page.event()
        assert "failed" in news["title"]
        assert HOSTILE not in news["parts"]["head"]
        daemon.now = snapshot(2)  # no rule names it any more
        daemon.pulse.beat()
        assert (await page.event())["stale"]


async def test_strangers_are_told_no_free_text_in_events(web: Web, daemon: FakeDaemon) -> None:
    async with (
        serving(daemon, details=True) as open_to_all,
        reading(web) as stranger,
        reading(open_to_all) as reader,
    ):
        for page in (stranger, reader):
            await page.raw()
        daemon.now = replace(daemon.now, trouble=(SECRET, SECRET))
        daemon.pulse.beat()
        assert SECRET not in json.dumps(await stranger.event())
        assert SECRET in json.dumps(await reader.event())


async def test_pages_are_limited_in_number(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steadyd.exposition.page.looks.MOST_READERS", 2)
    async with reading(web) as one, reading(web) as two:
        for page in (one, two):
            assert b" 200 " in page.head
        async with reading(web) as third:
            assert b" 503 " in third.head
    async with asyncio.timeout(5):  # those who left make room
        while (await ask(web, "/-/healthy")).status:
            async with reading(web) as again:
                if b" 200 " in again.head:
                    break


async def test_a_page_stays_open_for_longer_than_a_request_may_take(
    monkeypatch: pytest.MonkeyPatch, daemon: FakeDaemon
) -> None:
    monkeypatch.setattr(web_module, "TCP_SECONDS", 0.3)
    monkeypatch.setattr(live, "BEAT_SECONDS", 0.1)
    async with serving(daemon) as web, reading(web) as page:
        beats = [await page.raw() for _ in range(8)]
        assert beats[1:] == [":\n\n"] * 7


async def test_a_reader_who_takes_nothing_is_cut(
    monkeypatch: pytest.MonkeyPatch, daemon: FakeDaemon
) -> None:
    monkeypatch.setattr(web_module, "TCP_SECONDS", 0.3)
    async with serving(daemon) as web, reading(web) as page:
        door = web._doors[0][0]
        assert len(door._guests) == 1
        page.reader._transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(20):
            while door._guests:  # the kernel's buffers are full some day
                text = "x" * 1_000_000 + str(daemon.revision)
                daemon.now = replace(daemon.now, silences=(silence(text),))
                daemon.pulse.beat()
                await asyncio.sleep(0.01)


async def test_open_pages_do_not_hold_an_end_up(daemon: FakeDaemon) -> None:
    started = asyncio.get_running_loop().time()
    async with serving(daemon) as web, reading(web) as page:
        await page.raw()
        started = asyncio.get_running_loop().time()
        await web_closed(web)
        assert await page.reader.read() in (b"", b"0\r\n\r\n")
    assert asyncio.get_running_loop().time() - started < 0.9


async def web_closed(web: Web) -> None:
    for door, _ in web._doors:
        await door.close(1.0)
