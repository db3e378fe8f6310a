"""The README's first command: it heals, it tells, it leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.e2e.local import until


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "steadyd", "demo", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
    )


def left(folder: Path) -> list[str]:
    """What a demo left: files in its temporary folder, processes that name it."""
    found = [str(path) for path in folder.iterdir()]
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = process.joinpath("cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in command:
                found.append(command.replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="demo-test-"))  # short: sockets lie below it


def test_once_heals_tells_and_ends_by_itself(folder: Path) -> None:
    process = start(folder, "--once")
    out, err = process.communicate(timeout=120)

    assert process.returncode == 0, out + err
    for word in ("page     http://127.0.0.1:", "incident if memory:total_rss > 120m", "reload"):
        assert word in out
    assert "outcome  reload: healed" in out
    assert re.search(r"message  \S+ leaky: memory:total_rss 1[0-9.]+ MiB > 120 MiB", out)
    assert "recovered after" in out
    assert int(re.findall(r"Healed and told in (\d+) s", out)[0]) <= 60
    assert left(folder) == []
    folder.rmdir()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(folder: Path, number: signal.Signals) -> None:
    process = start(folder)
    assert process.stdout is not None
    until(lambda: "memory " in process.stdout.readline(), 40, "the first line about memory")  # type: ignore[union-attr]
    process.send_signal(number)
    out, err = process.communicate(timeout=40)

    assert process.returncode == 0
    assert "nothing of it is left" in out
    assert err == ""
    assert left(folder) == []
    folder.rmdir()


def test_where_its_port_is_taken_it_takes_another(folder: Path) -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 10870))
            taken.listen()
        except OSError:
            pass  # somebody else has it: as good
        process = start(folder)
        assert process.stdout is not None
        line = until(
            lambda: (text := process.stdout.readline()) and "page" in text and text,  # type: ignore[union-attr]
            40,
        )
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=40)

    assert ":10870/" not in line
    assert left(folder) == []
    folder.rmdir()


def test_without_supervisor_it_says_in_one_line_what_to_install(folder: Path) -> None:
    code = (
        "import importlib.util, sys; found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, *a: None if n == 'supervisor' else found(n, *a)\n"
        "from steadyd.__main__ import main; sys.exit(main(['demo', '--once']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TMPDIR": str(folder)},
    )

    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "pip install 'steadyd[demo]'" in done.stderr
    assert left(folder) == []
    folder.rmdir()
