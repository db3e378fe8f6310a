"""Whatever answers at a server's place: ProbeFailed, or a reason for a name, in time, no secret."""

import asyncio
import base64
import json
import threading
import time
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from steadyd.probes.daemons import FAMILIES, ProbeFailed, Where, read
from tests.hosts.daemons.kit import LOOPBACK, free_port, until

SECRET = "s3cr3t/+=w0rd"
DEADLINE = 0.5
ENOUGH = 3.0  # seconds; the machine may be busy

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ASKING = sorted(FAMILIES - {"tcp"})  # that one asks for nothing
MANY = "x" * 10 * 1024 * 1024


@asynccontextmanager
async def serving(handle: Handler) -> AsyncIterator[int]:
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (OSError, EOFError):
            pass  # the other side has had enough, which is what we want
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(guarded, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def says(*answers: bytes, first: bool = False, stays: bool = True) -> Handler:
    """Answer each time that something is said; `first`: before anything is said."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, answer in enumerate(answers):
            if number or not first:
                await reader.read(65536)
            writer.write(answer)
            await writer.drain()
        while stays and await reader.read(65536):
            pass

    return handle


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while said := await reader.read(65536):
        writer.write(said)
        await writer.drain()


def page(body: str, kind: str = "application/json", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


async def asked(family: str, port: int) -> str:
    """Return all that was told of a server that cannot be read."""
    where = Where(
        hostname=LOOPBACK, port=port, username="watcher", password=SECRET, endpoint="", database=""
    )
    start = time.monotonic()
    try:
        found = await read(family, where, frozenset(), DEADLINE)
    except ProbeFailed as failure:
        text = str(failure)
        assert text.startswith(f"{family} at {LOOPBACK}:{port}: ")
    else:
        assert not [value for value in found.values() if not isinstance(value, str)], found
        text = " ".join(map(str, found.values()))
    assert time.monotonic() - start < ENOUGH
    assert "\n" not in text
    assert len(text) < 1000
    for form in (SECRET, urllib.parse.quote(SECRET, safe=""), _basic("watcher"), _basic("guest")):
        assert form not in text
    return text


def _basic(user: str) -> str:
    return base64.b64encode(f"{user}:{SECRET}".encode()).decode()


@pytest.fixture(autouse=True)
async def threads_end() -> AsyncIterator[None]:
    """No thread of a client stays behind, also where nobody waited for its end."""
    yield
    until(
        lambda: not [t for t in threading.enumerate() if t.name == "probe"],
        lambda: f"still there: {threading.enumerate()}",
        seconds=3,
    )


@pytest.mark.parametrize("family", ASKING)
async def test_a_server_that_hangs(family: str) -> None:
    async with serving(says()) as port:
        assert f"no answer within {DEADLINE:g} s" in await asked(family, port)


@pytest.mark.parametrize("family", ASKING)
async def test_a_server_that_closes_at_once(family: str) -> None:
    async with serving(closes) as port:
        assert await asked(family, port)


@pytest.mark.parametrize("family", sorted(FAMILIES))
async def test_a_closed_port(family: str) -> None:
    assert "connection refused; is it running" in await asked(family, free_port())


@pytest.mark.parametrize("family", sorted(FAMILIES))
async def test_no_such_socket_and_no_such_host(family: str, tmp_path: Path) -> None:
    for where in (
        Where(socket=str(tmp_path / "none"), hostname="nowhere.invalid", port=1),
        Where(hostname="nowhere.invalid", port=1),
        Where(hostname="two words\r\nX: y", port=1),
        Where(hostname="nul\0", port=1),
        Where(hostname="ä" * 300, port=1),
        Where(socket="/" + "x" * 200, hostname=LOOPBACK, port=1),
        Where(hostname=LOOPBACK, port=99999),
    ):
        with pytest.raises(ProbeFailed) as failure:
            await read(family, where, frozenset())
        assert "\n" not in str(failure.value)


@pytest.mark.parametrize("family", ASKING)
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 512,
        b"\xff" * 512,
        b"\x7f\xff\xff\xff" * 64,
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"-ERR \x1b[31m" + SECRET.encode() + b"\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
        b"HTTP/1.1 999 \r\nContent-Length: -1\r\n\r\n",
        b"*2147483647\r\n" * 20,
        b"$-2\r\n",
        b"STAT a\r\nEND\r\n",
        b"R\0\0\0\x08\0\0\0\0" + b"Z\0\0\0\x05I" + b"T\x7f\xff\xff\xff",
        b"\x4a\0\0\0\x0a8.0.0\0" + b"\0" * 100,
        bytes([1, 6, 0, 1, 0, 4, 0, 0]) + b"nope" + bytes([1, 3, 0, 1, 0, 0, 0, 0]),
    ],
    ids=lambda garbage: repr(garbage[:12]),
)
async def test_garbage(family: str, first: bool, garbage: bytes) -> None:
    async with serving(says(garbage * 2, first=first, stays=False)) as port:
        assert await asked(family, port)


@pytest.mark.parametrize("family", ASKING)
async def test_a_server_that_says_back_what_it_hears(family: str) -> None:
    async with serving(echoes) as port:
        assert await asked(family, port)


MUCH = {
    "redis": [b"+OK\r\n", b"$10485760\r\n" + MANY.encode()],
    "sidekiq": [b"+OK\r\n", b"$10485760\r\n" + MANY.encode()],
    "memcached": [b"".join(b"STAT a%d 1\r\n" % n for n in range(1_000_000))],
    "haproxy": [b"a: 1\n" * 2_000_000],
    "php-fpm": [(bytes([1, 6, 0, 1, 0xFF, 0xFF, 0, 0]) + b"x" * 65535) * 160],
    "mysql": [b"\xff\xff\xff\0" + MANY.encode()],
    "postgresql": [b"N" + (len(MANY) + 4).to_bytes(4, "big") + MANY.encode()],
}


@pytest.mark.parametrize("family", ASKING)
async def test_ten_mebibytes(family: str) -> None:
    pages = [page(MANY)]
    if family == "http":  # of a page the first part is enough, but the head has an end
        pages = [b"HTTP/1.1 200 OK\r\nX: " + MANY.encode()]
    read_at_all = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal read_at_all
        for number, answer in enumerate(MUCH.get(family, pages)):
            if number or family != "mysql":
                await reader.read(65536)
            for at in range(0, len(answer), 65536):
                writer.write(answer[at : at + 65536])
                await writer.drain()
                read_at_all += 65536

    async with serving(handle) as port:
        text = await asked(family, port)

    assert "KiB" in text or "makes no sense" in text or "without lines" in text
    assert read_at_all < 9 * 1024 * 1024


@pytest.mark.parametrize("family", sorted(FAMILIES - {"http", "tcp"}))
async def test_a_redirect(family: str) -> None:
    moved = page("", status=f"302 Found\r\nLocation: http://{LOOPBACK}:1/?token={SECRET}")
    async with serving(says(moved, moved)) as port:
        text = await asked(family, port)

    if family in ("nginx", "memstats", "rabbitmq", "etcd", "puma"):
        assert "no redirect is followed" in text


NUMBERS = ["NaN", "nan", "inf", "Infinity", "-Infinity", "1e400", "-1", "-5e300", "9" * 400]
BADLY: dict[str, Callable[[str], list[bytes]]] = {
    "redis": lambda n: [b"+OK\r\n", _bulk(f"used_memory:{n}\r\n")],
    "memcached": lambda n: [f"STAT bytes {n}\r\nEND\r\n".encode()],
    "nginx": lambda n: [
        page(
            f"Active connections: {n} \nserver accepts handled requests\n 0 0 0 \n"
            "Reading: 0 Writing: 0 Waiting: 0 \n"
        )
    ],
    "memstats": lambda n: [page(f'{{"memstats": {{"Alloc": {n}}}}}')],
    "haproxy": lambda n: [
        f"CurrConns: {n}\n\n# pxname,svname,scur,status,\nweb,FRONTEND,{n},OPEN,\n".encode()
    ],
    "rabbitmq": lambda n: [
        page(f'{{"rabbitmq_version": "3", "queue_totals": {{"messages": {n}}}}}')
    ],
    "etcd": lambda n: [page(f"etcd_server_has_leader {n}\n")],
    "puma": lambda n: [page(f'{{"backlog": {n}, "running": {n}}}')],
    "sidekiq": lambda n: [b"+OK\r\n", f":{n}\r\n:{n}\r\n:{n}\r\n".encode()],
    "php-fpm": lambda n: [_fastcgi(f'Content-Type: x\r\n\r\n{{"pool": "w", "listen queue": {n}}}')],
}


def _bulk(text: str) -> bytes:
    return f"${len(text)}\r\n{text}\r\n".encode()


def _fastcgi(text: str) -> bytes:
    body = text.encode()
    end = bytes([1, 3, 0, 1, 0, 8, 0, 0]) + b"\0" * 8
    return bytes([1, 6, 0, 1, *divmod(len(body), 256), 0, 0]) + body + end


@pytest.mark.parametrize("family", sorted(BADLY))
@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:9])
async def test_what_is_no_number_is_none(family: str, number: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in BADLY[family](number):
            await reader.read(65536)
            writer.write(answer)
            await writer.drain()
        writer.write_eof()

    async with serving(handle) as port:
        where = Where(hostname=LOOPBACK, port=port, password=SECRET)
        try:
            found = await read(family, where, frozenset(), DEADLINE)
        except ProbeFailed:
            return

    counted = {name: value for name, value in found.items() if not isinstance(value, str)}
    # haproxy's servers are counted by us: there are none
    assert not {name: value for name, value in counted.items() if value}, counted


@pytest.mark.parametrize("depth", [100, 100_000])
@pytest.mark.parametrize("family", ["memstats", "puma", "rabbitmq"])
async def test_json_without_end(family: str, depth: int) -> None:
    async with serving(says(page('{"a":' * depth))) as port:
        assert await asked(family, port)


@pytest.mark.parametrize(
    "stats",
    [
        {"worker_status": 5},
        {"worker_status": [5]},
        {"worker_status": [{"booted": True, "last_status": 5, "started_at": "x"}]},
        {"worker_status": [{"booted": True, "started_at": ["x"]}]},
        {"backlog": "much", "started_at": 5},
        {"backlog": [], "started_at": {}},
    ],
    ids=json.dumps,
)
async def test_puma_says_other_things(stats: object) -> None:
    async with serving(says(page(json.dumps(stats)))) as port:
        assert await asked("puma", port)


async def test_nobody_knows_another_family() -> None:
    with pytest.raises(ProbeFailed, match="no such probe; there are etcd haproxy"):
        await read("oracle", Where(), frozenset())


async def test_a_cancelled_reading_is_cancelled() -> None:
    for family in ("redis", "mysql", "postgresql"):
        async with serving(says()) as port:
            where = Where(hostname=LOOPBACK, port=port, password=SECRET)
            task = asyncio.create_task(read(family, where, frozenset(), 60.0))
            await asyncio.wait([task], timeout=0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_the_loop_goes_on_meanwhile() -> None:
    for family in ("mysql", "postgresql"):
        async with serving(says()) as port:
            task = asyncio.create_task(asked(family, port))
            turns = 0
            while not task.done():
                await asyncio.sleep(0.01)
                turns += 1
        assert turns > 30


def test_a_place_never_shows_its_secrets() -> None:
    where = Where("h", 1, "", "me", SECRET, f"http://me:{SECRET}@h/x?token={SECRET}#y")

    for text in (repr(where), str(where), f"{where!r:s}"):
        assert SECRET not in text
        assert "/x" in text


def _packet(number: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "little") + bytes([number]) + content


@pytest.mark.parametrize("plugin", [b"mysql_clear_password", b"dialog"])
async def test_mysql_never_gets_the_password_in_clear(plugin: bytes) -> None:
    ours = 0x1 | 0x200 | 0x8000 | 0x80000  # long password, 4.1, its passwords, plugins
    hello = b"\x0a5.7.0\0" + b"\1\0\0\0" + b"saltsalt\0" + (ours & 0xFFFF).to_bytes(2, "little")
    hello += b"\x21\2\0" + (ours >> 16).to_bytes(2, "little") + b"\x15" + b"\0" * 10
    hello += b"saltsaltsalt\0" + b"mysql_native_password\0"
    heard = bytearray()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_packet(0, hello))
        heard.extend(await reader.read(65536))
        writer.write(_packet(2, b"\xfe" + plugin + b"\0\3Password: "))
        heard.extend(await reader.read(65536))

    async with serving(handle) as port:
        text = await asked("mysql", port)

    assert "wants the password in clear" in text
    assert b"watcher" in heard  # it had come to the login
    assert SECRET.encode() not in heard


@pytest.mark.parametrize("family", ["redis", "sidekiq"])
async def test_lists_in_lists_have_an_end(family: str) -> None:
    async with serving(says(b"*1\r\n" * 100)) as port:
        assert "a list without end" in await asked(family, port)


async def test_a_worker_of_puma_that_is_not_ready_does_not_count() -> None:
    threads = {"backlog": 0, "running": 1, "pool_capacity": 1, "max_threads": 2}
    ready = {"booted": True, "started_at": "2026-01-01T00:00:00Z", "last_status": threads}
    stats = {"workers": 2, "worker_status": [ready, {**ready, "booted": False}]}
    async with serving(says(page(json.dumps(stats)))) as port:
        found = await read("puma", Where(hostname=LOOPBACK, port=port), frozenset({"max_threads"}))

    assert found == {"max_threads": 2.0}
