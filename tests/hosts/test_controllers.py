"""What cgroups count, of cgroups made for the test on this machine's own kernel.

Their controllers are in whichever hierarchy the machine has them: v1, v2 or both.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steadyd.model.metric import Reading, Sample
from steadyd.ports import SampleTarget
from steadyd.probes.catalogue import metric_id
from steadyd.probes.host import controller_mounts
from steadyd.probes.procfs import ProcSampler
from steadyd.probes.rates import EXTRA, extra, service_readings
from tests.hosts.inithost import cgroup2_mount

pytestmark = pytest.mark.host

# does what each line of its input says, and answers
PROGRAM = (
    "import json, mmap, os, signal, sys, time\n"
    "for line in sys.stdin: exec(json.loads(line)); print(flush=True)\n"
)
JOIN = 'for folder; do echo $$ > "$folder/cgroup.procs"; done; exec "$0" -c "$CODE"'
ALL = extra(EXTRA)


class Group:
    """A cgroup in every hierarchy that has something to count, with one process in it."""

    def __init__(self, cgroup: str) -> None:
        mounts = controller_mounts(Path("/proc/self/mountinfo").read_text())
        self.cgroup = cgroup
        wanted = [mounts[name] for name in ("memory", "cpu") if name in mounts]
        self.v1 = {name: Path(f"{mount}{cgroup}") for name, mount in mounts.items()}
        self.unified = Path(f"{cgroup2_mount()}{cgroup}")
        self.folders = [Path(f"{mount}{cgroup}") for mount in dict.fromkeys(wanted)]
        self.folders.append(self.unified)
        for folder in self.folders:
            folder.mkdir()
        self.sampler = ProcSampler()
        self.process: subprocess.Popen[str] | None = None

    def put(self, controller: str, old: str, new: str, text: str) -> None:
        """Set a limit, in the hierarchy that has the controller."""
        for file in (self.unified / new, self.v1.get(controller, self.unified) / old):
            if file.exists():
                file.write_text(text)
                return
        pytest.skip(f"no hierarchy of this machine has the controller {controller} for us")

    def start(self) -> None:
        command = ["/bin/sh", "-c", JOIN, sys.executable, *map(str, self.folders)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"CODE": PROGRAM},
        )
        self.do("pass")

    def do(self, code: str) -> None:
        """Have the process run some Python."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps(code)}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "\n"

    def look(self) -> Sample:
        assert self.process is not None
        target = SampleTarget("x", self.cgroup, self.process.pid, extra=ALL)
        return self.sampler.sample([target])["x"]

    def until(self, test: Callable[[Sample], bool], seconds: float = 30) -> Sample:
        deadline = time.monotonic() + seconds
        while not test(sample := self.look()):
            assert time.monotonic() < deadline, (sample.raw, sample.missing)
            time.sleep(0.05)
        return sample

    def close(self) -> None:
        self.sampler.close()
        for folder in self.folders:
            deadline = time.monotonic() + 10
            while pids := (folder / "cgroup.procs").read_text().split():
                for pid in pids:
                    os.kill(int(pid), 9)
                assert time.monotonic() < deadline
                if self.process is not None:
                    self.process.poll()
            folder.rmdir()
        if self.process is not None:
            self.process.communicate()


@pytest.fixture
def group() -> Iterator[Group]:
    made = Group(f"/steadyd-test-{os.getpid()}")
    try:
        made.start()
        yield made
    finally:
        made.close()


def reading(name: str, before: Sample | None, now: Sample) -> Reading:
    metric = metric_id(name)
    return service_readings([metric], before, now)[metric]


def needs(sample: Sample, name: str) -> None:
    if name in sample.missing:
        pytest.skip(f"{name}: {sample.missing[name]}")


def test_memory_against_its_limit_and_the_kill_at_the_end(group: Group) -> None:
    assert "limit" in reading("memory:limit_ratio", None, group.look()).why_missing
    group.put("memory", "memory.limit_in_bytes", "memory.max", str(60 * 2**20))
    before = group.look()
    assert reading("memory:limit_ratio", None, before).value == pytest.approx(
        before.raw["memory_current"] / (60 * 2**20) * 100
    )
    group.do("kept = b'x' * 30_000_000")
    now = group.look()
    assert now.raw["memory_current"] > before.raw["memory_current"] + 29_000_000
    assert 50 < (reading("memory:limit_ratio", None, now).value or 0) < 100
    assert 30_000_000 < now.raw["memory_working_set"] <= now.raw["memory_current"]
    assert reading("init:oom_kills", before, now).value == 0
    group.do("if not os.fork():\n x = b'x' * 200_000_000\n os._exit(0)\nos.wait()")
    killed = group.look()
    assert reading("init:oom_kills", now, killed).value == 1
    assert reading("init:oom_kills", killed, group.look()).value == 0


def test_page_cache_that_is_not_used_is_no_working_set(group: Group, tmp_path: Path) -> None:
    file = tmp_path / "cached"
    group.do(f"f = open({str(file)!r}, 'wb'); f.write(bytes(40_000_000)); f.flush()")
    group.do("os.fsync(f.fileno())")
    sample = group.look()
    needs(sample, "memory_current")
    assert sample.raw["memory_current"] > 40_000_000
    assert sample.raw["memory_working_set"] < sample.raw["memory_current"] - 30_000_000


def test_a_quota_holds_back(group: Group) -> None:
    before = group.look()
    needs(before, "throttled_seconds")
    group.put("cpu", "cpu.cfs_quota_us", "cpu.max", "20000")
    group.do("until = time.monotonic() + 1\nwhile time.monotonic() < until: pass")
    now = group.look()
    share = reading("cpu:throttled", before, now).value
    assert share is not None
    assert 30 < share < 110
    again = reading("cpu:throttled", now, group.until(lambda s: s.at > now.at + 0.2))
    assert again.value is not None
    assert again.value < 30


def test_io_that_reached_the_disk_counts(group: Group, tmp_path: Path) -> None:
    file = tmp_path / "direct"
    try:
        os.close(os.open(file, os.O_CREAT | os.O_DIRECT | os.O_RDWR))
    except OSError as error:
        pytest.skip(f"no O_DIRECT on {tmp_path}: {error}")
    before = group.look()
    group.do(f"f = os.open({str(file)!r}, os.O_RDWR | os.O_DIRECT); m = mmap.mmap(-1, 2**20)")
    group.do("[os.pwrite(f, m, n * 2**20) for n in range(8)]; os.fsync(f)")
    group.do("[os.preadv(f, [m], n * 2**20) for n in range(4)]")
    now = group.look()
    assert 8 * 2**20 <= (reading("io:write", before, now).value or 0) < 10 * 2**20
    assert 4 * 2**20 <= (reading("io:read", before, now).value or 0) < 6 * 2**20


def test_waiting_for_a_processor_is_pressure(group: Group) -> None:
    needs(group.look(), "pressure_cpu_percent")
    busy = 3 * (os.cpu_count() or 1)
    group.do(f"for _ in range({busy}):\n if not os.fork():\n  while True: pass")
    sample = group.until(lambda s: s.raw["pressure_cpu_percent"] > 20)
    assert reading("pressure:cpu", None, sample).value == sample.raw["pressure_cpu_percent"]


def test_waiting_for_memory_is_pressure(group: Group, tmp_path: Path) -> None:
    needs(group.look(), "pressure_memory_percent")
    file = tmp_path / "big"
    with file.open("wb") as f:
        f.write(bytes(120 * 2**20))
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # it shall count for the group
    group.put("memory", "memory.limit_in_bytes", "memory.max", str(24 * 2**20))
    group.do(
        "if not os.fork():\n"
        f" f = os.open({str(file)!r}, os.O_RDONLY)\n"
        " m = mmap.mmap(f, 0, prot=mmap.PROT_READ)\n"
        " while True: sum(m[n] for n in range(0, len(m), 4096))"
    )
    sample = group.until(lambda s: s.raw["pressure_memory_percent"] > 1)
    full = reading("pressure:memory_full", None, sample).value
    assert full is not None
    assert 0 <= full <= 100


def test_a_cgroup_that_is_made_anew_is_read_anew(group: Group) -> None:
    first = group.look()
    needs(first, "memory_current")
    group.do("kept = b'x' * 30_000_000")
    grown = group.look().raw["memory_current"]
    sampler, group.sampler = group.sampler, ProcSampler()
    group.close()
    for folder in group.folders:
        folder.mkdir()
    group.sampler.close()
    group.sampler = sampler
    group.start()
    again = group.look()
    assert again.missing.get("memory_current") is None
    assert 0 < again.raw["memory_current"] < grown - 20_000_000
