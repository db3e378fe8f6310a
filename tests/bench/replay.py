"""A week at 15 s of 100 rules through `steadyd replay`'s engine: seconds, and events found.

Two histories: quiet ones that cross their limit a few times a day, and one that trembles around
it all day. Exit 1 where the limit is broken.
"""

import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from steadyd.probes.catalogue import metric_id  # noqa: E402 - the path is set above
from steadyd.replaying.recording import Recording, column  # noqa: E402
from steadyd.replaying.replay import replay  # noqa: E402
from tests.fakes.rulefiles import rules  # noqa: E402

TICKS, SERVICES, STEP = 40_320, 100, 15.0
LIMIT = 5.0  # seconds
RULE = "check service svc-{n}\n  if memory:total_rss > 500m for 2 cycles then alert, reload\n"
RSS = metric_id("memory:total_rss")
M = 1 << 20


def history(noise: float) -> Recording:
    """Memory of services that leak for some hours and are then restarted."""
    dice = random.Random(7)
    series = {}
    for number in range(SERVICES):
        level, values = 100.0 * dice.random(), []
        for _ in range(TICKS):
            level += dice.random() * 0.6
            if level > 520 + 40 * dice.random():
                level = 100.0
            values.append((level + dice.gauss(0, noise)) * M)
        series[f"svc-{number}"] = {RSS: column(values)}
    return Recording(1_790_000_000.0, STEP, TICKS, series)


def main() -> int:
    known = rules("".join(RULE.format(n=n) for n in range(SERVICES)))
    broken = False
    for name, noise in (("leaks", 0.0), ("leaks with noise", 20.0)):
        recording = history(noise)
        began = time.perf_counter()
        story = replay(known, recording)
        seconds = time.perf_counter() - began
        events = sum(len(told.events) for told in story.rules)
        good = seconds <= LIMIT
        broken |= not good
        row = f"a week of {SERVICES} rules, {name}: {events} events"
        print(f"{'ok    ' if good else 'BROKEN'} {row:<52} {seconds:6.2f} s  <= {LIMIT:g}")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
