"""A real nginx: its status page, with a password, over TLS, redirected, and not there."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from steadyd.probes.daemons import ProbeFailed, Where, read
from tests.hosts.daemons.kit import LOOPBACK, SECRET, free_port, listens, program, running, told

CONF = """
daemon off;
pid {folder}/pid;
error_log {folder}/error;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/a;
  proxy_temp_path {folder}/b;
  fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d;
  scgi_temp_path {folder}/e;
  server {{
    listen {host}:{port};
    listen unix:{folder}/socket;
    location = /status {{ stub_status; }}
    location = /plain {{ return 200 "hello"; }}
    location = /away {{ return 302 /status?token=abc; }}
    location = /locked {{ auth_basic x; auth_basic_user_file {folder}/users; stub_status; }}
  }}
}}
"""
SEVEN = {"Active_connections", "accepts", "handled", "requests", "Reading", "Writing", "Waiting"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nginx")


@pytest.fixture(scope="module")
def nginx(folder: Path) -> Iterator[Where]:
    port = free_port()
    hashed = told("openssl", "passwd", "-apr1", "-stdin", stdin=SECRET)
    (folder / "users").write_text(f"watcher:{hashed}")
    folder.parent.chmod(0o755)
    text = CONF.format(folder=folder, host=LOOPBACK, port=port)
    (folder / "conf").write_text(f"user root;\n{text}")
    argv = (program("nginx"), "-c", folder / "conf", "-e", folder / "error")
    with running(argv, lambda: listens(port), folder / "log"):
        yield Where(hostname=LOOPBACK, port=port)


async def test_the_seven_numbers_are_those_of_the_page(nginx: Where) -> None:
    found = await read("nginx", nginx, frozenset())

    with urllib.request.urlopen(f"http://{LOOPBACK}:{nginx.port}/status", timeout=10) as page:
        words = page.read().split()
    assert found.keys() == SEVEN
    # this one connection is one more of each
    assert [found["accepts"], found["handled"]] == [float(words[7]) - 1, float(words[8]) - 1]
    assert found["requests"] == float(words[9]) - 1
    assert found["Writing"] == 1


async def test_counters_grow_with_the_work(nginx: Where) -> None:
    before = await read("nginx", nginx, frozenset({"requests"}))
    for _ in range(3):
        urllib.request.urlopen(f"http://{LOOPBACK}:{nginx.port}/plain", timeout=10).close()

    after = await read("nginx", nginx, frozenset({"requests"}))

    assert float(after["requests"]) - float(before["requests"]) == 4  # the reading is one


@pytest.mark.parametrize("url", [False, True])
async def test_the_place_can_be_a_url_or_a_socket(nginx: Where, folder: Path, url: bool) -> None:
    endpoint = f"http://{LOOPBACK}:{nginx.port}/status"
    where = Where(endpoint=endpoint) if url else Where(socket=str(folder / "socket"))

    assert (await read("nginx", where, frozenset({"Writing"}))) == {"Writing": 1.0}


async def test_the_password_opens(nginx: Where) -> None:
    where = Where(LOOPBACK, nginx.port, "", "watcher", SECRET, "/locked")

    assert (await read("nginx", where, frozenset({"Writing"}))) == {"Writing": 1.0}


@pytest.mark.parametrize(
    ("endpoint", "password", "said"),
    [
        ("/locked", "", r"/locked is refused \(401\); give the check `user"),
        ("/locked", "wr0ng", r"/locked is refused \(401\); correct"),
        ("/away", "", r"redirects to http://127.0.0.1:\d+/status\?\*\*\*; no redirect"),
        ("/nowhere", "", "status 404; is `endpoint` right"),
        ("/plain", "", "no status page of nginx; put `stub_status;`"),
        ("/a b", "", "makes no sense"),
        ("http://u:v@localhost/", "", "holds no user"),
        ("http://localhost:99999/", "", "is no URL"),
        ("http:///x", "", "names no host"),
    ],
)
async def test_what_is_no_status_page_is_told(
    nginx: Where, endpoint: str, password: str, said: str
) -> None:
    where = Where(LOOPBACK, nginx.port, "", "watcher" if password else "", password, endpoint)

    with pytest.raises(ProbeFailed, match=said) as failure:
        await read("nginx", where, frozenset())

    assert not password or password not in str(failure.value)
