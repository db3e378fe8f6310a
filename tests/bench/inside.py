"""What `make bench` runs inside the host: scrape, read each unit's cgroup, kill and look.

Prints one JSON object. Arguments: seconds of load, number of kills, number of services.
"""

import http.client
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from typing import Any

STEADYD, EXPORTER = 10870, 9256
UNITS = ("steadyd", "process-exporter", "monit")
CYCLE = 5.0
PAGES = 5


def show(unit: str, name: str) -> str:
    done = subprocess.run(
        ["systemctl", "show", "--value", "-p", name, unit],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def cpu(unit: str) -> float:
    """Seconds of CPU that a unit used, by its cgroup."""
    with open(f"/sys/fs/cgroup{show(unit, 'ControlGroup')}/cpu.stat") as f:
        return int(f.readline().split()[1]) / 1e6


def memory(unit: str) -> float:
    """MiB resident of a unit's main process."""
    with open(f"/proc/{show(unit, 'MainPID')}/status") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmRSS"))


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


def scrape(port: int) -> float:
    """Milliseconds of one scrape."""
    started = time.perf_counter()
    get(port, "/metrics")
    return (time.perf_counter() - started) * 1e3


def unscraped(seconds: float) -> float:
    """Return milliseconds of CPU that steadyd needs for a cycle while nobody scrapes it."""
    before, started = cpu("steadyd"), time.monotonic()
    time.sleep(seconds)
    return (cpu("steadyd") - before) / (time.monotonic() - started) * CYCLE * 1e3


def watch_pages(count: int) -> list[http.client.HTTPConnection]:
    """Open that many pages, as browsers hold them, and read what they are told."""
    opened = []
    for _ in range(count):
        page = get(STEADYD, "/").decode()
        feed = page.split('data-feed="')[1].split('"')[0].replace("&amp;", "&")
        connection = http.client.HTTPConnection("127.0.0.1", STEADYD, timeout=60)
        connection.request("GET", f"/{feed}")
        answer = connection.getresponse()
        threading.Thread(target=lambda a=answer: [None for _ in a], daemon=True).start()
        opened.append(connection)
    return opened


def page_ms(times: int) -> list[float]:
    """Milliseconds to the last byte of the page, each time of a newer state."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        get(STEADYD, "/")
        found.append((time.perf_counter() - started) * 1e3)
        time.sleep(0.2)
    return found


def load(seconds: float) -> dict[str, Any]:
    """Scrape both exporters every cycle; return CPU per cycle, memory and scrape times."""
    scrapes: dict[int, list[float]] = {STEADYD: [], EXPORTER: []}
    before = {unit: cpu(unit) for unit in UNITS}
    started = time.monotonic()
    while (gone := time.monotonic() - started) < seconds:
        for port, times in scrapes.items():
            times.append(scrape(port))
        time.sleep(max(0.0, CYCLE - (time.monotonic() - started - gone)))
    elapsed = time.monotonic() - started
    return {
        "cpu_ms_per_cycle": {u: (cpu(u) - before[u]) / elapsed * CYCLE * 1e3 for u in UNITS},
        "rss_mib": {unit: memory(unit) for unit in UNITS},
        "scrape_ms": {"steadyd": scrapes[STEADYD], "process-exporter": scrapes[EXPORTER]},
    }


def start_to_scrape(times: int) -> list[float]:
    """Milliseconds from the start of the unit to the first answered scrape."""
    result = []
    for _ in range(times):
        subprocess.run(["systemctl", "stop", "steadyd"], check=True)
        started = time.perf_counter()
        subprocess.run(["systemctl", "start", "--no-block", "steadyd"], check=True)
        while True:
            try:
                scrape(STEADYD)
                break
            except OSError:
                time.sleep(0.002)
        result.append((time.perf_counter() - started) * 1e3)
    subprocess.run(["systemctl", "start", "steadyd"], check=True)
    return result


def newest(service: str, after: float) -> float | None:
    """Wall-clock time at which the incident of a service opened, if one did after `after`."""
    for incident in json.loads(get(STEADYD, "/api/v1/incidents?limit=5"))["incidents"]:
        if incident["service"] == service:
            at = incident["opened_at"]
            opened = datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
            if opened > after - 1:
                return opened
    return None


def kill_and_look(services: list[str], kills: int) -> list[float]:
    """Milliseconds from the death of a main process, by our own pidfd, to its open incident."""
    result = []
    for number in range(kills):
        service = services[number % len(services)]
        pid = int(show(service, "MainPID"))
        fd = os.pidfd_open(pid)
        asked = time.time()
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        select.select([fd], [], [])
        died = time.time()
        os.close(fd)
        deadline = time.monotonic() + 20
        while (opened := newest(service, asked)) is None and time.monotonic() < deadline:
            time.sleep(0.005)
        result.append((opened - died) * 1e3 if opened is not None else float("inf"))
        subprocess.run(["systemctl", "restart", service], check=True)
    return result


def main() -> None:
    seconds, kills, count = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    services = [f"svc-{number:04}" for number in range(count)]
    result: dict[str, Any] = {"start_ms": start_to_scrape(5)}
    scrape(STEADYD)
    time.sleep(2 * CYCLE)
    result["tick_cpu_ms"] = unscraped(seconds / 2)
    result |= load(seconds)
    result["page_ms"] = page_ms(20)
    pages = watch_pages(PAGES)
    looked = load(seconds)
    result["looked_at"] = {name: looked[name] for name in ("cpu_ms_per_cycle", "rss_mib")}
    for page in pages:
        page.close()
    result["latency_ms"] = kill_and_look(services, kills)
    print(json.dumps(result))


main()
