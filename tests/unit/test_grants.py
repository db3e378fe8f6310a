"""The sudoers fragment is what visudo takes, and allows its command lines and no others."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from steadyd.cli.grants import commands, sudoers, without_sudo
from steadyd.cli.offline import Service
from steadyd.model.condition import Amount, Comparison, Hold, Operator
from steadyd.model.metric import MetricId
from steadyd.model.rule import Act, Alert, CheckParams, Rule, Source, Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.watch import Finding


def service(name: str, verbs: Iterable[Verb], init: str = "upstart") -> Service:
    condition = Comparison(MetricId("memory", "rss"), Operator.ABOVE, Amount("1", 1.0))
    steps: tuple[Alert | Act, ...] = (Alert(), *(Act(verb) for verb in verbs))
    rule = Rule(name, condition, Hold(), steps, Source("a.inq", 1, 1), CheckParams())
    status = UnitStatus(init, name, ServiceState.ACTIVE)
    return Service(name, Finding(status), (), (rule,))


def checked(tmp_path: Path, text: str) -> str:
    """Return what sudo's own checker says of a fragment."""
    if shutil.which("visudo", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("visudo is not installed")
    file = tmp_path / "fragment"
    file.write_text(text)
    file.chmod(0o440)
    done = subprocess.run(
        ["/usr/sbin/visudo", "-c", "-f", str(file)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr if done.returncode else ""


def test_exactly_the_verbs_of_the_rules_are_granted(tmp_path: Path) -> None:
    services = [
        service("puma", [Verb.RELOAD, Verb.RESTART]),
        service("app/web", [Verb.RESTART]),
        service("quiet", []),
        service("web", [Verb.RESTART], "systemd"),
        service("kept", [Verb.RESTART], "runit"),
        service("-x", [Verb.RESTART]),
        service("a b", [Verb.RESTART]),
        service("N=1", [Verb.RESTART]),
    ]
    lines = commands(services)
    assert lines == [
        "/sbin/reload puma",
        *("/sbin/restart app/web", "/sbin/restart puma"),
        *("/sbin/start app/web", "/sbin/start puma"),
        *("/sbin/stop app/web", "/sbin/stop puma"),
    ]
    text = sudoers(lines, "steadyd")
    assert "steadyd ALL = (root) NOPASSWD:" in text
    assert checked(tmp_path, text) == ""
    told = "\n".join(without_sudo(services))
    for word in ("grants polkit", "runit", "-x", "a b", "N=1"):
        assert word in told
    assert "puma" not in told
    assert "quiet" not in told


def test_without_a_verb_nothing_is_granted(tmp_path: Path) -> None:
    text = sudoers(commands([service("quiet", [])]), "steadyd")
    assert "NOPASSWD" not in text
    assert checked(tmp_path, text) == ""


@pytest.mark.parametrize("name", ["a,ALL", "a:b", "x%wheel", "a@b", "a+b~c", "app/web", "a-b.c"])
def test_an_odd_name_is_a_name(tmp_path: Path, name: str) -> None:
    (line,) = commands([service(name, [Verb.RELOAD])])
    assert line.replace("\\", "") == f"/sbin/reload {name}"
    assert checked(tmp_path, sudoers([line], "steadyd")) == ""


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "x\\",
        "!x",
        "#1",
        "%wheel",
        "[a-z]",
        "a?",
        "^.*$",
        'a"b',
        "(x)",
        "~x",
        "a;b",
        "a b",
        "",
        "ü",
    ],
)
def test_a_hostile_name_is_granted_nothing(name: str) -> None:
    hostile = service(name, [Verb.RESTART])
    assert commands([hostile]) == []
    assert "run steadyd as root" in next(iter(without_sudo([hostile])))


@pytest.mark.parametrize("user", ["", "ALL=(ALL) x", "a b", "%wheel", "#0", "x\ny"])
def test_a_user_is_a_user(user: str) -> None:
    with pytest.raises(ValueError, match="no name of a user"):
        sudoers(["/sbin/restart puma"], user)
