"""A real memcached, with and without a password."""

import socket
from collections.abc import Iterator

import pytest

from steadyd.probes.daemons import ProbeFailed, Where, read
from tests.hosts.daemons import kit
from tests.hosts.daemons.kit import LOOPBACK, free_port, listens, program, running

SECRET = kit.SECRET.replace(" ", "")  # memcached takes none with a blank


def ask(port: int, text: str, end: bytes) -> str:
    with socket.create_connection((LOOPBACK, port), timeout=10) as server:
        server.sendall(text.encode())
        said = b""
        while not said.endswith(end):
            said += server.recv(65536)
    return said.decode()


@pytest.fixture(scope="module")
def memcached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Where]:
    port = free_port()
    argv = (program("memcached"), "-u", "root", "-l", LOOPBACK, "-p", str(port))
    with running(argv, lambda: listens(port), tmp_path_factory.mktemp("memcached") / "log"):
        yield Where(hostname=LOOPBACK, port=port)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Where]:
    folder = tmp_path_factory.mktemp("locked")
    (folder / "users").write_text(f"watcher:{SECRET}\n")
    path = folder / "socket"
    argv = (program("memcached"), "-u", "root", "-s", path, "-Y", folder / "users")
    with running(argv, lambda: listens(path), folder / "log"):
        yield Where(socket=str(path))


async def test_the_numbers_are_those_of_the_server(memcached: Where) -> None:
    ask(memcached.port, "set a 0 0 1\r\nb\r\n", b"STORED\r\n")
    names = frozenset({"cmd_set", "curr_items", "bytes", "threads", "version"})

    found = await read("memcached", memcached, names)

    stats = ask(memcached.port, "stats\r\n", b"END\r\n").splitlines()
    true = dict(line.removeprefix("STAT ").split(" ", 1) for line in stats[:-1])
    assert found["curr_items"] == 1
    for name in names - {"version"}:
        assert found[name] == float(true[name])
    assert "is no number" in str(found["version"])


async def test_counters_grow_with_the_work(memcached: Where) -> None:
    before = await read("memcached", memcached, frozenset({"get_misses"}))
    for _ in range(3):
        ask(memcached.port, "get nobody\r\n", b"END\r\n")

    after = await read("memcached", memcached, frozenset({"get_misses"}))

    assert float(after["get_misses"]) - float(before["get_misses"]) == 3


async def test_the_catalogue_names_what_there_is(memcached: Where) -> None:
    found = await read("memcached", memcached, frozenset())

    assert {"evictions", "crawler_reclaimed", "bytes_written", "total_items"} <= found.keys()
    assert all(isinstance(value, float) for value in found.values())


async def test_a_unix_socket_and_its_password(locked: Where) -> None:
    where = Where(socket=locked.socket, username="watcher", password=SECRET)

    found = await read("memcached", where, frozenset({"curr_items"}))

    assert found == {"curr_items": 0.0}  # the password was not stored


@pytest.mark.parametrize(("password", "said"), [("", "wants a password"), ("wr0ng", "refuses the")])
async def test_a_missing_or_wrong_password_is_told(locked: Where, password: str, said: str) -> None:
    where = Where(socket=locked.socket, username="watcher", password=password)

    with pytest.raises(ProbeFailed, match=said) as failure:
        await read("memcached", where, frozenset())

    assert not password or password not in str(failure.value)


async def test_a_password_is_never_stored_where_nobody_asks_for_one(memcached: Where) -> None:
    where = Where(memcached.hostname, memcached.port, username="watcher", password=SECRET)

    await read("memcached", where, frozenset())

    assert ask(memcached.port, "get steadyd\r\n", b"END\r\n") == "END\r\n"
