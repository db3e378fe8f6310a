"""The Debian package on a clean systemd host: installed, used, upgraded, removed, purged."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.local import until
from tests.packages.kit import NEWER, ROOT, CleanHost, Installing, dist, newer, one

pytestmark = pytest.mark.host

SLEEPER = "[Service]\nExecStart=/bin/sleep infinity\n"
RULES = "check service {name}\n  if {condition} then alert{verb}\n"
# what dpkg and the host write of themselves
OTHERS = "dpkg|apt|systemd|misc|logrotate|mandb|dbus|polkit-1/localauthority"


@pytest.fixture
def host() -> Iterator[CleanHost]:
    with CleanHost() as made:
        yield made
        print(made.journal("-u", "steadyd.service")[-4000:])


def files(host: CleanHost) -> set[str]:
    """Return every path of the host where packages and daemons write."""
    found = host.out(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /tmp \\) -prune -o -print"
    )
    own = re.compile(
        rf"/(run|dev|var/(lib|cache|log))/(.*/)?({OTHERS})|/etc/systemd/system$|/var/cache/man"
    )
    return {path for path in found.splitlines() if not own.match(path)}


def incidents(host: CleanHost, service: str) -> list[dict[str, Any]]:
    return list(host.ctl("why", service)["incidents"])


def test_it_is_installed_and_heals_and_keeps_its_state_over_an_upgrade_and_leaves_nothing(
    host: CleanHost,
) -> None:
    before, users = files(host), host.get("/etc/passwd") + host.get("/etc/group")
    for name in ("victim", "witness"):
        host.put(f"/run/systemd/system/{name}.service", SLEEPER)
    host.run("systemctl daemon-reload; systemctl start victim witness")

    said = host.install(one(dist(), "*.deb"))
    assert "steadyd grants polkit" in said
    shows_that_it_runs(host)
    it_grants_nothing_by_itself(host)
    heals(host)
    (witnessed,) = until(lambda: incidents(host, "witness"), what="the lasting incident")
    host.run("sed -i 's/^ARGS=.*/ARGS=\"--log.level debug\"/' /etc/default/steadyd")
    healed = incidents(host, "victim")

    said = host.install(one(newer(), "*.deb"))
    assert "steadyd grants polkit" not in said
    assert host.out("steadyd --version") == f"steadyd {NEWER}"
    assert host.ctl("status")["version"] == NEWER
    assert incidents(host, "victim") == healed
    (kept,) = incidents(host, "witness")
    assert (kept["id"], kept["state"]) == (witnessed["id"], "open")
    assert host.ctl("status")["rules"]["loaded"] >= 2
    assert 'ARGS="--log.level debug"' in host.get("/etc/default/steadyd")
    assert "--log.level debug" in host.out("tr '\\0' ' ' < /proc/$(pidof -x steadyd)/cmdline")

    host.put("/etc/sudoers.d/steadyd", "# written by hand\n", 0o440)
    host.dpkg("--remove", "steadyd")
    assert host.show("steadyd.service", "LoadState")["LoadState"] == "not-found"
    assert host.run("pgrep -u steadyd", check=False).stdout == ""
    assert host.run("ls -d /opt/steadyd /run/steadyd", check=False).stdout == ""
    assert 'cycle = "1s"' in host.get("/etc/steadyd/steadyd.toml")
    host.dpkg("--purge", "steadyd")
    assert files(host) - before == {"/etc/sudoers.d/steadyd"}
    assert before - files(host) == set()
    assert host.get("/etc/passwd") + host.get("/etc/group") == users


def test_without_systemd_it_is_installed_and_nothing_is_started() -> None:
    with Installing() as host:
        host.install(one(dist(), "*.deb"))
        assert host.out("steadyd check /usr/share/steadyd/rules").endswith("no errors")
        assert host.run("pgrep -u steadyd", check=False).stdout == ""
        host.dpkg("--purge", "steadyd")
        assert host.run("getent passwd steadyd", check=False).stdout == ""


def shows_that_it_runs(host: CleanHost) -> None:
    unit = host.show("steadyd.service", "ActiveState", "User", "UnitFileState", "StatusText")
    assert (unit["ActiveState"], unit["User"]) == ("active", "steadyd")
    assert unit["UnitFileState"] == "enabled"
    assert host.dpkg("--verify", "steadyd") == ""
    assert host.ctl("status")["services"] == []
    assert host.out("stat -c '%A %U %G' /etc/steadyd /etc/steadyd/rules.d /var/lib/steadyd") == (
        "drwxr-x--- root steadyd\ndrwxr-s--- root steadyd\ndrwxr-x--- steadyd steadyd"
    )
    assert "is steadyd running" in host.run("inspeqtorctl info", check=False).stderr
    score = host.run("systemd-analyze security --offline=yes --threshold=16 steadyd.service")
    assert "OK" in score.stdout
    verified = host.run("systemd-analyze verify steadyd.service")
    assert verified.stdout + verified.stderr == ""
    assert "NAME" in host.out("man steadyd | cat")
    for page in ("steadyd.toml", "steadyd-rules"):
        assert page in host.out(f"man 5 {page} | cat")


def it_grants_nothing_by_itself(host: CleanHost) -> None:
    asked = "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1"
    asked += " org.freedesktop.systemd1.Manager RestartUnit ss victim.service replace"
    done = host.run(f"setpriv --reuid steadyd --regid steadyd --clear-groups {asked}", check=False)
    assert done.returncode != 0
    assert "denied" in done.stderr.lower() or "authentication" in done.stderr.lower()


def heals(host: CleanHost) -> None:
    """Go the way that the installation tells."""
    host.run('sed -i \'s/^#cycle = "15s"/cycle = "1s"/\' /etc/steadyd/steadyd.toml')
    for name, condition, verb in (
        ("victim", "down", ", restart"),
        ("witness", "process:count >= 1", ""),
    ):
        text = RULES.format(name=name, condition=condition, verb=verb)
        host.put(f"/etc/steadyd/rules.d/{name}.inq", text)
    host.run("steadyd grants polkit > /etc/polkit-1/rules.d/50-steadyd.rules")
    host.run("systemctl reload steadyd")
    until(lambda: state(host, "victim") == "active", what="that it watches victim")
    host.run("systemctl kill --signal=KILL victim")
    until(lambda: incidents(host, "victim"), what="the incident")
    until(lambda: incidents(host, "victim")[0]["state"] == "closed", what="that it heals")
    (incident,) = incidents(host, "victim")
    (action,) = incident["actions"]
    assert (action["verb"], action["outcome"]) == ("restart", "healed")


def state(host: CleanHost, service: str) -> str:
    found = {each["name"]: each["state"] for each in host.ctl("status")["services"]}
    return str(found.get(service))


def test_no_path_of_the_building_machine_is_in_it(tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--raw-extract", one(dist(), "*.deb"), tmp_path], check=True)
    build = re.compile(re.escape(str(ROOT)).encode() + rb"|/tmp/tmp\w{8}/|/site-packages/bin/")
    contents = {path: path.read_bytes() for path in tmp_path.rglob("*.py*") if path.is_file()}
    contents |= {path: path.read_bytes() for path in tmp_path.glob("opt/steadyd/bin/s*")}

    assert len(contents) > 1000
    assert [path for path, content in contents.items() if build.search(content)] == []
