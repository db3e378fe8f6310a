"""Connections that cost us little, whoever is at the other end.

uvicorn's protocol with what it lacks: a deadline on the head of a request, on the request, on
an idle connection and on the TLS handshake, and a limit of open connections per door. When a door
is full, the connection that has been idle for longest makes room; while none is idle, the new one
is closed.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

import h11
from msgspec import Struct
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0  # for a handshake, and for the head of a request
KEEP_SECONDS = 75  # without a request; longer than common scrape intervals
GRACE_SECONDS = 5.0  # after which a connection that was closed politely is cut
MOST_HEAD = 16_384  # bytes of request line and headers
_BACKOFF = 0.1  # when accept fails, for want of descriptors say


class Caller(Struct, frozen=True):
    """Who is at the other end, and what they may do.

    `trusted` callers see free text too (log lines, answers of init systems).
    """

    control: bool
    who: str
    may_read: bool = True
    may_act: bool = False
    trusted: bool = False


Welcome = Callable[[asyncio.Transport], Caller | None]


class Door:
    """Accepts connections for one application, `most` at a time."""

    def __init__(
        self,
        app: Any,
        welcome: Welcome,
        *,
        most: int,
        request_seconds: float,
        context: Callable[[], ssl.SSLContext | None] = lambda: None,
    ) -> None:
        """`welcome` says who a connection is, None: to be cut. `context` is asked per connection.

        `request_seconds` is the time for a request, from its head to the last byte taken.
        """
        self.welcome, self.request_seconds = welcome, request_seconds
        self.config = Config(
            app,
            loop="asyncio",
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_SECONDS,
            h11_max_incomplete_event_size=MOST_HEAD,
        )
        self.config.load()
        self.state = ServerState()
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
        for protocol in list(self.state.connections):
            protocol.shutdown()
        if self.state.tasks:
            await asyncio.wait(list(self.state.tasks), timeout=patience)
        for guest in list(self._guests):
            guest.drop()
        await asyncio.sleep(0)  # each hears that it is cut
        for task in list(self.state.tasks):
            task.cancel()
        await asyncio.gather(*self.state.tasks, return_exceptions=True)

    def _enter(self, connection: socket.socket) -> None:
        if len(self._guests) >= self._most and not self._make_room():
            connection.close()
            return
        guest = _Guest(connection)
        self._guests[guest] = None
        guest.task = asyncio.get_running_loop().create_task(self._connect(guest))
        guest.task.add_done_callback(lambda _: self._connected(guest))

    def _make_room(self) -> bool:
        idle = next((guest for guest in self._guests if guest.idle), None)
        if idle is None:
            return False
        self.leave(idle)
        idle.drop()
        return True

    async def _connect(self, guest: "_Guest") -> None:
        guest.owned = False
        context = self._context()
        seconds = HEAD_SECONDS if context else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Protocol(self, guest),
                guest.connection,
                ssl=context,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=GRACE_SECONDS if context else None,
            )
        except (OSError, TimeoutError) as error:
            log.debug("a connection did not come about: %s", error)

    def _connected(self, guest: "_Guest") -> None:
        if guest.owned:
            guest.connection.close()
        if guest.protocol is None:
            self.leave(guest)

    def leave(self, guest: "_Guest") -> None:
        """Forget a connection."""
        self._guests.pop(guest, None)

    def stirred(self, guest: "_Guest") -> None:
        """Take note that a connection did something: others are idle for longer."""
        if guest in self._guests:
            del self._guests[guest]
            self._guests[guest] = None


class _Guest:
    """One accepted connection. `owned`: no transport has taken it over yet."""

    __slots__ = ("connection", "owned", "protocol", "task")

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.owned = connection, True
        self.protocol: _Protocol | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return self.protocol is None or self.protocol.idle

    def drop(self) -> None:
        if self.protocol is not None:
            self.protocol.transport.abort()
        elif self.task is not None:
            self.task.cancel()


class _Protocol(H11Protocol):
    """One timer runs at any time; when it ends the connection is cut."""

    def __init__(self, door: Door, guest: _Guest) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(door.config, door.state, {}, _loop=loop)
        self._door, self._guest = door, guest
        self._timer: asyncio.TimerHandle | None = None
        self._reading = True

    @property
    def idle(self) -> bool:
        """Tell whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Learn who it is."""
        super().connection_made(transport)
        self._guest.protocol = self
        self._expect(HEAD_SECONDS)
        caller = self._door.welcome(transport)
        if caller is None:
            transport.abort()
        self.app_state = {"caller": caller}

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._timer is not None:
            self._timer.cancel()
        self._unset_keepalive_if_required()
        self._door.leave(self._guest)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first of a request start the clock for its head."""
        if self.idle and not self._reading:
            self._reading = True
            self._expect(HEAD_SECONDS)
        super().data_received(data)

    def handle_events(self) -> None:
        """Take what was parsed; a request whose head is complete has time until it is answered."""
        before = self.cycle
        try:
            super().handle_events()
        except h11.LocalProtocolError:  # rubbish in a body: nothing can be answered any more
            self.transport.abort()
        if self.cycle is not before:
            self._reading = False
            self._door.stirred(self._guest)
            self._expect(self._door.request_seconds)

    def send_400_response(self, msg: str) -> None:
        """Answer rubbish; what was being answered is not answered any more."""
        if not self.idle:
            self.cycle.disconnected = True
        super().send_400_response(msg)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._expect(KEEP_SECONDS + GRACE_SECONDS)
        super().on_response_complete()

    def _expect(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self.transport.abort)
