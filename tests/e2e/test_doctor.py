"""What is dark, and that the line which is named lights it: on a real systemd host."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.kit import SteadyHost
from tests.hosts.inithost import HostError

pytestmark = pytest.mark.host

RELOADS = "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n"
WRAPPED = "[Service]\nExecStart=/bin/sh -c 'sleep infinity; :'\n"
RULES = """check service puma
  if memory:total_rss > 1g then alert, reload, restart
check service wrapped
  if memory:rss > 1g then alert, reload
  if memory:pss > 1g then alert
check service nowhere
  if down then alert, restart
"""


@pytest.fixture
def host() -> Iterator[SteadyHost]:
    try:
        made = SteadyHost(
            rules={"all.inq": RULES},
            services={"puma.service": RELOADS, "wrapped.service": WRAPPED},
        )
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with made:
        made.run(["systemctl", "start", "puma", "wrapped"])
        yield made


def doctor(host: SteadyHost, *arguments: str) -> tuple[int, dict[tuple[str, str], Any]]:
    done = host.run(["steadyd", "doctor", "--json", *arguments], check=False)
    dark = json.loads(done.stdout)["dark"]
    return done.returncode, {(d["service"], d["what"]): d for d in dark}


def test_each_mend_lights_what_was_dark(host: SteadyHost) -> None:
    code, dark = doctor(host)
    assert code == 1
    assert "default route" in dark["", "alerts"]["why"]
    assert "nowhere" in dark["nowhere", "everything"]["why"]
    assert "`sh`" in dark["wrapped", "signals"]["why"]
    listed = host.run(["steadyd", "services", "--rules", "/etc/steadyd/rules.d"]).stdout
    assert "wrapped: its main process" in listed
    assert "puma: its main process" not in listed
    assert "ExecReload" in dark["wrapped", "reload"]["mend"]
    assert "memory map of another user's" in dark["wrapped", "memory:pss"]["why"]
    assert "CAP_SYS_PTRACE" in dark["wrapped", "memory:pss"]["mend"]
    for verb in ("reload", "restart"):
        assert "polkit refuses" in dark["puma", verb]["why"]
        assert "steadyd grants polkit > " in dark["puma", verb]["mend"]

    only = RULES.partition("check service wrapped")[0].replace("reload, restart", "reload")
    host.put("/etc/steadyd/rules.d/all.inq", only)
    host.grant()
    host.put("/etc/steadyd/rules.d/all.inq", RULES)
    _, dark = doctor(host)
    assert ("puma", "reload") not in dark
    assert "polkit refuses restart, try-restart" in dark["puma", "restart"]["why"]

    host.grant()
    host.put("/etc/steadyd/steadyd.toml", '[routes]\ndefault = ["json://127.0.0.1/"]\n')
    host.put("/etc/steadyd/rules.d/all.inq", RULES.partition("check service wrapped")[0])
    assert doctor(host) == (0, {})
    text = host.run(["steadyd", "doctor"]).stdout
    assert text == "1 service looked at as steadyd: nothing is dark\n"


def test_it_looks_as_who_it_says(host: SteadyHost) -> None:
    _, as_root = doctor(host, "--user", "root")
    assert ("puma", "reload") not in as_root
    done = host.run(["steadyd", "doctor", "--user", "ghost"], check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "steadyd: there is no user ghost\n"
    me = ["setpriv", "--reuid=steadyd", "--regid=steadyd", "--clear-groups"]
    done = host.run([*me, "steadyd", "doctor", "--json"], check=False)
    dark = {(d["service"], d["what"]): d for d in json.loads(done.stdout)["dark"]}
    assert "only root may ask polkit" in dark["puma", "reload"]["why"]


def test_a_reload_and_the_status_name_the_rights_that_are_missing(host: SteadyHost) -> None:
    host.put("/etc/steadyd/rules.d/all.inq", RULES.partition("check service wrapped")[0])
    host.start_steadyd()
    done = host.run(["steadyd", "reload", "--wait"])
    assert done.stdout == "2 rules in force\n"  # with the implicit one for `down`
    for verb in ("reload", "restart"):
        assert f"no right: puma: {verb}: polkit refuses" in done.stderr
        assert "steadyd grants polkit > " in done.stderr
        assert f"no right: puma: {verb}: polkit refuses" in host.run(["steadyd", "status"]).stdout
    status = json.loads(host.run(["steadyd", "status", "--json"]).stdout)
    assert set(status["services"][0]["denied"]) == {"reload", "restart"}

    host.grant()
    done = host.run(["steadyd", "reload", "--wait"])
    assert done.stderr == ""
    assert "no right" not in host.run(["steadyd", "status"]).stdout
