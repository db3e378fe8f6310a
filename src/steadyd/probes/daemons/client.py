"""One connection to a server, and one HTTP/1.1 request over it. Deadlines are the caller's.

All that is read is counted against a limit, so that no answer fills the memory.
"""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import h11
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from steadyd.probes.daemons import Where
from steadyd.probes.daemons.told import ProbeFailed, line, shown

MOST: Final = 256 * 1024  # bytes of an answer, unless its format needs more
_CHUNK: Final = 64 * 1024


class Stream:
    """A connection of which at most `most` bytes are read.

    Raises OSError, EOFError, ProbeFailed.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int
    ) -> None:
        self.writer = writer
        self._reader = reader
        self._most = self.left = most

    async def send(self, data: bytes) -> None:
        """Send, and wait until the kernel has taken it."""
        self.writer.write(data)
        await self.writer.drain()

    async def line(self) -> bytes:
        """Return the next line without its end."""
        try:
            text = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise ProbeFailed("it answers without lines; is this another server?") from None
        self._count(len(text))
        return text.rstrip(b"\r\n")

    async def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        self._count(size)
        return await self._reader.readexactly(size)

    async def some(self) -> bytes:
        """Return what comes next; nothing at its end."""
        data = await self._reader.read(_CHUNK)
        self._count(len(data))
        return data

    async def rest(self) -> bytes:
        """Return all that comes until it is closed."""
        data = bytearray()
        while some := await self.some():
            data += some
        return bytes(data)

    def _count(self, size: int) -> None:
        self.left -= size
        if self.left < 0 or size < 0:
            raise ProbeFailed(
                f"it answers more than {self._most // 1024} KiB; is it another server?"
            )


@asynccontextmanager
async def connected(
    where: Where, most: int = MOST, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Stream]:
    """Connect to the socket, or else to host and port. Raises OSError, ValueError."""
    name = where.hostname if tls else None
    if where.socket:
        opening = asyncio.open_unix_connection(where.socket, ssl=tls, server_hostname=name)
    else:
        opening = asyncio.open_connection(where.hostname, where.port, ssl=tls, server_hostname=name)
    reader, writer = await opening
    try:
        yield Stream(reader, writer, most)
    finally:
        writer.transport.abort()  # nobody waits for a server to say goodbye


class Answer(Struct, frozen=True):
    """A response; `whole` is false where its body was cut at the limit."""

    status: int
    location: str
    body: bytes
    whole: bool = True


class Target(Struct, frozen=True):
    """Whom an HTTP request goes to, and for what."""

    where: Where
    path: str
    tls: bool = False


def target(where: Where) -> Target:
    """Return where a request goes; an endpoint that is a URL beats hostname and port.

    Raises ProbeFailed.
    """
    if not where.endpoint.startswith(("http://", "https://")):
        return Target(where, f"/{where.endpoint.removeprefix('/')}")
    try:
        url = urlsplit(where.endpoint)
        host, port = url.hostname, url.port
    except ValueError:
        raise ProbeFailed(f"{shown(where.endpoint)} is no URL; correct `endpoint`") from None
    if not host:
        raise ProbeFailed(f"{shown(where.endpoint)} names no host; correct `endpoint`")
    if "@" in url.netloc:
        raise ProbeFailed("a URL holds no user here; write `username` and `password` apart")
    tls = url.scheme == "https"
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    there = replace(where, hostname=host, port=port or (443 if tls else 80), socket="")
    return Target(there, path, tls)


@cache
def trusting() -> ssl.SSLContext:
    """Return a context that verifies; it is costly to make, since it reads all authorities."""
    return ssl.create_default_context()


async def ask(to: Target, most: int = MOST, *, cut: bool = False) -> Answer:
    """Ask for a page; a redirect is an answer like others.

    `cut`: a longer body is cut at `most`, else it is refused. Raises ProbeFailed, OSError,
    h11.ProtocolError.
    """
    tls = await asyncio.to_thread(trusting) if to.tls else None
    async with connected(to.where, most, tls) as stream:
        return await _exchange(stream, to, cut)


async def page(where: Where, most: int = MOST, refused: str = "") -> bytes:
    """Return the body of the endpoint. Raises ProbeFailed where its status is not 200.

    `refused` is the mend where it is that of a right, if it is not a user and a password.
    """
    to = target(where)
    answer = await ask(to, most)
    if answer.status == 200:
        return answer.body
    asked = shown(to.path)
    if answer.status in (401, 403):
        verb = "correct" if where.password else "give the check"
        mend = refused or f"{verb} `username` and `password`"
        raise ProbeFailed(f"{asked} is refused ({answer.status}); {mend}")
    if 300 <= answer.status < 400:
        place = line(shown(answer.location))
        raise ProbeFailed(f"{asked} redirects to {place}; no redirect is followed: name that place")
    raise ProbeFailed(f"{asked} answers with status {answer.status}; is `endpoint` right?")


async def document(where: Where, most: int = MOST) -> Mapping[str, Any]:
    """Return the JSON object at the endpoint. Raises as `page`, and msgspec.DecodeError."""
    return parsed(await page(where, most))


def parsed(body: bytes) -> Mapping[str, Any]:
    """Return a JSON object. Raises msgspec.DecodeError, RecursionError."""
    return msgspec.json.decode(body, type=dict[str, Any])


async def _exchange(stream: Stream, to: Target, cut: bool) -> Answer:
    http = h11.Connection(h11.CLIENT)
    request = h11.Request(method="GET", target=to.path, headers=_headers(to))
    await stream.send((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
    head: h11.Response | None = None
    body = bytearray()
    whole = True
    while whole:
        match http.next_event():
            case h11.NEED_DATA:
                # the last chunk may cross the limit: what is over is left unread
                whole = not cut or stream.left > _CHUNK
                data = await stream.some() if whole else b""
                if whole and not data and head is None:
                    raise EOFError
                http.receive_data(data)
            case h11.Response() as head:
                pass
            case h11.Data(data=data):
                body += data
            case h11.EndOfMessage() | h11.ConnectionClosed() | h11.PAUSED:
                break
            case _:  # 1xx, of which there may be many
                pass
    if head is None:
        raise ProbeFailed("it answers no HTTP; is this another server?")
    fields = dict(head.headers)
    location = fields.get(b"location", b"").decode("ascii", "replace")
    return Answer(head.status_code, location, bytes(body), whole)


def _headers(to: Target) -> list[tuple[str, str]]:
    host, port = to.where.hostname, to.where.port
    host = f"[{host}]" if ":" in host else host
    usual = port == (443 if to.tls else 80) or bool(to.where.socket)
    fields = [
        ("Host", (host or "localhost") if usual else f"{host}:{port}"),
        ("User-Agent", "steadyd"),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ]
    if to.where.username or to.where.password:
        user = f"{to.where.username}:{to.where.password}".encode()
        fields.append(("Authorization", f"Basic {base64.b64encode(user).decode()}"))
    return fields
