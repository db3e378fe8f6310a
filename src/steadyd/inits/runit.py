"""runit: runsvdir(8), runsv(8), sv(8).

`status` has 20 bytes: TAI64N of the last change (seconds and nanoseconds, big-endian), pid
(little-endian), paused, want (`u`, or `d`: also of what is to run once), TERM sent, state (0 down,
1 run, 2 finish). It holds no exit code.
"""

import signal as signals
from typing import ClassVar

from steadyd.inits.supervise import ONCE, TAI, Supervise, pid_is_sane
from steadyd.model.service import ServiceState, UnitStatus

NAME = "runit"
_SIZE = 20
_DOWN, _RUN, _FINISH = 0, 1, 2


class Runit(Supervise):
    """The services of one runsvdir."""

    name = NAME
    scanner, keeper = "runsvdir", "runsv"
    folders = ("etc/service", "service", "var/service", "etc/runit/runsvdir/current")
    listening = "ok"
    force = "sv force-restart"
    letters: ClassVar = {  # runsv(8), CONTROL
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
    }

    @staticmethod
    def status_of(unit: str, data: bytes) -> UnitStatus:
        """Read a `status` file. Raises ValueError: it is none."""
        if len(data) != _SIZE:
            raise ValueError(f"its status has {len(data)} bytes in place of {_SIZE}")
        seconds, pid = int.from_bytes(data[:8]), int.from_bytes(data[12:16], "little")
        paused, want, term, state = data[16], data[17], data[18], data[19]
        if state not in (_DOWN, _RUN, _FINISH) or want not in b"ud" or not pid_is_sane(pid):
            raise ValueError("its status holds nonsense")
        once, runs = want == ord("d"), state == _RUN and pid > 0
        if runs and not term:
            now, reason = ServiceState.ACTIVE, "paused" if paused else ""
        elif runs:
            now, reason = ServiceState.DEACTIVATING, "told to end"
        elif once and state == _FINISH:
            now, reason = ServiceState.DEACTIVATING, "its finish script runs"
        elif once:
            now, reason = ServiceState.INACTIVE, "stopped"
        else:
            now, reason = ServiceState.ACTIVATING, "it ended; runsv starts it again"
        return UnitStatus(
            NAME,
            unit,
            now,
            reason,
            main_pid=pid if runs else 0,
            invocation=f"{pid}:{seconds}" if runs else "",
            acting=now in (ServiceState.ACTIVATING, ServiceState.DEACTIVATING),
            respawning=now is ServiceState.ACTIVATING,
            stopped=now is ServiceState.INACTIVE,
            can_reload=True,
            since=float(max(0, seconds - TAI)),
            type=ONCE if once and runs else "",
        )
