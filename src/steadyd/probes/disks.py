"""How full file systems are. One that hangs (a dead NFS server) holds up nobody but itself."""

import os
import threading
import time
from collections.abc import Collection, Iterable

from steadyd.probes.host import disk_percent

PATIENCE = 1.0  # seconds for all mounts together


class Disks:
    """Asks each file system in a thread of its own, and one that hangs no second time.

    Daemon threads: those that hang hold no exit up.
    """

    def __init__(self, root: str = "", patience: float = PATIENCE) -> None:
        self._root, self._patience = root, patience
        self._asked: dict[str, _Asked] = {}

    def percent(self, mounts: Iterable[str], known: Collection[str]) -> dict[str, float | str]:
        """Return percent used by mount, or why it cannot be told. `known` are the mount points."""
        found: dict[str, float | str] = {}
        for mount in mounts:
            if (mount.rstrip("/") or "/") not in known:
                found[mount] = f"nothing is mounted at {mount}"
            elif mount not in self._asked:
                self._asked[mount] = _Asked(f"{self._root}{mount}")
        until = time.monotonic() + self._patience
        for mount in list(self._asked):
            asked = self._asked[mount]
            if not asked.late and not asked.done.wait(max(0.0, until - time.monotonic())):
                asked.late = True
            if asked.done.is_set():
                del self._asked[mount]
                found[mount] = asked.answer
            else:
                waited = time.monotonic() - asked.at
                found[mount] = f"the file system at {mount} has not answered for {waited:.0f} s"
        return found


class _Asked:
    """One question to a file system, and its answer once `done` is set."""

    def __init__(self, path: str) -> None:
        self.done, self.late, self.at = threading.Event(), False, time.monotonic()
        self.answer: float | str = ""
        try:
            threading.Thread(target=self._ask, args=(path,), name="disk", daemon=True).start()
        except RuntimeError as error:
            self.answer = str(error)
            self.done.set()

    def _ask(self, path: str) -> None:
        try:
            facts = os.statvfs(path)
            percent = disk_percent(facts.f_blocks, facts.f_bfree, facts.f_bavail)
            self.answer = "the file system has no size" if percent is None else percent
        except OSError as error:
            self.answer = error.strerror or str(error)
        finally:
            self.done.set()
