"""A real Redis says of itself what redis-cli is told."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from steadyd.probes.daemons import ProbeFailed, Where, read
from tests.hosts.daemons.kit import LOOPBACK, PLAIN, SECRET, redis_server, told

ALL: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("redis")


@pytest.fixture(scope="module")
def redis(folder: Path) -> Iterator[Where]:
    with redis_server(folder) as port:
        yield Where(hostname=LOOPBACK, port=port)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Where]:
    words = ("--requirepass", SECRET, "--user", "watcher", "on", f">{PLAIN}", "+info")
    with redis_server(tmp_path_factory.mktemp("locked"), *words) as port:
        yield Where(hostname=LOOPBACK, port=port)


def cli(where: Where, *words: str) -> str:
    return told("redis-cli", "-h", where.hostname, "-p", str(where.port), *words)


async def test_the_numbers_are_those_of_redis_cli(redis: Where) -> None:
    cli(redis, "SET", "a", "b")
    names = frozenset(
        {"total_connections_received", "used_memory_peak", "aof_last_rewrite_time_sec"}
    )

    found = await read("redis", redis, names)

    info = dict(re.findall(r"^(\w+):(\S+)\r?$", cli(redis, "INFO"), re.MULTILINE))
    assert found.keys() == names
    received = float(info["total_connections_received"])  # redis-cli is one more
    assert found["total_connections_received"] == received - 1
    assert 0.5 < float(found["used_memory_peak"]) / float(info["used_memory_peak"]) <= 1.0
    assert info["aof_last_rewrite_time_sec"] == "-1"
    assert "there is none" in str(found["aof_last_rewrite_time_sec"])


async def test_counters_grow_with_the_work(redis: Where) -> None:
    before = await read("redis", redis, frozenset({"keyspace_misses"}))
    for _ in range(3):
        cli(redis, "GET", "nobody")

    after = await read("redis", redis, frozenset({"keyspace_misses"}))

    assert float(after["keyspace_misses"]) - float(before["keyspace_misses"]) == 3


async def test_without_names_it_is_all_that_is_a_number(redis: Where) -> None:
    found = await read("redis", redis, ALL)

    assert {"used_memory", "total_commands_processed", "evicted_keys"} <= found.keys()
    assert "redis_version" not in found
    # what older versions called by another name
    assert found["client_biggest_input_buf"] == found["client_recent_max_input_buffer"]


async def test_what_is_asked_for_and_is_none_has_a_reason(redis: Where) -> None:
    found = await read("redis", redis, frozenset({"redis_version", "nonsense"}))

    assert "is no number" in str(found["redis_version"])
    assert found["nonsense"] == "the server does not report it"


async def test_a_unix_socket_serves_too(redis: Where, folder: Path) -> None:
    found = await read("redis", Where(socket=str(folder / "socket")), frozenset({"used_memory"}))

    assert float(found["used_memory"]) > 100_000


@pytest.mark.parametrize(
    ("username", "password"),
    [("", SECRET), ("default", SECRET), ("watcher", PLAIN)],
)
async def test_the_password_opens(locked: Where, username: str, password: str) -> None:
    where = Where(locked.hostname, locked.port, username=username, password=password)

    assert float((await read("redis", where, frozenset({"used_memory"})))["used_memory"]) > 0


@pytest.mark.parametrize(
    ("username", "password", "said"),
    [
        ("", "", "wants a password"),
        ("", "wr0ng", "refuses the password"),
        ("watcher", SECRET, "refuses the password"),
    ],
)
async def test_a_missing_or_wrong_password_is_told(
    locked: Where, username: str, password: str, said: str
) -> None:
    where = Where(locked.hostname, locked.port, username=username, password=password)

    with pytest.raises(ProbeFailed, match=said) as failure:
        await read("redis", where, ALL)

    assert not password or password not in str(failure.value)
    assert f"redis at {LOOPBACK}:{locked.port}" in str(failure.value)


async def test_a_password_for_a_server_without_one_is_told(redis: Where) -> None:
    where = Where(redis.hostname, redis.port, password=SECRET)

    with pytest.raises(ProbeFailed, match="take `password` out"):
        await read("redis", where, ALL)
