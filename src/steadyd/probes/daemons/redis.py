"""Redis: `INFO` over RESP2 (redis.io/docs/reference/protocol-spec)."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.client import MOST, Stream, connected
from steadyd.probes.daemons.told import ProbeFailed, line, numbers

DEFAULTS: Final = Where(hostname="localhost", port=6379)

# Redis 5 gave a name of its own to the same number.
_RENAMED: Final = {"client_recent_max_input_buffer": "client_biggest_input_buf"}
_DEEPEST: Final = 4  # lists in lists

Reply = bytes | int | None | list["Reply"]


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return the fields of `INFO`."""
    async with session(where) as redis:
        (info,) = await redis.ask(("INFO",))
    if not isinstance(info, bytes):
        raise ProbeFailed("it answers INFO with no text; is this another server?")
    lines = (text.partition(":") for text in info.decode("utf-8", "replace").splitlines())
    pairs = [(name, text) for name, colon, text in lines if colon]
    found = numbers(pairs, names)
    if not pairs:
        raise ProbeFailed("it answers INFO with nothing; is this another server?")
    for now, before in _RENAMED.items():
        if now in found:
            found.setdefault(before, found[now])
    return found


class Session:
    """A connection that was let in."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def ask(self, *commands: Sequence[str]) -> list[Reply]:
        """Send commands together; return their replies. Raises ProbeFailed where one is refused."""
        await self._stream.send(b"".join(_command(words) for words in commands))
        return [await self._reply(0) for _ in commands]

    async def _reply(self, depth: int) -> Reply:
        text = await self._stream.line()
        kind, rest = text[:1], text[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise ProbeFailed(_refused(line(rest)))
        if kind not in (b":", b"$", b"*"):
            raise ProbeFailed(f"it answers {line(text[:40])!r}; is this another server?")
        size = int(rest)
        if kind == b":":
            return size
        if size == -1:
            return None
        if kind == b"$":
            return (await self._stream.exactly(size + 2))[:size]
        if size < 0 or size > self._stream.left or depth == _DEEPEST:
            raise ProbeFailed("it answers a list without end; is this another server?")
        return [await self._reply(depth + 1) for _ in range(size)]


@asynccontextmanager
async def session(where: Where, most: int = MOST) -> AsyncIterator[Session]:
    """Connect, log in where there is a password, choose the database.

    Raises ProbeFailed, OSError.
    """
    async with connected(where, most) as stream:
        redis = Session(stream)
        if where.password:
            user = (where.username,) if where.username else ()
            await redis.ask(("AUTH", *user, where.password))
        if where.database:
            await redis.ask(("SELECT", where.database))
        yield redis


def _command(words: Sequence[str]) -> bytes:
    parts = [word.encode("utf-8", "surrogateescape") for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def _refused(said: str) -> str:
    if said.startswith("NOAUTH"):
        return "it wants a password; give the check a `password` (and `username` with ACLs)"
    if said.startswith("WRONGPASS") or "invalid password" in said:
        return "it refuses the password; correct `password` (and `username`) of the check"
    if said.startswith("ERR") and "without any password configured" in said:
        return "it has no password; take `password` out of the check"
    if said.startswith("NOPERM"):
        return f"its user has no right to do so ({said}); allow it with ACL SETUSER"
    return f"it refuses: {said}"
