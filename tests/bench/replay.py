"""A week at 15 s of 100 rules through `steadyd replay`'s engine: seconds, and events found.

Leaks cross their limit about twice a day. The same with noise trembles around it and opens 34
times a day a rule, and aggregates are evaluated at each tick: both are only told. Exit 1 where
the limit is broken.
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
MEAN = "check service svc-{n}\n  if avg memory:total_rss over 5m > 500m then alert, reload\n"
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
    broken = False
    rows = (("leaks", RULE, 0.0), ("with noise", RULE, 20.0), ("10 of avg over 5m", MEAN, 0.0))
    for name, text, noise in rows:
        count = 10 if text == MEAN else SERVICES
        known = rules("".join(text.format(n=n) for n in range(count)))
        recording = history(noise)
        began = time.perf_counter()
        story = replay(known, recording)
        seconds = time.perf_counter() - began
        events = sum(len(told.events) for told in story.rules)
        bound = name == "leaks"
        good = seconds <= LIMIT or not bound
        broken |= not good
        row = f"a week of {count} rules, {name}: {events} events"
        limit = f"<= {LIMIT:g}" if bound else "told only"
        print(f"{'ok    ' if good else 'BROKEN'} {row:<52} {seconds:6.2f} s  {limit}")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
