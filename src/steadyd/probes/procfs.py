"""The only reader of /proc and of cgroup files (proc(5), cgroups(7)).

The names in a service's `Sample.raw`:

rss, total_rss              bytes: main process, all (shared pages count in each); from statm,
                            as stat may be late by some dozen pages per CPU
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
from steadyd.probes.cgroup import KeptUnit
from steadyd.probes.host import cgroup_mounts, disk_percent, host_raw, mount_points
from steadyd.probes.kept import (
    CSTIME,
    CUTIME,
    NOTHING_KEPT,
    PPID,
    RSS,
    STARTED,
    STATE,
    STIME,
    UTIME,
    VSIZE,
    Budget,
    KeptFile,
    KeptProcess,
    fd_budget,
    soft_limit,
    split_stat,
)

LIMITS_SECONDS = 60.0  # how old a process's limit of descriptors may be
FORGET_SECONDS = 120.0  # after which files of a unit that nobody samples are closed
_CLOCK_STEP = 0.5
_DEAD = (b"Z", b"X")


class _Tally:
    """The sums over the processes of one unit."""

    def __init__(self, depth: Depth, main_pid: int, unified: bool) -> None:
        self.at = time.monotonic()
        self.depth, self.main_pid = depth, main_pid
        self.unified = unified
        self.pages = self.user = self.system = 0
        self.threads = self.zombies = 0
        self.fds = 0
        self.fd_ratio = -1.0
        self.no_fds = "" if depth is Depth.FULL else "not counted in this sample"
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
        self._budget = Budget(fd_budget() if most_fds is None else most_fds)
        self._units: dict[str, KeptUnit] = {}
        self._own = KeptFile(f"{self._proc}/self/stat", self._budget)
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
            pids = unit.pids() if unit.folder else []
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
            "virtual": int(fields[VSIZE]),
            "rss": int(fields[RSS]) * self._page,
            "cpu_seconds": used.ru_utime + used.ru_stime,
            "start_time_seconds": self._boot_time() + int(fields[STARTED]) / self._ticks,
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

    def _unit(self, target: SampleTarget) -> KeptUnit:
        unit = self._units.get(target.unit)
        if unit is None or unit.cgroup != target.cgroup:
            if unit is not None:
                unit.close()
            unit = KeptUnit(target.cgroup, self._mounts, self._budget)
            self._units[target.unit] = unit
        unit.used_at = time.monotonic()
        return unit

    def _children(self) -> dict[int, list[int]]:
        """Return the children of every process of the host, in one pass."""
        children: dict[int, list[int]] = {}
        for name in os.listdir(self._proc):
            if name.isdigit():
                try:
                    stat = KeptFile(f"{self._proc}/{name}/stat", NOTHING_KEPT).read()
                    parent = int(split_stat(stat)[PPID])
                except (OSError, ValueError, IndexError):
                    continue  # it ended between the list and the look
                children.setdefault(parent, []).append(int(name))
        return children

    # measuring

    def _measure(self, unit: KeptUnit, pids: Iterable[int], target: SampleTarget) -> Sample | None:
        tally = _Tally(target.depth, target.main_pid, unit.unified)
        kept: dict[int, KeptProcess] = {}
        for pid in dict.fromkeys(pids):
            process = unit.processes.get(pid)
            if process is None or not self._add(process, tally):
                process = self._fresh(pid, tally)
            if process is not None:
                kept[pid] = process
                if self._budget.free < 0:
                    process.close()
        for pid, process in unit.processes.items():
            if kept.get(pid) is not process:
                process.close()
        unit.processes = kept
        return self._sample(unit, tally) if kept else None

    def _fresh(self, pid: int, tally: _Tally) -> KeptProcess | None:
        """Add a process that was not known yet; None if it is gone."""
        try:
            process = KeptProcess(f"{self._proc}/{pid}", pid, self._budget)
        except OSError:
            return None
        try:
            process.identity = ProcessId(pid, int(process.fields()[STARTED]))
        except (OSError, ValueError):
            process.close()
            return None
        if not self._add(process, tally):
            process.close()
            return None
        return process

    def _add(self, process: KeptProcess, tally: _Tally) -> bool:
        """Add a process to the tally; False if it is gone."""
        identity, deep = process.identity, tally.depth is not Depth.MEMORY
        main = identity.pid == tally.main_pid
        try:
            pages = process.pages()
            # what stat alone tells costs as much as all the rest
            ask = not pages or (deep and (main or not tally.unified))
            fields = process.fields() if ask else []
            threads = process.threads() if deep else 0
        except (OSError, ValueError, IndexError):
            return False
        if fields and not tally.unified:
            tally.user += int(fields[UTIME]) + int(fields[CUTIME])
            tally.system += int(fields[STIME]) + int(fields[CSTIME])
        if fields and fields[STATE] in _DEAD:
            tally.zombies += 1
            return True
        tally.pages += pages
        tally.threads += threads
        if main:
            tally.main, tally.main_fields, tally.main_pages = identity, fields, pages
            tally.alive.insert(0, identity)
        else:
            tally.alive.append(identity)
        if tally.depth is Depth.FULL:
            self._add_fds(process, tally)
        return True

    def _add_fds(self, process: KeptProcess, tally: _Tally) -> None:
        folder = f"{self._proc}/{process.identity.pid}"
        try:
            count = process.fds() if self._counts_fds else len(os.listdir(f"{folder}/fd"))
            if tally.at - process.limit_at > LIMITS_SECONDS:
                limits = KeptFile(f"{folder}/limits", NOTHING_KEPT).read()
                process.limit, process.limit_at = soft_limit(limits), tally.at
        except PermissionError:
            tally.no_fds = "no right to see the descriptors of another user's process"
        except (OSError, ValueError, IndexError):
            return  # it ended meanwhile
        else:
            tally.fds += count
            tally.fd_ratio = max(tally.fd_ratio, count / process.limit if process.limit else 1.0)

    def _sample(self, unit: KeptUnit, tally: _Tally) -> Sample:
        raw: dict[str, float] = {
            "total_rss": tally.pages * self._page,
            "processes": len(tally.alive),
        }
        missing: dict[str, str] = {}
        if tally.main is not None:
            raw["rss"] = tally.main_pages * self._page
        else:
            missing["rss"] = _no_main(tally.main_pid)
        if tally.depth is not Depth.MEMORY:
            raw |= {"threads": tally.threads, "zombies": tally.zombies}
            self._times(unit, tally, raw, missing)
            self._descriptors(tally, raw, missing)
        return Sample(tally.at, raw, missing, tuple(tally.alive), tally.main)

    def _times(
        self, unit: KeptUnit, tally: _Tally, raw: dict[str, float], missing: dict[str, str]
    ) -> None:
        totals = ("total_user_seconds", "total_system_seconds")
        try:
            if unit.unified:
                raw |= zip(totals, unit.cpu_seconds(), strict=True)
            else:
                sums = (tally.user / self._ticks, tally.system / self._ticks)
                raw |= zip(totals, sums, strict=True)
        except (OSError, KeyError, ValueError) as error:
            # never a sum over the living in its place: the difference would be a false peak
            missing |= dict.fromkeys(totals, f"{unit.cpu.path}: {error}")
        if tally.main is not None:
            raw |= self._main(tally.main, tally.main_fields)
        else:
            names = ("user_seconds", "system_seconds", "start_time_seconds")
            missing |= dict.fromkeys(names, _no_main(tally.main_pid))

    def _descriptors(self, tally: _Tally, raw: dict[str, float], missing: dict[str, str]) -> None:
        if tally.fd_ratio >= 0 and not tally.no_fds:
            raw |= {"open_fds": tally.fds, "worst_fd_ratio": tally.fd_ratio}
        else:
            why = tally.no_fds or "no process lived long enough to count"
            missing |= dict.fromkeys(("open_fds", "worst_fd_ratio"), why)

    def _main(self, main: ProcessId, fields: list[bytes]) -> dict[str, float]:
        return {
            "user_seconds": int(fields[UTIME]) / self._ticks,
            "system_seconds": int(fields[STIME]) / self._ticks,
            "start_time_seconds": self._boot_time() + main.started / self._ticks,
        }

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
        file = KeptFile(f"{self._proc}/{name}", NOTHING_KEPT)
        return file.read().decode("utf-8", "surrogateescape")

    def _forget(self) -> None:
        now = time.monotonic()
        for name in [n for n, u in self._units.items() if now - u.used_at > FORGET_SECONDS]:
            self._units.pop(name).close()


def _no_main(main_pid: int) -> str:
    return f"its main process {main_pid} is gone" if main_pid else "it has no main process"


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
