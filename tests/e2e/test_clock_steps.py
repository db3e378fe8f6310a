"""The wall clock steps while the ticker runs (libfaketime): no run is lost, none is replayed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import asyncio, json, resource, sys, time
from pathlib import Path
from steadyd import schedule
schedule.GUARD = 0.1

async def main():
    stamp, runs = Path(sys.argv[1]), []
    ticker = schedule.Ticker()
    async def run():
        runs.append(time.monotonic())
    ticker.every(0.2, run)
    task = asyncio.create_task(ticker.run())
    await asyncio.sleep(0.7)
    stamp.write_text(sys.argv[2])
    await asyncio.sleep(2.0)
    task.cancel()
    peak = resource.getrusage(resource.RUSAGE_SELF)
    lines = Path("/proc/self/status").read_text().splitlines()
    high = next(int(l.split()[1]) for l in lines if l.startswith("VmHWM"))
    print(json.dumps({"runs": len(runs), "steps": ticker.clock_steps,
                      "widest": max(b - a for a, b in zip(runs, runs[1:])),
                      "cpu": peak.ru_utime, "mib": high / 1024}))
asyncio.run(main())
"""


@pytest.mark.host
@pytest.mark.parametrize("step", ["-3600", "+3600", "+31536000"])
def test_the_ticker_goes_on_through_a_step(tmp_path: Path, step: str) -> None:
    assert shutil.which("faketime"), "faketime is missing"
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    stamp = tmp_path / "stamp"
    stamp.write_text("+0")
    environment = {
        "LD_PRELOAD": str(library),
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_TIMESTAMP_FILE": str(stamp),
        "FAKETIME_NO_CACHE": "1",
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(stamp), step],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    assert found["steps"] >= 1
    assert 9 <= found["runs"] <= 18
    assert found["widest"] < 0.6
    assert found["cpu"] < 3
    assert found["mib"] < 150
