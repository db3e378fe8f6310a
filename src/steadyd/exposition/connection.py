"""Connections that cost us little, whoever is at the other end.

HTTP/1.1 by h11 for an ASGI application, one task per connection, with a deadline on the TLS
handshake, on the head of a request, on the request and on an idle connection, and a limit of open
connections per door. When a door is full, the connection that has been idle for longest makes
room; while none is idle, the new one is closed.
"""

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from urllib.parse import unquote

import h11
from msgspec import Struct
from starlette.types import ASGIApp, Message, Scope

log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0  # for a handshake, and for the head of a request
KEEP_SECONDS = 75.0  # without a request; longer than common scrape intervals
GRACE_SECONDS = 5.0  # after which a connection that was closed politely is cut
MOST_HEAD = 16_384  # bytes of request line and headers
MOST_UNREAD = 1_048_576  # bytes of a body that nobody asked for, before the connection is closed
_CHUNK = 65_536
_ABSOLUTE = re.compile(rb"^https?://[^/?]*/?", re.IGNORECASE)  # RFC 9112, 3.2.2: as to a proxy
_BACKOFF = 0.1  # when accept fails, for want of descriptors say
_PHRASES = {int(status): status.phrase.encode() for status in HTTPStatus}


class Caller(Struct, frozen=True):
    """Who is at the other end, and what they may do.

    `trusted` callers see free text too (log lines, answers of init systems); `known` ones proved
    who they are; who `may_report` may tell that a recurring job ran.
    """

    control: bool
    who: str
    may_read: bool = True
    may_act: bool = False
    trusted: bool = False
    known: bool = False
    may_report: bool = False


Welcome = Callable[[asyncio.Transport], Caller | None]


class Door:
    """Accepts connections for one application, `most` at a time."""

    def __init__(
        self,
        app: ASGIApp,
        welcome: Welcome,
        *,
        most: int,
        request_seconds: float,
        context: Callable[[], ssl.SSLContext | None] = lambda: None,
    ) -> None:
        """`welcome` says who a connection is, None: to be cut. `context` is asked per connection.

        `request_seconds` is the time for a request, from its head to the last byte taken.
        """
        self.app, self.welcome, self.request_seconds = app, welcome, request_seconds
        self._most, self._context = most, context
        self._guests: dict[_Guest, None] = {}  # in the order in which they last did something

    async def serve(self, listener: socket.socket) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except ConnectionError:
                continue
            except OSError as error:
                log.warning("cannot accept a connection: %s", error.strerror)
                await asyncio.sleep(_BACKOFF)
                continue
            self._enter(connection)

    async def close(self, patience: float) -> None:
        """Let requests end for `patience` seconds, then cut what is left."""
        for guest in list(self._guests):
            guest.last = True
            if guest.idle:
                guest.drop()
        tasks = [guest.task for guest in self._guests if guest.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        for guest in list(self._guests):
            guest.drop()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _enter(self, connection: socket.socket) -> None:
        if len(self._guests) >= self._most and not self._make_room():
            connection.close()
            return
        guest = _Guest(self, connection)
        self._guests[guest] = None
        guest.task = asyncio.get_running_loop().create_task(guest.stay(self._context()))
        guest.task.add_done_callback(lambda _: self._left(guest))

    def _left(self, guest: "_Guest") -> None:
        self._guests.pop(guest, None)
        if guest.writer is None:  # no transport took the socket over
            guest.connection.close()

    def _make_room(self) -> bool:
        idle = next((guest for guest in self._guests if guest.idle), None)
        if idle is None:
            return False
        del self._guests[idle]
        idle.drop()
        return True

    def stirred(self, guest: "_Guest") -> None:
        """Take note that a connection did something: others are idle for longer."""
        if guest in self._guests:
            del self._guests[guest]
            self._guests[guest] = None


class _Guest:
    """One accepted connection. `idle`: it is not us who are at work. `last`: no more after it."""

    def __init__(self, door: Door, connection: socket.socket) -> None:
        self._door, self.connection = door, connection
        self._http = h11.Connection(h11.SERVER, MOST_HEAD)
        self._reader = asyncio.StreamReader(_CHUNK)
        self.writer: asyncio.StreamWriter | None = None
        self.idle, self.last = True, False
        self.task: asyncio.Task[None] | None = None

    def drop(self) -> None:
        """Cut it."""
        if self.task is not None:
            self.task.cancel()

    async def stay(self, context: ssl.SSLContext | None) -> None:
        """Answer requests until either side has had enough."""
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await loop.connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(self._reader),
                self.connection,
                ssl=context,
                ssl_handshake_timeout=HEAD_SECONDS if context else None,
                ssl_shutdown_timeout=GRACE_SECONDS if context else None,
            )
        except (OSError, TimeoutError) as error:
            log.debug("a connection did not come about: %s", error)
            return
        writer = self.writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)
        try:
            caller = self._door.welcome(transport)
            if caller is not None:
                await self._converse(writer, caller)
                writer.close()
                async with asyncio.timeout(GRACE_SECONDS):
                    await writer.wait_closed()
        except (OSError, TimeoutError, h11.ProtocolError) as error:
            log.debug("a connection was cut: %s", error)
        finally:
            transport.abort()

    async def _converse(self, writer: asyncio.StreamWriter, caller: Caller) -> None:
        seconds = HEAD_SECONDS
        while True:
            try:
                request = await self._request(seconds)
            except h11.RemoteProtocolError:
                await self._refuse(writer)
                return
            if request is None:
                return
            self.idle = False
            self._door.stirred(self)
            async with asyncio.timeout(self._door.request_seconds) as deadline:
                exchange = _Exchange(self._http, self._read_body, writer, request)
                scope = _scope(request, writer, caller)
                scope["state"]["linger"] = partial(self._linger, deadline)
                await exchange.run(self._door.app, scope)
                self.idle = True  # who still sends what nobody asked for makes room for others
                if self.last or not await exchange.ended():
                    return
            self._http.start_next_cycle()
            seconds = KEEP_SECONDS

    async def _read_body(self) -> bytes:
        """Return more of a request; who keeps us waiting for it makes room for others."""
        idle, self.idle = self.idle, True
        try:
            return await self._reader.read(_CHUNK)
        finally:
            self.idle = idle

    def _linger(self, deadline: asyncio.Timeout) -> None:
        """An answer without an end goes on: it may take its time again, and make room for others.

        A reader who does not take what was sent is cut as ever.
        """
        self.idle = True
        self._door.stirred(self)
        deadline.reschedule(asyncio.get_running_loop().time() + self._door.request_seconds)

    async def _request(self, seconds: float) -> h11.Request | None:
        """Return the next request; None where none comes within `seconds`, or they left.

        Its first byte starts the clock for its head. Raises h11.RemoteProtocolError for rubbish,
        TimeoutError for a head that does not end.
        """
        if not self._http.trailing_data[0]:
            try:
                async with asyncio.timeout(seconds):
                    data = await self._reader.read(_CHUNK)
            except TimeoutError:
                return None
            self._http.receive_data(data)
        async with asyncio.timeout(HEAD_SECONDS):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_CHUNK))
        return event if isinstance(event, h11.Request) else None

    async def _refuse(self, writer: asyncio.StreamWriter) -> None:
        headers = [("content-type", "text/plain; charset=utf-8"), ("connection", "close")]
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        for event in (
            h11.Response(status_code=400, headers=headers, reason=_PHRASES[400]),
            h11.Data(data=b"this is no HTTP request\n"),
            h11.EndOfMessage(),
        ):
            writer.write(self._http.send(event) or b"")
        async with asyncio.timeout(GRACE_SECONDS):
            await writer.drain()


class _Exchange:
    """One request and its answer, as ASGI's receive and send."""

    def __init__(
        self,
        http: h11.Connection,
        read: Callable[[], Awaitable[bytes]],
        writer: asyncio.StreamWriter,
        request: h11.Request,
    ) -> None:
        self._http, self._read, self._writer = http, read, writer
        self._only_head = request.method == b"HEAD"
        self._left = False
        self._body_waits = http.they_are_waiting_for_100_continue

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Let the application answer."""
        try:
            await app(scope, self._receive, self._send)
        except Exception:
            if not self._left:
                log.exception("%s failed: this is a bug of ours", scope["path"])

    async def ended(self) -> bool:
        """Tell whether another request may follow, once what they still send was read."""
        unread = 0
        if self._body_waits:
            return False
        while self._http.their_state is h11.SEND_BODY and unread < MOST_UNREAD:
            event = await self._event()
            unread += len(event.data) if isinstance(event, h11.Data) else 0
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._read())
        return event

    async def _receive(self) -> Message:
        if self._body_waits:
            await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._body_waits = False
        if self._http.their_state is h11.SEND_BODY:
            event = await self._event()
            if isinstance(event, h11.Data):
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            if isinstance(event, h11.EndOfMessage):
                return {"type": "http.request", "body": b"", "more_body": False}
        while len(self._http.trailing_data[0]) < MOST_UNREAD:  # requests that wait for their turn
            data = await self._read()
            self._http.receive_data(data)
            if not data:
                break
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            reason = _PHRASES.get(status, b"")
            headers = message["headers"]
            await self._write(h11.Response(status_code=status, headers=headers, reason=reason))
            return
        if (body := message.get("body", b"")) and not self._only_head:
            await self._write(h11.Data(data=body))
        if not message.get("more_body", False):
            await self._write(h11.EndOfMessage())

    async def _write(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            self._writer.write(data)
            try:
                await self._writer.drain()
            except OSError:
                self._left = True
                raise


def _scope(request: h11.Request, writer: asyncio.StreamWriter, caller: Caller) -> Scope:
    path, _, query = _ABSOLUTE.sub(b"/", request.target).partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version.decode("ascii"),
        "server": None,
        "client": None,
        "scheme": "https" if writer.get_extra_info("ssl_object") else "http",
        "method": request.method.decode("ascii"),
        "root_path": "",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "headers": list(request.headers),
        "state": {"caller": caller},
    }
