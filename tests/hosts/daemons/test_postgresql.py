"""A real PostgreSQL: sums over its databases, a table's size and scans, logins."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
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
)

# root is refused
USER = "postgres" if os.geteuid() == 0 else None
ALL = {"numbackends", "rollbacks", "deadlocks", "blk_hit_rate", "seq_scans", "total_size"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pg"))  # pytest's own is closed to others
    if USER:
        shutil.chown(path, USER, USER)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def postgresql(folder: Path) -> Iterator[Where]:
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    port = free_port()
    (folder / "password").write_text(SECRET)
    subprocess.run(
        [
            *(program("initdb", *folders), "-D", folder / "data", "-U", "postgres", "--no-sync"),
            *("--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"),
            f"--pwfile={folder}/password",
        ],
        check=True,
        capture_output=True,
        timeout=120,
        cwd=folder,
        user=USER,
    )
    certificate(folder)
    if USER:
        shutil.chown(folder / "key", USER, USER)
    hba = folder / "data" / "pg_hba.conf"
    hba.write_text(f"hostnossl all careful 0.0.0.0/0 reject\n{hba.read_text()}")
    argv: list[str | Path] = [program("postgres", *folders), "-D", folder / "data"]
    argv += ["-p", str(port), "-k", folder]
    argv += ["-c", f"listen_addresses={LOOPBACK}", "-c", "fsync=off", "-c", "ssl=on"]
    argv += ["-c", f"ssl_cert_file={folder}/pem", "-c", f"ssl_key_file={folder}/key"]
    with running(argv, lambda: listens(port), folder / "log", user=USER, end=signal.SIGINT):
        where = Where(hostname=LOOPBACK, port=port, socket=str(folder))
        sql(where, "CREATE DATABASE shop")
        sql(where, "CREATE TABLE t AS SELECT generate_series(1, 10000) AS n", "shop")
        sql(where, f"CREATE USER careful PASSWORD '{SECRET}'")
        yield where


def sql(where: Where, text: str, database: str = "postgres") -> str:
    words = ("-h", where.socket, "-p", str(where.port), "-U", "postgres", "-d", database)
    return told("psql", "-XtAq", *words, "-c", text).strip()


def on(where: Where, database: str = "", password: str = SECRET, user: str = "") -> Where:
    return Where(LOOPBACK, where.port, "", user, password, database=database)


async def test_the_numbers_are_those_of_psql(postgresql: Where) -> None:
    found = await read("postgresql", on(postgresql, "shop"), frozenset())

    size = float(sql(postgresql, "SELECT pg_total_relation_size('t')", "shop"))
    assert found.keys() == ALL
    assert found["total_size"] == size > 100_000
    assert found["deadlocks"] == 0
    assert 50 < float(found["blk_hit_rate"]) <= 100
    # the probe's own backend, and those of earlier clients that have not ended yet
    assert 1 <= float(found["numbackends"]) < 5


@pytest.mark.parametrize(
    ("name", "database", "work", "gain"),
    [
        ("rollbacks", "postgres", "BEGIN; ROLLBACK", 1),
        ("seq_scans", "shop", "SELECT count(*) FROM t; SELECT count(*) FROM t", 2),
    ],
)
async def test_counters_grow_with_the_work(
    postgresql: Where, name: str, database: str, work: str, gain: int
) -> None:
    sql(postgresql, "SET max_parallel_workers_per_gather = 0", database)
    before = await read("postgresql", on(postgresql, "shop"), frozenset({name}))
    # a backend has told its statistics when its connection is closed
    sql(postgresql, work, database)

    after = await read("postgresql", on(postgresql, "shop"), frozenset({name}))

    assert float(after[name]) - float(before[name]) == gain


async def test_scans_and_size_are_of_the_connected_database(postgresql: Where) -> None:
    names = frozenset({"seq_scans", "total_size"})

    found = await read("postgresql", on(postgresql), names)

    assert found == {"seq_scans": 0.0, "total_size": 0.0}


@pytest.mark.parametrize("file", [False, True])
async def test_a_unix_socket_or_its_folder(postgresql: Where, folder: Path, file: bool) -> None:
    path = folder / f".s.PGSQL.{postgresql.port}" if file else folder
    where = Where(port=postgresql.port, socket=str(path))

    found = await read("postgresql", where, frozenset({"deadlocks"}))

    assert found == {"deadlocks": 0.0}


@pytest.mark.parametrize(
    ("password", "user", "database", "said"),
    [
        ("", "", "", "wants a password; give"),
        ("wr0ng", "", "", "password authentication failed .* correct `username`"),
        (SECRET, "nobody", "", "password authentication failed"),
        (SECRET, "", "nowhere", 'database "nowhere" does not exist; correct `database`'),
    ],
)
async def test_what_is_refused_is_told(
    postgresql: Where, password: str, user: str, database: str, said: str
) -> None:
    with pytest.raises(ProbeFailed, match=said) as failure:
        await read("postgresql", on(postgresql, database, password, user), frozenset())

    assert not password or password not in str(failure.value)


async def test_a_locked_table_holds_nobody_for_ever(postgresql: Where) -> None:
    locked = subprocess.Popen(
        [
            "psql",
            "-Xtq",
            "-h",
            postgresql.socket,
            "-p",
            str(postgresql.port),
            "-U",
            "postgres",
            "shop",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert locked.stdin is not None
    assert locked.stdout is not None
    with locked:
        locked.stdin.write("BEGIN;\nLOCK TABLE t;\nSELECT 'locked';\n")
        locked.stdin.flush()
        assert "locked" in locked.stdout.readline()

        with pytest.raises(ProbeFailed, match=r"no answer within 0\.5 s"):
            await read("postgresql", on(postgresql, "shop"), frozenset({"total_size"}), 0.5)
        with pytest.raises(ProbeFailed, match="lock timeout"):
            await read("postgresql", on(postgresql, "shop"), frozenset({"total_size"}))


async def test_over_the_network_it_is_tls(postgresql: Where) -> None:
    where = Where(ELSEWHERE, postgresql.port, "", "careful", SECRET, database="shop")

    assert await read("postgresql", where, frozenset({"deadlocks"})) == {"deadlocks": 0.0}

    with pytest.raises(ProbeFailed, match="pg_hba"):  # in clear, as on loopback
        await read("postgresql", on(postgresql, user="careful"), frozenset())


async def test_a_reading_is_no_rollback(postgresql: Where) -> None:
    before = await read("postgresql", on(postgresql), frozenset({"rollbacks"}))
    for _ in range(3):
        await read("postgresql", on(postgresql), frozenset())

    after = await read("postgresql", on(postgresql), frozenset({"rollbacks"}))

    assert after == before
