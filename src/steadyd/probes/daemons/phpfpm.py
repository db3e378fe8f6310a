"""PHP-FPM: its status page as JSON, asked of the pool by FastCGI (fastcgi-archives.github.io)."""

import struct
from typing import Final

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.client import Stream, connected, parsed
from steadyd.probes.daemons.told import ProbeFailed, count, line

DEFAULTS: Final = Where(hostname="localhost", port=9000, endpoint="/status")

_BEGIN, _END, _PARAMS, _STDIN, _STDOUT, _STDERR = 1, 3, 4, 5, 6, 7  # FastCGI, 8
_RESPONDER: Final = struct.pack("!HB5x", 1, 0)
_HEADER: Final = struct.Struct("!BBHHBx")


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return the numbers of the page, their blanks as `_`."""
    path = f"/{where.endpoint.removeprefix('/')}".partition("?")[0]
    async with connected(where) as stream:
        await stream.send(_request(path))
        out, err = await _response(stream)
    head, _, body = out.replace(b"\r\n", b"\n").partition(b"\n\n")
    if not out:
        raise ProbeFailed(f"it answers nothing for {path}: {line(err) or 'no reason given'}")
    if b"status: " in head.lower():
        raise ProbeFailed(
            f"{path} answers {line(head.lower().partition(b'status: ')[2].splitlines()[0])};"
            f" set pm.status_path = {path} in the pool, or correct `endpoint`"
        )
    stats = parsed(body)
    if "pool" not in stats:
        raise ProbeFailed(f"{path} is no status page; set pm.status_path in the pool")
    found = {name.replace(" ", "_"): count(stats[name]) for name in stats}
    return {
        name: found[name] for name in found if name in names or not isinstance(found[name], str)
    }


def _request(path: str) -> bytes:
    params = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": path,
        "SCRIPT_FILENAME": path,
        "REQUEST_URI": f"{path}?json",
        "QUERY_STRING": "json",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "steadyd",
        "REMOTE_ADDR": "127.0.0.1",
    }
    pairs = b"".join(_pair(name.encode(), text.encode()) for name, text in params.items())
    return b"".join(
        _record(kind, content)
        for kind, content in (
            (_BEGIN, _RESPONDER),
            (_PARAMS, pairs),
            (_PARAMS, b""),
            (_STDIN, b""),
        )
    )


def _pair(name: bytes, text: bytes) -> bytes:
    """Return a name-value pair (FastCGI, 3.4); long lengths have four bytes."""
    sizes = b"".join(
        struct.pack("!B", size) if size < 128 else struct.pack("!I", size | 0x80000000)
        for size in (len(name), len(text))
    )
    return sizes + name + text


def _record(kind: int, content: bytes) -> bytes:
    if len(content) > 0xFFFF:
        raise ProbeFailed("`endpoint` is too long")
    return _HEADER.pack(1, kind, 1, len(content), 0) + content


async def _response(stream: Stream) -> tuple[bytes, bytes]:
    out = {_STDOUT: bytearray(), _STDERR: bytearray()}
    while True:
        version, kind, _, size, padding = _HEADER.unpack(await stream.exactly(_HEADER.size))
        content = await stream.exactly(size + padding)
        if version != 1 or kind not in (_STDOUT, _STDERR, _END):
            raise ProbeFailed("it answers no FastCGI; is this another server?")
        if kind == _END:
            return bytes(out[_STDOUT]), bytes(out[_STDERR])
        out[kind] += content[:size]
