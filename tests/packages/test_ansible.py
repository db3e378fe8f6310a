"""The Ansible role, by Ansible: its syntax, and real runs against a host of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steadyd import __version__
from tests.e2e.local import until
from tests.packages.kit import ROOT, CleanHost, dist, one, wheels

ANSIBLE = ROOT / "contrib/ansible"
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
RULE = "check service victim\n  if down then alert, restart\n"
VICTIM = "[Service]\nExecStart=/bin/sleep infinity\n"
CONFIG = 'cycle = "1s"\n[routes]\ndefault = ["file:hook"]\n'


def test_its_syntax_is_good() -> None:
    environment = {**os.environ, "ANSIBLE_ROLES_PATH": str(ANSIBLE / "roles")}
    done = subprocess.run(
        [PLAYBOOK, "--syntax-check", "-i", "localhost,", ANSIBLE / "playbook.yml"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def host() -> Iterator[CleanHost]:
    with CleanHost(files={"/usr/lib/systemd/system/victim.service": VICTIM}) as made:
        made.run("systemctl start victim")
        yield made
        print(made.journal("-u", "steadyd.service")[-2000:])


def play(host: CleanHost, check: bool = True, **variables: Any) -> dict[str, int]:
    """Run the role on the host itself; return what Ansible counts."""
    Path(host.share, "variables.json").write_text(json.dumps(variables))
    done = host.run(
        [
            *(PLAYBOOK, "-i", "localhost,", "-c", "local", ANSIBLE / "playbook.yml"),
            *(
                "-e",
                f"@{host.share}/variables.json",
                "-e",
                "ansible_python_interpreter=/usr/bin/python3",
            ),
        ],
        env={
            "ANSIBLE_ROLES_PATH": str(ANSIBLE / "roles"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_NOCOLOR": "1",
        },
        timeout=240,
        check=False,
    )
    assert (done.returncode == 0) is check, done.stdout + done.stderr
    recap = done.stdout.rpartition("PLAY RECAP")[2].partition(":")[2].split()
    return {key: int(count) for key, _, count in (word.partition("=") for word in recap)}


def by(method: str, host: CleanHost) -> dict[str, Any]:
    if method == "deb":
        return {"steadyd_method": "deb", "steadyd_deb": str(one(dist(), "*.deb"))}
    for wheel in (*wheels().glob("*.whl"), one(dist(), "*.whl")):
        shutil.copy(wheel, host.share)
    return {
        "steadyd_method": "pip",
        "steadyd_requirement": f"steadyd=={__version__}",
        "steadyd_pip_arguments": f"--no-index --find-links {host.share}",
    }


@pytest.mark.host
@pytest.mark.parametrize("method", ["deb", "pip"])
def test_it_installs_configures_and_grants_and_a_second_run_changes_nothing(
    host: CleanHost, method: str
) -> None:
    wanted = {
        **by(method, host),
        "steadyd_config": CONFIG,
        "steadyd_secrets": {"hook": "json://127.0.0.1:9/"},
        "steadyd_rules": {"victim": RULE},
    }
    assert play(host, **wanted)["changed"] > 3
    unit = host.show("steadyd", "ActiveState", "User", "UnitFileState")
    assert unit == {"ActiveState": "active", "User": "steadyd", "UnitFileState": "enabled"}
    assert host.out("stat -c '%a %U %G' /etc/steadyd/hook") == "640 root steadyd"
    host.run("systemctl kill --signal=KILL victim")

    def healed() -> bool:
        found = host.ctl("why", "victim")["incidents"]
        return bool(found) and found[0]["state"] == "closed"

    until(healed, what="that it heals")
    assert play(host, **wanted)["changed"] == 0

    bad = {**wanted, "steadyd_rules": {"victim": RULE, "bad": "check nonsense\n"}}
    assert play(host, check=False, **bad)["failed"] == 1
    assert host.run("ls /etc/steadyd/rules.d").stdout == "victim.inq\n"
    before = host.show("steadyd", "MainPID")
    play(host, **{**wanted, "steadyd_may_act": False, "steadyd_config": CONFIG + "# more\n"})
    assert host.run("ls /etc/polkit-1/rules.d/50-steadyd.rules", check=False).returncode != 0
    assert host.show("steadyd", "MainPID") == before
