import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadyd.model.metric import Sample
from steadyd.model.service import ProcessId
from steadyd.ports import SampleTarget
from steadyd.probes.cgroup import cpu_times
from steadyd.probes.host import cgroup_mounts, mount_points
from steadyd.probes.kept import soft_limit, split_stat
from steadyd.probes.procfs import ProcSampler


@contextmanager
def running(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program whose first line of output says that it is ready."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-I", "-S", "-c", code


READY_AND_WAIT = "print(flush=True); signal.pause()"


@pytest.fixture
def sampler() -> Iterator[ProcSampler]:
    sampler = ProcSampler()
    yield sampler
    sampler.close()


def look(sampler: ProcSampler, process: subprocess.Popen[bytes]) -> Sample:
    return sampler.sample([SampleTarget("x", main_pid=process.pid)])["x"]


def until(test: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not test():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@given(st.binary(max_size=15), st.lists(st.integers(0, 2**63), min_size=50, max_size=50))
def test_no_name_shifts_the_fields(name: bytes, numbers: list[int]) -> None:
    words = [b"S", *(str(number).encode() for number in numbers)]
    assert split_stat(b"1 (" + name + b") " + b" ".join(words) + b"\n")[:22] == words[:22]


def test_a_stat_line_that_was_cut_is_an_error() -> None:
    with pytest.raises(ValueError):
        split_stat(b"1 (x) S 1 2 3")


def test_limits_and_cpu_stat() -> None:
    line = (
        b"Limit   Soft\nMax open files            1024                 4096                 files\n"
    )
    assert soft_limit(line) == 1024
    assert soft_limit(line.replace(b"1024", b"unlimited")) == float("inf")
    assert cpu_times(b"usage_usec 5\nuser_usec 2000000\nsystem_usec 500000\n") == (2.0, 0.5)


def test_a_process_with_a_hostile_name_is_read_right(sampler: ProcSampler, tmp_path: Path) -> None:
    program = tmp_path / "a) R (b c"
    shutil.copy("/bin/sh", program)
    with running(str(program), "-c", "echo; read x || while :; do sleep 99; done") as process:
        sample = look(sampler, process)
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    assert sample.main is not None
    assert sample.main.pid == process.pid
    assert sample.processes[0] == sample.main
    # the kernel keeps the rss in stat per CPU and adds it up late: some pages are not in it yet
    assert abs(sample.raw["rss"] - pages * os.sysconf("SC_PAGE_SIZE")) < 2**20
    assert sample.raw["threads"] == len(sample.processes)
    assert abs(sample.raw["start_time_seconds"] - time.time()) < 60


def test_workers_and_their_children_count_and_other_processes_do_not(
    sampler: ProcSampler,
) -> None:
    code = f"import os,signal\nfor _ in 1,2: os.fork()\n{READY_AND_WAIT}"
    with running(*python(code)) as process:
        until(lambda: len(look(sampler, process).processes) == 4)
        sample = look(sampler, process)
    assert sample.raw["processes"] == 4
    assert sample.raw["total_rss"] > sample.raw["rss"] > 0
    assert os.getpid() not in [each.pid for each in sample.processes]


def test_a_zombie_is_counted_apart(sampler: ProcSampler) -> None:
    code = f"import os,signal\nif not os.fork(): os._exit(0)\n{READY_AND_WAIT}"
    with running(*python(code)) as process:
        until(lambda: look(sampler, process).raw["zombies"] == 1)
        sample = look(sampler, process)
    assert (sample.raw["processes"], len(sample.processes)) == (1, 1)


def test_the_time_of_ended_children_is_kept(sampler: ProcSampler) -> None:
    code = (
        "import os,signal,time\n"
        "if not os.fork():\n while time.process_time() < 0.2: pass\n os._exit(0)\n"
        f"os.wait()\n{READY_AND_WAIT}"
    )
    with running(*python(code)) as process:
        raw = look(sampler, process).raw
    assert raw["total_user_seconds"] + raw["total_system_seconds"] >= 0.19
    assert raw["user_seconds"] + raw["system_seconds"] < 0.19


def test_descriptors_and_the_fullest_process(sampler: ProcSampler) -> None:
    code = (
        "import os,resource,signal\nresource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))\n"
        f"kept = [os.open('/dev/null', 0) for _ in range(20)]\n{READY_AND_WAIT}"
    )
    with running(*python(code)) as process:
        sample = look(sampler, process)
        count = len(os.listdir(f"/proc/{process.pid}/fd"))
    assert sample.raw["open_fds"] == count
    assert sample.raw["worst_fd_ratio"] == count / 50


def test_descriptors_are_listed_where_the_kernel_does_not_count_them(
    sampler: ProcSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler._counting, "counts_fds", False)
    with running("/bin/sh", "-c", "echo; sleep 99") as process:
        expected = len(os.listdir(f"/proc/{process.pid}/fd"))
        sample = sampler.sample([SampleTarget("x", main_pid=process.pid)])["x"]
    assert sample.raw["open_fds"] >= expected


def test_what_ended_is_left_out_and_its_descriptor_is_closed(sampler: ProcSampler) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with running("/bin/sh", "-c", "echo; exec sleep 99") as process:
        assert look(sampler, process).main
        target = SampleTarget("x", main_pid=process.pid)
    assert sampler.sample([target]) == {}
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_pid_that_is_used_again_is_another_process(sampler: ProcSampler) -> None:
    """The kept descriptor of the ended process must not answer for its successor."""
    hint = Path("/proc/sys/kernel/ns_last_pid")
    with running("/bin/sh", "-c", "echo; exec sleep 99") as process:
        first = look(sampler, process).main
    assert first is not None
    ended = time.monotonic()
    until(
        lambda: time.monotonic() - ended > 2 / os.sysconf("SC_CLK_TCK")
    )  # starts are told in ticks
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            hint.write_text(str(first.pid - 1))
        except OSError:
            pytest.skip("this host does not let us choose the next pid")
        with running("/bin/sh", "-c", "echo; exec sleep 99") as process:
            if process.pid == first.pid:
                second = look(sampler, process).main
                assert second is not None
                assert second.pid == first.pid
                assert second != first
                return
    pytest.skip("the pid was always taken by somebody else")


def test_without_a_budget_everything_is_read_and_nothing_is_kept() -> None:
    sampler = ProcSampler(most_fds=0)
    with running(*python(f"import os,signal\nos.fork()\n{READY_AND_WAIT}")) as process:
        before = set(os.listdir("/proc/self/fd"))
        until(lambda: len(look(sampler, process).processes) == 2)
        assert look(sampler, process).main == look(sampler, process).main
        assert set(os.listdir("/proc/self/fd")) == before


def test_a_target_without_cgroup_and_pid_or_with_a_path_outwards_is_left_out(
    sampler: ProcSampler,
) -> None:
    targets = [
        SampleTarget("none"),
        SampleTarget("root", cgroup="/"),
        SampleTarget("up", cgroup="/../../../proc/self"),
        SampleTarget("absent", cgroup="/system.slice/absent.service", main_pid=1),
    ]
    assert sampler.sample(targets) == {}


def test_the_host_is_read(sampler: ProcSampler) -> None:
    sample = sampler.host(["/", "/no/such/mount", "/proc"])
    assert 0 < sample.raw["disk_used_percent:/"] <= 100
    assert sample.missing["disk_used_percent:/no/such/mount"] == (
        "nothing is mounted at /no/such/mount"
    )
    assert "no size" in sample.missing["disk_used_percent:/proc"]
    assert sample.raw["cpu_user_seconds"] > 0
    assert sample.raw["memory_total"] > sample.raw["memory_available"] > 0
    assert ("swap_used_percent" in sample.raw) != ("swap_used_percent" in sample.missing)


def test_the_disk_use_agrees_with_df(sampler: ProcSampler) -> None:
    shown = subprocess.run(
        ["df", "--output=pcent", "/"], capture_output=True, text=True, check=True
    ).stdout.split()[-1]
    assert sampler.host(["/"]).raw["disk_used_percent:/"] == pytest.approx(
        float(shown.rstrip("%")), abs=1
    )


def test_mounts_with_blanks_and_the_cgroup_hierarchies_are_found() -> None:
    text = (
        r"36 35 98:0 / /my\040disk rw master:1 - ext4 /dev/x rw" + "\n"
        "40 35 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
        "41 35 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "42 35 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "43 35 0:32 /part /mnt/part rw - cgroup2 cgroup2 rw\n"
    )
    assert "/my disk" in mount_points(text)
    assert cgroup_mounts(text) == (
        ("/sys/fs/cgroup/unified", True),
        ("/sys/fs/cgroup/systemd", False),
    )


def test_processes_have_an_identity_beyond_their_pid(sampler: ProcSampler) -> None:
    sample = sampler.sample([SampleTarget("me", main_pid=os.getpid())])["me"]
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    assert sample.main == ProcessId(os.getpid(), started)
