"""The language in the running daemon: globs, ladders, events and programs of the operator's."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.local import SLEEPER, Local, local, until


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path) as made:
        yield made


def services(daemon: Local) -> set[str]:
    return {service["name"] for service in daemon.api("services")["services"]}


def opened(daemon: Local) -> set[tuple[str, str]]:
    return {(i["service"], i["metric"]) for i in daemon.api("status")["incidents"]}


def test_a_glob_watches_what_it_stands_for_now_and_what_comes_later(daemon: Local) -> None:
    daemon.keep(app1=SLEEPER, app2=SLEEPER, web=SLEEPER)
    daemon.rule("apps", "check service app?\n  if memory:rss > 80k then alert\n")
    daemon.rule("one", "check service app2\n  if down then alert\n")
    daemon.start()
    assert services(daemon) == {"app1", "app2"}
    until(lambda: opened(daemon) == {("app1", "memory:rss")}, what="the exact check beats the glob")

    daemon.keep_too(app3=SLEEPER)
    until(lambda: ("app3", "memory:rss") in opened(daemon), what="the new unit")
    daemon.supervise("stopProcess", "app1")
    assert "app1" in services(daemon)  # stopped is not gone
    told = daemon.ask("why", "app3")
    assert "app3" in told.stdout


def test_a_glob_of_too_many_units_is_refused_loudly(daemon: Local) -> None:
    daemon.keep(**{f"p{n}": "/bin/sleep 1000" for n in range(201)})
    daemon.rule("all", "check service p*\n  if down then alert\n")
    daemon.rule("one", "check service p7\n  if memory:rss > 1g then alert\n")
    daemon.start()

    assert services(daemon) == {"p7"}
    assert "p* stands for 201 units, more than 200" in daemon.log()
    assert "p* stands for 201 units" in daemon.ask("status").stdout


@pytest.mark.parametrize("name", ["inspeqtor", "steadyd"])
def test_the_daemon_watches_itself(daemon: Local, name: str) -> None:
    daemon.keep(app=SLEEPER)
    daemon.rule("self", f"check service {name}\n  if memory:rss > 80k then alert, restart\n")
    daemon.start()
    until(lambda: opened(daemon) == {(name, "memory:rss")}, what="the daemon is found")

    (service,) = daemon.api("services")["services"]
    assert daemon.daemon is not None
    assert (service["main_pid"], service["state"]) == (daemon.daemon.pid, "active")


def test_what_an_aggregate_looks_back_on_is_kept_over_a_stop(daemon: Local) -> None:
    daemon.keep(app=SLEEPER)
    daemon.rule("app", "check service app\n  if avg memory:rss over 5s > 80k then alert\n")
    daemon.start()
    until(lambda: opened(daemon) == {("app", "memory:rss")}, what="the window is full")
    assert daemon.stop() == 0

    with closing(sqlite3.connect(daemon.folder / "state/state.db")) as db:
        ((data,),) = db.execute("SELECT data FROM history").fetchall()
    kept = json.loads(data)
    assert (kept["service"], kept["metric"]) == ("app", "memory:rss")
    assert len(kept["points"]) >= 4


def test_crashed_alerts_restarts_are_told_and_a_program_helps(daemon: Local) -> None:
    helper = daemon.folder / "helper"
    helper.write_text('#!/bin/sh\nenv > "$1"\nkill -0 $$\n')
    helper.chmod(0o755)
    proof = daemon.folder / "proof"
    daemon.keep(app=SLEEPER)
    daemon.rule(
        "app",
        "check service app with settle 1s, cooldown 1s\n"
        f'  if crashed then alert, exec "{helper} {proof}"\n'
        "  if memory:rss > 80k for 1s then alert, after 2s signal TERM, after 4s alert later\n",
    )
    daemon.config(f'[exec]\nallow = ["{helper}"]\n[routes]\ndefault = []\nlater = []\n')
    daemon.start()

    until(lambda: ("app", "memory:rss") in opened(daemon), what="the memory rule")
    acted = until(lambda: [a["verb"] for a in daemon.api("actions")["actions"]], what="a verb")
    assert acted[-1] == "signal"
    until(proof.exists, what="the program, after the crash that the signal was")
    text = until(proof.read_text, what="its environment")
    assert "STEADYD_SERVICE=app" in text
    assert "STEADYD_INIT=supervisord" in text
    assert not set(os.environ) & {"STEADYD_SERVICE"}


def test_a_program_that_is_not_allowed_or_not_safe_does_not_run(daemon: Local) -> None:
    helper, proof = daemon.folder / "helper", daemon.folder / "proof"
    helper.write_text(f"#!/bin/sh\ntouch {proof}\n")
    helper.chmod(0o777)  # anybody may change it
    daemon.keep(app=SLEEPER)
    daemon.rule(
        "app",
        "check service app with cooldown 1s\n"
        f'  if memory:rss > 80k for 1s then alert, exec "{helper}", exec "/bin/false"\n',
    )
    daemon.config(f'[exec]\nallow = ["{helper}"]\n')
    daemon.start()

    until(lambda: "chmod go-w" in daemon.ask("why", "app").stdout, what="the refusal")
    until(lambda: "[exec] allow" in daemon.ask("why", "app").stdout, what="the other one")
    assert not proof.exists()


def test_two_crashes_in_a_row_are_flapping(daemon: Local) -> None:
    daemon.keep(app=SLEEPER)
    daemon.rule("app", "check service app with settle 1s\n  if flapping then alert\n")
    daemon.start()
    for _ in range(2):
        before = daemon.api("services")["services"][0]["main_pid"]
        daemon.supervise("signalProcess", "app", "KILL")

        def another(gone: int = before) -> bool:
            return daemon.api("services")["services"][0]["main_pid"] not in (None, gone)

        until(another, what="the respawn")
    until(lambda: opened(daemon) == {("app", "flapping")}, what="the incident")
