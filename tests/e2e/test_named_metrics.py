"""Metrics that are read because a rule names them, through the daemon as it ships."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.kit import SteadyHost, until
from tests.hosts.inithost import HostError

pytestmark = pytest.mark.host

# past the page cache, so that the disk is read each time
READER = """import mmap, os, time
f = os.open("/usr/bin/python3", os.O_RDONLY | os.O_DIRECT)
page, kept = mmap.mmap(-1, 2**20), os.urandom(1000) * 20_000
while True:
    os.preadv(f, [page], 0)
    time.sleep(0.05)
"""
SERVICES = {
    "ours.service": "[Service]\nUser=steadyd\nExecStart=/usr/bin/python3 /srv/reader.py\n",
    "theirs.service": "[Service]\nExecStart=/usr/bin/python3 /srv/reader.py\n",
    "busy.service": "[Service]\nExecStart=/bin/sh -c"
    " 'for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait'\n",
    "plain.service": "[Service]\nExecStart=/bin/sleep infinity\n",
}
RULES = """check service ours
  if io:read > 1m/sec then alert
  if memory:pss > 10m then alert
  if memory:current > 1g then alert
check service theirs
  if io:read > 1m/sec then alert
  if memory:pss > 10m then alert
check service busy
  if pressure:cpu > 5% then alert
  if oom then alert
check service plain
  if memory:rss > 1g then alert
check host
  if memory:available < 1k then alert
  if net:lo > 1 then alert
  if net:nic7 > 1 then alert
  if pressure:cpu > 1% then alert
  if disk:/ > 101% then alert
"""


@pytest.fixture(scope="module")
def host() -> Iterator[SteadyHost]:
    try:
        made = SteadyHost(
            config='cycle = "500ms"\n',
            rules={"all.inq": RULES},
            services=SERVICES,
            files={"/srv/reader.py": READER},
        )
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with made:
        made.run(["systemctl", "start", "ours", "theirs", "busy", "plain"])
        made.start_steadyd()
        yield made


def service(host: SteadyHost, name: str) -> Any:
    found = host.api("/api/v1/status")["services"]
    return next(each for each in found if each["name"] == name)


def open_incidents(host: SteadyHost) -> set[tuple[str, str]]:
    found = host.api("/api/v1/incidents?limit=500")["incidents"]
    return {(each["service"], each["rule"]) for each in found}


def families(host: SteadyHost, name: str) -> dict[str, float]:
    found = {}
    for line in host.get_text("/metrics").splitlines():
        if f'name="{name}"' in line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            found[series] = float(value)
    return found


def test_what_rules_name_is_measured_compared_and_exported(host: SteadyHost) -> None:
    wanted = {
        ("ours", "if io:read > 1m/sec then alert"),
        ("ours", "if memory:pss > 10m then alert"),
        ("busy", "if pressure:cpu > 5% then alert"),
    }
    until(lambda: wanted <= open_incidents(host), 40, str(wanted))
    ours = families(host, "ours")
    assert ours['steadyd_service_read_bytes_total{name="ours"}'] > 20_000_000
    assert ours['steadyd_service_memory_bytes{memtype="proportionalResident",name="ours"}'] > 1e7
    busy = families(host, "busy")
    pressure = 'steadyd_service_pressure_ratio{kind="some",name="busy",resource="cpu"}'
    assert 0.05 < busy[pressure] <= 1
    assert not [x for x in families(host, "plain") if "pressure" in x or "_bytes_total" in x]


def test_what_cannot_be_read_is_unknown_with_its_reason(host: SteadyHost) -> None:
    theirs = until(lambda: len((s := service(host, "theirs"))["missing"]) > 1 and s)
    assert theirs["missing"]["io:read"].startswith("no right to see the I/O of another user's")
    assert "IOAccounting=yes" in theirs["missing"]["io:read"]
    until(
        lambda: (
            service(host, "theirs")["missing"]["memory:pss"]
            == "no right to see the memory map of another user's process"
        )
    )
    assert theirs["metrics"]["io:read"] is None
    current = service(host, "ours")["missing"].get("memory:current", "")
    if "memory" not in host.controllers:
        assert "MemoryAccounting=yes" in current
        assert "MemoryAccounting=yes" in service(host, "busy")["missing"]["init:oom_kills"]
    assert ("busy", "if oom then alert") not in open_incidents(host)


def test_the_host_is_measured_as_rules_name_it(host: SteadyHost) -> None:
    def found() -> Any:
        seen = host.api("/api/v1/status")["host"]
        return seen and seen["metrics"].get("net:lo") is not None and seen

    seen = until(found)
    assert seen["metrics"]["memory:available"] > 2**20
    assert seen["missing"]["net:nic7"] == "there is no network interface nic7"
    assert 0 < seen["metrics"]["disk:/"] <= 100
    text = host.get_text("/metrics")
    disk = re.search(r'^steadyd_host_metric{family="disk",metric="/"} ([0-9.]+)$', text, re.M)
    assert disk
    assert 0 < float(disk[1]) <= 100
    net = r'^steadyd_host_metric{family="net",metric="lo"} [0-9.e+]+$'
    assert until(lambda: re.search(net, host.get_text("/metrics"), re.M))
    assert ("host", "if pressure:cpu > 1% then alert") in until(lambda: open_incidents(host))
