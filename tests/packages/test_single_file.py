"""The single file: without an installation, and as the daemon of the shipped unit."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from package.build import SAME_PYTHON
from steadyd import __version__
from tests.e2e.local import until
from tests.packages.kit import DEBIAN_PYTHON, ROOT, CleanHost, dist

UNIT = "/usr/lib/systemd/system/steadyd.service"
VICTIM = "[Service]\nExecStart=/bin/sleep infinity\n"
CONFIG = 'cycle = "1s"\n[routes]\ndefault = ["json://127.0.0.1:9"]\n'
RULE = "check service victim\n  if down then alert, restart\n"


def steadyd(tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DEBIAN_PYTHON, str(dist() / "steadyd.pyz"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "SHIV_ROOT": str(tmp_path / "shiv")},
    )


def test_it_runs_where_it_lies(tmp_path: Path) -> None:
    assert steadyd(tmp_path, "--version").stdout == f"steadyd {__version__}\n"
    assert steadyd(tmp_path, "check", ROOT / "rules").returncode == 0
    bad = tmp_path / "bad.inq"
    bad.write_text("check service x\n  if memory:total_rs > 1g then alert\n")
    assert "did you mean memory:total_rss" in steadyd(tmp_path, "check", bad).stdout


def test_the_demo_runs_from_it(tmp_path: Path) -> None:
    done = steadyd(tmp_path, "demo", "--once")

    assert "Healed and told" in done.stdout, done.stderr


def test_another_python_is_told_in_one_line() -> None:
    code = SAME_PYTHON.format(version=(3, 99), text="3.99")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "run it with python3.99" in done.stderr
    assert "Traceback" not in done.stderr
    same = SAME_PYTHON.format(version=sys.version_info[:2], text="this")
    subprocess.run([sys.executable, "-c", same], check=True)


@pytest.fixture
def host() -> Iterator[CleanHost]:
    systemd = ROOT / "systemd"
    files = {
        UNIT: (systemd / "steadyd.service").read_text(),
        f"{UNIT}.d/single-file.conf": (systemd / "examples/single-file.conf").read_text(),
        "/usr/lib/sysusers.d/steadyd.conf": (systemd / "sysusers.conf").read_text(),
        "/usr/lib/tmpfiles.d/steadyd.conf": (systemd / "tmpfiles.conf").read_text(),
        "/usr/lib/systemd/system/victim.service": VICTIM,
        "/etc/steadyd/steadyd.toml": CONFIG,
        "/etc/steadyd/rules.d/victim.inq": RULE,
    }
    binds = [(str(dist() / "steadyd.pyz"), "/usr/bin/steadyd", True)]
    with CleanHost(files=files, binds=binds) as made:
        made.run(["systemd-sysusers", "steadyd.conf"])
        made.run(["systemd-tmpfiles", "--create", "steadyd.conf"])
        yield made
        print(made.journal("-u", "steadyd.service")[-4000:])


@pytest.mark.host
def test_it_is_the_daemon_of_the_unit(host: CleanHost) -> None:
    host.run("steadyd grants polkit > /etc/polkit-1/rules.d/50-steadyd.rules")
    host.run("systemctl start victim steadyd")
    assert host.show("steadyd", "User", "ActiveState") == {
        "User": "steadyd",
        "ActiveState": "active",
    }
    host.run("systemctl kill --signal=KILL victim")

    def healed() -> bool:
        found = host.ctl("why", "victim")["incidents"]
        return bool(found) and found[0]["state"] == "closed"

    until(healed, what="that it heals")
    # apprise runs in a process of its own, which must find the libraries as well
    until(lambda: "refused" in host.journal("-u", "steadyd.service"), what="that the courier ran")
    assert host.out("stat -c %U /var/cache/steadyd") == "steadyd"
    host.run("systemctl reload steadyd")
    host.put("/etc/steadyd/rules.d/bad.inq", "check nonsense\n")
    assert host.run("systemctl reload steadyd", check=False).returncode != 0
