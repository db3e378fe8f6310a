"""Clients that block, in a thread of their own, over a socket that ends when the caller does."""

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from steadyd.probes.daemons import Where
from steadyd.probes.daemons.told import ProbeFailed

SILENCE: Final = 10.0  # seconds; the net below the caller's deadline
MOST: Final = 1024 * 1024  # bytes; a status of MySQL has about 30 KiB

T = TypeVar("T")


class _Limited:
    """Counts what is read of a socket. Raises ProbeFailed when it is too much."""

    left = MOST

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        size: int = super().recv_into(*args, **kwargs)  # type: ignore[misc]
        self.left -= size
        if self.left < 0:
            raise ProbeFailed(f"it answers more than {MOST // 1024} KiB; is it another server?")
        return size


class LimitedSocket(_Limited, socket.socket):
    """A socket of which at most MOST bytes are read."""


class LimitedTLS(_Limited, ssl.SSLSocket):
    """The same over TLS."""


def is_local(where: Where) -> bool:
    """Tell if the server is on this host, where TLS protects nothing."""
    if where.socket or where.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(where.hostname).is_loopback
    except ValueError:
        return False


async def converse(where: Where, work: Callable[[LimitedSocket], T]) -> T:
    """Run `work` with a connected socket in a thread; when cancelled, the socket is shut down.

    Raises OSError, ProbeFailed and what `work` raises.
    """
    connection = await _connect(where)
    # work may close its descriptor or hand it on to TLS; this one is ours until the end
    ours = socket.socket(fileno=os.dup(connection.fileno()))
    try:
        return await _in_thread(work, connection)
    finally:
        with contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)
        ours.close()


async def _in_thread(work: Callable[[LimitedSocket], T], connection: LimitedSocket) -> T:
    done: Future[T] = Future()

    def run() -> None:
        with connection:
            if not done.set_running_or_notify_cancel():
                return
            try:
                result = work(connection)
            except Exception as error:  # it is raised where it is waited for
                done.set_exception(error)
            else:
                done.set_result(result)

    # not the loop's pool: those who hang there would keep others waiting
    threading.Thread(target=run, name="probe", daemon=True).start()
    return await asyncio.wrap_future(done)


async def _connect(where: Where) -> LimitedSocket:
    loop = asyncio.get_running_loop()
    if where.socket:
        return await _connect_one(socket.AF_UNIX, where.socket)
    stream = socket.SOCK_STREAM
    addresses = await loop.getaddrinfo(where.hostname, where.port, type=stream)
    failure: OSError = OSError(f"{where.hostname} has no address")
    for family, _, _, _, address in addresses:
        try:
            return await _connect_one(family, address)
        except OSError as error:
            failure = error
    raise failure


async def _connect_one(family: int, address: Any) -> LimitedSocket:
    connection = LimitedSocket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
        connection.settimeout(SILENCE)
    except BaseException:
        connection.close()
        raise
    return connection
