"""`make bench`: milliseconds to the first content of the page in a real Chromium, 1,000 services.

From the start of the navigation to the first contentful paint (W3C Paint Timing), each time in a
browser context of its own; the daemon answers from memory, what it costs itself is in run.py.
"""

import asyncio
import shutil
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from playwright.async_api import async_playwright  # noqa: E402 - the path is set above

from tests.browser.conftest import QUIET  # noqa: E402
from tests.fakes.exposition import FakeDaemon, snapshot  # noqa: E402
from tests.fakes.http import port_of, serving  # noqa: E402

TIMES, SERVICES, LIMIT = 20, 1000, 150.0
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


async def paints() -> list[float]:
    """Return the milliseconds of each time; the first one warms the browser up."""
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("bench: needs the program chromium")
    async with serving(FakeDaemon(snapshot(SERVICES))) as web, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(QUIET))
        found = []
        for _ in range(TIMES + 1):
            context = await browser.new_context()
            page = await context.new_page()
            await page.goto(f"http://127.0.0.1:{port_of(web)}/")
            await page.wait_for_selector("#live:visible")
            await page.wait_for_function(PAINT)
            found.append(float(await page.evaluate(PAINT)))
            await context.close()
        await browser.close()
    return found[1:]


def main() -> int:
    found = asyncio.run(paints())
    middle, worst = statistics.median(found), max(found)
    good = middle <= LIMIT
    name = f"page to first content, ms median (n={len(found)}, {SERVICES} services)"
    print(f"{'ok    ' if good else 'BROKEN'} {name:<60} {middle:>6.0f}  <= {LIMIT:g}")
    print(f"       worst {worst:.0f} ms")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
