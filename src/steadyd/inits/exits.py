"""The ends of processes that are not our children, as the kernel tells them (pidfd_open(2))."""

import asyncio
import os
from collections.abc import Callable, Collection


class Exits:
    """Follows processes by pid; `ended` is called once for each that ends.

    A pid that ended is not followed again while it stays among the given ones: its init may
    name it a while longer. A pid that is handed out again meanwhile is a case for the slow look.
    """

    def __init__(self, ended: Callable[[int], None]) -> None:
        self._ended = ended
        self._fds: dict[int, int] = {}
        self._gone: set[int] = set()

    def keep(self, pids: Collection[int]) -> None:
        """Follow these processes and no others."""
        wanted = set(pids)
        self._gone &= wanted
        for pid in self._fds.keys() - wanted:
            self._drop(pid)
        for pid in wanted - self._fds.keys() - self._gone:
            try:
                fd = os.pidfd_open(pid)
            except OSError:  # it ended since it was named, or there is no descriptor left
                self._gone.add(pid)
                asyncio.get_running_loop().call_soon(self._tell, pid)
                continue
            self._fds[pid] = fd
            asyncio.get_running_loop().add_reader(fd, self._on_end, pid)

    def close(self) -> None:
        """Let go of everything."""
        for pid in list(self._fds):
            self._drop(pid)

    def _on_end(self, pid: int) -> None:
        self._drop(pid)
        self._gone.add(pid)
        self._ended(pid)

    def _tell(self, pid: int) -> None:
        if pid in self._gone:
            self._ended(pid)

    def _drop(self, pid: int) -> None:
        fd = self._fds.pop(pid)
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
