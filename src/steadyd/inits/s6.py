"""s6: s6-svscan, s6-supervise, s6-svc (skarnet.org/software/s6, s6/supervise.h).

`status` has 35 bytes (43 since 2.12, with the process group): TAI64N of the last change, TAI64N of
readiness, pid, [process group,] wait status (16 bits), flags; all big-endian.
"""

import os
import signal as signals
from typing import ClassVar

from steadyd.inits.supervise import ONCE, TAI, Supervise, pid_is_sane
from steadyd.model.service import ServiceState, UnitStatus

NAME = "s6"
_SIZES = (35, 43)
_PAUSED, _FINISHING, _WANT_UP = 1, 2, 4
_NAMES = {each.value: each.name for each in signals.Signals}


class S6(Supervise):
    """The services of one s6-svscan."""

    name = NAME
    scanner, keeper = "s6-svscan", "s6-supervise"
    folders = ("run/service", "run/s6/service", "etc/s6-service", "service", "var/service")
    listening = "control"
    force = "s6-svc -k"
    letters: ClassVar = {  # s6-svc
        signals.SIGHUP: b"h",
        signals.SIGALRM: b"a",
        signals.SIGINT: b"i",
        signals.SIGQUIT: b"q",
        signals.SIGUSR1: b"1",
        signals.SIGUSR2: b"2",
        signals.SIGTERM: b"t",
        signals.SIGKILL: b"k",
        signals.SIGSTOP: b"p",
        signals.SIGCONT: b"c",
        signals.SIGWINCH: b"y",
    }

    @staticmethod
    def status_of(unit: str, data: bytes) -> UnitStatus:
        """Read a `status` file. Raises ValueError: it is none."""
        if len(data) not in _SIZES:
            raise ValueError(f"its status has {len(data)} bytes")
        seconds, pid = int.from_bytes(data[:8]), int.from_bytes(data[24:32])
        ended, flags = int.from_bytes(data[-3:-1]), data[-1]
        if not pid_is_sane(pid):
            raise ValueError("its status holds nonsense")
        wanted, finishing = bool(flags & _WANT_UP), bool(flags & _FINISHING)
        runs = pid > 0 and not finishing
        how, result = _end(ended)
        if runs:
            now, how = ServiceState.ACTIVE, "paused" if flags & _PAUSED else ""
        elif wanted:
            now, how = ServiceState.ACTIVATING, f"{how}; s6-supervise starts it again"
        elif finishing:
            now, how = ServiceState.DEACTIVATING, "its finish script runs"
        elif result in ("success", "stop"):
            now, how = ServiceState.INACTIVE, "stopped"
        else:
            now = ServiceState.FAILED
        return UnitStatus(
            NAME,
            unit,
            now,
            how,
            main_pid=pid if runs else 0,
            invocation=f"{pid}:{seconds}" if runs else "",
            result=result if not runs else "",
            acting=now in (ServiceState.ACTIVATING, ServiceState.DEACTIVATING),
            respawning=now is ServiceState.ACTIVATING,
            stopped=now is ServiceState.INACTIVE,
            can_reload=True,
            since=float(max(0, seconds - TAI)),
            type=ONCE if runs and not wanted else "",
        )


def _end(wait_status: int) -> tuple[str, str]:
    """Return in words how a process ended, and the init's word for it.

    SIGTERM is what a stop sends: who dies of it was stopped.
    """
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        name = _NAMES.get(number, f"signal {number}")
        return f"killed by {name}", "stop" if number == signals.SIGTERM else "signal"
    code = os.WEXITSTATUS(wait_status)
    return f"exited with status {code}", "exit-code" if code else "success"
