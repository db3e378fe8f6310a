"""The only reader of /proc and of cgroup files (proc(5), cgroups(7)).

The names in a service's `Sample.raw`:

rss, total_rss              bytes: main process, all (shared pages count in each); from stat,
                            where the kernel may be late by some dozen pages per CPU
user_seconds, system_seconds              CPU time of the main process
total_user_seconds, total_system_seconds  of the unit, with ended children
processes, threads, zombies               zombies are not among the processes
open_fds, worst_fd_ratio    descriptors of all; of the fullest process against its limit, 0-1
start_time_seconds          start of the main process, wall clock

Those of the host are in `probes.host`.
"""

import os
import resource
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from steadyd.model.metric import Sample
from steadyd.model.service import ProcessId
from steadyd.ports import Depth, SampleTarget
from steadyd.probes.host import cgroup_mounts, disk_percent, host_raw, mount_points

LIMITS_SECONDS = 60.0  # how old a process's limit of descriptors may be
FORGET_SECONDS = 120.0  # after which files of a unit that nobody samples are closed
MOST_GROUPS = 1024  # below one unit; a unit with a delegated cgroup makes its own
_SPARE_FDS = 256  # left to the rest of the daemon
_CHUNK = 16384
_PAGE = 4096
_CLOCK_STEP = 0.5

# places in /proc/PID/stat after the name: state is field 3 of proc(5)
_STATE, _PPID, _UTIME, _STIME, _CUTIME, _CSTIME = 0, 1, 11, 12, 13, 14
_THREADS, _STARTED, _VSIZE, _RSS = 17, 19, 20, 21
_DEAD = (b"Z", b"X")


def split_stat(stat: bytes) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the state (field 3) to the rss (field 24).

    The name before them may hold blanks and parentheses; one more field holds the rest of the
    line. Raises ValueError.
    """
    fields = stat[stat.rindex(b")") + 2 :].split(None, _RSS + 1)
    if len(fields) <= _RSS:
        raise ValueError("a process's stat line is too short")
    return fields


def soft_limit(limits: bytes) -> float:
    """Return the soft `Max open files` of /proc/PID/limits; infinite where it is not limited."""
    at = limits.index(b"Max open files")
    word = limits[at + 14 : at + 64].split()[0]
    return float("inf") if word == b"unlimited" else float(word)


def cpu_times(cpu_stat: bytes) -> tuple[float, float]:
    """Return user and system seconds of a cgroup's cpu.stat. Raises KeyError, ValueError."""
    words = cpu_stat.split()
    values = dict(zip(words[::2], words[1::2], strict=True))
    return int(values[b"user_usec"]) / 1e6, int(values[b"system_usec"]) / 1e6


class _Budget:
    """How many descriptors may be kept open; beyond it files are opened for each reading."""

    def __init__(self, most: int) -> None:
        self.free = most


class _File:
    """A file read again and again, through a kept descriptor while the budget lasts."""

    __slots__ = ("_budget", "_fd", "path")

    def __init__(self, path: str, budget: _Budget) -> None:
        self.path, self._budget, self._fd = path, budget, -1

    def read(self) -> bytes:
        """Return what it holds now. Raises OSError: after that the next read opens it anew."""
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            self._budget.free -= 1
        try:
            data = os.pread(self._fd, _CHUNK, 0)
            # the kernel hands out such files by pages: a short one was all
            return data if len(data) < _PAGE // 2 else data + self._rest(len(data))
        except OSError:
            self.close()
            raise
        finally:
            if self._budget.free < 0:
                self.close()

    def _rest(self, offset: int) -> bytes:
        parts = []
        while data := os.pread(self._fd, _CHUNK, offset):
            parts.append(data)
            offset += len(data)
        return b"".join(parts)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._budget.free += 1


class _Process(_File):
    """A process by its kept stat file: ESRCH says that it is gone, even if its pid lives on."""

    __slots__ = ("fd_folder", "identity", "limit", "limit_at", "statm")

    def __init__(self, folder: str, pid: int, budget: _Budget) -> None:
        super().__init__(f"{folder}/stat", budget)
        self.fd_folder = f"{folder}/fd"
        self.statm = _File(f"{folder}/statm", budget)
        self.limit, self.limit_at = 0.0, float("-inf")
        self.identity = ProcessId(pid, -1)

    def pages(self) -> int:
        """Return its resident pages, 0 if it is gone or a zombie. Half as costly as its stat."""
        try:
            return int(self.statm.read().split(None, 2)[1])
        except (OSError, ValueError, IndexError):
            return 0

    def close(self) -> None:
        super().close()
        self.statm.close()

    def fields(self) -> list[bytes]:
        """Return the fields of its stat, none if it is gone."""
        try:
            # the hot path of a sample: spares two calls
            return split_stat(os.pread(self._fd, _PAGE, 0) if self._fd >= 0 else self.read())
        except (OSError, ValueError):
            self.close()
            return []


class _Unit:
    """What is kept of a unit between samples."""

    __slots__ = ("cgroup", "cpu", "folder", "processes", "procs", "unified", "used_at")

    def __init__(self, cgroup: str, folder: str, unified: bool, budget: _Budget) -> None:
        self.cgroup, self.folder, self.unified = cgroup, folder, unified
        self.procs = _File(f"{folder}/cgroup.procs", budget)
        self.cpu = _File(f"{folder}/cpu.stat", budget)
        self.processes: dict[int, _Process] = {}
        self.used_at = 0.0

    def close(self) -> None:
        self.procs.close()
        self.cpu.close()
        for process in self.processes.values():
            process.close()


class _Tally:
    """The sums over the processes of one unit."""

    def __init__(self, count_fds: bool) -> None:
        self.at = time.monotonic()
        self.count_fds = count_fds
        self.rss = self.user = self.system = 0
        self.threads = self.zombies = 0
        self.fds = 0
        self.fd_ratio = -1.0
        self.no_fds = "" if count_fds else "not counted in this sample"
        self.alive: list[ProcessId] = []
        self.main: ProcessId | None = None
        self.main_fields: list[bytes] = []
        self.main_pages = 0


class ProcSampler:
    """Samples processes and host; implements `ports.Sampler`.

    `root` is the directory in which proc and sys/fs/cgroup lie. `most_fds` caps the kept
    descriptors (default: the soft RLIMIT_NOFILE, so raise that first). Not for use by two
    threads at a time; `host` alone may run in another.
    """

    def __init__(self, root: str = "/", most_fds: int | None = None) -> None:
        self._root = root.rstrip("/")
        self._proc = f"{self._root}/proc"
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._budget = _Budget(_fd_budget() if most_fds is None else most_fds)
        self._units: dict[str, _Unit] = {}
        self._own = _File(f"{self._proc}/self/stat", self._budget)
        self._mounts = tuple(
            (self._root + mount, unified)
            for mount, unified in cgroup_mounts(self._text("self/mountinfo"))
        )
        # since Linux 6.2 the size of /proc/PID/fd is the number of descriptors; before, 0
        self._counts_fds = os.stat("/proc/self/fd").st_size > 0
        self._booted_at = 0.0

    def sample(self, targets: Sequence[SampleTarget]) -> Mapping[str, Sample]:
        """Sample each target's processes now, keyed by unit; one without any is left out."""
        samples = {}
        children: dict[int, list[int]] | None = None
        for target in targets:
            unit = self._unit(target)
            pids = self._pids_of_cgroup(unit) if unit.folder else []
            if not unit.folder and target.main_pid > 0:
                children = self._children() if children is None else children
                pids = list(_descendants(target.main_pid, children))
            if sample := self._measure(unit, pids, target):
                samples[target.unit] = sample
            else:
                self._units.pop(target.unit).close()
        self._forget()
        return samples

    def host(self, mounts: Sequence[str]) -> Sample:
        """Sample the host. A dead network mount blocks it: call it in a thread with a deadline."""
        texts, missing = {}, {}
        for name in ("stat", "loadavg", "meminfo"):
            try:
                texts[name] = self._text(name)
            except OSError as error:
                missing[name] = f"{self._proc}/{name}: {error.strerror}"
        raw, also_missing = host_raw(texts, self._ticks)
        missing |= also_missing
        known = mount_points(self._text("self/mountinfo"))
        for mount in mounts:
            name = f"disk_used_percent:{mount}"
            try:
                raw[name] = self._disk(mount, known)
            except (OSError, ValueError) as error:
                missing[name] = getattr(error, "strerror", None) or str(error)
        return Sample(time.monotonic(), raw, missing)

    def own(self) -> Mapping[str, float]:
        """Return what this process itself uses: bytes, seconds, descriptors."""
        fields = split_stat(self._own.read())
        used = resource.getrusage(resource.RUSAGE_SELF)
        folder = f"{self._proc}/self/fd"
        fds = os.stat(folder).st_size if self._counts_fds else len(os.listdir(folder))
        return {
            "virtual": int(fields[_VSIZE]),
            "rss": int(fields[_RSS]) * self._page,
            "cpu_seconds": used.ru_utime + used.ru_stime,
            "start_time_seconds": self._boot_time() + int(fields[_STARTED]) / self._ticks,
            "open_fds": fds,
            "max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        }

    def close(self) -> None:
        """Let go of all descriptors."""
        self._own.close()
        for unit in self._units.values():
            unit.close()
        self._units.clear()

    # finding

    def _unit(self, target: SampleTarget) -> _Unit:
        unit = self._units.get(target.unit)
        if unit is None or unit.cgroup != target.cgroup:
            if unit is not None:
                unit.close()
            unit = self._units[target.unit] = _Unit(
                target.cgroup, *self._cgroup_folder(target.cgroup), self._budget
            )
        unit.used_at = time.monotonic()
        return unit

    def _cgroup_folder(self, cgroup: str) -> tuple[str, bool]:
        """Return where a cgroup is ("": it is none, or the whole host's) and if that is cgroup2."""
        if cgroup in ("", "/") or ".." in cgroup.split("/"):
            return "", False
        folders = [(f"{mount}{cgroup}", unified) for mount, unified in self._mounts]
        there = (each for each in folders if os.path.isdir(each[0]))
        return next(there, folders[0] if folders else ("", False))

    def _pids_of_cgroup(self, unit: _Unit) -> list[int]:
        pids = _pids(unit.procs)
        if pids is None:  # the cgroup was made anew: the next open finds the new one
            pids = _pids(unit.procs) or []
        for folder in _below(unit.folder):
            file = _File(f"{folder}/cgroup.procs", _NOTHING_KEPT)
            pids += _pids(file) or []
        return pids

    def _children(self) -> dict[int, list[int]]:
        """Return the children of every process of the host, in one pass."""
        children: dict[int, list[int]] = {}
        for name in os.listdir(self._proc):
            if name.isdigit():
                try:
                    stat = _File(f"{self._proc}/{name}/stat", _NOTHING_KEPT).read()
                    parent = int(split_stat(stat)[_PPID])
                except (OSError, ValueError, IndexError):
                    continue  # it ended between the list and the look
                children.setdefault(parent, []).append(int(name))
        return children

    # measuring

    def _measure(self, unit: _Unit, pids: Iterable[int], target: SampleTarget) -> Sample | None:
        tally, main_pid = _Tally(target.depth is Depth.FULL), target.main_pid
        kept: dict[int, _Process] = {}
        count = self._weigh if target.depth is Depth.MEMORY else self._count
        for pid in dict.fromkeys(pids):
            if process := count(unit, pid, main_pid, tally):
                kept[pid] = process
        for pid, process in unit.processes.items():
            if kept.get(pid) is not process:
                process.close()
        unit.processes = kept
        if not kept:
            return None
        if target.depth is Depth.MEMORY:
            return self._light_sample(tally, main_pid)
        return self._sample(unit, tally, main_pid)

    def _weigh(self, unit: _Unit, pid: int, main_pid: int, tally: _Tally) -> _Process | None:
        """Add a known process to the tally by its memory alone; another one as `_count` does."""
        process = unit.processes.get(pid)
        pages = process.pages() if process is not None else 0
        if process is None or not pages:
            return self._count(unit, pid, main_pid, tally)
        tally.rss += pages
        if pid == main_pid:
            tally.main, tally.main_pages = process.identity, pages
            tally.alive.insert(0, process.identity)
        else:
            tally.alive.append(process.identity)
        return process

    def _light_sample(self, tally: _Tally, main_pid: int) -> Sample:
        raw = {"total_rss": tally.rss * self._page, "processes": len(tally.alive)}
        missing: dict[str, str] = {}
        if tally.main is not None:
            pages = tally.main_pages or int(tally.main_fields[_RSS])
            raw["rss"] = pages * self._page
        else:
            missing["rss"] = _no_main(main_pid)
        return Sample(tally.at, raw, missing, tuple(tally.alive), tally.main)

    def _count(self, unit: _Unit, pid: int, main_pid: int, tally: _Tally) -> _Process | None:
        """Add a process to the tally; return it, or None if it is gone."""
        process = unit.processes.get(pid)
        fields = process.fields() if process is not None else []
        if process is None or not fields or int(fields[_STARTED]) != process.identity.started:
            process = _Process(f"{self._proc}/{pid}", pid, self._budget)
            fields = process.fields()
            if not fields:
                return None
            process.identity = ProcessId(pid, int(fields[_STARTED]))
        if not unit.unified:
            tally.user += int(fields[_UTIME]) + int(fields[_CUTIME])
            tally.system += int(fields[_STIME]) + int(fields[_CSTIME])
        if fields[_STATE] in _DEAD:
            tally.zombies += 1
            return process
        tally.rss += int(fields[_RSS])
        tally.threads += int(fields[_THREADS])
        if pid == main_pid:
            tally.main, tally.main_fields = process.identity, fields
            tally.alive.insert(0, process.identity)
        else:
            tally.alive.append(process.identity)
        if tally.count_fds:
            self._add_fds(process, tally)
        return process

    def _add_fds(self, process: _Process, tally: _Tally) -> None:
        try:
            if self._counts_fds:
                count = os.stat(process.fd_folder).st_size
            else:
                count = len(os.listdir(process.fd_folder))
            if tally.at - process.limit_at > LIMITS_SECONDS:
                limits = _File(f"{process.fd_folder[:-2]}limits", _NOTHING_KEPT).read()
                process.limit, process.limit_at = soft_limit(limits), tally.at
        except PermissionError:
            tally.no_fds = "no right to see the descriptors of another user's process"
        except (OSError, ValueError, IndexError):
            return  # it ended meanwhile
        else:
            tally.fds += count
            tally.fd_ratio = max(tally.fd_ratio, count / process.limit if process.limit else 1.0)

    def _sample(self, unit: _Unit, tally: _Tally, main_pid: int) -> Sample:
        raw: dict[str, float] = {
            "total_rss": tally.rss * self._page,
            "processes": len(tally.alive),
            "threads": tally.threads,
            "zombies": tally.zombies,
        }
        missing: dict[str, str] = {}
        totals = ("total_user_seconds", "total_system_seconds")
        try:
            raw |= zip(totals, self._total_cpu(unit, tally), strict=True)
        except (OSError, KeyError, ValueError) as error:
            # never a sum over the living in its place: the difference would be a false peak
            missing |= dict.fromkeys(totals, f"{unit.cpu.path}: {error}")
        if tally.main is not None:
            raw |= self._main(tally.main, tally.main_fields)
        else:
            missing |= dict.fromkeys(
                ("rss", "user_seconds", "system_seconds", "start_time_seconds"),
                _no_main(main_pid),
            )
        if tally.fd_ratio >= 0 and not tally.no_fds:
            raw |= {"open_fds": tally.fds, "worst_fd_ratio": tally.fd_ratio}
        else:
            why = tally.no_fds or "no process lived long enough to count"
            missing |= dict.fromkeys(("open_fds", "worst_fd_ratio"), why)
        return Sample(tally.at, raw, missing, tuple(tally.alive), tally.main)

    def _main(self, main: ProcessId, fields: list[bytes]) -> dict[str, float]:
        return {
            "rss": int(fields[_RSS]) * self._page,
            "user_seconds": int(fields[_UTIME]) / self._ticks,
            "system_seconds": int(fields[_STIME]) / self._ticks,
            "start_time_seconds": self._boot_time() + main.started / self._ticks,
        }

    def _total_cpu(self, unit: _Unit, tally: _Tally) -> tuple[float, float]:
        """Return the unit's CPU time: its cgroup's, which keeps that of the ended, else a sum."""
        if not unit.unified:
            return tally.user / self._ticks, tally.system / self._ticks
        try:
            return cpu_times(unit.cpu.read())
        except OSError:  # the cgroup was made anew: this opens the new one
            return cpu_times(unit.cpu.read())

    def _boot_time(self) -> float:
        """Return when the host booted, by the wall clock of now; steady while that is."""
        now = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        if abs(now - self._booted_at) > _CLOCK_STEP:
            self._booted_at = now
        return self._booted_at

    def _disk(self, mount: str, known: frozenset[str]) -> float:
        if (mount.rstrip("/") or "/") not in known:
            raise ValueError(f"nothing is mounted at {mount}")
        facts = os.statvfs(f"{self._root}{mount}")
        percent = disk_percent(facts.f_blocks, facts.f_bfree, facts.f_bavail)
        if percent is None:
            raise ValueError(f"the file system at {mount} has no size")
        return percent

    def _text(self, name: str) -> str:
        file = _File(f"{self._proc}/{name}", _NOTHING_KEPT)
        return file.read().decode("utf-8", "surrogateescape")

    def _forget(self) -> None:
        now = time.monotonic()
        for name in [n for n, u in self._units.items() if now - u.used_at > FORGET_SECONDS]:
            self._units.pop(name).close()


_NOTHING_KEPT = _Budget(0)


def _no_main(main_pid: int) -> str:
    return f"its main process {main_pid} is gone" if main_pid else "it has no main process"


def _fd_budget() -> int:
    soft = os.sysconf("SC_OPEN_MAX")
    return max(0, soft - _SPARE_FDS)


def _pids(file: _File) -> list[int] | None:
    try:
        return [pid for word in file.read().split() if (pid := int(word))]
    except OSError:
        return None


def _below(folder: str) -> Iterator[str]:
    """Yield the cgroups below one, but for systemd's own control group and its commands.

    The link count of a cgroup's directory is 2 and one for each child (kernfs).
    """
    folders = [folder]
    for _ in range(MOST_GROUPS):
        if not folders:
            return
        here = folders.pop()
        if here is not folder:
            yield here
        try:
            if os.stat(here).st_nlink != 2:
                with os.scandir(here) as entries:
                    folders += [e.path for e in entries if e.name != ".control" and e.is_dir()]
        except OSError:
            continue  # it was removed meanwhile


def _descendants(pid: int, children: Mapping[int, Sequence[int]]) -> Iterator[int]:
    """Yield a process and all below it; a loop from a pid used again ends."""
    seen = {pid}
    waiting = [pid]
    while waiting:
        here = waiting.pop()
        yield here
        fresh = [child for child in children.get(here, ()) if child not in seen]
        seen.update(fresh)
        waiting += fresh
