"""Real servers on loopback: started by their own programs, waited for, ended by their own pid."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

SECRET = "s3cr3t wörd&/?%"  # what must be quoted somewhere
PLAIN = "s3cr3tword"
# this host by an address that is not of loopback: there TLS is used where the server has it
ELSEWHERE = "0.0.0.0"
LOOPBACK = "127.0.0.1"


def program(name: str, *folders: str) -> str:
    """Return where a server's program is; skip where there is none."""
    found = shutil.which(name, path=os.pathsep.join((*folders, os.environ["PATH"], "/usr/sbin")))
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def free_port() -> int:
    with socket.socket() as some:
        some.bind((LOOPBACK, 0))
        port: int = some.getsockname()[1]
        return port


def listens(where: int | str | Path) -> bool:
    """Tell if somebody takes connections at a port, or at a socket's path."""
    port = isinstance(where, int)
    with socket.socket(socket.AF_INET if port else socket.AF_UNIX) as some:
        some.settimeout(1)
        try:
            some.connect((LOOPBACK, where) if port else str(where))
        except OSError:
            return False
        return True


def until(test: Callable[[], object], what: Callable[[], str], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


@contextlib.contextmanager
def running(
    argv: Sequence[str | Path],
    ready: Callable[[], object],
    log: Path,
    *,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    end: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in the foreground until the block ends."""
    who = {"user": user, "group": user, "extra_groups": []} if user else {}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env={**os.environ, **(env or {})},
            **who,  # type: ignore[call-overload]
        )
    try:
        until(lambda: process.poll() is not None or ready(), lambda: _said(argv, log))
        assert process.poll() is None, _said(argv, log)
        yield process
    finally:
        process.send_signal(end)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _said(argv: Sequence[str | Path], log: Path) -> str:
    return f"{argv[0]}: {log.read_text(errors='replace')[-2000:]}"


def certificate(folder: Path, days: str = "30", *before: str) -> None:
    """Make a key and a certificate of its own for localhost: `folder`/key and /pem."""
    subprocess.run(
        [
            *(*before, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", days),
            *("-keyout", folder / "key", "-out", folder / "pem", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )


def told(*argv: str | Path, stdin: str = "") -> str:
    """Return what a server's own client prints."""
    return subprocess.run(
        [str(word) for word in argv],
        input=stdin,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout


@contextlib.contextmanager
def redis_server(folder: Path, *words: str) -> Iterator[int]:
    """Run a Redis on a port and on `folder`/socket."""
    port = free_port()
    argv = [program("redis-server"), "--bind", LOOPBACK, "--port", str(port), "--save", ""]
    argv += ["--dir", str(folder), "--unixsocket", str(folder / "socket"), *words]
    with running(argv, lambda: listens(port), folder / "log"):
        yield port
