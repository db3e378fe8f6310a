"""Who restarted a service, each cause produced for real (contract.md, section 5)."""

import json
from collections.abc import Iterator

import pytest

from steadyd.exposition.families import go_float
from tests.e2e.kit import SteadyHost, until
from tests.hosts.inithost import HostError, UmlSystemdHost

pytestmark = pytest.mark.host

AGAIN = "Restart=always\nRestartSec=10ms\n"
SERVICES = {
    "web.service": f"[Service]\nExecStart=/bin/sleep infinity\n{AGAIN}",
    "dog.service": "[Service]\nType=notify\nNotifyAccess=all\nWatchdogSec=500ms\n"
    "ExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep infinity'\n"
    "Restart=on-watchdog\nRestartSec=10ms\n",
    "fat.service": "[Service]\nExecStart=/usr/bin/python3 /srv/fat.py\n",
}
FAT = """import signal
kept = []
signal.signal(signal.SIGUSR2, lambda *a: kept.append(b"x" * 80_000_000))
while True:
    signal.pause()
"""
RULES = """check service web
  if down then alert
check service dog
  if down then alert
check service fat
  if memory:rss > 60m then alert, restart
"""


@pytest.fixture
def host() -> Iterator[SteadyHost]:
    try:
        made = SteadyHost(
            config='cycle = "500ms"\n',
            rules={"all.inq": RULES},
            services=SERVICES,
            files={"/srv/fat.py": FAT},
        )
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with made:
        made.grant()
        made.run(["systemctl", "start", "web", "fat"])
        made.start_steadyd()
        yield made


def counted(host: SteadyHost, name: str, cause: str, count: int = 1) -> None:
    """Wait until so many restarts of a service are put down to a cause, and none to another."""
    line = f'steadyd_service_restarts_total{{cause="{cause}",name="{name}"}} {count}.0'

    def told() -> bool:
        lines = host.get_text("/metrics").splitlines()
        return line in lines

    until(told, 20, line)


def total(host: SteadyHost, name: str) -> float:
    lines = host.get_text("/metrics").splitlines()
    mine = [x for x in lines if x.startswith("steadyd_service_restarts_total") and name in x]
    return sum(float(x.rpartition(" ")[2]) for x in mine)


def test_every_cause(host: SteadyHost) -> None:
    host.run(["systemctl", "restart", "web"])
    counted(host, "web", "operator")
    host.run(["systemctl", "kill", "-s", "KILL", "web"])
    counted(host, "web", "init")
    assert total(host, "web") == 2

    host.run(["systemctl", "kill", "-s", "USR2", "fat"])
    counted(host, "fat", "rule")
    assert total(host, "fat") == 1

    host.run(["systemctl", "stop", "steadyd"])
    host.run(["systemctl", "restart", "web"])
    host.start_steadyd()
    counted(host, "web", "unknown")

    # systemd keeps its boot, but for steadyd the kernel tells of another one
    host.run(["systemctl", "stop", "steadyd"])
    host.put("/run/boot_id", "00000000-0000-4000-8000-000000000001\n")
    host.put(
        "/etc/systemd/system/steadyd.service.d/boot.conf",
        "[Service]\nBindReadOnlyPaths=/run/boot_id:/proc/sys/kernel/random/boot_id\n",
    )
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "restart", "web"])
    host.start_steadyd()
    counted(host, "web", "boot")
    assert total(host, "web") == 4

    control = "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
    host.put("/srv/x/DEBIAN/control", control)
    host.put("/srv/x/DEBIAN/postinst", "#!/bin/sh\nsystemctl restart web\nsleep 1\n", 0o755)
    host.run(["dpkg-deb", "--build", "/srv/x", "/srv/x.deb"])
    host.run(["dpkg", "-i", "/srv/x.deb"])
    counted(host, "web", "package")
    assert total(host, "web") == 5

    host.run(["systemctl", "start", "dog"])
    counted(host, "dog", "watchdog")


class UmlSteadyHost(SteadyHost, UmlSystemdHost):  # type: ignore[misc]
    """On a kernel of its own, with the memory controller; nothing connects to it from outside."""


LEAKING = """import os, time
kept = []
while True:
    time.sleep(0.05)
    if os.path.exists("/run/leak") and len(kept) < 9:
        kept.append(b"x" * 2_000_000)
    if os.path.exists("/run/burst"):
        os.unlink("/run/burst")
        if not os.fork():
            x = b"x" * 200_000_000
        os.wait()
"""
OOM_RULES = """check service greedy
  if down then alert
  if oom then alert
check service leaking
  if memory:limit_ratio > 40% then alert
  if oom then alert
  if init:oom_kills > 0 then alert
  if memory:swap > 1g then alert
  if io:read > 1g then alert
  if cpu:throttled > 500% then alert
  if pressure:memory > 99% then alert
"""


def test_a_kill_for_want_of_memory() -> None:
    greedy = """import os, time
while True:
    time.sleep(0.05)
    if os.path.exists("/run/eat"):
        os.unlink("/run/eat")
        x = b"x" * 200_000_000
"""
    limits = "MemoryMax=40M\nMemorySwapMax=0\n"
    try:
        host = UmlSteadyHost(
            config='cycle = "1s"\n',
            rules={"oom.inq": OOM_RULES},
            services={
                "greedy.service": "[Service]\nExecStart=/usr/bin/python3 /srv/greedy.py\n"
                f"{limits}Restart=always\nRestartSec=100ms\n",
                "leaking.service": "[Service]\nExecStart=/usr/bin/python3 /srv/leaking.py\n"
                f"{limits}OOMPolicy=continue\nCPUQuota=90%\nIOAccounting=yes\n",
            },
            files={"/srv/greedy.py": greedy, "/srv/leaking.py": LEAKING},
        )
    except (HostError, OSError) as error:
        pytest.skip(str(error))

    def get(path: str) -> str:
        url = f"http://127.0.0.1:10870{path}"
        ask = f"import urllib.request as u; print(u.urlopen('{url}').read().decode())"
        return str(host.run(["python3", "-c", ask]).stdout)

    def opened() -> set[tuple[str, str]]:
        incidents = json.loads(get("/api/v1/incidents?limit=99"))["incidents"]
        return {(each["service"], each["rule"]) for each in incidents}

    line = 'steadyd_service_restarts_total{cause="oom",name="greedy"} 1.0'
    with host:
        host.run(["systemctl", "start", "greedy", "leaking"])
        host.start_steadyd()
        host.run(["touch", "/run/eat"])
        until(lambda: line in get("/metrics").splitlines(), 30, line)
        assert ("greedy", "if oom then alert") in opened()

        host.run(["touch", "/run/leak"])
        wanted = ("leaking", "if memory:limit_ratio > 40% then alert")
        until(lambda: wanted in opened(), 30, str(wanted))
        assert 'steadyd_service_oom_kills_total{name="leaking"} 0.0' in get("/metrics")
        host.run(["touch", "/run/burst"])
        killed = {("leaking", f"if {what} then alert") for what in ("oom", "init:oom_kills > 0")}
        until(lambda: killed <= opened(), 30, str(killed))
        text = get("/metrics").splitlines()
        assert 'steadyd_service_oom_kills_total{name="leaking"} 1.0' in text
        assert (
            f'steadyd_service_memory_limit_bytes{{name="leaking"}} {go_float(40 * 2**20)}' in text
        )
        services = json.loads(get("/api/v1/status"))["services"]
        leaking = next(each for each in services if each["name"] == "leaking")
        assert 40 < leaking["metrics"]["memory:limit_ratio"] <= 100
        known = {"memory:swap", "io:read", "cpu:throttled"}
        assert not known & leaking["missing"].keys()
        # Debian builds this kernel without PSI
        assert "CONFIG_PSI" in leaking["missing"]["pressure:memory"]
