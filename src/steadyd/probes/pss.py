"""Proportional memory (PSS) of units whose rules name it: smaps_rollup of each process (proc(5)).

The kernel walks all pages of a process for it (10 ms for a GiB) and holds that process up
meanwhile; one whose memory map is locked holds us up. So it is measured by a thread of its own,
seldom, and never of what is big.
"""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from steadyd.model.metric import Sample
from steadyd.model.service import ProcessId
from steadyd.probes import texts
from steadyd.probes.controllers import Unknown
from steadyd.probes.kept import of_process

PERIOD = 60.0  # seconds between two measurements of a unit
VALID = 120.0  # seconds for which a value is used
MOST_BYTES = 2 * 2**30  # of resident memory
TOO_BIG = "its processes have more than 2 GiB: to measure that would hold them up"
NOT_YET = "not measured yet"
HANGS = "a measurement has not ended for a minute: the memory map of a process is locked"
NO_RIGHT = "no right to see the memory map of another user's process"
_OLD_KERNEL = "this kernel has no smaps_rollup (it came with 4.14)"

Clock = Callable[[], float]


class Proportional:
    """The newest PSS of one unit."""

    def __init__(self, proc: str, measurer: "Measurer", clock: Clock = time.monotonic) -> None:
        self._proc, self._measurer, self._clock = proc, measurer, clock
        self._main: ProcessId | None = None
        self._found: float | str = NOT_YET
        self._at = self._asked_at = float("-inf")
        self._waiting = False

    def read(self, sample: Sample) -> float:
        """Return it in bytes; a new measurement is begun where one is due. Raises Unknown."""
        if sample.raw["total_rss"] > MOST_BYTES:
            raise Unknown(TOO_BIG)
        now = self._clock()
        if sample.main != self._main and not self._waiting:  # of another process it tells nothing
            self._main, self._found, self._at = sample.main, NOT_YET, float("-inf")
            self._asked_at = float("-inf")
        if not self._waiting and now - self._asked_at >= PERIOD:
            self._measurer.begin()
            self._waiting, self._asked_at = True, now  # before it may be done
            self._measurer.ask(lambda: self._measure(sample))
        if sample.main != self._main:
            raise Unknown(NOT_YET)
        if now - self._at > VALID:
            raise Unknown(HANGS if now - self._asked_at > PERIOD else NOT_YET)
        if isinstance(self._found, str):
            raise Unknown(self._found)
        return self._found

    def _measure(self, sample: Sample) -> None:
        """Measure, in the other thread; `_waiting` is let go of last."""
        try:
            self._found = _total(self._proc, sample.processes)
        except Unknown as error:
            self._found = str(error)
        self._at = self._clock()
        self._waiting = False


class Measurer:
    """One thread that does what it is asked for, one after the other; made when first asked."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._begun = False

    def begin(self) -> None:
        """Make the thread, where it is not there yet. Raises Unknown."""
        if self._begun:
            return
        try:  # a daemon thread: what hangs holds no exit up
            threading.Thread(target=self._run, name="pss", daemon=True).start()
        except RuntimeError as error:
            raise Unknown(f"it could not be measured: {error}") from None
        self._begun = True

    def ask(self, work: Callable[[], None]) -> None:
        """Have something done later. Raises Unknown."""
        self.begin()
        self._work.put(work)

    def close(self) -> None:
        """Let the thread end."""
        if self._begun:
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _total(proc: str, processes: tuple[ProcessId, ...]) -> float:
    total, counted = 0, False
    for process in processes:
        try:
            text = of_process(proc, process, "smaps_rollup")
            total += texts.value(text, b"Pss:") * 1024
            counted = True
        except ProcessLookupError:
            continue
        except PermissionError:
            raise Unknown(NO_RIGHT) from None
        except FileNotFoundError:
            raise Unknown(_OLD_KERNEL) from None
        except (OSError, ValueError) as error:
            why = f"smaps_rollup of process {process.pid} cannot be read: {error}"
            raise Unknown(why) from None
    if not counted:
        raise Unknown("its processes ended meanwhile")
    return float(total)
