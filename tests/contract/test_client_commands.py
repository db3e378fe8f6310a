import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from steadyd.ports import ReloadReport
from tests.fakes.exposition import HOSTILE, SECRET, FakeDaemon
from tests.fakes.http import serving


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


async def steadyd(*args: str, **environment: str) -> Done:
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "steadyd", *args,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=env | {"PYTHONPATH": "src"} | environment,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert "Traceback" not in err.decode()
    return Done(process.returncode or 0, out.decode(), err.decode())


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
async def control(daemon: FakeDaemon, tmp_path: Path) -> AsyncIterator[str]:
    path = str(tmp_path / "c.sock")
    async with serving(daemon, listen=[], control=path):
        yield path


async def test_status_tells_what_matters(control: str) -> None:
    done = await steadyd("status", "--control", control)
    assert (done.code, done.err) == (0, "")
    for shown in ("web1: steadyd 0.1.0, up 1d", "1 of 3 services active", "2 open incidents",
                  "238.4 MiB", "supervisord does not answer", "disk full", "bad.inq",
                  "restart: not_healed", "3 messages not delivered yet",
                  "exited with 1"):  # fmt: skip
        assert shown in done.out
    assert HOSTILE not in done.out  # its newline and the rest came on one line
    assert "\x1b" not in done.out


async def test_json_is_the_interfaces_own(control: str) -> None:
    for args, key in (
        (["status"], "services"),
        (["services"], "services"),
        (["why", "puma"], "service"),
        (["reload", "--wait"], "ok"),
    ):
        done = await steadyd(*args, "--json", "--control", control)
        assert (done.code, key in json.loads(done.out)) == (0, True)


async def test_services_name_the_unit_or_the_reason(control: str) -> None:
    done = await steadyd("services", "--control", control)
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert "puma.service" in lines["puma"]
    assert "there is no unit" in lines["ghost"]
    assert done.code == 0


async def test_why_tells_the_chain_with_its_numbers(control: str) -> None:
    done = await steadyd("why", "puma", "--control", control)
    assert done.code == 0
    kinds = [line.split()[2] for line in done.out.splitlines() if line.startswith("  2026-")]
    assert kinds == ["opened", "action", "outcome"]
    assert "2026-11-23 07:57:29.123" in done.out
    assert "[238.4 MiB against 200.0 MiB]" in done.out
    assert SECRET in done.out
    for name in ("nope", "../status", "a/b?c#d%00", "é\x1b[2J"):
        nobody = await steadyd("why", name, "--control", control)
        assert (nobody.code, nobody.err.count("\n"), "\x1b" in nobody.err) == (1, 1, False)
        assert "nobody watches a service" in nobody.err


async def test_reload_waits_for_the_reasons_only_when_asked(
    control: str, daemon: FakeDaemon
) -> None:
    assert (await steadyd("reload", "--wait", "--control", control)).code == 0
    daemon.report = ReloadReport(False, 3, 1, ("a.inq:1:7: no\n  if x\n     ^\x1b[2J",))
    bad = await steadyd("reload", "--wait", "--control", control)
    assert (bad.code, "a.inq:1:7: no\n  if x\n     ^" in bad.err) == (1, True)
    assert "\x1b" not in bad.err
    assert (await steadyd("reload", "--control", control)) == Done(0, "", "")
    assert daemon.reloads == 3


async def test_a_test_alert_tells_who_did_not_take_it(control: str) -> None:
    good = await steadyd("test-alert", "--control", control)
    assert (good.code, good.out.count("ok")) == (0, 2)
    bad = await steadyd("test-alert", "ops", "--control", control)
    assert (bad.code, "connection refused" in bad.out) == (1, True)
    unknown = await steadyd("test-alert", "nope", "--control", control)
    assert (unknown.code, "there is no route nope" in unknown.err) == (1, True)


def _missing(path: Path) -> None:
    path.unlink(missing_ok=True)


def _stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def _file(path: Path) -> None:
    path.write_text("")


@pytest.mark.parametrize("make", [_missing, _stale, _file])
@pytest.mark.parametrize("command", ["status", "services", "why puma", "reload", "test-alert"])
async def test_without_a_daemon_one_line_says_where_it_was_looked_for(
    tmp_path: Path, command: str, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "c.sock"
    make(path)
    done = await steadyd(*command.split(), "--control", str(path))
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert str(path) in done.err


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n\r\n[1]"])
async def test_what_is_no_steadyd_is_not_believed(tmp_path: Path, answer: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(other, tmp_path / "c.sock"):
        done = await steadyd("status", "--control", str(tmp_path / "c.sock"))
    assert (done.code, done.err.count("\n")) == (3, 1)


async def test_a_terminal_has_colours_and_lines_that_fit(control: str) -> None:
    script = f"{sys.executable} -m steadyd status --control {control}"
    process = await asyncio.create_subprocess_exec(
        "script", "-qec", f"stty cols 80; {script}", "/dev/null",
        stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": "src", "TERM": "xterm"},
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    text = out.decode()
    assert "\x1b[32mactive" in text
    plain = text.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[33m", "")
    plain = plain.replace("\x1b[0m", "")
    table = [line for line in plain.splitlines() if line.startswith(("SERVICE", "puma", "ghost"))]
    assert len(table) >= 3
    assert all(len(line) <= 80 for line in table)
