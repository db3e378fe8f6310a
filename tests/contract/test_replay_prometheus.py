"""`steadyd replay --prometheus` against a real Prometheus, and against what only says it is one."""

import base64
import http.server
import json
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from steadyd.probes.catalogue import metric_id
from steadyd.replaying.promql import NAMES, query, text
from tests.e2e.local import Local, free_port, local, until

CONFIG = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
- job_name: steadyd
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
GROWS = "import os, time\nwhile not os.path.exists('{flag}'): time.sleep(0.02)\n"
GROWS += "kept = b'x' * (200 << 20)\ntime.sleep(3600)\n"
RULE = "check service app\n  if memory:total_rss > 150m for 2 cycles then alert\n"
STEP = 1.0

needs_prometheus = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="prometheus is not installed"
)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path) as made:
        program = tmp_path / "grows.py"
        program.write_text(GROWS.format(flag=tmp_path / "grow"))
        made.keep(app=f"python3 {program}")
        yield made


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[str]:
    """Yield the URL of a Prometheus that scrapes a port of this host."""
    config, port = folder / "prometheus.yml", free_port()
    config.write_text(CONFIG.format(port=target))
    process = subprocess.Popen(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def value(url: str, text: str) -> float | None:
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?query={quote(text)}", timeout=5) as told:
            found = json.load(told)["data"]["result"]
    except OSError:
        return None
    return float(found[0]["value"][1]) if found else None


def at(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


@needs_prometheus
@pytest.mark.slow
def test_a_replay_opens_within_one_step_of_the_live_incident(daemon: Local) -> None:
    daemon.rule("app", RULE)
    daemon.start()
    with prometheus(daemon.folder, daemon.port) as url:
        states = "count_over_time(steadyd_service_memory_bytes{name='app'}[1m])"
        until(lambda: (value(url, states) or 0) > 15, 40, "three seconds of history")
        (daemon.folder / "grow").touch()
        (live,) = until(lambda: daemon.incidents("app"), what="the incident")
        opened = at(live["opened_at"])
        since = f"max(timestamp(steadyd_service_memory_bytes{{name='app'}})) > {opened + 3}"
        until(lambda: value(url, since), 40, "three seconds of history more")
        start = f"{live['opened_at'][:17]}00{live['opened_at'][19:]}"  # the phase of the ticks
        done = daemon.ctl(
            "replay", str(daemon.rules), "--prometheus", url, "--start", start,
            "--step", "1s", "--host", "127.0.0.1", "--format", "json",
        )  # fmt: skip
        queries = [query("app", metric, STEP, "127.0.0.1") for metric in sorted(NAMES)]
        understood = [value(url, f"count({text}) or vector(0)") for text in queries]
        elsewhere = daemon.ctl("replay", str(daemon.rules), "--prometheus", url, "--host", "other")

    assert (done.returncode, done.stderr) == (0, "")
    rule = json.loads(done.stdout)["rules"][0]
    assert [event["kind"] for event in rule["events"]] == ["opened"]
    assert abs(at(rule["events"][0]["at"]) - opened) <= STEP + 0.01
    assert rule["events"][0]["value"] > 150 << 20
    assert rule["summary"]["open_at_end"]
    assert None not in understood
    assert (elsewhere.returncode, elsewhere.stderr.count("\n")) == (1, 1)
    assert "has nothing of these services at that time" in elsewhere.stderr


# -- what only says it is one

OTHER: dict[str, Any] = {"status": "success", "data": {"result": [{"values": []}] * 2}}


class Handler(http.server.BaseHTTPRequestHandler):
    answer: tuple[int, bytes] = (200, b"")
    seen: list[tuple[str, str | None]] = []  # noqa: RUF012 - each server has a class of its own

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, self.headers["Authorization"]))
        status, body = self.answer
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[int, list[tuple[str, str | None]]]]:
    kind = type("Answering", (Handler,), {"answer": (status, body), "seen": []})
    with http.server.HTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port, kind.seen  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def ctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "steadyd", *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def rule(tmp_path: Path) -> Path:
    path = tmp_path / "app.inq"
    path.write_text(RULE)
    return path


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (200, b"<html>", 1, "is no Prometheus"),
        (200, b"[" * 9000, 1, "is no Prometheus"),
        (200, json.dumps(OTHER).encode(), 2, "2 instances have that service: name one with --host"),
        (302, b"", 1, "answers 302: and does not say why"),
        (401, b"\xff", 1, "answers 401: and does not say why"),
        (422, b'{"error": "too many\\u001b[2J\\npoints"}', 1, "answers 422: too many"),
    ],
)
def test_a_bad_answer_is_one_line_without_the_password(
    rule: Path, status: int, body: bytes, code: int, said: str
) -> None:
    with answering(status, body) as (port, seen):
        done = ctl("replay", str(rule), "--prometheus",
                         f"http://ada:s3cr%20t@127.0.0.1:{port}/prom/")  # fmt: skip

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "s3cr" not in done.stderr
    assert "\x1b" not in done.stderr
    told = "Basic " + base64.b64encode(b"ada:s3cr t").decode()
    assert seen == [("/prom/api/v1/query_range", told)]


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("ftp://a", 2, "--prometheus wants a URL such as http://localhost:9090"),
        ("http://a:b:c", 2, "--prometheus wants a URL"),
        ("nonsense", 2, "--prometheus wants a URL"),
        ("http://u:s3cret@127.0.0.1:1", 1, "cannot ask http://127.0.0.1:1: "),
    ],
)
def test_a_wrong_url_is_one_line(rule: Path, url: str, code: int, said: str) -> None:
    done = ctl("replay", str(rule), "--prometheus", url)

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "s3cret" not in done.stderr


def test_a_week_is_asked_in_pieces_that_prometheus_answers(rule: Path) -> None:
    empty = json.dumps({"data": {"result": []}}).encode()
    with answering(200, empty) as (port, seen):
        done = ctl("replay", str(rule), "--prometheus",
                         f"http://127.0.0.1:{port}", "--start", "7d")  # fmt: skip

    assert done.returncode == 1
    # memory:total_rss, init:up and init:uptime, each in four pieces
    assert len(seen) == 3 * 4


def test_a_name_cannot_leave_its_quotes() -> None:
    name = 'a"} or vector(1) #\\\n'

    assert query(name, metric_id("process:count"), 15.0) == (
        'max by (instance) (steadyd_service_processes{name="a\\"} or vector(1) #\\\\\\n"})'
    )
    assert text("ü") == '"ü"'


def test_what_is_counted_of_the_host_is_asked_for_by_the_step_and_a_share_is_not() -> None:
    disk, cpu, net = (query("host", metric_id(m), 15.0) for m in ("disk:/", "cpu:user", "net:lo"))
    assert disk == 'max by (instance) (steadyd_host_metric{family="disk",metric="/"})'
    assert cpu == 'max by (instance) (steadyd_host_metric{family="cpu",metric="user"})'
    assert net.endswith('metric="lo"}) * 15.0')
