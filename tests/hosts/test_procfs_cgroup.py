"""The sampler on the cgroups of a real systemd; it runs inside the host, where the pids are."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.rigs import ENV
from tests.hosts.inithost import HostError, SystemdHost

pytestmark = pytest.mark.host

# one sampler for all lines of its input, so that what it keeps is under test as well
PROGRAM = """
import json, msgspec, sys
from steadyd.ports import SampleTarget
from steadyd.probes.procfs import ProcSampler
sampler = ProcSampler()
def shown(sampler, target):
    sample = sampler.sample([target]).get(target.unit)
    return sample and msgspec.to_builtins(sample)
for line in sys.stdin:
    unit, cgroup, main = line.split()
    target = SampleTarget(unit, cgroup, int(main))
    answer = [shown(sampler, target)]
    fresh = ProcSampler()
    answer.append(shown(fresh, target))
    fresh.close()
    print(json.dumps(answer), flush=True)
"""
# on SIGUSR1 the next of these happens; the file tells how many did
CHANGING = """
import os, signal, threading, time
def zombie():
    if not (pid := os.fork()): os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
def more():
    global child
    if not (child := os.fork()):
        while True: signal.pause()
def fewer():
    os.kill(child, 9)
    os.waitpid(child, 0)
changes = [
    lambda: threading.Thread(target=time.sleep, args=(999,), daemon=True).start(),
    lambda: globals().update(files=[os.open("/dev/null", 0) for _ in range(20)]),
    lambda: globals().update(memory=bytearray(30_000_000)),
    more, zombie, fewer,
]
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
more()
for done, change in enumerate([lambda: None, *changes]):
    change()
    with open("/run/changed", "w") as f: f.write(str(done))
    signal.sigwait([signal.SIGUSR1])
"""
BUSY = (
    "import os, signal, time\n"
    "if not os.fork():\n while time.process_time() < 0.3: pass\n os._exit(0)\n"
    "os.wait()\nsignal.pause()\n"
)


@pytest.fixture(scope="module")
def host() -> Iterator[Any]:
    try:
        host = SystemdHost()
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with host:
        yield host


class Looker:
    """Asks the sampler inside."""

    def __init__(self, host: Any, process: Any) -> None:
        self._host, self._process = host, process

    def look(self, unit: str) -> Any:
        return self.both(unit)[0]

    def both(self, unit: str) -> Any:
        """Return what the kept sampler finds, and what a new one does."""
        facts = self._host.show(unit, "MainPID", "ControlGroup")
        group = facts["ControlGroup"] or f"/system.slice/{unit}"
        self._process.stdin.write(f"{unit} {group} {facts['MainPID']}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def when(self, unit: str, test: Any) -> Any:
        def tried() -> Any:
            sample = self.look(unit)
            return sample if sample and test(sample) else None

        return self._host.wait_for(tried)


@pytest.fixture
def looker(host: Any) -> Iterator[Looker]:
    argv = [sys.executable, "-c", PROGRAM]
    pipe = subprocess.PIPE
    with host.popen(argv, env=ENV, stdin=pipe, stdout=pipe, text=True) as process:
        yield Looker(host, process)
        process.stdin.close()


def test_the_time_of_ended_children_is_in_the_unit_and_not_in_the_main_process(
    host: Any, looker: Looker
) -> None:
    host.put("/srv/busy.py", BUSY)
    host.unit_file("busy.service", f"[Service]\nExecStart={sys.executable} /srv/busy.py\n", True)

    def spent(raw: Any, whose: str) -> float:
        return float(raw[f"{whose}user_seconds"] + raw[f"{whose}system_seconds"])

    sample = looker.when("busy.service", lambda s: spent(s["raw"], "total_") > 0.29)
    assert spent(sample["raw"], "") < 0.2


def test_delegated_cgroups_count_and_control_processes_do_not(host: Any, looker: Looker) -> None:
    script = (
        "mkdir -p $0/inner/deep $0/.control\n"
        "sh -c 'echo $$ > $0/inner/deep/cgroup.procs; exec sleep inf' $0 &\n"
        "sh -c 'echo $$ > $0/.control/cgroup.procs; exec sleep inf' $0 &\n"
        "echo $$ > $0/inner/cgroup.procs\nexec sleep inf\n"
    )
    host.put("/srv/delegated.sh", script)
    host.unit_file(
        "delegated.service",
        "[Service]\nDelegate=yes\n"
        "ExecStart=/bin/sh -c '. /srv/delegated.sh' "
        "/sys/fs/cgroup/system.slice/delegated.service\n",
        True,
    )
    inner = "/sys/fs/cgroup/system.slice/delegated.service/.control/cgroup.procs"
    host.wait_for(lambda: host.run(["cat", inner], check=False).stdout.strip())
    sample = looker.when("delegated.service", lambda s: len(s["processes"]) == 2)
    assert sample["main"] == sample["processes"][0]


def test_a_unit_that_was_started_again_is_another_process_with_a_count_of_its_own(
    host: Any, looker: Looker
) -> None:
    host.unit_file("again.service", "[Service]\nExecStart=/bin/sleep inf\n", True)
    first = looker.look("again.service")
    host.run(["systemctl", "stop", "again"])
    assert looker.look("again.service") is None
    host.run(["systemctl", "start", "again"])
    second = looker.look("again.service")
    assert second["main"] != first["main"]
    assert second["missing"] == {}
    assert [each["pid"] for each in second["processes"]] == [second["main"]["pid"]]


def test_a_process_outside_the_cgroup_is_not_taken_for_the_main_one(
    host: Any, looker: Looker
) -> None:
    host.unit_file("lone.service", "[Service]\nExecStart=/bin/sleep inf\n", True)
    looker._process.stdin.write("lone.service /system.slice/lone.service 1\n")
    looker._process.stdin.flush()
    sample, _ = json.loads(looker._process.stdout.readline())
    assert sample["main"] is None
    assert "rss" in sample["missing"]
    assert sample["raw"]["total_rss"] > 0


def test_what_is_known_of_processes_never_hides_what_they_do_now(host: Any, looker: Looker) -> None:
    host.put("/srv/changing.py", CHANGING)
    host.unit_file(
        "changing.service", f"[Service]\nExecStart={sys.executable} /srv/changing.py\n", True
    )
    seen = []
    for step in range(7):
        host.wait_for(
            lambda step=step: host.run(["cat", "/run/changed"], check=False).stdout == str(step)
        )
        for _ in "known", "known again":
            kept, fresh = looker.both("changing.service")
            for sample in kept, fresh:
                sample.pop("at", None)
            differs = {n for n in fresh["raw"] if abs(kept["raw"][n] - fresh["raw"][n]) > 0.05}
            assert differs <= {"rss", "total_rss"}
            assert abs(kept["raw"]["total_rss"] - fresh["raw"]["total_rss"]) < 2**20
            assert {**kept, "raw": 0} == {**fresh, "raw": 0}
        seen.append(kept["raw"])
        host.run(["systemctl", "kill", "--kill-whom=main", "-s", "USR1", "changing"])
    first, thread, files, memory, more, zombie, fewer = seen
    assert thread["threads"] == first["threads"] + 1
    assert files["open_fds"] == thread["open_fds"] + 20
    assert files["worst_fd_ratio"] > thread["worst_fd_ratio"]
    assert memory["rss"] > files["rss"] + 29_000_000
    assert more["processes"] == first["processes"] + 1
    assert zombie["processes"] == more["processes"]
    assert fewer["processes"] == first["processes"]
