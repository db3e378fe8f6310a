"""systemd, supervisord and the leftovers of two other init systems on one host."""

import sysconfig
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.kit import SteadyHost, until
from tests.hosts.inithost import HostError

pytestmark = pytest.mark.host

SOCKET = "/run/supervisor.sock"
SLEEP = "[Service]\nExecStart=/bin/sleep infinity\n"
SUPERVISORD = f"""[unix_http_server]
file={SOCKET}
chmod=0770
chown=root:steadyd
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile=/run/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:worker]
command=/bin/sleep infinity
[program:both]
command=/bin/sleep infinity
[program:chosen]
command=/bin/sleep infinity
"""
RULES = """check service web
  if down then alert
check service worker
  if down then alert
check service both
  if down then alert
check service chosen with init supervisord
  if down then alert
check service leftover
  if down then alert
check service nowhere with init supervisord
  if down then alert
"""


@pytest.fixture
def host() -> Iterator[SteadyHost]:
    scripts, libraries = sysconfig.get_path("scripts"), sysconfig.get_path("purelib")
    supervisord = (
        "[Service]\nType=simple\n"
        f"Environment=PYTHONPATH={libraries}\n"
        f"ExecStart={scripts}/python {scripts}/supervisord -c /etc/supervisord.conf\n"
    )
    services = {f"{name}.service": SLEEP for name in ("web", "both", "chosen")}
    try:
        made = SteadyHost(
            config='cycle = "500ms"\n',
            rules={"all.inq": RULES},
            services=services | {"supervisord.service": supervisord},
            files={
                "/etc/supervisord.conf": SUPERVISORD,
                "/etc/init/leftover.conf": "exec /bin/sleep infinity\n",
                "/etc/init/web.conf": "exec /bin/sleep infinity\n",
                "/etc/service/leftover/run": ("#!/bin/sh\nexec sleep infinity\n", 0o755),
            },
        )
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with made:
        made.run(["systemctl", "start", "web", "both", "chosen", "supervisord"])
        until(lambda: made.run(["test", "-S", SOCKET], check=False).returncode == 0)
        made.start_steadyd()
        yield made


def services(host: SteadyHost) -> dict[str, Any]:
    found = host.ctl("services")["services"]
    return {service["name"]: service for service in found}


def test_each_service_is_bound_to_the_init_that_keeps_it(host: SteadyHost) -> None:
    until(lambda: services(host)["worker"]["state"] == "active")
    found = services(host)
    bound = {name: service["init"] for name, service in found.items()}
    assert bound["web"] == "systemd"
    assert bound["worker"] == "supervisord"
    assert bound["both"] == "systemd"  # it runs as PID 1
    assert bound["chosen"] == "supervisord"
    assert not bound["leftover"]
    assert "systemd" in found["leftover"]["why"]
    assert "supervisord" in found["leftover"]["why"]
    assert "systemd" not in found["nowhere"]["why"]

    text = host.get_text("/metrics")
    assert 'steadyd_init_up{init="systemd"} 1.0' in text
    assert 'steadyd_init_up{init="supervisord"} 1.0' in text
    assert text.count("\nsteadyd_init_up{") == 2  # nothing that only lies on the disk

    host.run(["systemctl", "kill", "-s", "KILL", "supervisord"])
    until(lambda: 'steadyd_init_up{init="supervisord"} 0.0' in host.get_text("/metrics"))
    found = services(host)
    assert found["worker"]["state"] == "unknown"
    assert found["worker"]["reason"]
    assert found["web"]["state"] == found["both"]["state"] == "active"

    host.run(["systemctl", "kill", "-s", "KILL", "both"])
    until(lambda: services(host)["both"]["state"] == "failed", what="others are still seen")
    assert not host.incidents("worker")

    host.run("rm -f " + SOCKET)
    host.run(["systemctl", "restart", "supervisord"])
    until(lambda: services(host)["worker"]["state"] == "active", what="supervisord is back")


def test_an_init_system_that_starts_later_is_found(host: SteadyHost) -> None:
    host.run(["systemctl", "stop", "steadyd", "supervisord"])
    host.run("rm -f " + SOCKET)
    host.start_steadyd()
    assert services(host)["worker"]["init"] in ("", None)
    host.run(["systemctl", "start", "supervisord"])
    until(lambda: services(host)["worker"]["state"] == "active", 60, "supervisord is found")
    assert 'steadyd_init_up{init="supervisord"} 1.0' in host.get_text("/metrics")
