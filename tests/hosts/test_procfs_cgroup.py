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
for line in sys.stdin:
    unit, cgroup, main = line.split()
    sample = sampler.sample([SampleTarget(unit, cgroup, int(main))]).get(unit)
    print(json.dumps(sample and msgspec.to_builtins(sample)), flush=True)
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
    sample = json.loads(looker._process.stdout.readline())
    assert sample["main"] is None
    assert "rss" in sample["missing"]
    assert sample["raw"]["total_rss"] > 0
