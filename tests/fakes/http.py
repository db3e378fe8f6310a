"""A web part on loopback, and a plain client for it."""

import asyncio
import contextlib
import http.client
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from steadyd.exposition.web import Web
from steadyd.ports import Daemon


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float = 10) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def port_of(web: Web) -> int:
    return int(web.addresses[0].rpartition(":")[2])


@contextlib.asynccontextmanager
async def serving(daemon: Daemon, **options: Any) -> AsyncIterator[Web]:
    """Serve on a free port of loopback (and where `control` says) until the block ends."""
    defaults: dict[str, Any] = {
        "listen": ["127.0.0.1:0"],
        "config_file": "",
        "lifecycle": False,
        "control": "",
    }
    web = Web(daemon, **(defaults | options))
    await web.start()
    task = asyncio.create_task(web.run())
    await asyncio.sleep(0)
    try:
        yield web
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ask(
    where: Web | str,
    path: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Send one request to a web part's first address, or to a control socket."""

    def work() -> Answer:
        connection: http.client.HTTPConnection
        if isinstance(where, str):
            connection = UnixConnection(where)
        elif tls:
            connection = http.client.HTTPSConnection(
                "127.0.0.1", port_of(where), timeout=10, context=tls
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port_of(where), timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    return await asyncio.to_thread(work)


def htpasswd(password: str, cost: int = 5) -> str:
    """Return the hash of a password, as Apache's tool makes it."""
    done = subprocess.run(
        ["htpasswd", "-niBC", str(cost), ""], input=password, capture_output=True, text=True,
        check=True, timeout=30,
    )  # fmt: skip
    return done.stdout.strip().removeprefix(":")
