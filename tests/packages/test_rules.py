"""The rule files to start from, in a real daemon, beside the servers that they are for."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kit import ROOT, SteadyHost, until

FILES = sorted((ROOT / "rules").glob("*.inq"))
CONFIG_RU = 'run lambda { |env| [200, {"Content-Type" => "text/plain"}, ["hello"]] }\n'
PUMA_RB = """
workers 2
queue_requests false
environment "production"
bind "tcp://127.0.0.1:9292"
activate_control_app "tcp://127.0.0.1:9293", { no_token: true }
"""
STATUS = (
    "server {\n  listen 127.0.0.1:8080;\n  location = /status { stub_status; access_log off; }\n}\n"
)
POSTGRES = (
    "runuser -u postgres -- sh -c \"createuser steadyd && psql -qc 'GRANT pg_monitor TO steadyd'\""
)
UNITS = ("nginx", "redis-server", "postgresql@15-main", "puma", "sidekiq")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_good_and_in_its_usual_dress(path: Path) -> None:
    for command in ("check", "fmt --check"):
        done = subprocess.run(
            [sys.executable, "-m", "steadyd", *command.split(), str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "warning" not in done.stdout


def test_there_is_one_for_each_that_is_named() -> None:
    named = {"puma", "sidekiq", "nginx", "redis", "postgres", "host", "jobs"}

    assert {path.stem for path in FILES} == named


def example(name: str) -> str:
    return (ROOT / "systemd/examples" / name).read_text("utf-8")


@pytest.fixture
def host() -> Iterator[SteadyHost]:
    """A host with the servers' own units, and with those of the examples."""
    with SteadyHost(
        config='cycle = "1s"\n',
        rules={path.name: path.read_text("utf-8") for path in FILES},
        services={f"{name}.service": example(f"{name}.service") for name in ("puma", "sidekiq")},
        files={
            "/srv/app/config.ru": CONFIG_RU,
            "/srv/app/config/puma.rb": PUMA_RB,
            "/srv/app/config/sidekiq.yml": ":require: ./worker.rb\n",
            "/srv/app/worker.rb": 'require "sidekiq"\n',
            "/etc/nginx/conf.d/status.conf": STATUS,
        },
    ) as made:
        for unit in UNITS:
            made.run(["systemctl", "start", unit])
        made.run(POSTGRES)
        made.grant()
        made.start_steadyd()
        yield made
        print(made.journal("-u", "steadyd.service")[-4000:])


@pytest.mark.host
def test_all_of_them_are_in_force_and_see_what_they_ask_for(host: SteadyHost) -> None:
    status = host.ctl("status")
    assert [file for file in status["files"] if not file["ok"]] == []
    assert len(status["files"]) == len(FILES)
    assert status["rules"]["disabled"] == 0

    until(lambda: unseen(host) == {}, 40, f"every metric: {unseen(host)}")
    read = {name.partition(":")[0] for s in services(host) for name in s["metrics"]}
    assert read >= {"memory", "puma", "sidekiq", "nginx", "redis", "postgresql"}
    assert 'steadyd_host_metric{family="pressure",metric="memory"}' in host.get_text("/metrics")
    until(lambda: states(host) == {"active"}, what=f"all are up: {states(host)}")
    until(lambda: host.ctl("status")["incidents"] == [], what="calm")
    host.run("systemctl kill --signal=KILL --kill-whom=all nginx")
    until(lambda: "nginx" in {i["service"] for i in host.ctl("status")["incidents"]}, 30, "down")
    until(lambda: host.incidents("nginx")[0]["state"] == "closed", 30, "healed")
    assert [a["outcome"] for a in host.incidents("nginx")[0]["actions"]] == ["healed"]


def services(host: SteadyHost) -> list[dict[str, Any]]:
    return list(host.ctl("status")["services"])


def states(host: SteadyHost) -> set[str]:
    return {str(service["state"]) for service in services(host)}


def unseen(host: SteadyHost) -> dict[str, Any]:
    """Return what is missing, with the reason."""
    return {
        f"{s['name']} {name}": why for s in services(host) for name, why in s["missing"].items()
    }
