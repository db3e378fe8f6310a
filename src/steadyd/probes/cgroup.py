"""The processes and the CPU time of a unit's cgroup (cgroups(7)), and of what is below it."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from steadyd.probes.kept import NOTHING_KEPT, Budget, KeptFile, KeptProcess, Steady

if TYPE_CHECKING:
    from steadyd.probes.extras import UnitExtras

MOST_GROUPS = 1024  # below one unit; a unit with a delegated cgroup makes its own


class KeptUnit:
    """What is kept of a unit between samples. `folder` is empty where it has no cgroup."""

    __slots__ = (
        "_itself",
        "cgroup",
        "cpu",
        "extras",
        "folder",
        "processes",
        "procs",
        "steady",
        "unified",
        "used_at",
    )

    def __init__(self, cgroup: str, mounts: Sequence[tuple[str, bool]], budget: Budget) -> None:
        """`mounts` are where cgroup hierarchies are mounted, and whether each is cgroup2."""
        self.cgroup = cgroup
        self.folder, self.unified = _folder(cgroup, mounts)
        self._itself = KeptFile(self.folder, budget)
        self.procs = KeptFile(f"{self.folder}/cgroup.procs", budget)
        self.cpu = KeptFile(f"{self.folder}/cpu.stat", budget)
        self.processes: dict[int, KeptProcess] = {}
        self.steady: Steady | None = None
        self.extras: UnitExtras | None = None
        self.used_at = 0.0

    def pids(self) -> list[int]:
        """Return the pids in it and in the cgroups below."""
        pids = _pids(self.procs)
        if pids is None:  # the cgroup was made anew: the next open finds the new one
            self._itself.close()
            pids = _pids(self.procs) or []
        if self._has_children():
            for folder in _below(self.folder):
                pids += _pids(KeptFile(f"{folder}/cgroup.procs", NOTHING_KEPT)) or []
        return pids

    def _has_children(self) -> bool:
        """Tell by the link count of its folder, which is 2 and one for each child (kernfs)."""
        try:
            return self._itself.links() != 2
        except OSError:
            return False  # it was removed meanwhile

    def cpu_stat(self) -> bytes:
        """Return what its cgroup says of CPU time. Raises OSError."""
        try:
            return self.cpu.read()
        except OSError:  # the cgroup was made anew: this opens the new one
            return self.cpu.read()

    def close(self) -> None:
        """Let go of all descriptors."""
        self._itself.close()
        self.procs.close()
        self.cpu.close()
        if self.extras is not None:
            self.extras.close()
        for process in self.processes.values():
            process.close()


def cpu_times(cpu_stat: bytes) -> tuple[float, float]:
    """Return user and system seconds of the cpu.stat of a cgroup2, with those of ended processes.

    Raises KeyError, ValueError.
    """
    words = cpu_stat.split()
    values = dict(zip(words[::2], words[1::2], strict=True))
    return int(values[b"user_usec"]) / 1e6, int(values[b"system_usec"]) / 1e6


def _folder(cgroup: str, mounts: Sequence[tuple[str, bool]]) -> tuple[str, bool]:
    """Return where a cgroup is ("": it is none, or the whole host's) and if that is cgroup2."""
    if cgroup in ("", "/") or ".." in cgroup.split("/"):
        return "", False
    folders = [(f"{mount}{cgroup}", unified) for mount, unified in mounts]
    there = (each for each in folders if os.path.isdir(each[0]))
    return next(there, folders[0] if folders else ("", False))


def _pids(file: KeptFile) -> list[int] | None:
    try:
        return [pid for word in file.read().split() if (pid := int(word))]
    except OSError:
        return None


def _below(folder: str) -> Iterator[str]:
    """Yield the cgroups below one, but for systemd's own control group and its commands."""
    folders = [folder]
    for _ in range(MOST_GROUPS):
        if not folders:
            return
        here = folders.pop()
        if here is not folder:
            yield here
        try:
            with os.scandir(here) as entries:
                folders += [e.path for e in entries if e.name != ".control" and e.is_dir()]
        except OSError:
            continue  # it was removed meanwhile
