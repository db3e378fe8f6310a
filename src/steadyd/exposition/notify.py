"""Telling systemd how we are (sd_notify(3)). Without systemd nothing happens."""

import functools
import logging
import os
import signal
import socket
import time

log = logging.getLogger(__name__)

TIMEOUT = 0.1  # seconds; systemd that does not read must not hold up the loop


def notify(message: str) -> None:
    """Send one datagram, `\\n` between assignments; where that fails it is said once."""
    if not (address := os.environ.get("NOTIFY_SOCKET")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(TIMEOUT)
            channel.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)
    except (OSError, ValueError) as error:
        _say_once(f"cannot tell {address} how we are: {error}")


@functools.cache
def _say_once(text: str) -> None:
    log.warning("%s", text)


def ready(status: str) -> None:
    """Say that start-up, or a reload, is complete."""
    notify(f"READY=1\nSTATUS={_line(status)}")


def reloading() -> None:
    """Say that a reload has begun; `ready` ends it."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def status(text: str) -> None:
    """Set the line that `systemctl status` shows."""
    notify(f"STATUS={_line(text)}")


def alive() -> None:
    """Feed the watchdog; call it after a completed cycle, never from a timer of its own."""
    notify("WATCHDOG=1")


def stopping() -> None:
    """Say that we are about to end."""
    notify("STOPPING=1")


def watchdog_seconds() -> float | None:
    """Return after how many seconds of silence systemd kills us; None: it does not watch."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0:
        return None
    if pid and pid != str(os.getpid()):
        return None
    return int(usec) / 1e6


class Systemd:
    """systemd as the supervisor of the daemon; see ports.Supervisor."""

    def __init__(self) -> None:
        seconds = watchdog_seconds()
        self.beat = seconds / 2 if seconds else None

    def ready(self, summary: str) -> None:
        """Say that start-up, or a reload, is complete."""
        ready(summary)

    def reloading(self) -> None:
        """Say that a reload has begun."""
        reloading()

    def alive(self) -> None:
        """Feed the watchdog, if there is one."""
        if self.beat is not None:
            alive()

    def stopping(self) -> None:
        """Say that we are about to end."""
        stopping()


class SigStop:
    """Upstart's `expect stop`: the daemon stops itself once when it is ready."""

    beat: float | None = None

    def __init__(self) -> None:
        self._told = False

    def ready(self, summary: str) -> None:
        """Raise SIGSTOP the first time; init sends SIGCONT."""
        if not self._told:
            self._told = True
            os.kill(os.getpid(), signal.SIGSTOP)

    def reloading(self) -> None:
        """Nobody asks."""

    def alive(self) -> None:
        """Nobody asks."""

    def stopping(self) -> None:
        """Nobody asks."""


class Nobody(SigStop):
    """No supervisor wants to know."""

    def ready(self, summary: str) -> None:
        """Nobody asks."""


def _line(text: str) -> str:
    return " ".join(text.split())
