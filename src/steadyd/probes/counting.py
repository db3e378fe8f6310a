"""What the processes of one unit use together: the names in `Sample.raw` are those of `procfs`."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence

from steadyd.model.metric import Sample
from steadyd.model.service import ProcessId
from steadyd.ports import Depth, SampleTarget
from steadyd.probes.cgroup import KeptUnit, cpu_times
from steadyd.probes.kept import (
    CSTIME,
    CUTIME,
    NOTHING_KEPT,
    PAGE,
    STARTED,
    STATE,
    STIME,
    UTIME,
    Budget,
    KeptFile,
    KeptProcess,
    Quiet,
    Steady,
    soft_limit,
)

LIMITS_SECONDS = 60.0  # how old a process's limit of descriptors may be, about
LIMITS_AT_ONCE = 50  # processes; reading it costs as much as all the rest
_CLOCK_STEP = 0.5
_DEAD = (b"Z", b"X")
_ENOUGH = 4096  # bytes, more than statm ever has


class _Tally:
    """The sums over the processes of one unit."""

    def __init__(self, target: SampleTarget, unified: bool) -> None:
        self.at = time.monotonic()
        self.depth, self.main_pid = target.depth, target.main_pid
        self.unified = unified
        self.pages = self.user = self.system = 0
        self.threads = self.zombies = 0
        self.fds = 0
        self.fd_ratio = -1.0
        self.no_fds = "" if target.depth is Depth.FULL else "not counted in this sample"
        self.alive: list[ProcessId] = []
        self.main: ProcessId | None = None
        self.main_fields: list[bytes] = []
        self.main_pages = 0
        self.cpu_stat = b""
        self.no_cpu = ""


class Counting:
    """Counts the processes of units, each time anew. `proc` is where /proc is."""

    def __init__(self, proc: str, budget: Budget) -> None:
        self._proc, self._budget = proc, budget
        self._ticks = os.sysconf("SC_CLK_TCK")
        # since Linux 6.2 the size of /proc/PID/fd is the number of descriptors; before, 0
        self.counts_fds = os.stat("/proc/self/fd").st_size > 0
        self._booted_at = 0.0
        self._spare = 0

    def begin(self) -> None:
        """Begin a walk: limits are read again for some of its processes only."""
        self._spare = LIMITS_AT_ONCE

    def count(self, unit: KeptUnit, pids: Sequence[int], target: SampleTarget) -> Sample | None:
        """Sample a unit's processes now; None if there are none."""
        tally, steady = _Tally(target, unit.unified), unit.steady
        _read_cpu(unit, tally)
        if steady is not None and steady.pids == pids and steady.main_pid == target.main_pid:
            if self._again(steady, tally):
                return self._sample(unit, tally, steady.alive)
            tally = _Tally(target, unit.unified)
            _read_cpu(unit, tally)
        self._one_by_one(unit, pids, tally)
        return self._sample(unit, tally, tuple(tally.alive)) if unit.processes else None

    def seconds_of(self, started: int) -> float:
        """Return the wall-clock time of a start that was told in ticks since the boot.

        The boot is told by the wall clock of now, and steady while that is.
        """
        now = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        if abs(now - self._booted_at) > _CLOCK_STEP:
            self._booted_at = now
        return self._booted_at + started / self._ticks

    def _due(self, now: float, read_at: float) -> bool:
        """Tell whether to read a limit again: one never read is due, others as there is room."""
        return read_at < 0 or (self._spare > 0 and now - read_at > LIMITS_SECONDS)

    def _again(self, steady: Steady, tally: _Tally) -> bool:
        """Ask processes that were known to live; False if that is no longer so."""
        members, pread, fstat = steady.members, os.pread, os.fstat
        try:
            pages = [int(pread(p.statm, _ENOUGH, 0).split(None, 2)[1]) for p in members]
            if not all(pages):
                return False
            if tally.depth is not Depth.MEMORY:
                if tally.depth is Depth.FULL and (
                    not steady.limits or self._due(tally.at, steady.limits_at)
                ):
                    return False
                if not _still(steady, tally):
                    # each thread is a link of the folder `task`
                    links = [fstat(p.task).st_nlink for p in members]
                    tally.threads = sum(links) - 2 * len(members)
                    tally.main_fields = members[0].fields() if steady.main else []
                    if tally.depth is Depth.FULL:
                        fds = [fstat(p.fds).st_size for p in members]
                        tally.fds = sum(fds)
                        tally.fd_ratio = max(map(_ratio, fds, steady.limits))
                    _remember(steady, tally)
        except (OSError, ValueError, IndexError):
            return False
        tally.pages, tally.main = sum(pages), steady.main
        tally.main_pages = pages[0] if steady.main else 0
        return True

    def _one_by_one(self, unit: KeptUnit, pids: Iterable[int], tally: _Tally) -> None:
        kept: dict[int, KeptProcess] = {}
        for pid in pids:
            if pid in kept:
                continue
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
        unit.steady = self._steady(kept, tally)

    def _steady(self, kept: Mapping[int, KeptProcess], tally: _Tally) -> Steady | None:
        if not kept or not tally.unified or tally.zombies or self._budget.free < 0:
            return None
        alive = tuple(tally.alive)
        members = tuple(kept[each.pid] for each in alive)
        counted = self.counts_fds and not tally.no_fds
        return Steady(
            pids=list(kept),
            main_pid=tally.main_pid,
            members=members,
            alive=alive,
            main=tally.main,
            limits=tuple(process.limit for process in members) if counted else (),
            limits_at=min(process.limit_at for process in members),
        )

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
            pages = int(os.pread(process.statm, _ENOUGH, 0).split(None, 2)[1])
            # what stat alone tells costs as much as all the rest
            ask = not pages or (deep and (main or not tally.unified))
            fields = process.fields() if ask else []
            threads = os.fstat(process.task).st_nlink - 2 if deep else 0
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
            if self.counts_fds:
                count = os.fstat(process.fds).st_size
            else:
                count = len(os.listdir(f"{folder}/fd"))
            if self._due(tally.at, process.limit_at):
                limits = KeptFile(f"{folder}/limits", NOTHING_KEPT).read()
                process.limit, process.limit_at = soft_limit(limits), tally.at
                self._spare -= 1
        except PermissionError:
            tally.no_fds = "no right to see the descriptors of another user's process"
        except (OSError, ValueError, IndexError):
            return  # it ended meanwhile
        else:
            tally.fds += count
            tally.fd_ratio = max(tally.fd_ratio, _ratio(count, process.limit))

    def _sample(self, unit: KeptUnit, tally: _Tally, alive: tuple[ProcessId, ...]) -> Sample:
        raw: dict[str, float] = {"total_rss": tally.pages * PAGE, "processes": len(alive)}
        missing: dict[str, str] = {}
        if tally.main is not None:
            raw["rss"] = tally.main_pages * PAGE
        else:
            missing["rss"] = _no_main(tally.main_pid)
        if tally.depth is not Depth.MEMORY:
            raw["threads"], raw["zombies"] = tally.threads, tally.zombies
            self._times(unit, tally, raw, missing)
            _descriptors(tally, raw, missing)
        return Sample(tally.at, raw, missing, alive, tally.main)

    def _times(
        self, unit: KeptUnit, tally: _Tally, raw: dict[str, float], missing: dict[str, str]
    ) -> None:
        try:
            if unit.unified:
                user, system = cpu_times(tally.cpu_stat)
            else:
                user, system = tally.user / self._ticks, tally.system / self._ticks
            raw["total_user_seconds"], raw["total_system_seconds"] = user, system
        except (KeyError, ValueError) as error:
            # never a sum over the living in its place: the difference would be a false peak
            totals = ("total_user_seconds", "total_system_seconds")
            missing |= dict.fromkeys(totals, f"{unit.cpu.path}: {tally.no_cpu or error}")
        if tally.main is not None:
            raw["user_seconds"] = int(tally.main_fields[UTIME]) / self._ticks
            raw["system_seconds"] = int(tally.main_fields[STIME]) / self._ticks
            raw["start_time_seconds"] = self.seconds_of(tally.main.started)
        else:
            names = ("user_seconds", "system_seconds", "start_time_seconds")
            missing |= dict.fromkeys(names, _no_main(tally.main_pid))


def _read_cpu(unit: KeptUnit, tally: _Tally) -> None:
    """Read the CPU time, before anything else: what happens after it changes the next one."""
    if not unit.unified or tally.depth is Depth.MEMORY:
        return
    try:
        tally.cpu_stat = unit.cpu_stat()
    except OSError as error:
        tally.no_cpu = str(error)


def _still(steady: Steady, tally: _Tally) -> bool:
    """Take over what was counted if nothing in the unit ran since."""
    quiet = steady.quiet
    if quiet is None or quiet.cpu_stat != tally.cpu_stat or quiet.depth < tally.depth:
        return False
    tally.threads, tally.main_fields = quiet.threads, quiet.main_fields
    tally.fds, tally.fd_ratio = quiet.fds, quiet.fd_ratio
    return True


def _remember(steady: Steady, tally: _Tally) -> None:
    if tally.cpu_stat:
        steady.quiet = Quiet(
            tally.cpu_stat,
            tally.depth,
            tally.threads,
            tally.fds,
            tally.fd_ratio,
            tally.main_fields,
        )


def _descriptors(tally: _Tally, raw: dict[str, float], missing: dict[str, str]) -> None:
    if tally.fd_ratio >= 0 and not tally.no_fds:
        raw["open_fds"], raw["worst_fd_ratio"] = tally.fds, tally.fd_ratio
    else:
        why = tally.no_fds or "no process lived long enough to count"
        missing |= dict.fromkeys(("open_fds", "worst_fd_ratio"), why)


def _ratio(count: int, limit: float) -> float:
    return count / limit if limit else 1.0


def _no_main(main_pid: int) -> str:
    return f"its main process {main_pid} is gone" if main_pid else "it has no main process"
