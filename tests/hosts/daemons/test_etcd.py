"""A real etcd, and the expvar page that it serves as any Go program may."""

import json
import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from steadyd.probes.catalogue import CATALOGUE
from steadyd.probes.daemons import ProbeFailed, Where, read
from tests.hosts.daemons.kit import LOOPBACK, free_port, listens, program, running, until


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Where]:
    folder = tmp_path_factory.mktemp("etcd")
    port, peer = free_port(), free_port()
    here, there = f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{peer}"
    argv: list[str | Path] = [
        program("etcd"),
        "--data-dir",
        folder / "data",
        "--listen-client-urls",
        here,
    ]
    argv += ["--advertise-client-urls", here, "--listen-peer-urls", there]
    argv += ["--initial-advertise-peer-urls", there, "--initial-cluster", f"default={there}"]
    env = {"ETCD_UNSUPPORTED_ARCH": os.uname().machine}
    with running(argv, lambda: listens(port), folder / "log", env=env):
        where = Where(hostname=LOOPBACK, port=port)
        until(lambda: "etcd_server_has_leader 1\n" in page(where), lambda: page(where))
        yield where


def page(where: Where, path: str = "/metrics", body: bytes | None = None) -> str:
    url = f"http://{where.hostname}:{where.port}{path}"
    with urllib.request.urlopen(url, body, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


async def test_the_numbers_are_those_of_the_page(etcd: Where) -> None:
    found = await read("etcd", etcd, frozenset())

    true = dict(re.findall(r"^(\w+) (\S+)$", page(etcd), re.MULTILINE))
    assert found["has_leader"] == found["is_leader"] == 1
    assert found["leader_changes"] == float(true["etcd_server_leader_changes_seen_total"]) >= 1
    assert found["db_size"] == float(true["etcd_mvcc_db_total_size_in_bytes"]) > 0
    size, quota = float(found["db_size"]), float(found["db_quota"])
    assert found["db_ratio"] == 100 * size / quota
    assert 0 < float(found["db_ratio"]) < 1


async def test_counters_grow_with_the_work(etcd: Where) -> None:
    names = frozenset({"proposals_applied", "keys", "proposals_failed"})
    before = await read("etcd", etcd, names)
    page(etcd, "/v3/kv/put", b'{"key": "YQ==", "value": "Yg=="}')

    after = await read("etcd", etcd, names)

    assert float(after["proposals_applied"]) - float(before["proposals_applied"]) == 1
    assert after["keys"] == 1
    assert after["proposals_failed"] == 0


async def test_the_catalogue_names_what_there_is(etcd: Where) -> None:
    found = await read("etcd", etcd, frozenset())

    named = {each.id.name for each in CATALOGUE.metrics if each.id.family == "etcd"}
    assert found.keys() == named
    assert all(isinstance(value, float) for value in found.values())


async def test_a_page_without_its_metrics_is_told(etcd: Where) -> None:
    where = Where(etcd.hostname, etcd.port, endpoint="/version")

    with pytest.raises(ProbeFailed, match="/version has no metrics of etcd"):
        await read("etcd", where, frozenset())


async def test_memstats_of_a_go_program(etcd: Where) -> None:
    before = json.loads(page(etcd, "/debug/vars"))["memstats"]

    found = await read("memstats", etcd, frozenset())

    after = json.loads(page(etcd, "/debug/vars"))["memstats"]
    for name in ("TotalAlloc", "NumGC", "PauseTotalNs"):
        assert before[name] <= float(found[name]) <= after[name]
    assert float(found["Alloc"]) > 1_000_000
    assert float(found["HeapAlloc"]) > 1_000_000


async def test_a_page_without_memstats_is_told(etcd: Where) -> None:
    where = Where(etcd.hostname, etcd.port, endpoint="/version")

    with pytest.raises(ProbeFailed, match="has no `memstats`; does the program import expvar"):
        await read("memstats", where, frozenset())
