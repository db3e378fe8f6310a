"""What a person sees first: the daemon's first words, `steadyd init`, the live screens."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from steadyd.cli.init import host_rules
from steadyd.rulefiles.parser import parse
from steadyd.settings import load
from tests.e2e.kit import SteadyHost
from tests.e2e.local import Local, local, until
from tests.e2e.terminal import terminal
from tests.hosts.inithost import HostError

DARK = """\
  if memory:swap > 1g then alert
  if cpu:tree > 900% then alert
  if cpu:throttled > 90% then alert
"""
BUSY = f"{sys.executable} -c 'while True: pass'"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path) as host:
        host.keep(busy=BUSY, idle="sleep infinity")
        host.rule("busy", "check service busy\n" + DARK)
        host.rule("host", "check host\n  if cpu > 900% then alert\n  if net:lo > 9g then alert\n")
        host.rule("idle", "check service idle\ncheck service ghost\n")
        yield host


def test_the_daemon_says_what_it_bound_and_what_is_dark(host: Local) -> None:
    until(lambda: host.states() == {"RUNNING"}, what="the programs run")
    host.start()
    until(lambda: "no route" in host.log(), what=host.log())
    log = host.log()
    assert "busy: supervisord busy, active, pid " in log
    assert "ghost: not found: supervisord: no program ghost" in log
    assert sum("ghost" in line for line in log.splitlines()) == 1
    assert "busy: memory:swap is dark: its init gives it no cgroup" in log
    assert "busy: cpu:throttled is dark: its init gives" in log
    assert "idle: memory:" not in log


def test_what_takes_two_readings_is_not_dark_at_the_start(host: Local) -> None:
    until(lambda: host.states() == {"RUNNING"}, what="the programs run")
    host.start()
    until(lambda: "no route" in host.log(), what=host.log())
    assert "memory:swap is dark" in host.log()
    for metric in ("cpu:tree", "cpu", "net:lo"):
        assert f" {metric} is dark" not in host.log()


def test_who_has_a_route_is_told_nothing_of_it(host: Local) -> None:
    host.config('[routes]\ndefault = ["json://127.0.0.1:9/"]\n')
    host.start()
    until(lambda: "is dark" in host.log(), what=host.log())
    assert "no route" not in host.log()


def test_many_services_are_a_few_lines(host: Local) -> None:
    host.rule("many", "".join(f"check service no{number:03}\n" for number in range(200)))
    host.start()
    until(lambda: "no route" in host.log(), what=host.log())
    assert host.log().count("not found") == 20
    assert "and 181 more; `steadyd services` tells all" in host.log()


def test_status_is_watched_until_q(host: Local) -> None:
    host.start()
    with terminal("status", "--watch", "--control", str(host.control)) as screen:
        screen.wait_for("2 of 3 services active")
        host.stop()
        screen.wait_for("cannot reach the daemon")
        host.start()
        screen.drawn = b""
        screen.wait_for("2 of 3 services active")
        screen.press("q")
        assert screen.end() == 0
    refused = host.ask("status", "--watch")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "steadyd: --watch needs a terminal, and shows no JSON\n"


def test_top_shows_who_eats_the_cpu(host: Local) -> None:
    host.start()
    plain = host.ask("top")
    assert plain.returncode == 0, plain.stderr
    head, first, *_ = plain.stdout.splitlines()
    assert head.split()[:4] == ["SERVICE", "STATE", "CPU%", "MEMORY"]
    assert first.split()[0] == "busy"
    assert float(first.split()[2]) > 20
    assert "\x1b" not in plain.stdout
    assert all(len(line) <= 80 for line in plain.stdout.splitlines())
    uses = {each["name"]: each for each in json.loads(host.ask("top", "--json").stdout)["services"]}
    assert uses["ghost"]["memory"] is None
    assert uses["busy"]["cpu"] > uses["idle"]["cpu"]
    with terminal("top", "--control", str(host.control)) as screen:
        screen.wait_for("by CPU", "busy", "idle")
        screen.press("n")
        screen.wait_for("by name")
        screen.press("q")
        assert screen.end() == 0
    host.stop()
    gone = host.ask("top")
    assert gone.returncode == 3
    assert gone.stderr.count("\n") == 1


def test_init_takes_any_printable_name(host: Local, tmp_path: Path) -> None:
    into = tmp_path / 'a"b c'
    made = host.ctl("init", "--into", os.path.relpath(into))
    assert made.returncode == 0, made.stderr
    assert load(str(into / "steadyd.toml")).rules == (f"{into}/rules.d",)
    assert f"steadyd check '{into}/rules.d'" in made.stdout
    for bad in ("", "a\nb"):
        refused = host.ctl("init", "--into", bad)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("steadyd: --into takes ")


@pytest.mark.parametrize(("swap", "cores"), [(True, 1), (False, 64)])
def test_the_first_rules_of_the_host_suit_it(swap: bool, cores: int) -> None:
    text = host_rules(swap, cores)
    assert ("\n  if swap" in text) is swap
    assert f"load:5 > {2 * cores} for" in text
    file = parse(text)
    assert not file.bad


def test_init_writes_once_and_what_it_writes_is_good(host: Local, tmp_path: Path) -> None:
    into = tmp_path / "new"
    done = host.ctl("init", "--into", str(into))
    assert done.returncode == 0, done.stderr
    assert (into / "steadyd.toml").is_file()
    good = host.ctl("check", str(into / "rules.d"))
    assert good.returncode == 0, good.stdout
    (into / "steadyd.toml").write_text("mine = 1\n")
    again = host.ctl("init", "--into", str(into))
    assert again.returncode == 1
    assert "is not touched" in again.stderr
    (into / "rules.d" / "host.inq").unlink()
    rest = host.ctl("init", "--into", str(into))
    assert rest.returncode == 0
    assert f"{into}/steadyd.toml is there already, and is not touched" in rest.stdout
    assert f"wrote {into}/rules.d/host.inq" in rest.stdout
    assert (into / "steadyd.toml").read_text() == "mine = 1\n"
    printed = host.ctl("init", "--into", str(tmp_path / "other"), "--print")
    assert "[routes]" in printed.stdout
    assert not (tmp_path / "other").exists()


@pytest.mark.host
def test_init_finds_the_services_of_a_host_and_not_its_plumbing(tmp_path: Path) -> None:
    service = "[Service]\nExecStart=/bin/sleep infinity\n"
    try:
        made = SteadyHost(services={"shop.service": service, "mail@one.service": service})
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with made as host:
        host.run(["systemctl", "start", "shop", "mail@one"])
        said = host.run(["steadyd", "init", "--into", "/srv/new"]).stdout
        assert "shop" in said
        rules = host.run(["cat", "/srv/new/rules.d/services.inq"]).stdout
        assert "check service shop\n" in rules
        assert "check service mail@one\n" in rules
        assert "if memory:total_rss > 256m" in rules
        for plumbing in ("systemd-", "dbus", "polkit", "getty"):
            assert f"check service {plumbing}" not in rules
        checked = host.run(["steadyd", "check", "/srv/new/rules.d"])
        assert "no errors" in checked.stdout
        assert "warning" not in checked.stdout
