"""A host that runs Inspeqtor changes one line: `steadyd run --rules /etc/inspeqtor`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.local import free_port, until
from tests.fakes.target import Target, target

HOST = "check host\n  if load:1 < 1000000 then alert\n"


def conf(to: Target, more: str = "") -> str:
    url = f"http://127.0.0.1:{to.server.server_port}/services/TopSecret"
    return f"set cycle_time 1\nsend alerts via slack with url {url}\n{more}"


class Daemon:
    def __init__(self, folder: Path) -> None:
        self.rules, self.control = folder / "inspeqtor", folder / "control"
        self.log, self.folder = folder / "log", folder
        (self.rules / "services.d").mkdir(parents=True)

    @contextmanager
    def running(self, *more: str) -> Iterator[None]:
        words: list[str | Path] = ["run", *more, "--rules", self.rules]
        words += ["--state", self.folder / "state", "--control"]
        words += [self.control, "--web.listen-address", f"127.0.0.1:{free_port()}"]
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "steadyd", *map(str, words)], stdout=log, stderr=log
            )
        try:
            until(lambda: process.poll() is not None or self.status(), 30, "an answer")
            assert process.poll() is None, self.log.read_text()
            yield
        finally:
            process.terminate()
            process.wait(20)

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "steadyd", *words, "--control", str(self.control)],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def status(self) -> str:
        done = self.ask("status", "--json")
        return done.stdout if done.returncode == 0 else ""

    def write(self, text: str) -> None:
        beside = self.rules / "new"
        beside.write_text(text)
        os.replace(beside, self.rules / "inspeqtor.conf")


def test_alerts_go_where_the_file_says_also_after_it_changed(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    (daemon.rules / "host.inq").write_text(HOST)
    with target() as first, target() as second:
        daemon.write(conf(first))
        with daemon.running():
            body = until(lambda: first.bodies, 30, "the alert")[0]
            assert "load:1" in json.loads(body)["text"]

            daemon.write(conf(second))
            until(lambda: daemon.ask("reload", "--wait").returncode == 0, 10, "a reload")
            assert daemon.ask("test-alert").returncode == 0
            assert "test of route" in json.loads(second.bodies[-1])["text"]

            daemon.write("set cycle_time\n")
            bad = daemon.ask("reload", "--wait")
            assert bad.returncode == 1
            assert "inspeqtor.conf:2:1: error: expected a value" in bad.stderr
            assert "inspeqtor.conf" in str(json.loads(daemon.status())["trouble"])
            until(lambda: any("is wrong" in each for each in second.bodies), 20, "being told")
            assert daemon.ask("test-alert").returncode == 0  # what was good stays in force

            daemon.write(conf(first))
            assert daemon.ask("reload", "--wait").returncode == 0
            assert json.loads(daemon.status())["trouble"] == []
        assert "TopSecret" not in daemon.log.read_text()


def test_a_bad_file_stops_nobody_from_starting(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    (daemon.rules / "host.inq").write_text(HOST)
    daemon.write("send alerts via\n")
    with daemon.running():
        assert "inspeqtor.conf:2:1: error" in str(json.loads(daemon.status())["trouble"])
        assert daemon.ask("test-alert").returncode == 1
        with target() as mended:
            daemon.write(conf(mended))
            until(lambda: daemon.ask("test-alert").returncode == 0, 20, "the mended route")
            assert mended.bodies
    assert "inspeqtor.conf:2:1: error: expected a channel" in daemon.log.read_text()


def test_what_has_no_effect_is_logged_at_the_start(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    (daemon.rules / "host.inq").write_text(HOST)
    with target() as to:
        daemon.write(conf(to, "send alerts to chat via flowdock with token TopSecret\n"))
        with daemon.running():
            pass
    said = daemon.log.read_text()
    assert "the service flowdock has ended" in said
    assert "TopSecret" not in said


def test_a_route_that_tells_nobody_tells_nobody(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    text = "check host with owner dev\n  if load:1 < 1000000 then alert\n"
    (daemon.rules / "host.inq").write_text(text + "  if load:5 < 1000000 then alert default\n")
    with target() as to:
        daemon.write(conf(to, "send alerts to dev via null with a b\n"))
        with daemon.running():
            until(lambda: any("load:5" in each for each in to.bodies), 30, "the other alert")
            until(lambda: json.loads(daemon.status())["outbox"]["pending"] == 0, 20, "an end")
            assert not any("load:1" in each for each in to.bodies)
            assert daemon.ask("reload", "--wait").returncode == 0


def test_what_the_command_line_says_survives_a_reload(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    (daemon.rules / "host.inq").write_text(HOST)
    (tmp_path / "steadyd.toml").write_text('cycle = "1s"\n')
    with target() as to:
        daemon.write(conf(to))
        with daemon.running("--config", str(tmp_path / "steadyd.toml")):
            assert daemon.ask("reload", "--wait").returncode == 0
            assert daemon.ask("test-alert").returncode == 0
