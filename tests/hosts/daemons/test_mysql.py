"""A real MariaDB and a real replica of it: running, stopped, broken."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from steadyd.probes.daemons import ProbeFailed, Where, read
from tests.hosts.daemons.kit import (
    ELSEWHERE,
    LOOPBACK,
    SECRET,
    certificate,
    free_port,
    listens,
    program,
    running,
    told,
    until,
)

BEHIND = "Seconds_Behind_Master"


class MariaDB:
    def __init__(self, folder: Path, port: int) -> None:
        self.socket, self.port = folder / "socket", port

    def sql(self, text: str) -> str:
        words = (
            "-S",
            self.socket,
            "-u",
            "root",
            "-B",
            "--default-character-set=utf8mb4",
            "-e",
            text,
        )
        return told(program("mysql"), "--no-defaults", *words)


@contextmanager
def mariadb(folder: Path, number: int) -> Iterator[MariaDB]:
    server = MariaDB(folder, free_port())
    folder.parent.chmod(0o755)
    common = ["--no-defaults", f"--datadir={folder}/data", "--user=root"]
    subprocess.run(
        [
            program("mariadb-install-db"),
            *common,
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    argv = [program("mariadbd"), *common, f"--socket={server.socket}", f"--port={server.port}"]
    argv += [f"--bind-address={LOOPBACK}", f"--pid-file={folder}/pid", f"--server-id={number}"]
    certificate(folder)
    argv += [f"--ssl-cert={folder}/pem", f"--ssl-key={folder}/key"]
    argv += [f"--log-bin={folder}/binlog", "--innodb-buffer-pool-size=16M", "--skip-name-resolve"]
    with running(argv, lambda: listens(server.socket), folder / "log"):
        yield server


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with mariadb(tmp_path_factory.mktemp("primary"), 1) as server:
        server.sql(
            f"CREATE USER watcher@'%' IDENTIFIED BY '{SECRET}';"
            f"CREATE USER careful@'%' IDENTIFIED BY '{SECRET}' REQUIRE SSL;"
            "CREATE USER copier@'%' IDENTIFIED BY 'copy';"
            "GRANT REPLICATION SLAVE ON *.* TO copier@'%';"
        )
        yield server


@pytest.fixture(scope="module")
def replica(primary: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with mariadb(tmp_path_factory.mktemp("replica"), 2) as server:
        server.sql(
            f"CHANGE MASTER TO MASTER_HOST='{LOOPBACK}', MASTER_PORT={primary.port},"
            "MASTER_USER='copier', MASTER_PASSWORD='copy', MASTER_USE_GTID=slave_pos"
        )
        yield server


def over_network(server: MariaDB, password: str = SECRET) -> Where:
    return Where(hostname=LOOPBACK, port=server.port, username="watcher", password=password)


async def test_the_numbers_are_those_of_the_servers_own_client(primary: MariaDB) -> None:
    names = frozenset({"Max_used_connections", "Innodb_buffer_pool_pages_total", "Com_insert"})

    found = await read("mysql", Where(socket=str(primary.socket)), names)

    rows = primary.sql("SHOW GLOBAL STATUS").splitlines()
    true = dict(row.split("\t")[:2] for row in rows)
    assert found == {name: float(true[name]) for name in names}
    assert float(found["Innodb_buffer_pool_pages_total"]) > 500


async def test_counters_grow_with_the_work(primary: MariaDB) -> None:
    before = await read("mysql", over_network(primary), frozenset({"Com_update"}))
    primary.sql("CREATE DATABASE IF NOT EXISTS a; CREATE OR REPLACE TABLE a.t (n INT)")
    primary.sql("UPDATE a.t SET n = 1; UPDATE a.t SET n = 2")

    after = await read("mysql", over_network(primary), frozenset({"Com_update"}))

    assert float(after["Com_update"]) - float(before["Com_update"]) == 2


async def test_without_names_it_is_all_that_is_a_number(primary: MariaDB) -> None:
    found = await read("mysql", Where(socket=str(primary.socket)), frozenset())

    assert len(found) > 300
    assert {"Slow_queries", "Threads_connected", "Table_locks_waited"} <= found.keys()
    assert "Rpl_semi_sync_master_status" not in found  # OFF


async def test_a_socket_that_is_not_there_means_host_and_port(primary: MariaDB) -> None:
    where = Where(LOOPBACK, primary.port, "/nowhere/mysql.sock", "watcher", SECRET)

    assert (
        float((await read("mysql", where, frozenset({"Threads_running"})))["Threads_running"]) > 0
    )


async def test_neither_socket_nor_port_is_told() -> None:
    where = Where(LOOPBACK, free_port(), "/nowhere/mysql.sock")

    with pytest.raises(ProbeFailed, match=r"no such socket; at 127.0.0.1:\d+: connection refused"):
        await read("mysql", where, frozenset())


@pytest.mark.parametrize("password", ["", "wr0ng"])
async def test_a_missing_or_wrong_password_is_told(primary: MariaDB, password: str) -> None:
    with pytest.raises(ProbeFailed, match=r"Access denied .* correct `username`") as failure:
        await read("mysql", over_network(primary, password), frozenset())

    assert "wr0ng" not in str(failure.value)


async def test_a_server_without_replication_says_so(primary: MariaDB) -> None:
    found = await read("mysql", Where(socket=str(primary.socket)), frozenset({BEHIND}))

    assert found == {BEHIND: "no replication is set up on this server"}


async def test_who_may_not_see_replication_is_told_the_grant(primary: MariaDB) -> None:
    found = await read("mysql", over_network(primary), frozenset({BEHIND, "Threads_connected"}))

    assert "GRANT REPLICATION CLIENT" in str(found[BEHIND])
    assert float(found["Threads_connected"]) >= 1


async def test_a_replica_is_seconds_behind_and_a_stopped_one_is_hugely_so(
    replica: MariaDB,
) -> None:
    where = Where(socket=str(replica.socket))
    replica.sql("START SLAVE")
    until(
        lambda: "Seconds_Behind_Master: 0" in replica.sql("SHOW SLAVE STATUS\\G"),
        lambda: replica.sql("SHOW SLAVE STATUS\\G"),
    )
    running = await read("mysql", where, frozenset({BEHIND}))
    assert 0 <= float(running[BEHIND]) < 60

    replica.sql("STOP SLAVE")

    assert "Seconds_Behind_Master: NULL" in replica.sql("SHOW SLAVE STATUS\\G")
    assert await read("mysql", where, frozenset({BEHIND})) == {BEHIND: 999999.0}


async def test_over_the_network_it_is_tls(primary: MariaDB) -> None:
    where = Where(ELSEWHERE, primary.port, "", "careful", SECRET)

    assert len(await read("mysql", where, frozenset())) > 300

    with pytest.raises(ProbeFailed, match="Access denied"):  # in clear, as on loopback
        await read("mysql", Where(LOOPBACK, primary.port, "", "careful", SECRET), frozenset())
