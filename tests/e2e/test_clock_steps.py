"""The wall clock steps while the ticker runs (libfaketime): no run is lost, none is replayed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.local import SLEEPER, local, until
from tests.fakes.target import target

LEAKING = "check service {0}\n  if memory:rss > 90k then alert\n"

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


@pytest.mark.host
@pytest.mark.parametrize("step", ["-21600", "+172800"])
def test_messages_are_delivered_through_a_step(tmp_path: Path, step: str) -> None:
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    stamp = tmp_path / "stamp"
    stamp.write_text("+0")
    with local(tmp_path) as made, target(200) as sink:
        made.environment |= {
            "LD_PRELOAD": str(library),
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_TIMESTAMP_FILE": str(stamp),
            "FAKETIME_NO_CACHE": "1",
        }
        (tmp_path / "url").touch(0o600)
        (tmp_path / "url").write_text(sink.url)
        made.config('[routes]\ndefault = ["file:url"]\n')
        made.keep(a=SLEEPER, b=SLEEPER)
        made.rule("a", LEAKING.format("a"))
        made.start()
        until(lambda: sink.bodies, what="the first message")
        stamp.write_text(step)
        until(lambda: made.metric("steadyd_clock_steps_total") == 1, what="the step")
        made.rule("b", LEAKING.format("b"))
        until(lambda: len(sink.bodies) == 2, what="the second message")
        assert made.metric("steadyd_undelivered_oldest_age_seconds") == 0
