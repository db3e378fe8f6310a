"""The only reader of /proc and of cgroup files (proc(5), cgroups(7)).

The names in a service's `Sample.raw`:

rss, total_rss              bytes: main process, all (shared pages count in each); from statm,
                            as stat may be late by some dozen pages per CPU
user_seconds, system_seconds              CPU time of the main process
total_user_seconds, total_system_seconds  of the unit, with ended children
processes, threads, zombies               zombies are not among the processes
open_fds, worst_fd_ratio    descriptors of all; of the fullest process against its limit, 0-1
start_time_seconds          start of the main process, wall clock

Those that only some rules need are in `probes.extras`, those of the host in `probes.host`.
"""

import os
import resource
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from steadyd.model.metric import Sample
from steadyd.ports import SampleTarget
from steadyd.probes.cgroup import KeptUnit
from steadyd.probes.counting import Counting
from steadyd.probes.host import cgroup_mounts, controller_mounts, host_raw
from steadyd.probes.kept import (
    NOTHING_KEPT,
    PAGE,
    PPID,
    RSS,
    STARTED,
    VSIZE,
    Budget,
    KeptFile,
    fd_budget,
    split_stat,
)

if TYPE_CHECKING:
    from steadyd.probes.extras import Extras
    from steadyd.probes.hostextras import HostExtras

FORGET_SECONDS = 120.0  # after which files of a unit that nobody samples are closed


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
        self._budget = Budget(fd_budget() if most_fds is None else most_fds)
        self._units: dict[str, KeptUnit] = {}
        self._own = KeptFile(f"{self._proc}/self/stat", self._budget)
        self._mounts = tuple(
            (self._root + mount, unified)
            for mount, unified in cgroup_mounts(self._text("self/mountinfo"))
        )
        # loaded with the first rule that needs them: most hosts have none
        self._extras: Extras | None = None
        self._host_extras: HostExtras | None = None
        self._counting = Counting(self._proc, self._budget)

    def sample(self, targets: Sequence[SampleTarget]) -> Mapping[str, Sample]:
        """Sample each target's processes now, keyed by unit; one without any is left out."""
        self._counting.begin()
        samples = {}
        children: dict[int, list[int]] | None = None
        for target in targets:
            unit = self._unit(target)
            pids = unit.pids() if unit.folder else []
            if not unit.folder and target.main_pid > 0:
                children = self._children() if children is None else children
                roots = (target.main_pid, *target.others)
                pids = [pid for root in roots for pid in _descendants(root, children)]
            if sample := self._counting.count(unit, pids, target):
                samples[target.unit] = self._more(unit, target, sample) if target.extra else sample
            else:
                self._units.pop(target.unit).close()
        self._forget()
        return samples

    def host(self, mounts: Sequence[str], extra: Collection[str] = ()) -> Sample:
        """Sample the host. File systems that hang take a second, so call it in a thread."""
        texts, missing = {}, {}
        for name in ("stat", "loadavg", "meminfo"):
            try:
                texts[name] = self._text(name)
            except OSError as error:
                missing[name] = f"{self._proc}/{name}: {error.strerror}"
        raw, also_missing = host_raw(texts, self._ticks)
        missing |= also_missing
        if mounts or extra:
            if self._host_extras is None:
                from steadyd.probes.hostextras import HostExtras  # noqa: PLC0415

                self._host_extras = HostExtras(self._root)
            self._host_extras.add(mounts, extra, raw, missing)
        return Sample(time.monotonic(), raw, missing)

    def own(self) -> Mapping[str, float]:
        """Return what this process itself uses: bytes, seconds, descriptors."""
        fields = split_stat(self._own.read())
        used = resource.getrusage(resource.RUSAGE_SELF)
        folder = f"{self._proc}/self/fd"
        fds = os.stat(folder).st_size if self._counting.counts_fds else len(os.listdir(folder))
        return {
            "virtual": int(fields[VSIZE]),
            "rss": int(fields[RSS]) * PAGE,
            "cpu_seconds": used.ru_utime + used.ru_stime,
            "start_time_seconds": self._counting.seconds_of(int(fields[STARTED])),
            "open_fds": fds,
            "max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        }

    def close(self) -> None:
        """Let go of all descriptors."""
        self._own.close()
        if self._extras is not None:
            self._extras.close()
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

    def _more(self, unit: KeptUnit, target: SampleTarget, sample: Sample) -> Sample:
        """Add what rules name beyond the processes."""
        if self._extras is None:
            from steadyd.probes.extras import Extras  # noqa: PLC0415

            mounts = controller_mounts(self._text("self/mountinfo"))
            folders = {name: self._root + mount for name, mount in mounts.items()}
            self._extras = Extras(self._proc, folders, self._budget)
        return self._extras.add(unit, target.extra, sample)

    def _text(self, name: str) -> str:
        file = KeptFile(f"{self._proc}/{name}", Budget(0))
        return file.read().decode("utf-8", "surrogateescape")

    def _forget(self) -> None:
        now = time.monotonic()
        for name in [n for n, u in self._units.items() if now - u.used_at > FORGET_SECONDS]:
            self._units.pop(name).close()


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
