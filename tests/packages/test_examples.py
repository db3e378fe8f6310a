"""The units and drop-ins to start from, by what they are for."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.kit import ROOT, SteadyHost, until
from tests.hosts.inithost import SystemdHost, deb_layer
from tests.hosts.upstart.conf import read

EXAMPLES = ROOT / "systemd/examples"
UNITS = sorted(EXAMPLES.glob("*.service"))
DROP_INS = sorted(EXAMPLES.glob("*.conf"))
APPLICATION = """
import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
RULE = """
check service gunicorn
  if process:count >= 4 then alert, reload
  if memory:pss > 1t then alert
"""
GUNICORN = ("gunicorn", "python3-gunicorn", "python3-setuptools", "python3-pkg-resources")


@pytest.fixture(scope="module")
def host() -> Iterator[SteadyHost]:
    with SteadyHost(
        config='cycle = "1s"\n[routes]\ndefault = ["file:slack"]\n',
        rules={"gunicorn.inq": RULE},
        services={path.name: path.read_text("utf-8") for path in UNITS}
        | {f"steadyd.service.d/{path.name}": path.read_text("utf-8") for path in DROP_INS},
        files={
            "/srv/app/application.py": APPLICATION,
            "/etc/secrets/slack": ("json://127.0.0.1:9/\n", 0o600),
        },
        layers=[deb_layer(*GUNICORN)],
    ) as made:
        yield made
        print(made.journal("-u", "steadyd.service", "-u", "gunicorn.service")[-4000:])


@pytest.mark.host
@pytest.mark.parametrize("unit", ["steadyd.service", *(path.name for path in UNITS)])
def test_systemd_has_nothing_to_say_of_a_unit(host: SteadyHost, unit: str) -> None:
    done = host.run(["systemd-analyze", "verify", "--man=no", unit])

    assert done.stdout + done.stderr == ""


@pytest.mark.host
def test_the_drop_ins_give_what_they_say_and_a_reload_replaces_workers(host: SteadyHost) -> None:
    host.run("systemctl start gunicorn")
    old = workers(host)
    host.grant()
    host.start_steadyd()  # without its credential it would not start: nobody else may read it
    shown = host.show("steadyd.service", "DropInPaths", "AmbientCapabilities")
    assert len(shown["DropInPaths"].split()) == len(DROP_INS)
    assert shown["AmbientCapabilities"] == "cap_sys_ptrace"
    assert host.out("stat -c '%a %U' /etc/secrets/slack") == "600 root"

    def pss() -> object:
        (service,) = host.ctl("status")["services"]
        return service["metrics"].get("memory:pss")

    until(pss, what="the memory that needs a capability")
    host.run("systemctl kill --kill-whom=main --signal=TTIN gunicorn")  # one worker more
    until(lambda: [i["state"] for i in host.incidents("gunicorn")] == ["closed"], what="healing")
    assert [a["verb"] for a in host.incidents("gunicorn")[0]["actions"]] == ["reload"]
    assert not workers(host) & old
    assert host.show("gunicorn", "NRestarts")["NRestarts"] == "0"


def workers(host: SystemdHost) -> set[str]:
    master = host.show("gunicorn", "MainPID")["MainPID"]
    return set(host.run(f"pgrep -P {master}", check=False).stdout.split())


def test_the_sudoers_fragment_is_what_sudo_takes_and_what_is_printed_for_the_rules() -> None:
    path = ROOT / "upstart/steadyd.sudoers"
    subprocess.run(["visudo", "-c", "-f", path], check=True, capture_output=True)

    from steadyd.cli.grants import SUDO_COMMANDS, sudoers
    from steadyd.model.rule import Verb

    verbs = (Verb.RELOAD, Verb.RESTART)  # of rules/puma.inq
    lines = sorted({f"{each} puma" for verb in verbs for each in SUDO_COMMANDS["upstart"][verb]})
    said = path.read_text("utf-8").splitlines()
    assert [line for line in said if not line.startswith("#")] == [
        line for line in sudoers(lines, "steadyd").splitlines() if not line.startswith("#")
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "upstart").rglob("*.conf")), ids=lambda p: p.name)
def test_a_job_of_upstart_is_read_as_it_is_meant(path: Path) -> None:
    job = read(path.parent, path)

    assert job is not None
    assert "main" in job.run
