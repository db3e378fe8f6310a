"""`make bench`: steadyd beside Debian's process-exporter and monit, on the same services.

One SystemdHost, 100 services of five processes each, a 5 s cycle, scraped every 5 s. Prints a
table of ratios against the limits of the design's budgets; exit 1 where one is broken.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.e2e.kit import SteadyHost  # noqa: E402 - the path is set above

FEW = 100  # services; beyond it the limits for 1,000 hold
SERVICE = """[Service]
ExecStart=/bin/bash -c 'for i in 1 2 3 4; do (exec -a {name} sleep infinity) & done; \
echo $$$$ > /run/bench/{name}.pid; exec -a {name} sleep infinity'
KillMode=control-group
TimeoutStopSec=1
"""
RULE = """check service {name}
  if memory:total_rss > 500m for 2 cycles then alert
  if down then alert
"""
MONIT = """check process {name} with pidfile /run/bench/{name}.pid
  if totalmem > 500 MB for 2 cycles then alert
"""
EXPORTER_CONFIG = """process_names:
  - name: "{{.Matches.service}}"
    cmdline: ['(?P<service>svc-[0-9]+)']
"""


def boot(count: int) -> SteadyHost:
    names = [f"svc-{number:04}" for number in range(count)]
    monit = (
        "set daemon 5\nset log /dev/null\nset idfile /run/monit.id\nset statefile /run/monit.st\n"
    )
    files: dict[str, Any] = {
        "/etc/process-exporter.yml": EXPORTER_CONFIG,
        "/etc/monit-bench.rc": (monit + "".join(MONIT.format(name=n) for n in names), 0o600),
    }
    services = {f"{name}.service": SERVICE.format(name=name) for name in names}
    services["process-exporter.service"] = (
        "[Service]\nExecStart=/usr/bin/prometheus-process-exporter"
        " -config.path /etc/process-exporter.yml -web.listen-address 127.0.0.1:9256\n"
    )
    services["monit.service"] = "[Service]\nExecStart=/usr/bin/monit -I -c /etc/monit-bench.rc\n"
    host = SteadyHost(
        config='cycle = "5s"\n',
        rules={"bench.inq": "".join(RULE.format(name=name) for name in names)},
        services=services,
        files=files,
        timeout=120,
    )
    host.run("mkdir -p /run/bench")
    for start in range(0, count, 50):
        host.run(["systemctl", "start", *names[start : start + 50]], timeout=120)
    host.run(["systemctl", "start", "process-exporter", "monit"])
    host.start_steadyd()
    return host


def measure(count: int, seconds: float, kills: int) -> dict[str, Any]:
    with boot(count) as host:
        script = (ROOT / "tests/bench/inside.py").read_text()
        host.put("/run/inside.py", script)
        command = ["/usr/bin/python3", "/run/inside.py", seconds, kills, count]
        done = host.run(list(map(str, command)), timeout=2 * seconds + kills * 2 + 240)
        return dict(json.loads(done.stdout.splitlines()[-1]))


def parse_ms(rules: int = 5000) -> float:
    """Median milliseconds of five parses and compiles of a file of 5,000 rules."""
    text = "check service bulk with owner ops\n" + (
        "  if memory:total_rss > 1.5g for 3 cycles then alert, reload\n" * rules
    )
    code = (
        "import statistics, sys, time\n"
        "from steadyd.probes.catalogue import CATALOGUE\n"
        "from steadyd.rulefiles.compile import compile_file\n"
        "from steadyd.rulefiles.judging import Known\n"
        "from steadyd.rulefiles.parser import parse\n"
        "text, times = sys.stdin.read(), []\n"
        "for _ in range(5):\n"
        "    t = time.perf_counter()\n"
        "    compile_file('bulk.inq', parse(text), Known(CATALOGUE, frozenset({'ops'})))\n"
        "    times.append((time.perf_counter() - t) * 1e3)\n"
        "print(statistics.median(times))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def rows(found: dict[str, Any], parse: float, count: int) -> list[tuple[str, str, str, bool]]:
    """Return name, value, limit and whether it holds, of each row; limits for 100 or 1,000."""
    few = count <= FEW
    cpu, rss = found["cpu_ms_per_cycle"], found["rss_mib"]["steadyd"]
    looked, pages = found["looked_at"], found["page_ms"]
    latency, scrapes = found["latency_ms"], found["scrape_ms"]
    table: list[tuple[str, float, int, float | None]] = [
        ("CPU / process-exporter", cpu["steadyd"] / cpu["process-exporter"], 3, 1 / 8),
        ("CPU / monit", cpu["steadyd"] / cpu["monit"], 3, 1 / 2 if few else None),
        ("CPU of a cycle nobody scrapes, ms", found["tick_cpu_ms"], 1, None if few else 60),
        ("memory, MiB RSS", rss, 1, 45 if few else 100),
        (
            f"scrape, ms p99 (n={len(scrapes['steadyd'])})",
            percentile(scrapes["steadyd"], 0.99),
            1,
            None if few else 150,
        ),
        (
            "scrape / process-exporter",
            statistics.median(scrapes["steadyd"]) / statistics.median(scrapes["process-exporter"]),
            3,
            None,
        ),
        (
            "CPU / monit, five pages open",
            looked["cpu_ms_per_cycle"]["steadyd"] / looked["cpu_ms_per_cycle"]["monit"],
            3,
            1 / 2 if few else None,
        ),
        (
            "memory, MiB RSS, five pages open",
            looked["rss_mib"]["steadyd"],
            1,
            45 if few else 100,
        ),
        (f"page, ms p99 (n={len(pages)})", percentile(pages, 0.99), 0, 150),
        ("start to first scrape, ms", statistics.median(found["start_ms"]), 0, 500),
        (
            f"SIGKILL to incident, ms p99 (n={len(latency)})",
            percentile(latency, 0.99),
            0,
            50 if few else 150,
        ),
        ("parse and compile 5,000 rules, ms", parse, 0, 150),
    ]
    return [
        (
            name,
            f"{value:.{digits}f}",
            "told only" if limit is None else f"<= {limit:g}",
            limit is None or value <= limit,
        )
        for name, value, digits, limit in table
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--services", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started = time.monotonic()
    found = measure(options.services, options.seconds, options.kills)
    parse = parse_ms()
    if options.json:
        print(json.dumps({**found, "parse_ms": parse}))
    for unit, value in found["cpu_ms_per_cycle"].items():
        print(f"{unit:<18} {value:8.1f} ms CPU per 5 s   {found['rss_mib'][unit]:6.1f} MiB RSS")
    for name, times in found["scrape_ms"].items():
        print(f"{name:<18} {statistics.median(times):8.1f} ms a scrape, worst {max(times):.1f}")
    latency = found["latency_ms"]
    print(
        f"latency            p50 {statistics.median(latency):.1f} ms, worst {max(latency):.1f} ms"
    )
    print()
    table = rows(found, parse, options.services)
    for name, value, limit, good in table:
        print(f"{'ok    ' if good else 'BROKEN'} {name:<44} {value:>9}  {limit}")
    print(f"\n{options.services} services, {time.monotonic() - started:.0f} s")
    return 0 if all(good for *_, good in table) else 1


if __name__ == "__main__":
    sys.exit(main())
