"""What scripts of an Inspeqtor host go on using: its socket, inspeqtorctl, export, statsd."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.local import SLEEPER, Local, local, until


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path) as made:
        made.keep(app=SLEEPER)
        made.rule("app", "check service app\n  if memory:rss > 80k then alert\n")
        made.rule("host", "check host\n  if load:1 > 500 then alert\n")
        made.rule("jobs", "check jobs\n  sweep happens every 1 hour\n")
        made.config(f'[inspeqtor]\nsocket = "{tmp_path}/inspeqtor.sock"\n')
        yield made


def ctl(daemon: Local, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "steadyd.inspeqtorctl", *words],
        env={**os.environ, "INSPEQTOR_SOCK": f"{daemon.folder}/inspeqtor.sock"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_old_words_have_the_old_answers(daemon: Local) -> None:
    daemon.start()
    until(lambda: daemon.api("status")["incidents"], what="the incident")
    assert ctl(daemon, "start", "deploy").stdout == "Starting deploy, now silenced\n"
    assert daemon.ask("deploy", "status").stdout != "nothing is muted\n"
    status = ctl(daemon, "status").stdout
    assert re.search(r"^Silenced until: 20\d\d-", status, re.MULTILINE)
    assert re.search(r"^Host: ", status, re.MULTILINE)
    assert re.search(r"^Service: app \[Up/\d+\]$", status, re.MULTILINE)
    assert re.search(r"^! memory:rss  +[\d.]+ MiB +80k$", status, re.MULTILINE)
    finished = ctl(daemon, "finish", "deploy").stdout
    assert finished == "Finished deploy, volume turned to 11\n"

    assert ctl(daemon, "job_done", "sweep").stdout == "OK\n"
    assert 'no such job "ghost"' in ctl(daemon, "job_done", "ghost").stdout
    assert ctl(daemon, "job_done").stdout.startswith("Usage:")
    assert ctl(daemon, "♡").stdout == "Awwww, I love you too.\n"
    assert ctl(daemon, "nonsense").stdout == "Unknown command: nonsense\n"
    told = json.loads(ctl(daemon, "export").stdout)
    assert told["services"]["app"]["metrics"]["memory"]["rss"] > 80_000
    assert set(told) == {"exported_at", "host", "services"}
    assert json.loads(daemon.ask("export").stdout)["services"].keys() == {"app"}
    until(lambda: "▁" in ctl(daemon, "show", "app", "memory:rss").stdout, what="a curve")


def test_show_has_numbers_and_a_curve(daemon: Local) -> None:
    daemon.start()

    def shown() -> list[str]:
        return daemon.ask("show", "app", "memory:rss").stdout.splitlines()

    lines = until(lambda: shown() if len(shown()) == 2 else None, what="readings")
    assert re.match(
        r"app memory:rss: min [\d.]+ MiB, max [\d.]+ MiB, avg .*, now .*, of \d", lines[0]
    )
    assert set(lines[1]) <= set("▁▂▃▄▅▆▇█")
    data = json.loads(daemon.ask("show", "--json", "app", "memory:rss").stdout)
    assert data["min"] <= data["avg"] <= data["max"]
    missing = daemon.ask("show", "app", "memory:pss")
    assert missing.returncode == 1
    assert "does a rule name it?" in missing.stderr


def test_a_client_that_says_nothing_or_too_much_holds_nobody_up(daemon: Local) -> None:
    daemon.start()
    path = f"{daemon.folder}/inspeqtor.sock"
    silent = [socket.socket(socket.AF_UNIX) for _ in range(5)]
    for each in silent:
        each.connect(path)
    assert ctl(daemon, "♡").stdout
    with socket.socket(socket.AF_UNIX) as loud:
        loud.settimeout(10)
        loud.connect(path)
        try:
            loud.sendall(b"x" * 1_000_000)
            assert loud.recv(10) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass
    for each in silent:
        each.settimeout(10)
        assert each.recv(10) == b""
        each.close()
    gone = subprocess.run(
        [sys.executable, "-m", "steadyd.inspeqtorctl", "status"],
        env={**os.environ, "INSPEQTOR_SOCK": f"{daemon.folder}/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert gone.returncode == 1
    assert gone.stderr.count("\n") == 1


def test_readings_go_to_statsd(daemon: Local) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        config = daemon.folder / "steadyd.toml"
        config.write_text(f'statsd = "127.0.0.1:{server.getsockname()[1]}"\n' + config.read_text())
        daemon.start()
        wanted = {"app.memory.rss": "g", "host.load.1": "g"}
        while wanted:
            path, _, rest = server.recv(1000).decode().partition(":")
            name = path.partition(".")[2]
            value, _, kind = rest.strip().partition("|")
            assert float(value) >= 0
            assert wanted.pop(name, kind) == kind
