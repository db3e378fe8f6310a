"""memcached: `stats` of its text protocol (github.com/memcached, doc/protocol.txt)."""

from typing import Final

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.client import Stream, connected
from steadyd.probes.daemons.told import ProbeFailed, line, numbers

DEFAULTS: Final = Where(hostname="localhost", port=11211)


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return what `stats` prints."""
    async with connected(where) as stream:
        await stream.send(b"stats\r\n")
        first = await stream.line()
        if first.startswith(b"CLIENT_ERROR unauthenticated"):
            await _log_in(stream, where)
            await stream.send(b"stats\r\n")
            first = await stream.line()
        return numbers(await _pairs(stream, first), names)


async def _pairs(stream: Stream, first: bytes) -> list[tuple[str, str]]:
    pairs = []
    text = first
    while text != b"END":
        words = text.decode("utf-8", "replace").split(" ", 2)
        if words[0] != "STAT" or len(words) != 3:
            raise ProbeFailed(f"it answers {line(text[:40])!r}; is this another server?")
        pairs.append((words[1], words[2]))
        text = await stream.line()
    return pairs


async def _log_in(stream: Stream, where: Where) -> None:
    """Log in as its text protocol does: by storing `user password`.

    Only after it said that nobody is logged in: else it would truly store them.
    """
    if not where.password:
        raise ProbeFailed("it wants a password; give the check `username` and `password`")
    secret = f"{where.username} {where.password}".encode()
    if b"\r" in secret or b"\n" in secret:
        raise ProbeFailed("a user or password with a line end cannot be sent; correct it")
    await stream.send(b"set steadyd 0 0 %d\r\n%s\r\n" % (len(secret), secret))
    if await stream.line() != b"STORED":
        raise ProbeFailed("it refuses the password; correct `username` and `password`")
