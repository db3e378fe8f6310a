"""Silences, deploys and recurring jobs, as operators and cron use them."""

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.local import SLEEPER, Local, local, until

RULE = "check service app with settle 1s, cooldown 1s\n  if memory:rss > 80k for 1s then alert\n"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path) as made:
        made.keep(app=SLEEPER)
        yield made


def test_a_deploy_mutes_until_it_is_finished_and_survives_a_restart_of_ours(daemon: Local) -> None:
    daemon.start()
    told = daemon.ask("deploy", "start", "--for", "1h", "--comment", "v2", "app")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("app: muted until ")
    daemon.rule("app", RULE)
    until(lambda: daemon.api("status")["incidents"], what="the incident")
    assert "muted by a deploy" in daemon.ask("why", "app").stdout
    daemon.stop()
    daemon.start()
    assert "v2" in daemon.ask("deploy", "status").stdout
    assert "no route: told here only" not in daemon.log()

    ended = daemon.ask("deploy", "finish")
    assert ended.stdout == "1 ended; what is still wrong is told as soon as it has settled\n"
    until(lambda: "no route: told here only" in daemon.log(), what="the message after the deploy")
    assert daemon.ask("deploy", "finish").returncode == 1
    assert daemon.ask("deploy", "status").stdout == "nothing is muted\n"


def test_a_silence_is_listed_and_ended_by_its_id(daemon: Local) -> None:
    daemon.start()
    made = json.loads(daemon.ask("silence", "add", "--json", "--for", "90s", "w*").stdout)
    listed = json.loads(daemon.ask("silence", "list", "--json").stdout)["silences"]
    assert listed == [made]
    assert daemon.api("status")["silences"][0]["by"] != made["by"]  # withheld on plain HTTP
    assert daemon.ask("silence", "expire", "nonsense").returncode == 1
    assert daemon.ask("silence", "expire", made["id"]).returncode == 0
    assert daemon.ask("silence", "list").stdout == "nothing is muted\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("silence", "add", "--for", "soon"), 2, "is no duration"),
        (("silence", "add", "--for", "0s"), 1, "from a moment to 30 days"),
        (("silence", "add", "--for", "99d"), 1, "from a moment to 30 days"),
        (("silence", "add", "a\nb"), 1, "control character"),
        (("silence", "add", *["x"] * 101), 1, "too many services"),
        (("job-done", "ghost"), 1, "there is no job ghost"),
        (("job-done", "a\x1b[31mb"), 1, "there is no job"),
    ],
)
def test_wrong_wishes_end_in_one_line(
    daemon: Local, words: tuple[str, ...], code: int, said: str
) -> None:
    daemon.start()
    done = daemon.ask(*words)

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.strip().isprintable()


def test_any_local_user_may_report_a_job_and_nothing_else(daemon: Local) -> None:
    daemon.rule("jobs", "check jobs\n  sweep happens every 1 hour\n")
    daemon.start()
    assert daemon.api("status")["jobs"][0]["last"] is None
    assert daemon.ask("job-done", "sweep").returncode == 0
    assert daemon.api("status")["jobs"][0]["last"]

    jobs = daemon.control.with_name("jobs.sock")
    assert jobs.stat().st_mode & 0o777 == 0o666
    for method, path, status in (
        ("POST", "/api/v1/job-done/sweep", 200),
        ("GET", "/api/v1/status", 403),
        ("POST", "/-/reload", 403),
        ("POST", "/api/v1/silences", 403),
        ("GET", "/metrics", 403),
    ):
        with closing(http.client.HTTPConnection("localhost")) as connection:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(jobs))
            connection.request(method, path)
            assert connection.getresponse().status == status, path


def test_a_job_reports_over_http_with_the_token_only(daemon: Local) -> None:
    token = daemon.folder / "job-token"
    token.write_text("s3cr3t-token\n")
    token.chmod(0o600)
    daemon.rule("jobs", "check jobs\n  sweep happens every 1 hour\n")
    daemon.config('[jobs]\ntoken = "file:job-token"\n')
    daemon.start()

    def post(authorization: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port)
        headers = {"Authorization": authorization} if authorization else {}
        with closing(connection):
            connection.request("POST", "/api/v1/job-done/sweep", headers=headers)
            return connection.getresponse().status

    assert [post(text) for text in ("", "Bearer no", "Basic s3cr3t-token")] == [403, 403, 403]
    assert post("Bearer s3cr3t-token") == 200
    assert "s3cr3t" not in daemon.log()


def test_alertmanager_tells_over_an_authenticated_door_only(daemon: Local) -> None:
    daemon.rule("app", "check service app\n  if alerted HighLatency then alert\n")
    daemon.start()
    body = json.dumps(
        {"alerts": [{"status": "firing", "labels": {"alertname": "HighLatency", "name": "app"}}]}
    )
    with closing(http.client.HTTPConnection("127.0.0.1", daemon.port)) as connection:
        connection.request("POST", "/api/v1/alertmanager", body)
        assert connection.getresponse().status == 403
    for text, status in ((body, 200), ("{}", 400), ("nonsense", 400)):
        with closing(http.client.HTTPConnection("localhost")) as connection:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(daemon.control))
            connection.request("POST", "/api/v1/alertmanager", text)
            assert connection.getresponse().status == status
    until(lambda: daemon.incidents("app"), what="the incident")


def test_an_overdue_job_is_told_and_told_again_when_it_ran(daemon: Local) -> None:
    daemon.rule("jobs", "check jobs\n  sweep happens every -1 minutes\n")
    daemon.start()
    until(lambda: "sweep: overdue" in daemon.log(), what="the message")
    assert [i["service"] for i in daemon.api("status")["incidents"]] == ["sweep"]
    assert daemon.ask("job-done", "sweep").returncode == 0
    until(lambda: "recovered" in daemon.log(), what="the closing one")


def test_without_a_daemon_the_socket_that_was_tried_is_named(tmp_path: Path) -> None:
    for words in (("deploy", "start"), ("job-done", "x"), ("silence", "list")):
        command = [sys.executable, "-m", "steadyd", *words, "--control", f"{tmp_path}/c.sock"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ}
        )
        assert done.returncode == 3
        assert f"{tmp_path}/" in done.stderr
