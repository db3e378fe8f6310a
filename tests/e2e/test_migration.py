"""A host that runs Inspeqtor runs steadyd by one line, its folder unchanged, under two inits.

Mail and chat arrive where inspeqtor.conf sends them; the old reload rule heals; a cron line and a
deployment hook of the ancestor go on working.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.kit import MAIL_SINK, STUB, until
from tests.e2e.test_every_init import LEAKY, SINK, SINK_PROGRAM, binds
from tests.hosts.inithost import Host, HostError, RunitHost, SystemdHost

pytestmark = pytest.mark.host

MAIL = 25
FOLDER = {
    "inspeqtor.conf": f"""# as it has been for years
set cycle_time 1
set deploy_length 60
set log_level info
send alerts
  via email with to_email ops@here.test, from_email inspeqtor@here.test, smtp_server 127.0.0.1
send alerts to chat
  via slack with url "http://127.0.0.1:{SINK}/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
""",
    "host.inq": "check host\n  if load:1 > 10000 then alert\n  if disk:/ > 99% then alert\n",
    "services.d/leaky.inq": """check service leaky with owner chat
  if memory:total_rss > 60m for 2 cycles then reload, alert
""",
    "services.d/once.inq": "check service once\n  if memory:rss > 1g then alert\n",
    "jobs.d/cron.inq": "check jobs\n  #nightly happens every day\n  sweep happens every hour\n",
}
FILES: dict[str, Any] = {
    "/usr/bin/steadyd": (STUB, 0o755),
    "/etc/steadyd/steadyd.toml": '[inspeqtor]\nsocket = "/run/inspeqtor.sock"\n',
    "/srv/leaky": (LEAKY, 0o755),
    "/srv/sink": (SINK_PROGRAM, 0o755),
    **{f"/etc/inspeqtor/{name}": text for name, text in FOLDER.items()},
}
UNIT = "[Service]\nExecStart=/srv/leaky\nExecReload=/bin/kill -HUP $MAINPID\nRestart=always\n"
ONCE = "[Service]\nExecStart=/bin/sleep infinity\n"


def systemd() -> Host:
    units = {"leaky.service": UNIT, "once.service": ONCE}
    more = {f"/etc/systemd/system/{name}": text for name, text in units.items()}
    host = SystemdHost(files={**FILES, **more}, binds=binds())
    host.run(["systemctl", "start", *units])
    return host


def runit() -> Host:
    services = {"leaky": "#!/bin/sh\nexec /srv/leaky\n", "once": "#!/bin/sh\nexec sleep 99999\n"}
    return RunitHost(services=services, files=FILES, binds=binds())


HOSTS: dict[str, Callable[[], Host]] = {"systemd": systemd, "runit": runit}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Iterator[Any]:
    try:
        made = HOSTS[request.param]()
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with made:
        made.run("setsid /srv/sink < /dev/null > /dev/null 2>&1 &")
        paths = ":".join(path for path in sys.path if path.endswith("site-packages"))
        quiet = subprocess.DEVNULL
        command = [sys.executable, "-c", MAIL_SINK, str(MAIL), "/srv/mails"]
        with made.popen(command, env={"PYTHONPATH": paths}, stdout=quiet, stderr=quiet) as mail:
            made.run("setsid steadyd run --rules /etc/inspeqtor < /dev/null > /srv/log 2>&1 &")
            try:
                yield made
            finally:
                print(made.run("cat /srv/log", check=False).stdout)
                mail.kill()


def lines(host: Any, path: str) -> list[dict[str, Any]]:
    text = host.run(["cat", path], check=False).stdout
    return [json.loads(line) for line in text.splitlines()]


def inspeqtor(host: Any, word: str) -> str:
    """Say something on the old socket, as old scripts do."""
    code = (
        "import socket\n"
        "s = socket.socket(socket.AF_UNIX); s.connect('/run/inspeqtor.sock')\n"
        f"s.sendall(b'{word}\\n'); print(s.makefile().read())"
    )
    return str(host.run(["python3", "-c", code]).stdout)


def test_a_folder_of_inspeqtors_is_run_as_it_is(host: Any) -> None:
    def services() -> dict[str, str]:
        done = host.run(["steadyd", "services", "--json"], check=False)
        found = json.loads(done.stdout)["services"] if done.returncode == 0 else []
        return {service["name"]: service["state"] for service in found}

    until(lambda: services() == {"leaky": "active", "once": "active"}, 40, "both services")
    assert "Starting deploy" in inspeqtor(host, "start deploy")
    assert "turned to 11" in inspeqtor(host, "finish deploy")
    assert inspeqtor(host, "job_done sweep").strip() == "OK"

    host.put("/srv/leak", "")
    posted = until(lambda: lines(host, "/srv/posts"), 40, "the alert in the chat")
    assert "memory:total_rss" in posted[0]["text"]
    until(lambda: not os.path.exists(host.path("/srv/leak")), 20, "the reload")
    until(
        lambda: any("recovered" in each["text"] for each in lines(host, "/srv/posts")),
        40,
        "the recovery",
    )
    why = host.run(["steadyd", "why", "leaky"]).stdout
    assert "reload" in why

    stop = ["systemctl", "kill", "-s", "KILL", "once"]
    if isinstance(host, RunitHost):
        stop = ["sv", "down", "/etc/service/once"]
    host.run(stop)
    mail = until(lambda: lines(host, "/srv/mails"), 40, "the mail of the default route")
    assert mail[0]["to"] == ["ops@here.test"]
    assert "once: is down" in mail[0]["subject"]
