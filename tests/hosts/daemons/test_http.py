"""HTTP and TCP endpoints: statuses, times, and certificates that are good, ended, nobody's."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from steadyd.probes.daemons import ProbeFailed, Where, client, read
from tests.hosts.daemons.kit import LOOPBACK, SECRET, certificate, free_port, program

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
STATUS = frozenset({"status"})


@asynccontextmanager
async def serving(
    answer: bytes,
    *,
    host: str = LOOPBACK,
    path: str = "",
    tls: ssl.SSLContext | None = None,
    asked: list[bytes] | None = None,
) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            if asked is not None:
                asked.append(request)
            writer.write(answer)
            await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    if path:
        server = await asyncio.start_unix_server(handle, path)
    else:
        server = await asyncio.start_server(handle, host, 0, ssl=tls)
    async with server:
        yield 0 if path else server.sockets[0].getsockname()[1]


def answer(status: str, *headers: str, body: str = "ok") -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers)
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (answer("200 OK"), 200),
        (answer("204 No Content", body=""), 204),
        (answer("302 Found", "Location: http://192.0.2.1/"), 302),
        (answer("404 Not Found"), 404),
        (answer("503 Busy"), 503),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer("200 OK"), 200),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil it closes", 200),
        (answer("200 OK", body="x" * 1_000_000), 200),  # a large page is a page
    ],
)
async def test_the_status_is_that_of_the_endpoint(said: bytes, status: int) -> None:
    async with serving(said) as port:
        found = await read("http", Where(hostname=LOOPBACK, port=port), frozenset())

    assert found["status"] == status
    assert 0 < float(found["seconds"]) < 5
    assert found["tls_days"] == "the endpoint has no TLS"


async def test_the_time_is_that_of_the_whole_answer() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        await reader.read(65536)
        await asyncio.sleep(0.3)  # what is measured
        writer.write(b"k")
        writer.close()

    async with await asyncio.start_server(handle, LOOPBACK, 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await read("http", Where(hostname=LOOPBACK, port=port), frozenset({"seconds"}))

    assert 0.3 <= float(found["seconds"]) < 3


async def test_what_is_sent() -> None:
    asked: list[bytes] = []
    async with serving(answer("200 OK"), asked=asked) as port:
        where = Where(LOOPBACK, port, "", "me", SECRET, "/a?b=c")
        await read("http", where, STATUS)
        await read("http", Where(endpoint=f"http://{LOOPBACK}:{port}?q"), STATUS)

    first, second = (text.decode().split("\r\n") for text in asked)
    assert first[0] == "GET /a?b=c HTTP/1.1"
    assert f"Host: {LOOPBACK}:{port}" in first
    assert [line for line in first if line.startswith("Authorization: Basic ")]
    assert second[0] == "GET /?q HTTP/1.1"
    assert not [line for line in second if line.startswith("Authorization")]


async def test_a_socket_serves_too(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with serving(answer("200 OK"), path=path):
        assert await read("http", Where(socket=path), STATUS) == {"status": 200.0}


# certificates


def signed(folder: Path, days: str, *before: str) -> ssl.SSLContext:
    """Return a server's side with a certificate of its own for localhost."""
    certificate(folder, days, *before)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem", folder / "key")
    return context


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Trust the certificate that is made in this folder."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pem"))
    client.trusting.cache_clear()
    yield tmp_path
    client.trusting.cache_clear()


async def test_a_good_certificate(trusted: Path) -> None:
    tls = signed(trusted, "30")
    async with serving(answer("200 OK"), tls=tls) as port:
        where = Where(endpoint=f"https://localhost:{port}/")
        found = await read("http", where, frozenset())

    assert found["status"] == 200
    assert found["tls_days"] == pytest.approx(30, abs=0.1)


async def test_an_ended_certificate_has_its_days_and_no_status(trusted: Path) -> None:
    tls = signed(trusted, "30", program("faketime"), "33 days ago")
    async with serving(answer("200 OK"), tls=tls) as port:
        where = Where(endpoint=f"https://localhost:{port}/")
        found = await read("http", where, frozenset({"status", "seconds", "tls_days"}))

    assert found["tls_days"] == pytest.approx(-3, abs=0.1)
    assert (
        found["status"]
        == found["seconds"]
        == ("its certificate is not good: certificate has expired")
    )


async def test_nobodys_certificate_has_its_days_and_no_status(tmp_path: Path) -> None:
    tls = signed(tmp_path, "9000")  # beyond 2049 times are written otherwise
    async with serving(answer("200 OK"), tls=tls) as port:
        where = Where(endpoint=f"https://localhost:{port}/")
        found = await read("http", where, frozenset())

    assert "self-signed" in str(found["status"])
    assert found["tls_days"] == pytest.approx(9000, abs=0.1)


async def test_a_certificate_of_another_name(trusted: Path) -> None:
    tls = signed(trusted, "30")
    async with serving(answer("200 OK"), tls=tls, host="127.0.0.2") as port:
        where = Where(endpoint=f"https://127.0.0.2:{port}/")
        found = await read("http", where, STATUS)
        assert "IP address mismatch" in str(found["status"])


async def test_a_port_without_tls_is_told() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer("400 Bad Request"))
        writer.close()

    async with await asyncio.start_server(handle, LOOPBACK, 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ProbeFailed, match=r"TLS failed.*does it speak TLS"):
            await read("http", Where(endpoint=f"https://localhost:{port}/"), STATUS)


# TCP


@pytest.mark.parametrize("port", [True, False])
async def test_the_seconds_until_it_is_connected(tmp_path: Path, port: bool) -> None:
    with socket.socket(socket.AF_INET if port else socket.AF_UNIX) as server:
        server.bind((LOOPBACK, 0) if port else str(tmp_path / "socket"))
        server.listen()
        name = server.getsockname()
        where = Where(hostname=LOOPBACK, port=name[1]) if port else Where(socket=name)
        found = await read("tcp", where, frozenset({"seconds"}))

    assert found.keys() == {"seconds"}
    assert 0 < float(found["seconds"]) < 2


async def test_a_closed_port_and_none_are_told() -> None:
    with pytest.raises(ProbeFailed, match="connection refused; is it running"):
        await read("tcp", Where(hostname=LOOPBACK, port=free_port()), frozenset())
    with pytest.raises(ProbeFailed, match="give the check a `port`"):
        await read("tcp", Where(hostname=LOOPBACK), frozenset())
