"""The bus hangs or starts anew, systemd executes itself again: nothing is down because of that."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.kit import SteadyHost, until
from tests.hosts.inithost import HostError

pytestmark = pytest.mark.host

VICTIM = "[Service]\nExecStart=/bin/sleep infinity\n"
RULE = "check service victim\n  if down then alert\n"
UP = 'steadyd_init_up{init="systemd"}'


@pytest.fixture
def host() -> Iterator[SteadyHost]:
    try:
        made = SteadyHost(
            config='cycle = "1s"\n',
            rules={"victim.inq": RULE},
            services={"victim.service": VICTIM},
            files={
                "/etc/steadyd/rules.d/secret.inq": ("check service secret\n", 0o600),
                "/etc/steadyd/rules.d/later.inq": "check service later\n",
            },
        )
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with made:
        made.run(["systemctl", "start", "victim"])
        made.start_steadyd()
        yield made
        log = log_of(made)
        print(log)
        assert "Traceback" not in log


def metric(host: SteadyHost, name: str) -> float:
    for line in host.get_text("/metrics").splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return float("nan")


def log_of(host: SteadyHost) -> str:
    return str(host.journal("-u", "steadyd.service"))


def state(host: SteadyHost, service: str) -> str:
    found = host.api("/api/v1/services")["services"]
    return next(str(s["state"]) for s in found if s["name"] == service)


def hang_bus(host: SteadyHost) -> None:
    host.run(["systemctl", "kill", "-s", "STOP", "dbus"])


def wake_bus(host: SteadyHost) -> None:
    # the bus that systemctl would ask is the one that hangs
    host.run("kill -CONT $(cat /sys/fs/cgroup/system.slice/dbus.service/cgroup.procs)")


def restart_bus(host: SteadyHost) -> None:
    host.run("kill -KILL $(cat /sys/fs/cgroup/system.slice/dbus.service/cgroup.procs)")


def execute_again(host: SteadyHost) -> None:
    host.run(["systemctl", "daemon-reexec"])


def nothing(_: SteadyHost) -> None:
    pass


@pytest.mark.parametrize(
    ("lose", "regain"),
    [(hang_bus, wake_bus), (restart_bus, nothing), (execute_again, nothing)],
    ids=["hung bus", "restarted bus", "daemon-reexec"],
)
def test_a_lost_systemd_is_nobody_down_and_a_kill_afterwards_is_seen(
    host: SteadyHost, lose: Callable[[SteadyHost], None], regain: Callable[[SteadyHost], None]
) -> None:
    assert metric(host, UP) == 1
    assert state(host, "victim") == "active"
    lose(host)
    if regain is nothing:
        # it is there again within milliseconds: the log tells that it was lost
        until(lambda: "systemd answers again" in log_of(host), 15)
        assert "systemd cannot be reached" in log_of(host)
        assert metric(host, UP) == 1
    else:
        until(lambda: metric(host, UP) == 0, 20, "the hang is noticed")
        assert state(host, "victim") == "unknown"
        reason = host.ctl("status")["inits"][0]["reason"]
        assert "no answer" in reason
        hung = host.ctl("why", "victim")
        assert hung["incidents"] == []
        regain(host)
        until(lambda: metric(host, UP) == 1, 20, "it answers again")
    until(lambda: state(host, "victim") == "active", 20)
    assert host.incidents("victim") == []

    # the private socket is nobody's business here: systemctl as root works without the bus
    until(lambda: host.run(["systemctl", "is-system-running"], check=False).stdout, 10)
    killed = time.monotonic()
    host.run("kill -KILL $(cat /sys/fs/cgroup/system.slice/victim.service/cgroup.procs)")
    until(lambda: host.incidents("victim"), 5, "the incident of the kill")
    assert time.monotonic() - killed < 5
    (incident,) = host.incidents("victim")
    assert (incident["metric"], incident["state"]) == ("down", "open")
    host.run("systemctl start victim")
    until(lambda: host.incidents("victim")[0]["state"] == "closed", 10)


def test_what_the_user_steadyd_may_not_read_is_told_and_the_rest_runs(host: SteadyHost) -> None:
    files = {f["path"].rpartition("/")[2]: f for f in host.ctl("status")["files"]}
    assert files["victim.inq"]["ok"]
    assert not files["secret.inq"]["ok"]
    assert "Permission denied" in files["secret.inq"]["error"]
    host.run("chmod 644 /etc/steadyd/rules.d/secret.inq")
    assert host.run(["steadyd", "reload", "--wait"]).returncode == 0
    assert host.api("/api/v1/services")["services"][-1]["name"]


def test_an_unknown_unit_is_picked_up_when_it_is_installed(host: SteadyHost) -> None:
    assert state(host, "later") == "unknown"
    (later,) = [s for s in host.ctl("services")["services"] if s["name"] == "later"]
    assert "later.service" in later["why"]
    host.unit_file("later.service", VICTIM, start=True)
    until(lambda: state(host, "later") == "active", 10)
    host.run("systemctl stop later && rm /etc/systemd/system/later.service")
    host.run("systemctl daemon-reload")
    until(lambda: state(host, "later") == "unknown", 10, "it is gone again")
