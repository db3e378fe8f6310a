"""One D-Bus connection in which nothing waits without a deadline."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dbus_fast import DBusFastError, Message, MessageFlag, MessageType
from dbus_fast.aio import MessageBus
from msgspec import Struct

from steadyd.inits.peerbus import PeerBus

CALL_SECONDS = 5.0
QUESTIONS = 32  # under way at once: more would not fit into the buffer of a socket
_CLOSE_SECONDS = 1.0
_BUS = "org.freedesktop.DBus"
# errors that a bus daemon gives in place of the other side, which says nothing of the question
_NOBODY = frozenset(
    f"{_BUS}.Error.{word}"
    for word in (
        "Disconnected",
        "LimitsExceeded",
        "NameHasNoOwner",
        "NoMemory",
        "NoReply",
        "NoServer",
        "ServiceUnknown",
        "TimedOut",
        "Timeout",
    )
)


class LinkLost(Exception):
    """The other side does not answer (any more); str() says why."""


class Refused(Exception):
    """The other side answered with an error: its D-Bus name, and its text as str()."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class Address(Struct, frozen=True):
    """A D-Bus address, and whether the other side is the service itself (no bus daemon)."""

    text: str
    peer: bool = False


class Call(NamedTuple):
    """A method call: of which object and interface, and with which arguments."""

    path: str
    interface: str
    member: str
    signature: str = ""
    body: Sequence[Any] = ()


class Link:
    """A connection to one service. Built by `open`; `close` it.

    `on_signal` gets the signals of the service, and of nobody else who can send us one.
    `on_end` is called once when the connection has ended, by whatever cause; `lost` then says why.
    """

    def __init__(
        self,
        bus: MessageBus,
        service: str,
        on_signal: Callable[[Message], None],
        on_end: Callable[[], None],
    ) -> None:
        self.lost = ""
        self._bus = bus
        self._service: str | None = service
        self._owner: str | None = None
        self._on_signal, self._on_end = on_signal, on_end
        self._pending: dict[int, asyncio.Future[Message]] = {}
        self._gate = asyncio.Semaphore(QUESTIONS)
        bus.add_message_handler(self._receive)
        self._end = asyncio.create_task(self._await_end())

    @classmethod
    async def open(
        cls,
        address: Address,
        service: str,
        on_signal: Callable[[Message], None],
        on_end: Callable[[], None],
    ) -> "Link":
        """Connect to `service` at an address. Raises LinkLost."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                bus = await (PeerBus if address.peer else MessageBus)(address.text).connect()
        except TimeoutError:
            raise LinkLost(f"no answer from {address.text} in {CALL_SECONDS:g} s") from None
        except (OSError, EOFError, DBusFastError) as error:
            raise LinkLost(f"{address.text}: {str(error) or type(error).__name__}") from None
        link = cls(bus, service, on_signal, on_end)
        try:
            if address.peer:
                link._service = None
            else:
                await link._learn_owner(service)
        except BaseException:
            await link.close()
            raise
        return link

    async def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        seconds: float = CALL_SECONDS,
    ) -> list[Any]:
        """Call a method of the service and return the reply's body. Raises Refused, LinkLost."""
        return await self._call(self._service, path, interface, member, signature, body, seconds)

    async def questions(self, *calls: Call) -> list[list[Any]]:
        """Call several methods that answer at once; return the bodies. Raises Refused, LinkLost."""
        async with self._gate:
            replies = await self._exchange(self._service, calls, CALL_SECONDS)
        return [_body(reply) for reply in replies]

    async def match(self, rule: str) -> None:
        """Ask a bus daemon for signals; without one every signal comes anyway. Raises LinkLost."""
        if self._service is not None:
            await self._ask_bus("AddMatch", rule)

    async def close(self) -> None:
        """End the connection. Never raises."""
        self._bus.disconnect()
        # a bus that was never read again may keep its socket: then the loop's end closes it
        await asyncio.wait((self._end,), timeout=_CLOSE_SECONDS)

    async def _learn_owner(self, service: str) -> None:
        if not str(self._bus.unique_name).startswith(":"):
            raise LinkLost(f"the bus refused us: {self._bus.unique_name}")
        rule = f"type='signal',sender='{_BUS}',member='NameOwnerChanged',arg0='{service}'"
        try:
            await self.match(rule)
            (self._owner,) = await self._ask_bus("GetNameOwner", service)
        except Refused as refused:
            raise LinkLost(f"{service}: {refused}") from None

    async def _ask_bus(self, member: str, argument: str) -> list[Any]:
        path = "/org/freedesktop/DBus"
        return await self._call(_BUS, path, _BUS, member, "s", (argument,), CALL_SECONDS)

    async def _call(
        self,
        destination: str | None,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: Sequence[Any],
        seconds: float,
    ) -> list[Any]:
        call = Call(path, interface, member, signature, body)
        (reply,) = await self._exchange(destination, [call], seconds)
        return _body(reply)

    def _send(self, destination: str | None, call: Call) -> int:
        """Send a call; its answer will be pending under the serial returned. Raises LinkLost."""
        if self.lost or not self._bus.connected:
            raise LinkLost(self.lost or "disconnected")
        serial = self._bus.next_serial()
        path, interface, member, signature, body = call
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
            serial=serial,
            flags=MessageFlag.NO_AUTOSTART,
        )
        # our own matching of replies: MessageBus.call() can wait for ever on a lost peer
        self._pending[serial] = asyncio.get_running_loop().create_future()
        try:
            self._bus.send(message).add_done_callback(_retrieve)
        except OSError as error:
            del self._pending[serial]
            raise LinkLost(f"connection lost ({error.strerror})") from None
        return serial

    async def _exchange(
        self, destination: str | None, calls: Sequence[Call], seconds: float
    ) -> list[Message]:
        """Send calls and return their replies, in order. Raises LinkLost."""
        serials: list[int] = []
        replies: list[Message] = []
        try:
            async with asyncio.timeout(seconds):
                for call in calls:
                    serials.append(self._send(destination, call))
                for serial in serials:
                    replies.append(await self._pending[serial])
        except TimeoutError:
            member = calls[len(replies)].member
            raise LinkLost(f"no answer to {member} in {seconds:g} s") from None
        finally:
            for serial in serials:
                answer = self._pending.pop(serial)
                answer.cancel()
                _retrieve(answer)
        return replies

    def _receive(self, message: Message) -> bool:
        if message.message_type is MessageType.SIGNAL:
            self._take_signal(message)
            return False
        answer = self._pending.get(message.reply_serial)
        if answer is None or message.message_type is MessageType.METHOD_CALL:
            return False
        if not answer.done():
            answer.set_result(message)
        return True

    def _take_signal(self, message: Message) -> None:
        if message.sender == _BUS and message.member == "NameOwnerChanged":
            if self._owner is not None and message.body[0] == self._service:
                self.lost = f"{self._service} left the bus"
                self._bus.disconnect()
        # any local user may send us a signal: only the service's own ones are facts
        elif self._service is None or message.sender == self._owner:
            self._on_signal(message)

    async def _await_end(self) -> None:
        try:
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever the decoder met in the bytes of the other side
            self.lost = self.lost or f"connection lost ({str(error) or type(error).__name__})"
        self.lost = self.lost or "disconnected"
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(LinkLost(self.lost))
        self._on_end()


def _body(reply: Message) -> list[Any]:
    if reply.message_type is not MessageType.ERROR:
        return reply.body
    name = reply.error_name or ""
    text = str(reply.body[0]) if reply.body else name
    if name in _NOBODY:
        raise LinkLost(text)
    raise Refused(name, text)


def _retrieve(sent: asyncio.Future[Any]) -> None:
    """Take note of a failure that is told elsewhere: by an earlier one, by the link's end."""
    if not sent.cancelled():
        sent.exception()
