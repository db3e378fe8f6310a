"""A small host on which everything happens that the boards show, and a Prometheus that saw it."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.dashboards.grafana import Prometheus, PrometheusError
from tests.e2e.local import SLEEPER, Local, free_port, local, until
from tests.fakes.target import target

RULES = Path(__file__).resolve().parents[2] / "dashboards/prometheus"
SCRAPE = 1.0
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}/alerts.yml", "{rules}/recording.yml"]
scrape_configs:
- job_name: steadyd
  static_configs: [{{targets: ["127.0.0.1:{port}", "127.0.0.1:{silent}"]}}]
"""
# writes a little, leaks when the flag is set, and takes it down
LEAKS = """import os, time
while not os.path.exists('{flag}'):
    with open('{flag}.log', 'wb') as log: log.write(bytes(1 << 16))
    time.sleep(0.1)
os.unlink('{flag}')
kept = b'x' * (200 << 20)
time.sleep(3600)
"""
# ends badly when the flag is set, and takes it down
ENDS = """#!/bin/sh
while [ ! -e {flag} ]; do sleep 0.1; done
rm {flag}
"""


@dataclass(frozen=True)
class Told:
    """What remains of the story: the Prometheus, when it began, the daemon."""

    prometheus: Prometheus
    began: float
    daemon: Local

    @property
    def span(self) -> float:
        """Seconds since it began."""
        return time.time() - self.began


@contextmanager
def scraping(folder: Path, port: int) -> Iterator[Prometheus]:
    """Start a Prometheus with our rules; it scrapes the daemon, and a port where nobody is."""
    config, own = folder / "prometheus.yml", free_port()
    config.write_text(CONFIG.format(rules=RULES, port=port, silent=free_port()))
    with open(folder / "prometheus.log", "wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address=127.0.0.1:{own}", "--log.level=warn"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield Prometheus(f"http://127.0.0.1:{own}", SCRAPE)
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def story(folder: Path) -> Iterator[Told]:
    """Let everything happen; yield while all still run."""
    with local(folder) as daemon, target() as takes, target(500) as refuses:
        leak = folder / "leak"
        daemon.keep(**_programs(folder, leak))
        for name, text in _rules(folder, takes.server.server_port).items():
            daemon.rule(name, text)
        config = daemon.config(
            f'[exec]\nallow = ["{folder}/helper"]\n'
            f'[routes]\ndefault = ["{takes.url}"]\nodd = ["nosuch://x", "{refuses.url}"]\n'
        )
        # what happens in a week elsewhere happens here in a minute
        config.write_text(config.read_text().replace("[actions]", ACTIONS))
        with scraping(folder, daemon.port) as prometheus:
            # it is there first: what a counter has when it is first seen is no increase
            until(lambda: _found(prometheus, "up == 0"), 30, "a scrape that fails")
            began = time.time()
            daemon.start()
            until(lambda: _found(prometheus, "steadyd_build_info"), 30, "the first scrape")
            _happen(daemon, prometheus, leak)
            seen = f"timestamp(steadyd_build_info) > {time.time() + 3 * SCRAPE}"
            until(lambda: _found(prometheus, seen), 30, "three scrapes more")
            yield Told(prometheus, began, daemon)


ACTIONS = '[actions]\nhost_budget = "100/1h"'
DEAF = """sh -c "trap '' HUP USR1; exec sleep infinity\""""
QUICK = "settle 1s, cooldown 1s, verify 1s"
TRUE = "memory:rss > 80k for 1s"


def _programs(folder: Path, leak: Path) -> dict[str, str]:
    """Return what supervisord keeps; what has `once` in its name is not started again by it."""
    leaks = folder / "leaks.py"
    leaks.write_text(LEAKS.format(flag=leak))
    helper = folder / "helper"
    helper.write_text("#!/bin/sh\nexit 1\n")
    ends, lost = folder / "ends", folder / "lost"
    ends.write_text(ENDS.format(flag=folder / "end") + "exit 1\n")
    lost.write_text(ENDS.format(flag=folder / "lose") + "rm $0\nexit 1\n")
    for program in (helper, ends, lost):
        program.chmod(0o755)
    return {
        "app": DEAF,
        "crashes": SLEEPER,
        "ends-once": str(ends),
        "fine": SLEEPER,
        "leaks": f"python3 {leaks}",
        "lost-once": str(lost),
        "nudged": SLEEPER,
        "paused": SLEEPER,
        "stubborn": DEAF,
        "unwanted": SLEEPER,
    }


def _rules(folder: Path, port: int) -> dict[str, str]:
    measured = ("cpu:user", "cpu:system", "memory:rss", "memory:pss", "io:read", "io:write")
    return {
        "app": f"check service app with port {port}, reload_signal HUP, settle 1s, verify 9s\n"
        "  if http:status == 200 for 2s then alert, reload\n",
        "crashes": f"check service crashes with {QUICK}\n"
        "  if crashed then alert\n  if flapping then alert\n",
        "ends": f"check service ends-once with {QUICK}\n  if down then alert, start\n",
        "fine": "check service fine with severity critical\n"
        "  if memory:rss > 80k for 1h then alert\n",
        "leaks": f"check service leaks with port {port}, settle 1s, cooldown 1s, verify 20s,"
        " budget 9/1h\n  if memory:total_rss > 150m then alert, restart\n"
        "  if tcp:up < 1 then alert\n  if http:seconds > 10s then alert\n"
        + "".join(f"  if {metric} > {_amount(metric)} then alert\n" for metric in measured),
        "lost": f"check service lost-once with {QUICK}\n  if down then alert, restart\n",
        "nudged": f"check service nudged with {QUICK}, budget 2/1h\n"
        f'  if {TRUE} then alert, exec "{folder}/helper", signal TERM\n',
        "paused": f"check service paused with {QUICK}, dry_run yes\n  if {TRUE} then restart\n",
        "stubborn": f"check service stubborn with {QUICK}, budget 2/1h, reload_signal HUP\n"
        f"  if {TRUE} then alert, reload, restart, signal USR1\n",
        "unwanted": f"check service unwanted with {QUICK}\n  if {TRUE} then alert odd, stop\n",
        "host": "check host\n  if disk:/ > 0% then alert\n  if load:1 > 999 then alert\n"
        "  if memory:used > 99t then alert\n  if cpu:user > 9999% then alert\n",
    }


def _amount(metric: str) -> str:
    return {"memory": "9g", "io": "9g", "cpu": "9999%"}[metric.partition(":")[0]]


def _happen(daemon: Local, prometheus: Prometheus, leak: Path) -> None:
    """Do what operators, bugs and disks do, and wait for what follows."""
    _withdraw(daemon)
    broken = daemon.rule("new", "check service fine\n  if memory:rss >\n")
    until(lambda: daemon.metric("steadyd_config_last_reload_successful") == 0, what="a bad edit")
    broken.unlink()
    until(lambda: daemon.metric("steadyd_config_last_reload_successful") == 1, what="its mend")
    peace = "count_over_time(steadyd_build_info[1m]) >= 10"
    until(lambda: _found(prometheus, peace), 30, "ten scrapes before it goes on")
    _hang(daemon, prometheus)
    for flag in ("end", "lose"):
        (daemon.folder / flag).touch()
    for _ in range(3):
        _kill(daemon, "crashes")
    daemon.supervise("stopProcess", "fine")
    daemon.supervise("startProcess", "fine")
    sent = daemon.metric(SENT)
    leaks = 'steadyd_action_outcomes_total{action="restart",name="leaks",outcome='
    for outcome in ("healed", "came_back"):
        leak.touch()
        _above_zero(daemon, f'{leaks}"{outcome}"}}')
    for series in (
        'steadyd_action_outcomes_total{action="restart",name="stubborn",outcome="not_healed"}',
        'steadyd_actions_failed_total{action="restart",name="lost-once"}',
        'steadyd_actions_suppressed_total{name="stubborn",reason="budget"}',
        'steadyd_actions_suppressed_total{name="paused",reason="dry_run"}',
        f"steadyd_alerts{{{FLAPPING}}}",
        "steadyd_dead_parcels_total",
        'steadyd_outbox_parcels{state="pending"}',
        *(f'steadyd_actions_total{{action="{verb}",name="{name}"}}' for name, verb in ACTED),
    ):
        _above_zero(daemon, series)
    until(lambda: daemon.metric(SENT) > sent, 30, "a message after the gap")


SENT = 'steadyd_notifications_total{integration="json"}'
FLAPPING = 'alertname="flapping",alertstate="firing",name="crashes",severity="warning"'
ACTED = {
    "app": "reload",
    "ends-once": "start",
    "leaks": "restart",
    "nudged": "signal",
    "unwanted": "stop",
}.items()


def _above_zero(daemon: Local, series: str) -> None:
    until(lambda: daemon.metric(series) > 0, 40, series)


def _withdraw(daemon: Local) -> None:
    """Take a rule away while nobody knows yet whether its verb helped."""
    until(lambda: [a for a in daemon.api("actions")["actions"] if _answered(a)], what="the reload")
    daemon.rule("app", "check service app with reload_signal HUP\n  if down then alert, reload\n")
    _above_zero(
        daemon, 'steadyd_action_outcomes_total{action="reload",name="app",outcome="unknown"}'
    )


def _answered(action: dict[str, Any]) -> bool:
    return action["service"] == "app" and bool(action["finished_at"])


def _kill(daemon: Local, name: str) -> None:
    """Kill a program, and wait until the daemon knows the next one."""
    gone = daemon.supervise("getProcessInfo", name)["pid"]
    daemon.supervise("signalProcess", name, "KILL")

    def again() -> bool:
        lives = daemon.supervise("getProcessInfo", name)["pid"]
        services = {each["name"]: each for each in daemon.api("services")["services"]}
        return bool(services[name]["main_pid"] == lives not in (0, gone))

    until(again, what=f"the respawn of {name}")


def _hang(daemon: Local, prometheus: Prometheus) -> None:
    """Let the daemon stand still for as long as a Prometheus needs to miss it."""
    assert daemon.daemon is not None
    daemon.daemon.send_signal(signal.SIGSTOP)
    try:
        missing = f'max_over_time(up{{instance="127.0.0.1:{daemon.port}"}}[3s]) == 0'
        until(lambda: _found(prometheus, missing), 30, "three scrapes that fail")
    finally:
        daemon.daemon.send_signal(signal.SIGCONT)


def _found(prometheus: Prometheus, expr: str) -> bool:
    try:
        return bool(prometheus.ask("query", query=expr)["result"])
    except (OSError, PrometheusError):  # not ready yet
        return False
