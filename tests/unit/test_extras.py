"""What is read only where a rule names it: of fake trees, hostile ones too, and real processes."""

import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from steadyd.model.condition import OOM_KILLS
from steadyd.model.metric import MetricId, Sample
from steadyd.ports import SampleTarget
from steadyd.probes import pss
from steadyd.probes.catalogue import metric_id
from steadyd.probes.controllers import NO_LIMIT, NO_PRESSURE, Unknown
from steadyd.probes.extras import NO_GROUP, NO_RIGHT_IO
from steadyd.probes.host import controller_mounts
from steadyd.probes.kept import MOST, of_process
from steadyd.probes.procfs import ProcSampler
from steadyd.probes.rates import EXTRA, extra, host_extra, host_readings, service_readings
from tests.unit.test_procfs import READY_AND_WAIT, python, running, until

UNIT = "/a.slice/web.service"
GROUPS = ("memory", "cpu")
V2 = {
    "memory.current": "1000\n",
    "memory.stat": "anon 700\ninactive_file 300\n",
    "memory.swap.current": "50\n",
    "memory.max": "max\n",
    "memory.events": "low 0\noom 1\noom_kill 2\n",
    "io.stat": "8:0 rbytes=10 wbytes=20 rios=1\n",
    "cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 1\nthrottled_usec 2500000\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=1\n",
    "memory.pressure": "some avg10=2.50 avg60=0 avg300=0 total=1\n"
    "full avg10=0.50 avg60=0 avg300=0 total=1\n",
    "io.pressure": "some avg10=3.50 avg60=0.00 avg300=0.00 total=1\n",
}
V1 = {
    "memory/memory.usage_in_bytes": "1000\n",
    "memory/memory.stat": "cache 1\ninactive_file 1\nhierarchical_memory_limit 4000\n"
    "total_swap 60\ntotal_inactive_file 400\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "cpu/cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 1500000000\n",
}


class Tree:
    """A root with a proc of our own process and cgroup files of a unit."""

    def __init__(self, root: Path, v1: bool) -> None:
        self.root, self.unified = root, root / "sys/fs/cgroup/unified"
        (root / "proc").mkdir()
        mounts = [f"1 1 0:1 / /sys/fs/cgroup/{g} rw - cgroup cgroup rw,{g}" for g in GROUPS if v1]
        mounts.append("2 1 0:2 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw")
        (root / "proc/self").mkdir()
        (root / "proc/self/mountinfo").write_text("".join(f"{m}\n" for m in mounts))
        (root / f"proc/{os.getpid()}").symlink_to(f"/proc/{os.getpid()}")
        self.put("cgroup.procs", f"{os.getpid()}\n")
        self.put("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\n")
        self.sampler = ProcSampler(str(root))

    def put(self, name: str, text: str | bytes, cgroup: str = UNIT) -> Path:
        hierarchy, _, file = name.rpartition("/")
        path = self.root / "sys/fs/cgroup" / (hierarchy or "unified") / cgroup[1:] / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def sample(self, metrics: frozenset[MetricId] = EXTRA) -> Sample:
        target = SampleTarget("web", UNIT, os.getpid(), extra=extra(metrics))
        return self.sampler.sample([target])["web"]

    def one(self, name: str) -> float | str:
        metric = metric_id(name)
        reading = service_readings([metric], None, self.sample(frozenset((metric,))))[metric]
        return reading.why_missing if reading.value is None else reading.value


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Tree]]:
    made: list[Tree] = []

    def tree(files: dict[str, str] | None = None, v1: bool = False) -> Tree:
        made.append(Tree(tmp_path, v1))
        for name, text in (files or {}).items():
            made[-1].put(name, text)
        return made[-1]

    yield tree
    for each in made:
        each.sampler.close()


def test_the_files_of_cgroup2(make: Callable[..., Tree]) -> None:
    tree = make(V2)
    raw = tree.sample().raw
    expected = {
        "memory_current": 1000,
        "memory_working_set": 700,
        "memory_swap": 50,
        "read_bytes": 10,
        "write_bytes": 20,
        "oom_kills": 2,
        "throttled_seconds": 2.5,
        "pressure_cpu_percent": 1.5,
        "pressure_memory_percent": 2.5,
        "pressure_memory_full_percent": 0.5,
        "pressure_io_percent": 3.5,
    }
    assert {name: raw[name] for name in expected} == expected
    assert tree.one("memory:limit_ratio") == NO_LIMIT


def test_the_files_of_cgroup1_where_they_have_a_counterpart(make: Callable[..., Tree]) -> None:
    tree = make(V1, v1=True)
    raw = tree.sample().raw
    expected = {
        "memory_current": 1000,
        "memory_working_set": 600,
        "memory_swap": 60,
        "memory_limit": 4000,
        "memory_limit_ratio": 0.25,
        "oom_kills": 3,
        "throttled_seconds": 1.5,
    }
    assert {name: raw[name] for name in expected} == expected
    assert tree.one("pressure:io") == NO_PRESSURE


def test_the_nearest_limit_is_the_lowest_of_the_unit_and_its_slices(
    make: Callable[..., Tree],
) -> None:
    tree = make(V2)
    tree.put("memory.max", "2000\n", "/a.slice")
    assert tree.one("memory:limit_ratio") == 50
    tree.put("memory.max", "4000\n")
    assert tree.one("memory:limit_ratio") == 50
    tree.put("memory.max", "1250\n")
    assert tree.one("memory:limit_ratio") == 80
    tree.put("memory.max", "1000\n", "/")
    assert tree.one("memory:limit_ratio") == 100
    tree.put("memory.max", "0\n")
    assert tree.one("memory:limit_ratio") == 100


def test_what_nobody_names_is_not_read_and_not_told(make: Callable[..., Tree]) -> None:
    tree = make(V2)
    assert extra(frozenset((MetricId("memory", "rss"), MetricId("init", "up")))) == frozenset()
    sample = tree.sample(frozenset())
    assert not {"memory_current", "oom_kills"} & (sample.raw.keys() | sample.missing.keys())
    assert service_readings(EXTRA, None, sample) == {}
    before = set(os.listdir("/proc/self/fd"))
    tree.sample(frozenset((MetricId("memory", "current"),)))
    assert len(set(os.listdir("/proc/self/fd")) - before) == 1


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        ("memory:current", "set MemoryAccounting=yes in the unit"),
        ("memory:working_set", "set MemoryAccounting=yes in the unit"),
        ("memory:swap", "set MemoryAccounting=yes in the unit"),
        ("memory:limit_ratio", "set MemoryAccounting=yes in the unit"),
        ("init:oom_kills", "set MemoryAccounting=yes in the unit"),
        ("cpu:throttled", "set CPUAccounting=yes in the unit"),
        ("pressure:cpu", NO_PRESSURE),
        ("pressure:memory_full", NO_PRESSURE),
    ],
)
@pytest.mark.parametrize("v1", [False, True])
def test_what_no_hierarchy_tells_is_unknown_with_the_mend(
    make: Callable[..., Tree], metric: str, why: str, v1: bool
) -> None:
    assert why in str(make(v1=v1).one(metric))


NAMES = {
    "memory.current": "memory:current",
    "memory.stat": "memory:working_set",
    "memory.swap.current": "memory:swap",
    "memory.max": "memory:limit_ratio",
    "memory.events": "init:oom_kills",
    "io.stat": "io:read",
    "cpu.pressure": "pressure:cpu",
}


def _garbage(path: Path) -> None:
    path.write_bytes(b"\xff\x00garbage\x1b[31m\n")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes().split()[0][:3] + b" ")


def _huge(path: Path) -> None:
    path.write_bytes(b"7" * (MOST + 2**20))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("spoil", [_garbage, _huge, _folder, _link, _fifo])
@pytest.mark.parametrize("file", NAMES)
def test_a_hostile_file_is_a_reason_and_never_a_number(
    make: Callable[..., Tree], file: str, spoil: Callable[[Path], None]
) -> None:
    tree = make(V2 | {"memory.max": "5000\n"})
    good = service_readings(EXTRA, None, tree.sample())
    tree.sampler.close()
    spoil(tree.unified / UNIT[1:] / file)
    name = metric_id(NAMES[file])
    bad = service_readings(EXTRA, None, tree.sample())
    assert bad[name].value is None
    assert bad[name].why_missing.isprintable()
    assert file in bad[name].why_missing
    assert (spoil is _huge) == ("too large" in bad[name].why_missing)
    untouched = {m for m in good if good[m] == bad[m]}
    assert MetricId("pressure", "memory") in untouched


@pytest.mark.parametrize("file", ["memory.stat", "memory.events", "cpu.pressure"])
def test_a_file_that_was_cut_is_a_reason(make: Callable[..., Tree], file: str) -> None:
    tree = make(V2)
    _cut(tree.unified / UNIT[1:] / file)
    assert file in str(tree.one(NAMES[file]))


# counters


def sample(at: float, previous: Sample, **raw: float) -> Sample:
    return replace(previous, at=at, raw={**previous.raw, **raw})


def test_counters_are_what_was_gained_and_oom_kills_survive_a_new_cgroup(
    make: Callable[..., Tree],
) -> None:
    first = sample(1.0, make(V2).sample())
    later = sample(3.0, first, throttled_seconds=3.5, read_bytes=2**20 + 10, oom_kills=5)
    readings = service_readings(EXTRA, first, later)
    assert readings[metric_id("cpu:throttled")].value == 50
    assert (readings[metric_id("io:read")].value, readings[metric_id("io:read")].elapsed) == (
        2**20,
        2,
    )
    assert readings[metric_id("io:write")].value == 0
    assert readings[OOM_KILLS].value == 3
    anew = sample(4.0, later, oom_kills=1)
    assert service_readings([OOM_KILLS], later, anew)[OOM_KILLS].value == 1
    empty = service_readings([OOM_KILLS], later, sample(4.0, later, oom_kills=0))[OOM_KILLS]
    assert (empty.value, empty.why_missing) == (None, "the counter went back")


def test_a_first_reading_is_unknown_also_where_the_rule_is_new(make: Callable[..., Tree]) -> None:
    tree = make(V2)
    without, now = tree.sample(frozenset()), tree.sample()
    for previous in (None, without):
        for name in ("io:read", "cpu:throttled", "init:oom_kills"):
            reading = service_readings([metric_id(name)], previous, now)[metric_id(name)]
            assert (reading.value, "first reading" in reading.why_missing) == (None, True)


def test_the_io_of_another_main_process_is_another_counter(make: Callable[..., Tree]) -> None:
    first = sample(1.0, make(V2).sample())
    other = replace(sample(2.0, first, read_bytes=99, oom_kills=3), main=None)
    readings = service_readings(EXTRA, first, other)
    assert readings[metric_id("io:read")].value is None
    assert readings[OOM_KILLS].value == 1


# real processes


def test_the_io_of_processes_without_a_cgroup_is_their_sum(tmp_path: Path) -> None:
    file = tmp_path / "written"
    if not _on_disk(tmp_path / "probe"):
        pytest.skip(f"{tmp_path} is in memory: what is written there is no I/O")
    code = (
        "import os, signal\n"
        f"f = os.open({str(file)!r}, os.O_CREAT | os.O_WRONLY)\n"
        f"if not os.fork(): os.write(f, b'x' * 3_000_000); os.fsync(f); os._exit(0)\n"
        f"os.wait()\nif os.fork(): os.write(f, b'x' * 2_000_000); os.fsync(f)\n{READY_AND_WAIT}"
    )
    sampler = ProcSampler()
    names = frozenset(("write_bytes", "read_bytes", "memory_current"))
    with running(*python(code)) as process:
        target = SampleTarget("x", main_pid=process.pid, extra=names)
        until(lambda: sampler.sample([target])["x"].raw["write_bytes"] >= 5_000_000)
        found = sampler.sample([target])["x"]
    sampler.close()
    assert found.raw["write_bytes"] < 6_000_000
    assert len(found.processes) == 2
    assert found.missing["memory_current"] == NO_GROUP


def _on_disk(file: Path) -> bool:
    def written() -> int:
        return int(Path("/proc/self/io").read_text().split("\nwrite_bytes: ")[1].split()[0])

    before = written()
    file.write_bytes(bytes(100_000))
    return written() > before


def test_what_two_sources_tell_is_no_gain(make: Callable[..., Tree]) -> None:
    tree = make()
    first = tree.sample(frozenset((metric_id("io:read"),)))
    tree.put("io.stat", f"8:0 rbytes={2**60} wbytes=0\n")
    later = tree.sample(frozenset((metric_id("io:read"),)))
    gain = service_readings([metric_id("io:read")], first, later)[metric_id("io:read")].value
    assert gain is not None
    assert gain < 2**50
    tree.sampler.close()  # what is found anew may have another source
    assert tree.sample(frozenset((metric_id("io:read"),))).raw["read_bytes"] == 2**60


def test_a_process_with_the_pid_of_another_tells_nothing() -> None:
    with running(*python(f"import signal\n{READY_AND_WAIT}")) as process:
        sampler = ProcSampler()
        main = sampler.sample([SampleTarget("x", main_pid=process.pid)])["x"].main
        sampler.close()
        assert main is not None
        assert b"read_bytes" in of_process("/proc", main, "io")
        with pytest.raises(ProcessLookupError):
            of_process("/proc", replace(main, started=main.started - 1), "io")


class Pss:
    """Proportional memory of a real process, at times of the test's choosing."""

    def __init__(self, pid: int) -> None:
        sampler = ProcSampler()
        self.sample = sampler.sample([SampleTarget("x", main_pid=pid)])["x"]
        sampler.close()
        self.now = 0.0
        self.measurer = pss.Measurer()
        self.unit = pss.Proportional("/proc", self.measurer, lambda: self.now)

    def read(self) -> float | str:
        try:
            return self.unit.read(self.sample)
        except Unknown as error:
            return str(error)

    def measured(self) -> None:
        """Return when the measurer has done what it was asked for."""
        done = threading.Event()
        self.measurer.ask(done.set)
        assert done.wait(10)


@pytest.fixture
def of_us() -> Iterator[Pss]:
    made = Pss(os.getpid())
    yield made
    made.measurer.close()


def test_pss_is_measured_beside_and_seldom_and_not_used_when_old(of_us: Pss) -> None:
    assert of_us.read() == pss.NOT_YET
    of_us.measured()
    first = of_us.read()
    assert isinstance(first, float)
    assert 2**20 < first <= of_us.sample.raw["rss"] + 2**22
    kept = mmap.mmap(-1, 60_000_000)  # pages of its own: an allocator may have some to give
    kept.write(os.urandom(1000) * 60_000)
    of_us.now = 59
    assert of_us.read() == first
    of_us.measured()
    assert of_us.read() == first
    of_us.now = 61
    assert of_us.read() == first
    of_us.measured()
    second = of_us.read()
    assert isinstance(second, float)
    assert second > first + len(kept) / 2


def test_pss_of_a_process_whose_memory_map_is_locked_ends_as_unknown(of_us: Pss) -> None:
    of_us.read()
    of_us.measured()
    hangs = threading.Event()
    of_us.measurer.ask(lambda: (hangs.wait(10), None)[1])
    of_us.now = 60
    assert isinstance(of_us.read(), float)
    of_us.now = 121
    assert of_us.read() == pss.HANGS
    hangs.set()
    of_us.measured()
    assert isinstance(of_us.read(), float)


def test_pss_of_what_is_big_is_never_measured(of_us: Pss) -> None:
    big = {**of_us.sample.raw, "total_rss": pss.MOST_BYTES + 1}
    of_us.sample = replace(of_us.sample, raw=big)
    assert of_us.read() == pss.TOO_BIG
    of_us.measured()
    of_us.sample = replace(of_us.sample, raw={**big, "total_rss": 1.0})
    assert of_us.read() == pss.NOT_YET


def test_pss_of_another_process_is_another(of_us: Pss) -> None:
    of_us.read()
    of_us.measured()
    assert isinstance(of_us.read(), float)
    of_us.sample = replace(of_us.sample, main=None)
    assert of_us.read() == pss.NOT_YET


def test_without_the_right_to_look_the_reason_says_so() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it gives rights up")
    found = _as_nobody(
        "s = ProcSampler()\n"
        f"t = SampleTarget('x', main_pid={os.getppid()}, extra=frozenset(('read_bytes', 'pss')))\n"
        "out = s.sample([t])['x'].missing['read_bytes']\n"
        "while True:\n"
        "    why = s.sample([t])['x'].missing['pss']\n"
        "    if why != 'not measured yet': break\n"
        "print(out + '|' + why)\n"
    )
    assert found == (f"{NO_RIGHT_IO}|no right to see the memory map of another user's process\n")


def _as_nobody(code: str) -> str:
    imports = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from steadyd.ports import SampleTarget\nfrom steadyd.probes.procfs import ProcSampler\n"
        "from steadyd.probes import extras, pss\n"
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", imports + code], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# the host


def test_what_a_rule_names_of_the_host_is_read() -> None:
    metrics = frozenset(
        map(metric_id, ("net:lo", "net:nic7", "pressure:cpu", "memory:used", "memory:available"))
    )
    assert host_extra(metrics) == {"net_bytes:lo", "net_bytes:nic7", "pressure_cpu_percent"}
    sampler = ProcSampler()
    first, second = (sampler.host([], host_extra(metrics)) for _ in "12")
    readings = {str(m): r for m, r in host_readings(metrics, first, second).items()}
    assert readings["net:lo"].value is not None
    assert readings["net:nic7"].why_missing == "there is no network interface nic7"
    total = second.raw["memory_total"]
    assert 0 < (readings["memory:used"].value or 0) < total
    assert readings["memory:used"].value == total - (readings["memory:available"].value or 0)
    if not os.path.exists("/proc/pressure/cpu"):
        assert "CONFIG_PSI" in readings["pressure:cpu"].why_missing
    else:
        assert 0 <= (readings["pressure:cpu"].value or 0) <= 100
    bare = sampler.host([])
    assert not {n for n in bare.raw.keys() | bare.missing.keys() if n.startswith(("net", "press"))}
    sampler.close()


def test_a_host_whose_files_are_missing_or_spoilt_says_so(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "self/net").mkdir(parents=True)
    (proc / "pressure").mkdir()
    (proc / "self/mountinfo").write_text("1 1 8:1 / /srv rw - ext4 /dev/x rw\n")
    sampler = ProcSampler(str(tmp_path))
    names = ("net_bytes:lo", "pressure_io_percent")
    assert "CONFIG_PSI" in sampler.host([], names).missing["pressure_io_percent"]
    (proc / "pressure/io").write_bytes(b"some avg10=nan\n")
    (proc / "self/net/dev").write_bytes(b"a\nb\n lo: x\n")
    (proc / "meminfo").write_text("MemTotal: 5 kB\nSwapTotal: 7 kB\nBare:\nOdd: \n")
    (proc / "self/mountinfo").unlink()
    sample = sampler.host(["/srv"], names)
    assert {*names, "meminfo", "disk_used_percent:/srv"} <= sample.missing.keys()
    assert not set(names) & sample.raw.keys()
    (proc / "meminfo").write_text("MemTotal: 5 kB\n")
    assert "MemAvailable" in sampler.host([]).missing["memory_used"]
    sampler.close()


def test_the_controllers_of_cgroup1_are_found_by_name() -> None:
    text = (
        "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 / /my\\040groups/memory rw - cgroup cgroup rw,memory\n"
        "36 31 0:33 /part /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    found = controller_mounts(text)
    assert found["cpu"] == found["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct"
    assert found["memory"] == "/my groups/memory"
    assert "blkio" not in found
