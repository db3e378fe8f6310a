"""The screen of the demo: a curve with its limit, the services, what happened, the last message."""

import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from steadyd.cli.demo import LOOK_SECONDS, Event, Watching
from steadyd.cli.demotroubles import TROUBLES
from steadyd.cli.keys import keys
from steadyd.exposition.human import BLOCKS, measure

_EVENTS = 12  # kept
_TONES = {"incident": "yellow", "action": "cyan", "outcome": "green", "closed": "green",
          "message": "magenta", "rules": "red"}  # fmt: skip
_STATES = {"active": "green", "failed": "red", "unknown": "yellow"}
_TYPO = ("then alert", "thne alert")


class Screen:
    """Shows what the demo sees; keys bring troubles about, and break the rule file."""

    def __init__(self, watching: Watching) -> None:
        self._watching = watching
        self._events: deque[Event] = deque(maxlen=_EVENTS)
        self._shown = TROUBLES[0]

    def show(self) -> None:
        """Show it until it is over. Raises DemoError, KeyboardInterrupt for `q`."""
        console = Console()
        with keys() as key, Live(console=console, screen=True, auto_refresh=False) as live:
            while not self._watching.over:
                self._events.extend(self._watching.look())
                live.update(self._drawn(console), refresh=True)
                self._obey(key(LOOK_SECONDS))
        for event in self._events:
            console.print(_event(event))

    def _obey(self, key: str) -> None:
        if key == "q":
            raise KeyboardInterrupt
        if key == "b":
            self._break()
        for trouble in TROUBLES:
            if key == trouble.key:
                self._watching.where.bring(trouble)
                self._events.append(("trouble", f"{trouble.service}: {trouble.about}"))
                if trouble.limit:
                    self._shown = trouble

    def _break(self) -> None:
        """Make a mistake in the rule file, or mend it."""
        rules = self._watching.where.rules
        good, bad = _TYPO
        with contextlib.suppress(OSError):  # somebody's editor has it
            text = rules.read_text()
            rules.write_text(text.replace(bad, good) if bad in text else text.replace(good, bad, 1))

    def _drawn(self, console: Console) -> Layout:
        height = max(console.size.height, 20)
        layout = Layout()
        layout.split_column(
            Layout(self._head(), size=4),
            Layout(name="middle", size=max(8, height // 3)),
            Layout(name="below"),
            Layout(self._foot(), size=2),
        )
        width = max(20, console.size.width * 3 // 5 - 4)
        layout["middle"].split_row(
            Layout(self._curve(width, layout["middle"].size or 8), ratio=3),
            Layout(Panel(self._services(), title="services"), ratio=2),
        )
        happened = Group(*map(_event, list(self._events)[::-1]))
        layout["below"].split_row(
            Layout(Panel(happened, title="what happened"), ratio=2),
            Layout(self._told(), ratio=3 if self._watching.report else 2),
        )
        return layout

    def _head(self) -> RenderableType:
        where = self._watching.where
        line = Text.assemble(
            ("steadyd demo", "bold"), "  four apps that go wrong, and who keeps them well"
        )
        page = Text.assemble("page   ", (where.page, "bold underline cyan"))
        rules = Text.assemble("rules  ", (str(where.rules), "bold"), "  edit them, or break them")
        return Group(line, page, rules)

    def _curve(self, width: int, height: int) -> Panel:
        trouble = self._shown
        values = list(self._watching.history[trouble.service])
        now = measure(trouble.metric, values[-1] if values else None)
        limit = measure(trouble.metric, trouble.limit)
        title = f"{trouble.service} {trouble.metric} {now}, limit {limit}"
        return Panel(Group(*curve(values, trouble.limit, width, height - 2)), title=title)

    def _services(self) -> Table:
        table = Table.grid(padding=(0, 1))
        known = {s["name"]: s for s in self._watching.status.get("services", ())}
        latest = _latest(self._watching.status)
        for trouble in TROUBLES:
            service = known.get(trouble.service)
            state = service["state"] if service else "unknown"
            value = measure(trouble.metric, self._watching.now(trouble)) if trouble.limit else ""
            table.add_row(
                trouble.service,
                Text(state, _STATES.get(state, "cyan")),
                value,
                Text(latest.get(trouble.service, ""), "yellow"),
            )
        return table

    def _told(self) -> Panel:
        if report := self._watching.report:
            return Panel(
                Text(report, "red", no_wrap=True),
                title="your rules; the last good text is in force",
            )
        text = self._watching.message or "nothing had to be told yet"
        return Panel(Text(text), title="the last message, as delivered")

    def _foot(self) -> Text:
        known = [(trouble.key, trouble.name) for trouble in TROUBLES]
        known += [("b", "mend the rules" if self._watching.report else "break the rules")]
        known += [("q", "quit")]
        foot = Text()
        for key, what in known:
            foot.append(f" {key} ", "reverse")
            foot.append(f" {what}  ")
        return foot


def curve(values: Sequence[float], limit: float, width: int, height: int) -> list[Text]:
    """Return the newest values as columns, oldest left, with the limit as a line through them."""
    shown = list(values)[-width:]
    top = max([limit * 1.25, *shown])
    eighths = [round(value / top * height * 8) for value in shown]
    line = height - 1 - min(height - 1, int(limit / top * height))
    lines = []
    for row in range(height):
        text, floor = Text(no_wrap=True), (height - 1 - row) * 8
        for eighth, value in zip(eighths, shown, strict=True):
            full = min(8, max(0, eighth - floor))
            tone = "red" if value > limit else "cyan"
            empty = "┄" if row == line else " "
            text.append(BLOCKS[full - 1] if full else empty, tone if full else "red")
        if row == line:
            text.append("┄" * (width - len(shown)), "red")
        lines.append(text)
    return lines


def _latest(status: dict[str, Any]) -> dict[str, str]:
    """Return by service what its open incident came to."""
    found = {}
    for incident in status.get("incidents", ()):
        acts = incident["actions"]
        found[incident["service"]] = f"{acts[-1]['verb']} under way" if acts else "incident"
    return found


def _event(event: Event) -> Text:
    word, text = event
    first, *_ = text.splitlines() or [""]
    shown = Text.assemble((f"{word:<9}", _TONES.get(word, "dim")), first, no_wrap=True)
    shown.overflow = "ellipsis"
    return shown
