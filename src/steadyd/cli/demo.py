"""steadyd demo: the main job on one screen, without privileges or a running init system.

A supervisord of its own keeps small apps that go wrong; a steadyd of its own watches them. All
files live in a temporary folder, all sockets on loopback or in that folder; nothing is left behind.
On a terminal it is a screen that lives (demoscreen.py), else lines.
"""

import argparse
import os
import queue
import signal
import sys
import time
from types import FrameType

from steadyd.cli import fail
from steadyd.cli.demoplace import DemoError, Place, place, running, sink
from steadyd.cli.demotroubles import BY_NAME, TROUBLES, Trouble
from steadyd.cli.demowatch import Watching
from steadyd.cli.keys import lively
from steadyd.cli.terminal import clean
from steadyd.exposition.human import limit, measure

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK_SECONDS = 0.25
STEPS = 120  # a line is printed when a value moved by that part of its limit
CELLS, MARK = 40, 30  # of a bar, and where its limit stands
STARTED = "STEADYD_DEMO_STARTED"  # seconds since 1970-01-01 when `make demo` began


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `demo`."""
    parser.add_argument("--once", action="store_true", help="end after the first healed incident")
    parser.add_argument("--route", metavar="URL", help="tell there (any Apprise URL) too")
    parser.add_argument(
        "--trouble",
        choices=list(BY_NAME),
        default=TROUBLES[0].name,
        help="what goes wrong first; the others follow at a key",
    )
    parser.add_argument("--plain", action="store_true", help="lines, on a terminal too")


def run(args: argparse.Namespace) -> int:
    """Run until Ctrl-C, or with --once until the first incident is healed and told."""
    if args.route and not all(args.route.partition("://")):
        what = f"--route {clean(args.route)} is no URL"
        return fail(f"{what}; write SCHEME://…, as in json://127.0.0.1:9000/", 2)
    for number in ENDINGS:
        signal.signal(number, _interrupt)
    try:
        with sink() as (hook, mails), place() as where:
            return _play(args, where, hook, mails)
    except DemoError as error:
        print(f"steadyd demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe demo has ended; nothing of it is left.")
        return 1 if args.once else 0


def _play(args: argparse.Namespace, where: Place, hook: str, mails: "queue.Queue[str]") -> int:
    routes = [hook, *([args.route] if args.route else [])]
    with running(where, routes) as daemon:
        trouble = BY_NAME[args.trouble]
        watching = Watching(where, daemon, mails, trouble, args.once)
        if lively() and not args.plain:
            from steadyd.cli.demoscreen import Screen

            Screen(watching, trouble).show()
        else:
            _lines(watching, trouble)
        print(f"Healed and told in {watching.seconds:.0f} s{_since_make()}.")
        return 0


def _since_make() -> str:
    """Return how long that was after `make demo`, where make told when it began."""
    try:
        began = float(os.environ[STARTED])
    except (KeyError, ValueError):
        return ""
    return f", {time.time() - began:.0f} s after `make demo`, installation included"


def _lines(watching: Watching, trouble: Trouble) -> None:
    """Tell line by line, until the first incident is over if that is wanted."""
    where, shown = watching.where, 0.0
    print(
        f"Small apps go wrong under a supervisord of their own; steadyd watches them.\n"
        f"  page     {where.page}{where.about_page}\n"
        f"  rules    {where.rules}\n"
        f"  ask      {where.question}\n"
        f"  trouble  {trouble.service}: {trouble.about}",
        flush=True,
    )
    while not watching.over:
        for word, text in watching.look():
            first, *rest = text.splitlines()
            print(f"  {word:<8} {first}", *rest, sep="\n           │ ", flush=True)
        value, compared = watching.now(trouble), watching.compared(trouble)
        if value is not None and compared is not None:
            most = compared.amount.value
            if abs(value - shown) >= most / STEPS:
                shown = value
                print(
                    f"  {compared.metric.family:<8} {bar(trouble.metric, value, most)}", flush=True
                )
        time.sleep(LOOK_SECONDS)


def bar(metric: str, value: float, most: float) -> str:
    """Return a value, a bar of it, and the limit as a mark that stands where it is."""
    full = round(value / most * MARK) if most > 0 else CELLS
    cells = f"{'█' * min(full, CELLS):<{CELLS}}"
    return f"{measure(metric, value):>10}  {cells[:MARK]}│{cells[MARK:]} {limit(metric, most)}"


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in ENDINGS:  # a second Ctrl-C must not cut the tidying up short
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
