import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from steadyd.exposition import notify


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(5)
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield manager


def test_each_message_is_one_datagram_in_systemds_words(manager: socket.socket) -> None:
    notify.ready("watching 3 services\nREADY=0")
    assert manager.recv(999) == b"READY=1\nSTATUS=watching 3 services READY=0"
    notify.reloading()
    first, second = manager.recv(999).decode().split("\n")
    assert first == "RELOADING=1"
    key, _, usec = second.partition("=")
    assert (key, usec.isdecimal()) == ("MONOTONIC_USEC", True)
    notify.alive()
    notify.status("ok")
    notify.stopping()
    assert [manager.recv(99) for _ in range(3)] == [b"WATCHDOG=1", b"STATUS=ok", b"STOPPING=1"]


def test_abstract_sockets_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"steadyd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(5)
        manager.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify.alive()
        assert manager.recv(99) == b"WATCHDOG=1"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.alive()


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("3000000", "", 3.0),
        ("3000000", "me", 3.0),
        ("3000000", "1", None),
        ("", "", None),
        ("0", "", None),
        ("x", "", None),
        ("-5", "", None),
    ],
)
def test_the_watchdog_is_ours_only_if_systemd_says_so(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "me" else pid)
    assert notify.watchdog_seconds() == seconds


def test_a_manager_that_does_not_listen_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.bind(str(tmp_path / "full"))
        for name in ("gone", "full"):
            monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / name))
            for _ in range(300):
                if name in caplog.text:
                    break
                notify.alive()
            for _ in range(3):
                notify.alive()

    assert [r.getMessage().count("cannot tell") for r in caplog.records] == [1, 1]
