import asyncio
import base64
import gzip
import hashlib
import json
import resource
import shutil
import socket
import ssl
import sys
import threading
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from steadyd.exposition import api, application, connection
from steadyd.exposition import web as web_module
from steadyd.exposition.web import Web, WebError
from steadyd.ports import ReloadReport
from tests.fakes.exposition import HOSTILE, SECRET, FakeDaemon, service, snapshot
from tests.fakes.http import ask, port_of, serving


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
async def web(daemon: FakeDaemon) -> AsyncIterator[Web]:
    async with serving(daemon) as web:
        yield web


@pytest.fixture
async def control(daemon: FakeDaemon, tmp_path: Path) -> AsyncIterator[str]:
    path = str(tmp_path / "run" / "control.sock")
    async with serving(daemon, listen=[], control=path):
        yield path


async def test_metrics_are_served_in_the_format_asked_for(web: Web) -> None:
    plain = await ask(web, "/metrics")
    assert (plain.status, plain.headers["content-type"]) == (
        200,
        "text/plain; version=0.0.4; charset=utf-8",
    )
    assert 'steadyd_service_state{name="puma",state="active"} 1.0\n' in plain.text
    accept = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
    other = await ask(web, "/metrics", headers=accept)
    assert other.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert other.headers["content-encoding"] == "gzip"
    assert gzip.decompress(other.body).endswith(b"# EOF\n")
    assert (await ask(web, "/metrics", "HEAD")).body == b""


async def test_the_health_endpoints_tell_alive_from_ready(web: Web, daemon: FakeDaemon) -> None:
    assert (await ask(web, "/-/healthy")).status == 200
    assert (await ask(web, "/-/ready")).status == 200
    daemon.now = replace(daemon.now, ready=False)
    assert (await ask(web, "/-/healthy")).status == 200
    assert (await ask(web, "/-/ready")).status == 503


@pytest.mark.parametrize("what", ["status", "services", "incidents", "actions"])
async def test_json_without_secrets_for_strangers_and_all_for_the_operator(
    web: Web, control: str, what: str
) -> None:
    answer = await ask(web, f"/api/v1/{what}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body)
    assert SECRET not in answer.text
    trusted = await ask(control, f"/api/v1/{what}")
    assert (SECRET in trusted.text) == (what != "services")


@pytest.mark.parametrize("what", ["status", "services"])
async def test_what_an_init_system_answered_is_for_the_operator(
    web: Web, control: str, what: str
) -> None:
    stranger = await ask(web, f"/api/v1/{what}")
    operator = await ask(control, f"/api/v1/{what}")
    for text in ("there is no unit gone.service", "no answer in 2 s"):
        assert text not in stranger.text
        assert text in operator.text or (text.startswith("no answer") and what == "services")
    assert "exited with 1" in stranger.text  # why it is in its state is no secret


@pytest.mark.parametrize("path", ["/", "/service/ghost"])
async def test_the_page_shows_what_an_init_system_answered_to_the_operator(
    web: Web, control: str, path: str
) -> None:
    text = "there is no unit gone.service"
    assert text not in (await ask(web, path)).text
    assert text in (await ask(control, path)).text


@pytest.mark.parametrize("rest", ["/metrics", "/metrics?x=http://y/"])
async def test_who_asks_as_if_it_were_a_proxy_is_answered(web: Web, rest: str) -> None:
    reader, writer = await _connect(web)
    writer.write(f"GET HTTP://box:1{rest} HTTP/1.1\r\nHost: box:1\r\n\r\n".encode())
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_limit_cuts_a_list(web: Web) -> None:
    for what, count in (("services", 3), ("incidents", 2), ("actions", 3)):
        every = json.loads((await ask(web, f"/api/v1/{what}")).body)[what]
        some = json.loads((await ask(web, f"/api/v1/{what}?limit=1")).body)[what]
        assert (len(every), some) == (count, every[:1])


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "", "99999999999999999999", "1001", "²"])
async def test_a_bad_limit_is_said_so(web: Web, limit: str) -> None:
    from urllib.parse import quote

    answer = await ask(web, f"/api/v1/incidents?limit={quote(limit)}")
    assert answer.status == 400
    assert json.loads(answer.body) == {"error": "limit must be a whole number from 1 to 1000"}


async def test_why_is_for_the_operator(web: Web, control: str) -> None:
    assert (await ask(web, "/api/v1/why/puma")).status == 403
    answer = await ask(control, "/api/v1/why/puma")
    assert answer.status == 200
    assert json.loads(answer.body)["incidents"][0]["events"][0]["kind"] == "opened"
    missing = await ask(control, "/api/v1/why/nope")
    assert (missing.status, "nope" in json.loads(missing.body)["error"]) == (404, True)


async def test_an_unknown_path_is_a_json_error(web: Web) -> None:
    answer = await ask(web, "/nope")
    assert (answer.status, json.loads(answer.body)) == (404, {"error": "Not Found"})
    assert (await ask(web, "/metrics", "DELETE")).status == 405


async def test_reload_needs_the_flag_on_tcp(daemon: FakeDaemon, web: Web) -> None:
    assert (await ask(web, "/-/reload", "POST")).status == 403
    assert daemon.reloads == 0
    async with serving(daemon, lifecycle=True) as open_web:
        for method in ("POST", "PUT"):
            answer = await ask(open_web, "/-/reload", method)
            assert (answer.status, json.loads(answer.body)["ok"]) == (200, True)
        got = await ask(open_web, "/-/reload")
        assert (got.status, got.text) == (405, "Only POST or PUT requests allowed")
    assert daemon.reloads == 2


async def test_a_bad_reload_is_500_with_the_reasons(daemon: FakeDaemon, control: str) -> None:
    daemon.report = ReloadReport(False, 3, 1, ("a.inq:1:1: bad",))
    answer = await ask(control, "/-/reload", "POST")
    assert (answer.status, json.loads(answer.body)["error"]) == (500, "a.inq:1:1: bad")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_no_web_page_can_act(daemon: FakeDaemon, headers: dict[str, str]) -> None:
    async with serving(daemon, lifecycle=True) as web:
        assert (await ask(web, "/-/reload", "POST", headers)).status == 403
    assert daemon.reloads == 0


async def test_a_test_alert_is_sent_from_the_control_socket_only(web: Web, control: str) -> None:
    assert (await ask(web, "/api/v1/test-alert/ops", "POST")).status == 403
    answer = await ask(control, "/api/v1/test-alert/ops", "POST")
    targets = json.loads(answer.body)["targets"]
    assert [t["ok"] for t in targets] == [True, False]
    assert (await ask(control, "/api/v1/test-alert", "POST")).status == 200
    assert (await ask(control, "/api/v1/test-alert/nope", "POST")).status == 404
    assert (await ask(control, "/api/v1/test-alert/ops")).status == 405


async def test_every_answer_carries_the_strict_headers(web: Web) -> None:
    for path in ("/", "/metrics", "/nope", "/api/v1/status", "/page.js"):
        headers = (await ask(web, path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["date"]
        assert not headers["server"]


async def test_the_page_is_escaped_html_with_scripts_of_ours_only(web: Web, control: str) -> None:
    page = await ask(web, "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.count("<script") == 1
    assert "&lt;script&gt;alert(&quot;1&quot;)" in page.text
    assert HOSTILE not in page.text
    assert SECRET not in page.text
    assert SECRET in (await ask(control, "/")).text
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    style = page.text.partition("<style>")[2].partition("</style>")[0]
    known = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{known}';" in policy
    assert "style-src 'none'" in (await ask(web, "/metrics")).headers["content-security-policy"]
    for path, kind in (("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        asset = await ask(web, f"/{path}")
        assert asset.headers["content-type"].startswith(kind)
        assert path in page.text
    zipped = await ask(web, "/", headers={"Accept-Encoding": "gzip"})
    assert HOSTILE[:8] not in gzip.decompress(zipped.body).decode()


async def test_the_page_of_a_service_tells_strangers_no_story(
    web: Web, control: str, daemon: FakeDaemon
) -> None:
    stranger = await ask(web, "/service/puma")
    assert stranger.status == 200
    assert "memory:total_rss" in stranger.text
    assert SECRET not in stranger.text
    assert SECRET in (await ask(control, "/service/puma")).text
    name = '<script>alert("1")</script>/&é?#'
    daemon.now = replace(daemon.now, services=(service(name),))
    hostile = await ask(web, f"/service/{quote(name, safe='')}")
    assert hostile.status == 200
    assert "<script>alert" not in hostile.text
    nobody = await ask(web, "/service/%3Cb%3E%1B")
    assert nobody.status == 404
    assert "\x1b" not in nobody.text
    assert nobody.headers["content-type"] == "text/html; charset=utf-8"
    assert '<a href="../">All services</a>' in nobody.text
    assert "<b>\ufffd" not in nobody.text


async def test_details_are_shown_to_all_where_the_configuration_says_so(
    daemon: FakeDaemon,
) -> None:
    async with serving(daemon, details=True) as web:
        assert SECRET in (await ask(web, "/")).text
        assert (await ask(web, "/api/v1/why/puma")).status == 200
        for path in ("/api/v1/alertmanager", "/api/v1/silences", "/-/reload"):
            assert (await ask(web, path, "POST")).status == 403


async def test_a_sample_that_hangs_does_not_hold_the_scrape_up(
    web: Web, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "FRESH_SECONDS", 0.05)
    daemon.hang.clear()
    assert (await ask(web, "/metrics")).status == 200


@pytest.mark.parametrize(("count", "apart"), [(0, False), (1000, True)])
async def test_much_work_is_done_where_it_does_not_hold_the_loop_up(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, count: int, apart: bool
) -> None:
    threads: list[int] = []

    def noted(*args: Any) -> api.Json:
        threads.append(threading.get_ident())
        return status(*args)

    status = api.status
    monkeypatch.setattr(api, "status", noted)
    daemon.now = snapshot(count)
    async with serving(daemon) as web:
        for path in ("/metrics", "/api/v1/status"):
            answer = await ask(web, path)
            assert (answer.status, len(answer.body) > 100_000) == (200, apart)
    assert [thread != threading.get_ident() for thread in threads] == [apart]


# -- clients that mean no good


async def _connect(web: Web) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port_of(web))


async def test_silent_clients_beyond_the_limit_make_room_for_who_asks(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [await _connect(web) for _ in range(web_module.MOST_TCP + 50)]
    assert (await ask(web, "/metrics")).status == 200
    ended = 0
    for reader, writer in silent:
        if reader.at_eof() or writer.is_closing():
            ended += 1
        writer.close()
    assert ended <= 60


async def test_bodies_that_never_come_make_room_for_who_asks(web: Web) -> None:
    """Also one that nobody asked for: it is waited for once the answer is sent."""
    kept = []
    for path in ("/x", "/api/v1/alertmanager"):
        for _ in range(web_module.MOST_TCP):
            reader, writer = await _connect(web)
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n".encode()
            )
            await writer.drain()
            kept.append((reader, writer))
        async with asyncio.timeout(5):
            assert (await ask(web, "/metrics")).status == 200
    for _, writer in kept:
        writer.close()


GREEDY = """
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
kept = []
while len(kept) < 10_000:
    one = socket.socket()
    one.settimeout(5)
    one.connect(("127.0.0.1", int(sys.argv[1])))
    kept.append(one)
    if len(kept) in (1_000, 10_000):
        print(len(kept), flush=True)
sys.stdin.read()
"""


async def test_ten_thousand_connections_leave_others_served(web: Web) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 10_100:
        pytest.skip("this host does not allow so many descriptors")
    greedy = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GREEDY, str(port_of(web)), stdin=PIPE, stdout=PIPE
    )
    assert greedy.stdout is not None
    most = 0
    async with asyncio.timeout(60):
        for _ in range(2):
            assert await greedy.stdout.readline()
            most = max(most, len(web._doors[0][0]._guests))
            assert (await ask(web, "/metrics")).status == 200
    assert most <= web_module.MOST_TCP
    await greedy.communicate(b"")


async def test_busy_connections_are_never_cut_for_new_ones(
    web: Web, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.hang.clear()
    busy = []
    for _ in range(web_module.MOST_TCP):
        reader, writer = await _connect(web)
        writer.write(
            b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        await reader.readuntil(b"healthy.\n")
        busy.append((reader, writer))
    reader, late = await _connect(web)
    assert await reader.read() == b""
    daemon.hang.set()
    for reader, writer in busy:
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
    late.close()


async def test_a_head_that_never_ends_is_cut(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    reader, writer = await _connect(web)
    writer.write(b"GET /metrics HTTP/1.1\r\nX-A: ")
    ended = asyncio.ensure_future(_until_closed(reader))
    while not ended.done():
        writer.write(b"a")
        await asyncio.wait([ended], timeout=0.02)
    writer.close()


async def _until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def test_a_silent_client_is_cut(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
    reader, writer = await _connect(web)
    assert await _until_closed(reader) == b""
    writer.close()


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"".join(b"X-%d: a\r\n" % i for i in range(20_000)),
        b"POST /-/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x00\x00",
        b"\x00" * 1000,
        b"GET / HTTP/9.9\r\n\r\n",
    ],
    ids=["tls", "header", "target", "headers", "chunks", "upgrade", "zeros", "version"],
)
async def test_rubbish_is_answered_or_cut_and_logged_nowhere(
    web: Web, rubbish: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await _connect(web)
    try:
        writer.write(rubbish)
        await writer.drain()
        async with asyncio.timeout(5):
            answer = await reader.read(12)
    except ConnectionError:
        answer = b""
    writer.close()
    assert answer in (b"", b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 200")
    assert (await ask(web, "/-/healthy")).status == 200
    assert caplog.text == ""


async def talk(web: Web, sent: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes; return all that comes until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(web))
    writer.write(sent)
    if half_close:
        writer.write_eof()
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


async def test_requests_in_one_go_are_answered_one_after_the_other(web: Web) -> None:
    get = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n"
    answer = await talk(web, (get + b"\r\n") * 3 + get + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == answer.count(b"steadyd is healthy") == 4


async def test_who_said_all_is_still_answered(web: Web) -> None:
    answer = await talk(web, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n", half_close=True)
    assert b"steadyd is healthy" in answer


async def test_head_is_answered_without_a_body(web: Web) -> None:
    head = b"HEAD /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await talk(web, head + head.replace(b"Host", b"Connection: close\r\nHost"))
    assert answer.count(b"HTTP/1.1 200") == 2
    assert b"content-length: 20" in answer.lower()
    assert b"steadyd is" not in answer


@pytest.mark.parametrize("body", [b"x" * 100_000, b"x" * 3_000_000], ids=["read", "too long"])
async def test_a_body_that_nobody_wants_is_read_or_ends_the_connection(
    web: Web, body: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(web))
    head = f"GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    assert await reader.readuntil(b"healthy.\n")
    writer.write(b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        async with asyncio.timeout(5):
            rest = await reader.read(15)
    except ConnectionError:
        rest = b""
    assert rest == (b"HTTP/1.1 200 OK" if len(body) < connection.MOST_UNREAD else b"")
    writer.close()


async def test_who_waits_to_be_asked_for_a_body_is_answered_and_let_go(web: Web) -> None:
    answer = await talk(
        web,
        b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_slow_reader_is_cut_and_costs_little(
    monkeypatch: pytest.MonkeyPatch, daemon: FakeDaemon
) -> None:
    monkeypatch.setattr(web_module, "TCP_SECONDS", 0.5)
    daemon.now = snapshot(1000)
    async with serving(daemon) as web:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, ("127.0.0.1", port_of(web)))
        await loop.sock_sendall(slow, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        (guest,) = await _poll(lambda: [g for g in web._doors[0][0]._guests if g.writer])
        transport = guest.writer.transport
        biggest = 0
        async with asyncio.timeout(5):
            while not transport.is_closing():
                biggest = max(biggest, transport.get_write_buffer_size())
                await asyncio.sleep(0.01)
        assert 0 < biggest < 400_000
        slow.close()


async def _poll(look: Any) -> Any:
    async with asyncio.timeout(5):
        while not (found := look()):
            await asyncio.sleep(0.005)
        return found


async def test_a_full_tcp_door_does_not_lock_the_operator_out(
    daemon: FakeDaemon, tmp_path: Path
) -> None:
    path = str(tmp_path / "c.sock")
    async with serving(daemon, control=path) as web:
        silent = [await _connect(web) for _ in range(web_module.MOST_TCP + 10)]
        assert (await ask(path, "/api/v1/status")).status == 200
        for _, writer in silent:
            writer.close()


async def test_scrapes_under_way_share_a_text(web: Web, daemon: FakeDaemon) -> None:
    daemon.hang.clear()
    asked = [asyncio.create_task(ask(web, "/metrics")) for _ in range(20)]
    await asyncio.sleep(0.05)
    daemon.hang.set()
    assert {answer.status for answer in await asyncio.gather(*asked)} == {200}


async def test_it_closes_quickly_and_quietly_while_requests_wait(
    daemon: FakeDaemon, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_module, "CLOSE_SECONDS", 0.1)
    daemon.hang.clear()
    loop = asyncio.get_running_loop()
    async with serving(daemon) as web:
        reader, writer = await _connect(web)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        idle_reader, idle = await _connect(web)
        await _poll(lambda: [g for g in web._doors[0][0]._guests if not g.idle])
        before = loop.time()
    assert loop.time() - before < 1.0
    assert await _until_closed(reader) == b""
    assert await _until_closed(idle_reader) == b""
    assert caplog.text == ""
    writer.close()
    idle.close()


# -- starting


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nonsense", "is no HOST:PORT"),
        ("127.0.0.1:99999", "is no HOST:PORT"),
        ("::1:80", "in brackets"),
        ("192.0.2.1:0", "no such address"),
        ("no-such-host.invalid:0", "cannot listen on no-such-host.invalid:0"),
        ("127.0.0.1:http", "is no HOST:PORT"),
    ],
)
async def test_a_bad_address_is_one_clear_line(daemon: FakeDaemon, address: str, told: str) -> None:
    web = Web(daemon, listen=[address], config_file="", lifecycle=False, control="")
    with pytest.raises(WebError, match=told) as caught:
        await web.start()
    assert "\n" not in str(caught.value)


async def test_a_taken_port_is_one_clear_line_and_nothing_stays_bound(
    daemon: FakeDaemon, web: Web, tmp_path: Path
) -> None:
    taken = f"127.0.0.1:{port_of(web)}"
    other = Web(
        daemon,
        listen=["127.0.0.1:0", taken],
        config_file="",
        lifecycle=False,
        control=str(tmp_path / "c.sock"),
    )
    with pytest.raises(WebError, match=f"another program has port {port_of(web)}"):
        await other.start()
    assert other._listeners == []
    assert not (tmp_path / "c.sock").exists()


@pytest.mark.parametrize(
    ("address", "shown"),
    [(":0", "http://[::]:"), ("[::1]:0", "http://[::1]:"), ("localhost:0", "http://127.0.0.1:")],
)
async def test_addresses_show_the_real_port(daemon: FakeDaemon, address: str, shown: str) -> None:
    if ":" in shown.removeprefix("http://")[1:3] and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    async with serving(daemon, listen=[address]) as web:
        assert web.addresses[0].startswith(shown)
        assert port_of(web) > 0


# -- TLS and users


def _client(folder: Path, *, cert: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if cert:
        context.load_cert_chain(folder / f"{cert}.pem", folder / f"{cert}.key")
    return context


async def test_tls_is_served_and_a_new_certificate_is_taken_live(
    daemon: FakeDaemon, pki: Path
) -> None:
    config = pki / "web.yml"
    config.write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
    async with serving(daemon, config_file=str(config)) as web:
        assert web.addresses[0].startswith("https://")
        assert (await ask(web, "/metrics", tls=_client(pki))).status == 200
        before = await asyncio.to_thread(_certificate, web)
        shutil.copy(pki / "other.key", pki / "server.key")
        assert await asyncio.to_thread(_certificate, web) == before  # they do not fit: last good
        shutil.copy(pki / "other.pem", pki / "server.pem")
        assert await asyncio.to_thread(_certificate, web) != before
        assert (await ask(web, "/metrics", tls=_client(pki))).status == 200


def _certificate(web: Web) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port_of(web)), timeout=5)


async def test_silent_tls_peers_delay_nobody(
    daemon: FakeDaemon, pki: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = pki / "web.yml"
    config.write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
    async with serving(daemon, config_file=str(config)) as web:
        silent = [await _connect(web) for _ in range(web_module.MOST_TCP + 20)]
        for _, writer in silent[:20]:
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await ask(web, "/metrics", tls=_client(pki))).status == 200
        assert len(web._doors[0][0]._guests) <= web_module.MOST_TCP
        monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
        reader, writer = await _connect(web)
        assert await _until_closed(reader) == b""
        writer.close()
        for _, writer in silent:
            writer.close()
    assert caplog.text == ""


async def test_client_certificates_are_required_verified_and_trusted(
    daemon: FakeDaemon, pki: Path
) -> None:
    config = pki / "web.yml"
    config.write_text(
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
        "  client_allowed_sans: [prometheus.example]\n"
    )
    async with serving(daemon, config_file=str(config)) as web:
        good = await ask(web, "/api/v1/why/puma", tls=_client(pki, cert="client"))
        assert good.status == 200
        for cert in ("", "stranger", "other"):  # none, of another authority, another name
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await ask(web, "/metrics", tls=_client(pki, cert=cert))
