"""A real Puma with its control app: one process, and a cluster; a request that hangs."""

import json
import os
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from steadyd.probes.catalogue import CATALOGUE
from steadyd.probes.daemons import ProbeFailed, Where, read
from tests.hosts.daemons.kit import LOOPBACK, free_port, listens, program, running, until

SECRET = "s3cr3t/+%?="

# answers when the one who holds the fifo lets go
APP = """
run lambda { |env|
  File.read(ENV["GATE"]) if env["PATH_INFO"] == "/slow"
  [200, {}, ["ok"]]
}
"""


class Puma:
    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.control = folder, free_port(), free_port()
        self.where = Where(hostname=LOOPBACK, port=self.control, password=SECRET)

    def stats(self) -> dict[str, object]:
        with socket.create_connection((LOOPBACK, self.control), timeout=10) as client:
            client.sendall(f"GET /stats?token={SECRET} HTTP/1.0\r\n\r\n".encode())
            answer = client.makefile().read()
        found: dict[str, object] = json.loads(answer.partition("\n\n")[2])
        return found


@contextmanager
def puma(folder: Path, workers: int) -> Iterator[Puma]:
    server = Puma(folder)
    (folder / "config.ru").write_text(APP)
    (folder / "puma.rb").write_text(
        f"bind 'tcp://{LOOPBACK}:{server.port}'\n"
        f"workers {workers}\n"
        "threads 2, 3\n"
        f"activate_control_app 'tcp://{LOOPBACK}:{server.control}', auth_token: {SECRET!r}\n"
    )
    argv = (program("puma"), "-C", folder / "puma.rb", folder / "config.ru")
    with running(
        argv, lambda: listens(server.control), folder / "log", env={"GATE": f"{folder}/gate"}
    ):
        if workers:
            until(lambda: "running" in json.dumps(server.stats()), lambda: str(server.stats()))
        else:
            until(lambda: listens(server.port), lambda: "not listening")
        yield server


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Puma]:
    with puma(tmp_path_factory.mktemp("single"), 0) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Puma]:
    with puma(tmp_path_factory.mktemp("cluster"), 2) as server:
        until(
            lambda: json.dumps(server.stats()).count("requests_count") == 2,
            lambda: str(server.stats()),
        )
        yield server


async def test_one_process(single: Puma) -> None:
    urllib.request.urlopen(f"http://{LOOPBACK}:{single.port}/", timeout=10).close()
    for _ in range(100):  # threads come and go by themselves: one picture of a still moment
        before = single.stats()
        found, true = await read("puma", single.where, frozenset()), single.stats()
        if before == true:
            break

    for name in ("backlog", "running", "pool_capacity", "max_threads"):
        assert found[name] == true[name]
    assert found["max_threads"] == 3
    assert found["requests"] == true["requests_count"] != 0
    assert "single mode" in str(found["workers"])
    assert 0 < float(found["oldest_worker"]) < 600


async def test_a_request_that_hangs_is_busy(single: Puma) -> None:
    gate = single.folder / "gate"
    os.mkfifo(gate)
    with socket.create_connection((LOOPBACK, single.port)) as client:
        client.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        with gate.open("w"):  # opens when the request has come to it
            found = await read("puma", single.where, frozenset({"busy", "busy_ratio"}))
        assert client.makefile().read().endswith("ok")

    assert found == {"busy": 1.0, "busy_ratio": pytest.approx(100 / 3)}


async def test_a_cluster(cluster: Puma) -> None:
    found = await read("puma", cluster.where, frozenset())

    assert (found["workers"], found["booted_workers"], found["old_workers"]) == (2, 2, 0)
    assert (found["max_threads"], found["pool_capacity"], found["backlog"]) == (6, 6, 0)
    assert (found["busy"], found["busy_ratio"]) == (0, 0)
    assert 0 < float(found["oldest_worker"]) < 600
    assert 0 <= float(found["oldest_checkin"]) < 60


@pytest.mark.parametrize("mode", ["single", "cluster"])
async def test_the_catalogue_names_what_there_is(mode: str, request: pytest.FixtureRequest) -> None:
    server: Puma = request.getfixturevalue(mode)

    found = await read("puma", server.where, frozenset())

    assert found.keys() == {each.id.name for each in CATALOGUE.metrics if each.id.family == "puma"}


@pytest.mark.parametrize(("password", "said"), [("", "give the check the"), ("wr0ng", "correct")])
async def test_a_missing_or_wrong_token_is_told(single: Puma, password: str, said: str) -> None:
    where = Where(hostname=LOOPBACK, port=single.control, password=password)

    with pytest.raises(ProbeFailed, match=rf"is refused \(403\); {said}") as failure:
        await read("puma", where, frozenset())

    assert not password or password not in str(failure.value)


async def test_the_application_is_not_its_control_app(single: Puma) -> None:
    where = Where(hostname=LOOPBACK, port=single.port, password=SECRET)

    with pytest.raises(ProbeFailed, match="makes no sense"):
        await read("puma", where, frozenset())


@pytest.mark.parametrize("token", ["two words", "twö", "two&", "two#", "two\r\n"])
async def test_a_token_that_cannot_be_sent_is_told(single: Puma, token: str) -> None:
    where = Where(hostname=LOOPBACK, port=single.control, password=token)

    with pytest.raises(ProbeFailed, match="choose another") as failure:
        await read("puma", where, frozenset())

    assert "tw" not in str(failure.value)
