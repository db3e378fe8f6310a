"""A real HAProxy before a server that is up and one that is not."""

import http.server
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from steadyd.probes.catalogue import CATALOGUE
from steadyd.probes.daemons import ProbeFailed, Where, read
from tests.hosts.daemons.kit import LOOPBACK, free_port, listens, program, running, until

CONF = """
global
  maxconn 200
  stats socket {folder}/stats level user
  stats socket ipv4@{host}:{stats} level user
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend web
  bind {host}:{web}
  maxconn 50
  use_backend gone if {{ path /gone }}
  default_backend good
backend good
  server a {host}:{up} check inter 100 fall 1 rise 1
  server b {host}:{down} check inter 100 fall 1 rise 1
  server c {host}:{up} disabled
backend gone
  server d {host}:{down} check inter 100 fall 1 rise 1
"""


class Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("haproxy")


@pytest.fixture(scope="module")
def web(folder: Path) -> Iterator[str]:
    behind = http.server.ThreadingHTTPServer((LOOPBACK, 0), Ok)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    port, up, down = free_port(), behind.server_port, free_port()
    text = CONF.format(folder=folder, host=LOOPBACK, web=port, up=up, down=down, stats=free_port())
    (folder / "conf").write_text(text)
    argv = (program("haproxy"), "-db", "-f", folder / "conf")
    with running(argv, lambda: listens(port), folder / "log"):
        until(lambda: ask(folder, "show stat").count("DOWN") == 3, lambda: ask(folder, "show stat"))
        yield f"http://{LOOPBACK}:{port}"
    behind.shutdown()
    behind.server_close()


def ask(folder: Path, words: str) -> str:
    with socket.socket(socket.AF_UNIX) as client, client.makefile() as answer:
        client.connect(str(folder / "stats"))
        client.sendall(f"{words}\n".encode())
        return answer.read()


async def test_what_is_up_down_and_in_maintenance(web: str, folder: Path) -> None:
    found = await read("haproxy", Where(socket=str(folder / "stats")), frozenset())

    counts = {name: found[name] for name in found if name.startswith(("backends", "servers"))}
    assert counts == {
        "backends_up": 1,
        "backends_down": 1,
        "servers_up": 1,
        "servers_down": 2,
        "servers_maintenance": 1,
    }
    assert found["queue_current"] == 0
    info = dict(line.split(": ", 1) for line in ask(folder, "show info").splitlines() if line)
    assert found["connections_limit"] == float(info["Maxconn"]) == 200


async def test_counters_grow_with_the_work(web: str, folder: Path) -> None:
    names = frozenset({"requests", "responses_5xx", "sessions", "bytes_out", "connection_errors"})
    before = await read("haproxy", Where(socket=str(folder / "stats")), names)
    for _ in range(3):
        urllib.request.urlopen(f"{web}/", timeout=10).close()
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"{web}/gone", timeout=10)

    after = await read("haproxy", Where(socket=str(folder / "stats")), names)

    gained = {name: float(after[name]) - float(before[name]) for name in names}
    assert gained["responses_5xx"] == 1
    assert gained["sessions"] == 4
    assert gained["requests"] >= 4
    assert gained["bytes_out"] > 100


async def test_a_session_counts_against_the_limit(web: str, folder: Path) -> None:
    port = int(web.rpartition(":")[2])
    where = Where(socket=str(folder / "stats"))
    names = frozenset({"current_sessions", "session_limit_ratio"})
    with socket.create_connection((LOOPBACK, port)):
        until(lambda: "web,FRONTEND,,,1," in ask(folder, "show stat"), lambda: "no session")

        found = await read("haproxy", where, names)

    assert found == {"current_sessions": 1.0, "session_limit_ratio": 2.0}


async def test_a_port_serves_too(web: str, folder: Path) -> None:
    conf = (folder / "conf").read_text()
    port = int(conf.partition(f"ipv4@{LOOPBACK}:")[2].split()[0])

    found = await read("haproxy", Where(port=port), frozenset({"servers_up"}))

    assert found == {"servers_up": 1.0}


async def test_the_catalogue_names_what_there_is(web: str, folder: Path) -> None:
    found = await read("haproxy", Where(socket=str(folder / "stats")), frozenset())

    named = {each.id.name for each in CATALOGUE.metrics if each.id.family == "haproxy"}
    assert found.keys() == named
    assert all(isinstance(value, float) for value in found.values())


async def test_a_host_without_a_port_is_told() -> None:
    with pytest.raises(ProbeFailed, match="no port of a stats socket"):
        await read("haproxy", Where(hostname=LOOPBACK), frozenset())
