"""steadyd demo: the main job on one screen, without privileges or a running init system.

A supervisord of its own keeps small apps that go wrong; a steadyd of its own watches them. All
files live in a temporary folder, all sockets on loopback or in that folder; nothing is left behind.
On a terminal it is a screen that lives (demoscreen.py), else lines.
"""

import argparse
import os
import queue
import signal
import subprocess
import sys
import time
from collections import deque
from types import FrameType
from typing import Any

from steadyd.cli.demoplace import DemoError, Place, place, running, sink
from steadyd.cli.demotroubles import BY_NAME, TROUBLES, Trouble
from steadyd.cli.keys import lively
from steadyd.cli.terminal import clean, plain
from steadyd.exposition.human import measure

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEADLINE = 90.0  # seconds for the first healed incident with --once
LOOK_SECONDS = 0.25
STEPS = 120  # a line is printed when a value moved by that part of its limit
HISTORY = 120  # readings that are kept for the curve
STARTED = "STEADYD_DEMO_STARTED"  # seconds since 1970-01-01 when `make demo` began

Event = tuple[str, str]  # a word and a line


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
        trouble, deadline = BY_NAME[args.trouble], DEADLINE if args.once else None
        watching = Watching(where, daemon, mails, trouble, deadline)
        if lively() and not args.plain:
            from steadyd.cli.demoscreen import Screen

            Screen(watching).show()
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


class Watching:
    """What the demo sees through the API of its daemon, as events and as the present state.

    Times are in seconds. `over`: with --once, the first incident was healed and told.
    """

    def __init__(
        self,
        where: Place,
        daemon: "subprocess.Popen[bytes]",
        mails: "queue.Queue[str]",
        first: Trouble,
        deadline: float | None,
    ) -> None:
        """`first` is what goes wrong once all is well.

        `deadline` is for the first healed incident; None: it goes on for ever.
        """
        self.where = where
        self.status: dict[str, Any] = {}
        self.report = ""
        self.message = ""
        self.history: dict[str, deque[float]] = {t.service: deque(maxlen=HISTORY) for t in TROUBLES}
        self._daemon, self._mails, self._deadline = daemon, mails, deadline
        self._told: set[tuple[object, ...]] = set()
        self._started = time.monotonic()
        self._healed, self._closed, self._messages = False, False, 0
        self._first: Trouble | None = first

    @property
    def seconds(self) -> float:
        """Return for how long it has watched."""
        return time.monotonic() - self._started

    @property
    def over(self) -> bool:
        """Tell whether the first incident was healed and told, if that is all that is wanted."""
        told = self._messages > 0 and self.status["outbox"]["pending"] == 0
        return self._deadline is not None and self._healed and self._closed and told

    def look(self) -> list[Event]:
        """Return what is new. Raises DemoError."""
        if self._daemon.poll() is not None:
            raise DemoError(f"steadyd has ended: {self.where.log()}")
        if self._deadline is not None and self.seconds > self._deadline:
            raise DemoError(
                f"nothing was healed within {self._deadline:.0f} s; see {self.where.log()}"
            )
        events: list[Event] = []
        status, incidents = self.where.get("status"), self.where.get("incidents?limit=20")
        if status is not None and incidents is not None:
            self.status = status
            self._measure(status)
            self._begin(status)
            events += self._rules(status)
            for incident in reversed(incidents["incidents"]):
                events += self._incident(incident)
        while not self._mails.empty():
            self.message = "\n".join(map(plain, self._mails.get().splitlines()))
            self._messages += 1
            events.append(("message", self.message))
        return events

    def now(self, trouble: Trouble) -> float | None:
        """Return the newest value of what is seen of a trouble."""
        for service in self.status.get("services", ()):
            if service["name"] == trouble.service:
                value = service["metrics"].get(trouble.metric)
                return None if value is None else float(value)
        return None

    def _begin(self, status: dict[str, Any]) -> None:
        """Let the first trouble happen as soon as all apps were seen to run."""
        if self._first and all(s["state"] == "active" for s in status["services"]):
            self.where.bring(self._first)
            self._first = None

    def _measure(self, status: dict[str, Any]) -> None:
        for trouble in TROUBLES:
            value = self.now(trouble)
            if value is not None and self._new(trouble.service, status.get("at")):
                self.history[trouble.service].append(value)

    def _rules(self, status: dict[str, Any]) -> list[Event]:
        """Return the report of the rule file when it changed."""
        reports = [file.get("report") or "" for file in status["files"] if not file["ok"]]
        named = "\n".join(reports).replace(str(self.where.rules), self.where.rules.name)
        report = "\n".join(map(plain, named.splitlines()))
        before, self.report = self.report, report
        if report == before:
            return []
        return [("rules", report or "the rule file is good again")]

    def _incident(self, incident: dict[str, Any]) -> list[Event]:
        id_, service, events = incident["id"], clean(incident["service"]), []
        if self._new(id_, "open"):
            value = measure(incident["metric"], incident["value"])
            events.append(("incident", f"{service}: {clean(incident['rule'])}: {value}"))
        for action in incident["actions"]:
            if self._new(action["id"], "asked"):
                asked = f"{service}: {action['verb']} asked of supervisord"
                events.append(("action", asked))
            if action["outcome"] and self._new(action["id"], action["outcome"]):
                outcome = action["outcome"].replace("_", " ")
                events.append(("outcome", f"{service}: {action['verb']}: {outcome}"))
                self._healed |= action["outcome"] == "healed"
        if incident["state"] == "closed" and self._new(id_, "closed"):
            events.append(("closed", f"{service}: {incident['close_reason']}"))
            self._closed = True
        return events

    def _new(self, *what: object) -> bool:
        known = what in self._told
        self._told.add(what)
        return not known


def _lines(watching: Watching, trouble: Trouble) -> None:
    """Tell line by line, until the first incident is over if that is wanted."""
    where, shown = watching.where, 0.0
    print(
        f"Small apps go wrong under a supervisord of their own; steadyd watches them.\n"
        f"  page     {where.page}\n"
        f"  rules    {where.rules}\n"
        f"  trouble  {trouble.service}: {trouble.about}",
        flush=True,
    )
    while not watching.over:
        for word, text in watching.look():
            first, *rest = text.splitlines()
            print(f"  {word:<8} {first}", *rest, sep="\n           │ ", flush=True)
        value = watching.now(trouble)
        step = abs((value or 0) - shown) >= trouble.limit / STEPS
        if value is not None and trouble.limit and step:
            shown = value
            print(f"  {trouble.metric.partition(':')[0]:<8} {_bar(trouble, value)}", flush=True)
        time.sleep(LOOK_SECONDS)


def _bar(trouble: Trouble, value: float) -> str:
    bar = "█" * min(40, round(value / trouble.limit * 30))
    limit = measure(trouble.metric, trouble.limit)
    return f"{measure(trouble.metric, value):>10}  {bar:<30}│ {limit}"


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in ENDINGS:  # a second Ctrl-C must not cut the tidying up short
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
