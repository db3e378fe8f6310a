"""What the demo sees: the API of its daemon, read as events and as a present state."""

import queue
import re
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from steadyd.cli.demoplace import DemoError, Place
from steadyd.cli.demotroubles import TROUBLES, Trouble
from steadyd.cli.terminal import clean, plain
from steadyd.exposition.human import measure
from steadyd.model.condition import Comparison, leaves
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.folder import RuleFiles

DEADLINE = 90.0  # seconds for the first healed incident with --once
PATIENCE = 20.0  # seconds more for its messages
HISTORY = 120  # readings that are kept for the curve
_KEPT = re.compile(r"message.* for route .* (?:is kept|are given up): (.*)")

Event = tuple[str, str]  # a word and a line


class Watching:
    """What the demo sees through the API of its daemon, as events and as the present state.

    Times are in seconds. `over`: with `once`, the first incident was healed and told.
    """

    def __init__(
        self,
        where: Place,
        daemon: "subprocess.Popen[bytes]",
        mails: "queue.Queue[str]",
        first: Trouble,
        once: bool,
    ) -> None:
        """`first` is what goes wrong once all is well; not `once`: it goes on for ever."""
        self.where = where
        self.status: dict[str, Any] = {}
        self.report = ""
        self.message = ""
        self.latest: dict[str, str] = {}
        self.history: dict[str, deque[float]] = {t.service: deque(maxlen=HISTORY) for t in TROUBLES}
        self._rule_files = RuleFiles([str(where.rules.parent)], CATALOGUE)
        self._compared: dict[str, Comparison] = {}
        self._daemon, self._mails, self._once = daemon, mails, once
        self._told: set[tuple[object, ...]] = set()
        self._started = time.monotonic()
        self._healed, self._closed, self._messages = False, False, 0
        self._mended: float | None = None  # when the first one was healed and closed
        self._first: Trouble | None = first

    @property
    def seconds(self) -> float:
        """Return for how long it has watched."""
        return time.monotonic() - self._started

    @property
    def over(self) -> bool:
        """Tell whether the first incident was healed and told, if that is all that is wanted."""
        if not self._once or self._mended is None:
            return False
        outbox = self.status["outbox"]
        return self._messages > 0 and outbox["pending"] == outbox["dead"] == 0

    def look(self) -> list[Event]:
        """Return what is new. Raises DemoError."""
        self._judge()
        events: list[Event] = []
        status, incidents = self.where.get("status"), self.where.get("incidents?limit=20")
        if status is not None and incidents is not None:
            self.status = status
            self._compared = _compared(self._rule_files)
            self._measure(status)
            self._begin(status)
            events += self._rules(status)
            for incident in reversed(incidents["incidents"]):
                events += self._incident(incident)
            if self._mended is None and self._healed and self._closed:
                self._mended = self.seconds
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

    def compared(self, trouble: Trouble) -> Comparison | None:
        """Return what the rules in force compare with what is seen of a trouble."""
        found = self._compared.get(trouble.service)
        return found if found and str(found.metric) == trouble.metric else None

    def _judge(self) -> None:
        """Raise DemoError where nothing good can come any more."""
        if self._daemon.poll() is not None:
            raise DemoError(f"steadyd has ended: {last_line(self.where.log())}")
        if not self._once:
            return
        if self._mended is None and self.seconds > DEADLINE:
            last = last_line(self.where.log())
            raise DemoError(f"nothing was healed within {DEADLINE:.0f} s: {last}")
        if self._mended is not None and self.seconds > self._mended + PATIENCE:
            why = undelivered(self.where.log())
            raise DemoError(f"healed, but the message was not delivered: {why}")

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

    def _incident(self, incident: dict[str, Any]) -> Iterator[Event]:
        id_, service, value = incident["id"], clean(incident["service"]), incident["value"]
        if self._new(id_, "open"):
            told = "" if value is None else f": {measure(incident['metric'], value)}"
            self.latest[service] = "incident"
            yield "incident", f"{service}: {clean(incident['rule'])}{told}"
        for action in incident["actions"]:
            yield from self._action(service, action)
        if incident["state"] == "closed" and self._new(id_, "closed"):
            self._closed = True
            self.latest.pop(service, None)
            yield "closed", f"{service}: {incident['close_reason']}"

    def _action(self, service: str, action: dict[str, Any]) -> Iterator[Event]:
        id_, verb, outcome = action["id"], action["verb"], action["outcome"]
        if outcome == "suppressed":
            if self._new(id_, outcome):
                self.latest[service] = "not run"
                yield "action", f"{service}: {verb} not run: {clean(action['reason'])}"
            return
        if self._new(id_, "asked"):
            self.latest[service] = "under way"
            yield "action", f"{service}: {verb} asked of supervisord"
        if outcome and self._new(id_, outcome):
            self.latest[service] = outcome.replace("_", " ")
            self._healed |= outcome == "healed"
            yield "outcome", f"{service}: {verb}: {self.latest[service]}"

    def _new(self, *what: object) -> bool:
        known = what in self._told
        self._told.add(what)
        return not known


def last_line(log: str) -> str:
    """Return the last words of a log; a traceback of a group ends with a frame of its own."""
    lines = [line.strip(" |+-\n") for line in log.splitlines()]
    return clean(next(filter(None, reversed(lines)), "its log is empty"))


def undelivered(log: str) -> str:
    """Return why the last message was not delivered, as the daemon logged it, as one line."""
    whys = [found[1] for line in log.splitlines() if (found := _KEPT.search(line))]
    return clean(whys[-1].removesuffix('"')) if whys else "its target does not answer"


def _compared(files: RuleFiles) -> dict[str, Comparison]:
    """Return by service what the rules in force compare with."""
    return {
        rule.service: leaf
        for check in files.read(None).rules.checks
        for rule in check.rules
        for leaf in leaves(rule.condition)
        if isinstance(leaf, Comparison)
    }
