"""The main job under every init system that is not systemd, steadyd started by its shipped file.

The same leaking app, the same rule: the rise, one incident, the reload, the recovery, both told;
then the app is killed, and the respawn is counted as the init's.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kit import ROOT, STUB, WEB, installed, until
from tests.e2e.test_story import CONFIG_RU, PUMA_RB
from tests.hosts.inithost import (
    Host,
    HostError,
    OpenrcHost,
    RunitHost,
    S6Host,
    SupervisordHost,
    SysvHost,
)

pytestmark = pytest.mark.host

SINK = 8080
CONFIG = f"""cycle = "500ms"
[routes]
default = ["json://127.0.0.1:{SINK}/hook"]
"""
RULES = """check service leaky with cooldown 1s, reload_signal HUP
  if memory:total_rss > 60m for 2 cycles then alert, reload
  if down for 10s then alert
"""
LEAKY = """#!/usr/bin/python3 -ISu
import os, signal, time
kept = []
def forget(*_):
    kept.clear()
    if os.path.exists("/srv/leak"):
        os.unlink("/srv/leak")
signal.signal(signal.SIGHUP, forget)
while True:
    time.sleep(0.05)
    if os.path.exists("/srv/leak") and len(kept) < 60:
        kept.append(b"x" * 2_000_000)
"""
SINK_PROGRAM = f"""#!/usr/bin/python3 -ISu
import http.server
class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/srv/posts", "ab") as f:
            f.write(body + b"\\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *a):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", {SINK}), Sink).serve_forever()
"""
CONTRIB = ROOT / "contrib"


def files(**more: Any) -> dict[str, Any]:
    return {
        "/usr/bin/steadyd": (STUB, 0o755),
        "/etc/steadyd/steadyd.toml": CONFIG,
        "/etc/steadyd/rules.d/leaky.inq": RULES,
        "/srv/leaky": (LEAKY, 0o755),
        "/srv/sink": (SINK_PROGRAM, 0o755),
        **more,
    }


def binds() -> list[tuple[str, str, bool]]:
    libraries, app = installed()
    return [(str(libraries), "/usr/lib/steadyd", True), (str(app), "/usr/lib/steadyd-app", True)]


def runit() -> Host:
    run = (CONTRIB / "runit/run").read_text()
    services = {"leaky": "#!/bin/sh\nexec /srv/leaky\n", "steadyd": run}
    return RunitHost(services=services, files=files(), binds=binds())


def s6() -> Host:
    run = (CONTRIB / "s6/run").read_text()
    services = {"leaky": "#!/bin/sh\nexec /srv/leaky\n", "steadyd": run}
    return S6Host(services=services, files=files(), binds=binds())


def supervisord() -> Host:
    from tests.contract.rigs import SUPERVISORD

    programs = "[program:leaky]\ncommand=/srv/leaky\nstartsecs=0\nautorestart=true\n"
    programs += (CONTRIB / "supervisord/steadyd.conf").read_text()
    arguments = {**SUPERVISORD, "programs": programs}
    return SupervisordHost(**arguments, files=files(), binds=binds())


SYSVINIT_LEAKY = """#!/bin/sh
# pidfile: /run/leaky.pid
### BEGIN INIT INFO
# Provides: leaky
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
daemon() {
	start-stop-daemon "$@" --pidfile /run/leaky.pid
}
case "$1" in
start) daemon --start --oknodo --background --make-pidfile --startas /srv/leaky ;;
stop) daemon --stop --oknodo --retry 5 --remove-pidfile ;;
restart) $0 stop && $0 start ;;
reload) daemon --stop --signal HUP ;;
status) daemon --status ;;
esac
"""
OPENRC_LEAKY = """#!/sbin/openrc-run
supervisor=supervise-daemon
command=/srv/leaky
pidfile=/run/leaky.pid
respawn_delay=1
extra_started_commands="reload"
reload() {
	start-stop-daemon --stop --signal HUP --pid "$(cat /run/openrc/options/leaky/child_pid)"
}
"""


def sysvinit() -> Host:
    steadyd = (CONTRIB / "sysvinit/steadyd").read_text()
    rules = RULES.replace("for 10s then alert", "then alert, restart")
    return SysvHost(
        services={"leaky": SYSVINIT_LEAKY, "steadyd": steadyd},
        files=files(**{"/etc/steadyd/rules.d/leaky.inq": rules}),
        binds=binds(),
    )


def openrc() -> Host:
    steadyd = (CONTRIB / "openrc/steadyd").read_text()
    return OpenrcHost(
        services={"leaky": OPENRC_LEAKY, "steadyd": steadyd}, files=files(), binds=binds()
    )


HOSTS: dict[str, Callable[[], Host]] = {
    "runit": runit,
    "s6": s6,
    "supervisord": supervisord,
    "openrc": openrc,
    "sysvinit": sysvinit,
}
# who starts it again after a crash: sysvinit does not, so a rule has to
CAUSES = {"sysvinit": "rule"}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Iterator[Any]:
    try:
        host = HOSTS[request.param]()
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with host:
        host.run("setsid /srv/sink < /dev/null > /dev/null 2>&1 &")
        yield host
        print(host.run("tail -n 50 /var/log/steadyd.log", check=False).stdout)
        print(host.console())


def metrics(host: Any) -> str:
    done = host.run(
        [
            "python3",
            "-c",
            f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{WEB}/metrics').read().decode())",
        ],
        check=False,
    )
    return str(done.stdout)


def posts(host: Any) -> list[dict[str, Any]]:
    text = host.run("cat /srv/posts", check=False).stdout
    return [json.loads(line) for line in text.splitlines()]


def status(host: Any) -> dict[str, Any]:
    done = host.run(["steadyd", "status", "--json"], check=False)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}


def main_pid(host: Any, name: str = "leaky") -> int:
    done = host.run(["steadyd", "services", "--json"], check=False)
    found = json.loads(done.stdout)["services"] if done.returncode == 0 else []
    return next((s["main_pid"] or 0 for s in found if s["name"] == name), 0)


def test_the_main_job(host: Any, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["host"]
    until(lambda: f'steadyd_init_up{{init="{name}"}} 1.0' in metrics(host), 30, "steadyd is up")
    until(lambda: main_pid(host) > 0, 30, "leaky is found")
    before = main_pid(host)

    host.put("/srv/leak", "")
    until(lambda: any("memory:total_rss" in p["title"] for p in posts(host)), 30, "the alert")
    until(
        lambda: (
            'steadyd_action_outcomes_total{action="reload",name="leaky",outcome="healed"} 1.0'
            in metrics(host)
        ),
        30,
        "healed",
    )
    until(
        lambda: any("recovered" in json.dumps(p) for p in posts(host)), 40, "the recovery is told"
    )
    assert main_pid(host) == before
    assert 'steadyd_actions_total{action="reload",name="leaky"} 1.0' in metrics(host)

    host.run(["kill", "-KILL", str(before)])
    cause = CAUSES.get(name, "init")
    again = f'steadyd_service_restarts_total{{cause="{cause}",name="leaky"}} 1.0'
    until(lambda: again in metrics(host), 30, "the new start is counted")
    until(lambda: main_pid(host) not in (0, before), 10, "the new process")
    why = host.run(["steadyd", "why", "leaky"]).stdout
    assert "reload" in why
    assert "healed" in why


# -- Upstart: the shipped jobs, puma itself, steadyd as a user of its own with the printed sudoers

PUMA_RULES = """check service puma with cooldown 1s
  if memory:total_rss > 250m for 2 cycles then alert, reload
  if down for 10s then alert
"""
PUMA_PORT = 9292


@pytest.fixture
def upstart() -> Iterator[Any]:
    from tests.hosts.upstart.host import UpstartHost

    recorded = ROOT / "tests/hosts/upstart/recorded/jobs"
    users, groups, shadow = (
        Path(f"/etc/{name}").read_text() for name in ("passwd", "group", "shadow")
    )
    for number, name in ((1001, "deploy"), (1002, "steadyd")):
        users += f"{name}:x:{number}:{number}::/home/{name}:/bin/sh\n"
        groups += f"{name}:x:{number}:\n"
        shadow += f"{name}:!:20000:0:99999:7:::\n"
    more = {
        "/etc/passwd": users,
        "/etc/group": groups,
        "/etc/shadow": (shadow, 0o640),
        "/home/steadyd/.keep": "",
        "/etc/steadyd/rules.d/leaky.inq": PUMA_RULES,
        "/srv/app/config.ru": CONFIG_RU,
        "/srv/app/config/puma.rb": PUMA_RB,
    }
    jobs = {
        "dbus.conf": (recorded / "dbus.conf").read_text(),
        "puma.conf": (ROOT / "upstart/examples/puma.conf").read_text(),
        "steadyd.conf": (ROOT / "upstart/steadyd.conf").read_text(),
    }
    try:
        host = UpstartHost(jobs, sudo=True, files=files(**more), binds=binds())
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with host:
        host.run("setsid /srv/sink < /dev/null > /dev/null 2>&1 &")
        host.run(["start", "puma"])
        granted = host.run(["steadyd", "grants", "sudoers"]).stdout
        host.put("/etc/sudoers.d/steadyd", granted, 0o440)
        host.run(["visudo", "-c", "-f", "/etc/sudoers.d/steadyd"])
        started = host.run(["start", "steadyd"], check=False)
        yield host
        print(started.stdout, started.stderr)
        print(host.run("tail -n 60 /var/log/upstart/*.log", check=False).stdout)
        print(host.console())


def test_the_main_job_on_upstart(upstart: Any) -> None:
    host = upstart
    until(lambda: 'steadyd_init_up{init="upstart"} 1.0' in metrics(host), 30, "steadyd is up")
    until(lambda: main_pid(host, "puma") > 0, 30, "puma is found")
    before = main_pid(host, "puma")
    assert host.run(["ps", "-o", "user=", "-C", "steadyd"], check=False).stdout.strip() != "root"

    until(lambda: len(workers(host, before)) == 2, 30, "puma's workers")
    old = workers(host, before)
    code = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{PUMA_PORT}/leak').read()"
    host.run(["python3", "-c", f"for _ in range(40):\n  {code}"])
    until(lambda: any("memory:total_rss" in p["title"] for p in posts(host)), 30, "the alert")
    healed = 'steadyd_action_outcomes_total{action="reload",name="puma",outcome="healed"} 1.0'
    until(lambda: healed in metrics(host), 60, "healed")
    until(
        lambda: any("recovered" in json.dumps(p) for p in posts(host)), 40, "the recovery is told"
    )
    assert main_pid(host, "puma") == before
    until(
        lambda: len(workers(host, before)) == 2 and not workers(host, before) & old,
        30,
        "new workers",
    )

    host.run(["kill", "-KILL", str(before)])
    respawned = 'steadyd_service_restarts_total{cause="init",name="puma"} 1.0'
    until(lambda: respawned in metrics(host), 30, "the respawn is counted")
    until(lambda: main_pid(host, "puma") not in (0, before), 10, "the new master")


def workers(host: Any, master: int) -> set[str]:
    return set(host.run(["pgrep", "-P", str(master)], check=False).stdout.split())
