"""A real pool of PHP-FPM, asked by FastCGI over TCP and over its socket."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from steadyd.probes.catalogue import CATALOGUE
from steadyd.probes.daemons import ProbeFailed, Where, read
from tests.hosts.daemons.kit import LOOPBACK, free_port, listens, program, running, told

POOL = """
[global]
error_log = {folder}/error
[{name}]
listen = {listen}
listen.backlog = 100
pm = static
pm.max_children = 3
pm.status_path = {status}
{user}
"""


@pytest.fixture(scope="module", params=["port", "socket"])
def pool(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Where]:
    folder: Path = tmp_path_factory.mktemp("php")
    port, path = free_port(), folder / "socket"
    where = Where(hostname=LOOPBACK, port=port)
    listen = f"{LOOPBACK}:{port}"
    if request.param == "socket":
        where, listen = Where(socket=str(path)), str(path)
    root = "user = root\ngroup = root" if os.geteuid() == 0 else ""
    text = POOL.format(folder=folder, name="www", listen=listen, status="/status", user=root)
    (folder / "conf").write_text(text)
    found = sorted(path.name for path in Path("/usr/sbin").glob("php-fpm*"))
    argv: list[str | Path] = [
        program(found[-1] if found else "php-fpm"),
        "-F",
        "-R",
        "-y",
        folder / "conf",
        "-n",
    ]
    with running(argv, lambda: listens(where.socket or port), folder / "log"):
        yield where


async def test_the_numbers_are_those_of_the_pool(pool: Where) -> None:
    found = await read("php-fpm", pool, frozenset())

    assert (found["total_processes"], found["active_processes"]) == (3, 1)
    assert found["idle_processes"] == 2
    assert (found["max_children_reached"], found["slow_requests"]) == (0, 0)
    assert found["listen_queue"] == 0
    assert "pool" not in found
    if pool.port:
        assert found["listen_queue_len"] == 100


async def test_they_are_those_that_another_client_is_told(pool: Where) -> None:
    env = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/status", "SCRIPT_FILENAME": "/status"}
    client = program("cgi-fcgi")
    place = pool.socket or f"{LOOPBACK}:{pool.port}"
    text = told("env", *(f"{k}={v}" for k, v in env.items()), client, "-bind", "-connect", place)

    found = await read("php-fpm", pool, frozenset({"accepted_conn", "start_since"}))

    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    assert found["accepted_conn"] == float(lines["accepted conn"]) + 1
    assert float(found["start_since"]) >= float(lines["start since"])


async def test_counters_grow_with_the_work(pool: Where) -> None:
    before = await read("php-fpm", pool, frozenset({"accepted_conn"}))

    after = await read("php-fpm", pool, frozenset({"accepted_conn"}))

    assert float(after["accepted_conn"]) - float(before["accepted_conn"]) == 1


async def test_the_catalogue_names_what_there_is(pool: Where) -> None:
    found = await read("php-fpm", pool, frozenset())

    named = {each.id.name for each in CATALOGUE.metrics if each.id.family == "php-fpm"}
    assert named <= found.keys()


async def test_another_page_is_told(pool: Where) -> None:
    where = Where(pool.hostname, pool.port, pool.socket, endpoint="/nowhere.php")

    with pytest.raises(ProbeFailed, match=r"set pm\.status_path = /nowhere\.php in the pool"):
        await read("php-fpm", where, frozenset())


async def test_a_long_endpoint_is_told(pool: Where) -> None:
    where = Where(pool.hostname, pool.port, pool.socket, endpoint="/" + "x" * 40_000)

    with pytest.raises(ProbeFailed, match="too long"):
        await read("php-fpm", where, frozenset())
