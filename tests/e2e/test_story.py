"""The story this project exists for, on a real systemd host with Debian's real puma.

steadyd runs from the shipped unit as its own user, with the polkit rule that it printed itself.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.kit import MAIL, PROMETHEUS, ROOT, SteadyHost, until

pytestmark = pytest.mark.host

MIB = 2**20
APP_PORT = 9292

CONFIG_RU = """
$leak = []
run lambda { |env|
  if env["PATH_INFO"] == "/leak"
    $leak << ("x" * (8 * 1024 * 1024))
  end
  [200, {"Content-Type" => "text/plain"}, ["#{Process.pid} #{Process.ppid}\\n"]]
}
"""
PUMA_RB = f"""
workers 2
threads 1, 4
queue_requests false
environment "production"
bind "tcp://127.0.0.1:{APP_PORT}"
"""
LOAD = """
import http.client, json, signal, sys, time
stop = []
signal.signal(signal.SIGTERM, lambda *a: stop.append(1))
good = bad = 0
workers, errors = set(), []
while not stop:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
        connection.request("GET", "/")
        answer = connection.getresponse()
        worker, master = answer.read().decode().split()
        connection.close()
        workers.add(worker)
        good += answer.status == 200
        bad += answer.status != 200
    except Exception as error:
        bad += 1
        errors.append(repr(error))
    time.sleep(0.005)
with open(sys.argv[2], "w") as f:
    json.dump({"good": good, "bad": bad, "errors": errors[:5]}, f)
"""
LEAKER = "[Service]\nExecStart=/usr/bin/python3 /srv/leaker.py\n"
LEAKER_PY = """
import signal
kept = []
signal.signal(signal.SIGUSR2, lambda *a: kept.append(bytearray(64 * 1024 * 1024)))
while True:
    signal.pause()
"""
VICTIM = "[Service]\nExecStart=/bin/sleep infinity\n"

RULES = {
    "puma.inq": "check service puma {params}\n"
    "  if memory:total_rss > {limit}m then alert, reload\n",
    "worker.inq": "check service worker\n  if memory:total_rss > 50m then alert, restart\n",
    "victim.inq": "check service victim\n  if down then alert, restart\n",
}
CONFIG = f"""
cycle = "1s"
[actions]
host_budget = "99/1h"
[routes]
default = ["mailto://127.0.0.1:{MAIL}/?from=steadyd@box.example&to=ops@example.com", "file:slack"]
"""
LIMIT = 250
SLACK_URL = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops"


def make_host(params: str = "") -> SteadyHost:
    host = SteadyHost(
        config=CONFIG,
        default="REQUESTS_CA_BUNDLE=/etc/steadyd/slack.pem\n",
        rules={name: text.format(limit=LIMIT, params=params) for name, text in RULES.items()},
        services={
            "puma.service": (ROOT / "systemd/examples/puma.service").read_text(),
            "worker.service": LEAKER,
            "victim.service": VICTIM,
        },
        files={
            "/srv/leaker.py": LEAKER_PY,
            "/srv/app/config.ru": CONFIG_RU,
            "/srv/app/config/puma.rb": PUMA_RB,
            "/etc/steadyd/slack": (SLACK_URL + "\n", 0o640),
            "/etc/hosts": "127.0.0.1 localhost testhost hooks.slack.com\n",
            "/etc/prometheus/p.yml": "global: {scrape_interval: 200ms}\nscrape_configs:\n"
            "- {job_name: steadyd, static_configs: [{targets: ['127.0.0.1:10870']}]}\n",
        },
        hostname="testhost",
    )
    host.run(["chgrp", "steadyd", "/etc/steadyd/slack"])
    host.sinks()
    host.put("/etc/steadyd/slack.pem", Path(f"{host.share}/slack.pem").read_text())
    host.run(["systemctl", "start", "puma", "worker", "victim"])
    host.wait_listening(APP_PORT)
    return host


@pytest.fixture
def host() -> Iterator[SteadyHost]:
    with make_host() as made:
        yield made
        print(made.journal("-u", "steadyd.service")[-8000:])
        print(made.run("systemctl status puma --no-pager -l", check=False).stdout)


def puma_tree(host: SteadyHost) -> tuple[int, set[int]]:
    master = int(host.show("puma", "MainPID")["MainPID"])
    return master, {int(p) for p in host.run(f"pgrep -P {master}", check=False).stdout.split()}


def leak(host: SteadyHost, requests: int = 1) -> None:
    for _ in range(requests):
        host.get_text("/leak", APP_PORT)


def about(things: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    return [thing for thing in things if text in json.dumps(thing)]


def heard(
    host: SteadyHost, sink: str, incident: str, least: int, seconds: float = 20
) -> list[dict[str, Any]]:
    """Wait until a sink has at least so many messages about an incident; return them."""
    until(lambda: len(about(host.arrived(sink), incident)) >= least, seconds, f"{sink} {incident}")
    return about(host.arrived(sink), incident)


def hears_the_end(host: SteadyHost, sink: str, incident: str) -> None:
    def ended() -> bool:
        told = [json.dumps(message) for message in about(host.arrived(sink), incident)]
        return any("recovered after" in text or ": was " in text for text in told)

    until(ended, 60, f"{sink}: the end of {incident}")


def metric(host: SteadyHost, line: str) -> float:
    for text in host.get_text("/metrics").splitlines():
        if text.startswith(line):
            return float(text.rpartition(" ")[2])
    return float("nan")


def test_the_story(host: SteadyHost) -> None:
    rule = host.grant()
    assert '"puma.service"' in rule
    host.start_steadyd()
    assert host.show("steadyd.service", "User")["User"] == "steadyd"
    prometheus = host.popen(
        "exec prometheus --config.file=/etc/prometheus/p.yml --storage.tsdb.path=/run/prom"
        f" --web.listen-address=127.0.0.1:{PROMETHEUS} >/run/prom.log 2>&1"
    )
    load = host.beside(LOAD, APP_PORT, f"{host.share}/load.json", name="load")
    until(lambda: len(puma_tree(host)[1]) == 2, what="two workers")
    memory = 'steadyd_service_memory_bytes{memtype="resident",name="puma"}'
    until(lambda: metric(host, memory) > 0)
    before = metric(host, memory)
    assert before < LIMIT * MIB
    master, workers = puma_tree(host)

    leak(host, 15)
    until(lambda: metric(host, memory) > before + 80 * MIB, what="the rise in /metrics")
    until(lambda: peak(host) > before + 80 * MIB, what="the rise in Prometheus")
    assert host.incidents("puma") == []
    leak(host, 15)
    until(lambda: host.incidents("puma"), what="the incident")
    until(lambda: host.incidents("puma")[0]["state"] == "closed", 60, "the incident closes")

    (incident,) = host.incidents("puma")
    (action,) = incident["actions"]
    assert (action["verb"], action["outcome"]) == ("reload", "healed")
    assert incident["close_reason"] == "recovered"
    assert incident["value"] > LIMIT * MIB
    assert (
        "Reloaded puma" in host.journal("-u", "puma.service", "-u", "init.scope") + host.journal()
    )
    new_master, new_workers = puma_tree(host)
    assert new_master == master
    assert len(new_workers) == 2
    assert not new_workers & workers
    until(lambda: metric(host, memory) < LIMIT * MIB)

    for sink in ("mails", "posts"):
        told = heard(host, sink, incident["id"], 2)
        assert len(told) == 2
        assert "testhost puma: memory:total_rss" in json.dumps(told[0])
        assert "recovered after" in json.dumps(told[1])
        assert "healed" in json.dumps(told[1])
    why = host.out("steadyd why puma")
    for word in ("memory:total_rss", "reload", "healed", incident["id"]):
        assert word in why

    a_restart(host)
    a_kill(host)

    load.terminate()
    load.wait()
    counted = json.loads(Path(f"{host.share}/load.json").read_text())
    assert counted["bad"] == 0, counted["errors"]
    assert counted["good"] > 100
    healed = 'steadyd_action_outcomes_total{name="puma",outcome="healed"}'
    until(lambda: query(host, healed) == 1, what="the outcome in Prometheus")
    prometheus.terminate()
    prometheus.wait()


def a_restart(host: SteadyHost) -> None:
    """A second service is restarted."""
    pid = host.show("worker", "MainPID")["MainPID"]
    host.run(["systemctl", "kill", "-s", "USR2", "worker"])
    until(lambda: host.incidents("worker"), what="the incident of worker")
    until(lambda: host.incidents("worker")[0]["state"] == "closed", what="worker heals")
    (incident,) = host.incidents("worker")
    assert [(a["verb"], a["outcome"]) for a in incident["actions"]] == [("restart", "healed")]
    assert host.show("worker", "MainPID")["MainPID"] != pid
    hears_the_end(host, "mails", incident["id"])
    assert metric(host, 'steadyd_service_restarts_total{cause="rule",name="worker"}') == 1


def a_kill(host: SteadyHost) -> None:
    """A third one is killed: seen at once, told, closed."""
    host.run(["systemctl", "kill", "-s", "KILL", "victim"])
    until(lambda: host.incidents("victim"), 5, what="the incident of victim")
    until(lambda: host.incidents("victim")[0]["state"] == "closed", what="victim is up again")
    (incident,) = host.incidents("victim")
    assert [(a["verb"], a["outcome"]) for a in incident["actions"]] == [("restart", "healed")]
    hears_the_end(host, "mails", incident["id"])
    told = json.dumps(about(host.arrived("mails"), incident["id"]))
    assert "victim: is down" in told or "victim: was down" in told


def query(host: SteadyHost, expression: str) -> float:
    """Ask the real Prometheus."""
    text = host.get_text(f"/api/v1/query?query={quote(expression)}", PROMETHEUS)
    result = json.loads(text)["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


def peak(host: SteadyHost) -> float:
    return query(host, 'max_over_time(steadyd_service_memory_bytes{name="puma"}[5m])')


def test_killed_at_random_it_loses_no_message_and_repeats_no_action() -> None:
    """kill -9 of the daemon at random moments of the story, many times.

    Only a parcel that was being sent at a kill may be repeated, and only in the same words.
    """
    dice = random.Random(20261123)
    unsure: Counter[tuple[str, str]] = Counter()  # by incident and sink, over all kills
    with make_host("with cooldown 1s, budget 99/1h") as host:
        host.grant()
        host.run("mkdir -p /etc/systemd/system/steadyd.service.d")
        host.put(
            "/etc/systemd/system/steadyd.service.d/fast.conf",
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=no\n",
        )
        host.run(["systemctl", "daemon-reload"])
        host.start_steadyd()
        for round_ in range(1, 11):
            until(lambda: len(puma_tree(host)[1]) == 2)
            leak(host, 30)
            unsure += kill_at_random(host, dice)
            closes(host, round_)
            incident = host_incidents(host)[0]
            ran = [a for a in incident["actions"] if a["outcome"] != "suppressed"]
            assert len(ran) <= 1, incident
            for sink in ("mails", "posts"):
                hears_the_end(host, sink, incident["id"])
                told = Counter(map(json.dumps, about(host.arrived(sink), incident["id"])))
                assert told.total() - len(told) <= unsure[incident["id"], sink], (told, unsure)
                assert len(told) == len(set(map(kind, told))), told


def kind(message: str) -> str:
    """Return what a message tells of an incident."""
    if "recovered after" in message or ": was " in message:
        return "the end"
    return "giving up" if "nothing more is tried" in message.lower() else "the beginning"


SENDING = """
import json, sqlite3
db = sqlite3.connect("/var/lib/steadyd/state.db")
for (data,) in db.execute("SELECT data FROM parcels WHERE state = 'sending'"):
    parcel = json.loads(data)
    print(parcel["incident"], "posts" if parcel["scheme"] == "slack" else "mails")
"""


def kill_at_random(host: SteadyHost, dice: random.Random) -> Counter[tuple[str, str]]:
    """Kill the daemon twice; return what it was sending then, by incident and sink."""
    import time

    unsure: Counter[tuple[str, str]] = Counter()
    for _ in range(2):
        time.sleep(dice.uniform(0.0, 2.5))  # the moment is what the test is about
        host.run(["systemctl", "kill", "-s", "KILL", "steadyd"], check=False)
        until(lambda: host.show("steadyd", "ActiveState")["ActiveState"] == "failed")
        found = host.run([sys.executable, "-c", SENDING]).stdout.splitlines()
        unsure.update((incident, sink) for incident, sink in map(str.split, found))
        host.run(["systemctl", "start", "steadyd"])
    return unsure


def host_incidents(host: SteadyHost) -> list[dict[str, Any]]:
    try:
        return host.incidents("puma")
    except OSError:
        return []


def closes(host: SteadyHost, count: int) -> None:
    """Wait for the end of an incident; a verb that was lost to a kill is not repeated by steadyd.

    Where the kill came between the record of the verb and the call, the outcome is unknown and
    an operator has to act: we are the operator.
    """

    def over() -> bool:
        return closed(host) >= count

    def lost() -> bool:
        now = [i for i in host_incidents(host) if i["state"] == "open"]
        return any(a["outcome"] == "unknown" for i in now for a in i["actions"])

    until(lambda: over() or lost(), 60, f"incident {count} closes")
    if not over():
        host.run(["systemctl", "reload", "puma"])
        until(over, 60, f"incident {count} closes")


def closed(host: SteadyHost) -> int:
    return sum(1 for i in host_incidents(host) if i["state"] == "closed")
