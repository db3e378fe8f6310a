"""Files of /proc and of cgroups that are read again and again, and what they say of a process."""

import errno
import os
from collections.abc import Sequence

from msgspec import Struct

from steadyd.model.service import ProcessId
from steadyd.ports import Depth

SPARE_FDS = 256  # left to the rest of the daemon
MOST = 2**22  # bytes of one file: the pids of half a million processes
_CHUNK = 16384
# no file that is read here is a link or makes an open wait; what is one of these is another's work
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
PAGE = os.sysconf("SC_PAGE_SIZE")

# places in /proc/PID/stat after the name: state is field 3 of proc(5)
STATE, PPID, UTIME, STIME, CUTIME, CSTIME = 0, 1, 11, 12, 13, 14
STARTED, VSIZE, RSS = 19, 20, 21
_OF_PROCESS = (
    ("stat", os.O_RDONLY),
    ("statm", os.O_RDONLY),
    ("task", os.O_PATH),
    ("fd", os.O_PATH),
)


def split_stat(stat: bytes) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the state (field 3) to the rss (field 24).

    The name before them may hold blanks and parentheses; one more field holds the rest of the
    line. Raises ValueError.
    """
    fields = stat[stat.rindex(b")") + 2 :].split(None, RSS + 1)
    if len(fields) <= RSS:
        raise ValueError("a process's stat line is too short")
    return fields


def soft_limit(limits: bytes) -> float:
    """Return the soft `Max open files` of /proc/PID/limits; infinite where it is not limited."""
    at = limits.index(b"Max open files")
    word = limits[at + 14 : at + 64].split()[0]
    return float("inf") if word == b"unlimited" else float(word)


class Budget:
    """How many descriptors may be kept open; beyond it files are opened for each reading."""

    def __init__(self, most: int) -> None:
        self.free = most


NOTHING_KEPT = Budget(0)  # of one thread; others make their own


def fd_budget() -> int:
    """Return how many descriptors may be kept under the soft RLIMIT_NOFILE."""
    return max(0, os.sysconf("SC_OPEN_MAX") - SPARE_FDS)


class KeptFile:
    """A file read again and again, through a kept descriptor while the budget lasts."""

    __slots__ = ("_budget", "_fd", "path")

    def __init__(self, path: str, budget: Budget) -> None:
        self.path, self._budget, self._fd = path, budget, -1

    def read(self) -> bytes:
        """Return what it holds now. Raises OSError: after that the next read opens it anew."""
        self._open()
        try:
            data = os.pread(self._fd, _CHUNK, 0)
            # the kernel hands out such files by pages: a short one was all
            return data if len(data) < PAGE // 2 else data + self._rest(len(data))
        except OSError:
            self.close()
            raise
        finally:
            if self._budget.free < 0:
                self.close()

    def links(self) -> int:
        """Return its link count, of a folder mostly. Raises OSError."""
        self._open()
        try:
            return os.fstat(self._fd).st_nlink
        finally:
            if self._budget.free < 0:
                self.close()

    def _open(self) -> None:
        if self._fd < 0:
            self._fd = os.open(self.path, _OPEN)
            self._budget.free -= 1

    def _rest(self, offset: int) -> bytes:
        parts = []
        while data := os.pread(self._fd, _CHUNK, offset):
            parts.append(data)
            offset += len(data)
            if offset > MOST:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), self.path)
        return b"".join(parts)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._budget.free += 1


def of_process(proc: str, process: ProcessId, name: str) -> bytes:
    """Return a file of a process, surely not of a successor that has its pid.

    Raises ProcessLookupError where it is gone, OSError.
    """
    folder = f"{proc}/{process.pid}"
    try:
        text: bytes | OSError = KeptFile(f"{folder}/{name}", Budget(0)).read()
    except OSError as error:
        text = error
    try:
        fields = split_stat(KeptFile(f"{folder}/stat", Budget(0)).read())
    except (OSError, ValueError):
        fields = []
    if not fields or int(fields[STARTED]) != process.started:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    if isinstance(text, OSError):
        raise text
    return text


class KeptProcess:
    """A process by descriptors of its folder, which never answer for a successor of its pid.

    `statm`, `task` and `fds` are descriptors: facts of an open folder cost half of those by its
    path, and statm half of stat.
    """

    __slots__ = ("_budget", "_stat", "fds", "identity", "limit", "limit_at", "statm", "task")

    def __init__(self, folder: str, pid: int, budget: Budget) -> None:
        """Raises OSError where it is gone."""
        self._budget = budget
        self.identity = ProcessId(pid, -1)
        self.limit, self.limit_at = 0.0, float("-inf")
        opened: list[int] = []
        here = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        try:
            for name, flags in _OF_PROCESS:
                opened.append(os.open(name, flags | os.O_CLOEXEC, dir_fd=here))
        except OSError:
            for fd in opened:
                os.close(fd)
            raise
        finally:
            os.close(here)
        budget.free -= len(opened)
        self._stat, self.statm, self.task, self.fds = opened

    def fields(self) -> list[bytes]:
        """Return the fields of its stat. Raises OSError where it is gone, ValueError."""
        return split_stat(os.pread(self._stat, _CHUNK, 0))

    def close(self) -> None:
        """Let go of its descriptors; after that it answers as one that is gone."""
        if self._stat >= 0:
            for fd in (self._stat, self.statm, self.task, self.fds):
                os.close(fd)
            self._budget.free += len(_OF_PROCESS)
            self._stat = self.statm = self.task = self.fds = -1


class Steady(Struct):
    """A unit whose processes all live and are known, so that they can be asked in one go.

    `members` begin with the main process, if there is one. `limits` are their soft limits of
    descriptors, none where those were not read; `limits_at` is when the oldest of them was.
    """

    pids: Sequence[int]
    main_pid: int
    members: tuple[KeptProcess, ...]
    alive: tuple[ProcessId, ...]
    main: ProcessId | None
    limits: tuple[float, ...]
    limits_at: float
    quiet: "Quiet | None" = None


class Quiet(Struct, frozen=True):
    """What was counted in a unit, true for as long as its `cpu_stat` stays the same.

    To start a thread or to open a file costs CPU time, and the cgroup counts it.
    """

    cpu_stat: bytes
    depth: Depth
    threads: int
    fds: int
    fd_ratio: float
    main_fields: list[bytes]
