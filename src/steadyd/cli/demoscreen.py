"""The screen of the demo: a curve with its limit, the services, what happened, the last message."""

import contextlib
import textwrap
from collections import deque
from collections.abc import Sequence

from rich.console import Console, Group
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from steadyd.cli.demo import LOOK_SECONDS
from steadyd.cli.demotroubles import TROUBLES, Trouble
from steadyd.cli.demowatch import Event, Watching
from steadyd.cli.keys import keys
from steadyd.exposition.human import BLOCKS, limit, measure
from steadyd.model.condition import Comparison

_EVENTS = 12  # kept
_TONES = {"incident": "yellow", "action": "cyan", "outcome": "green", "closed": "green",
          "message": "magenta", "rules": "red"}  # fmt: skip
_STATES = {"active": "green", "failed": "red", "unknown": "yellow"}
_TYPO = ("then alert", "thne alert")
_SERVICES = 36  # columns
_LOG = 4  # least rows of what happened


class Screen:
    """Shows what the demo sees; keys bring troubles about, and break the rule file."""

    def __init__(self, watching: Watching, first: Trouble) -> None:
        self._watching = watching
        self._events: deque[Event] = deque(maxlen=_EVENTS)
        self._shown = first if first.metric else TROUBLES[0]

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
                if trouble.metric:
                    self._shown = trouble

    def _break(self) -> None:
        """Make a mistake in the rule file, or mend it."""
        rules = self._watching.where.rules
        good, bad = _TYPO
        with contextlib.suppress(OSError):  # somebody's editor has it
            text = rules.read_text()
            rules.write_text(text.replace(bad, good) if bad in text else text.replace(good, bad, 1))

    def _drawn(self, console: Console) -> Layout:
        width, height = console.size
        head, foot = 4, 2 if height >= 20 else 1
        middle = 6 if self._watching.report else max(6, height // 3)
        below = height - head - middle - foot
        roomy = below >= (_LOG + 5 if self._watching.report else _LOG)
        layout = Layout()
        layout.split_column(
            Layout(self._head(), size=head),
            Layout(name="middle", size=middle, visible=roomy),
            Layout(name="below"),
            Layout(self._foot(), size=foot),
        )
        layout["middle"].split_row(
            Layout(self._curve(max(20, width - _SERVICES - 4), middle)),
            Layout(Panel(self._services(), title="services", padding=0), size=_SERVICES),
        )
        self._below(layout["below"], width, below if roomy else below + middle)
        return layout

    def _below(self, layout: Layout, width: int, height: int) -> None:
        happened = Group(*map(_event, list(self._events)[::-1]))
        log = Layout(Panel(happened, title="what happened"))
        if report := self._watching.report:
            lines = fitted(report, width - 4)
            size = min(len(lines) + 2, height - _LOG)
            layout.split_column(Layout(_reported(lines), size=size), log)
        else:
            layout.split_row(log, Layout(self._told()))

    def _head(self) -> Group:
        where = self._watching.where
        lines = (
            Text.assemble(
                ("steadyd demo", "bold"), "  four apps that go wrong, and who keeps them well"
            ),
            Text.assemble("page   ", (where.page, "bold underline cyan"), where.about_page),
            Text.assemble("rules  ", (str(where.rules), "bold"), "  edit them, or break them"),
            Text.assemble("ask    ", (where.question, "bold")),
        )
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines)

    def _curve(self, width: int, height: int) -> Panel:
        trouble, compared = self._shown, self._watching.compared(self._shown)
        values = list(self._watching.history[trouble.service])
        family, _, _ = trouble.metric.partition(":")
        now = measure(trouble.metric, values[-1] if values else None)
        title = f"{trouble.service} {family} {now}"
        if compared is not None:
            title += f", limit {limit(trouble.metric, compared.amount.value)}"
        return Panel(Group(*curve(values, compared, width, height - 2)), title=title)

    def _services(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for least in (max(len(trouble.service) for trouble in TROUBLES), None, None, None):
            table.add_column(no_wrap=True, min_width=least)
        known = {s["name"]: s for s in self._watching.status.get("services", ())}
        for trouble in TROUBLES:
            service = known.get(trouble.service)
            state = service["state"] if service else "unknown"
            value = measure(trouble.metric, self._watching.now(trouble)) if trouble.metric else ""
            table.add_row(
                trouble.service,
                Text(state, _STATES.get(state, "cyan")),
                value,
                Text(self._watching.latest.get(trouble.service, ""), "yellow"),
            )
        return table

    def _told(self) -> Panel:
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


def curve(
    values: Sequence[float], compared: Comparison | None, width: int, height: int
) -> list[Text]:
    """Return the newest values as columns, oldest left, with the limit as a line through them."""
    shown = list(values)[-width:]
    most = compared.amount.value if compared else 0.0
    top = max([most * 1.25, *shown]) or 1.0
    eighths = [round(value / top * height * 8) for value in shown]
    line = height - 1 - min(height - 1, int(most / top * height)) if compared else height
    tones = [_tone(compared, value) for value in shown]
    lines = []
    for row in range(height):
        text, floor = Text(no_wrap=True), (height - 1 - row) * 8
        for eighth, tone in zip(eighths, tones, strict=True):
            full = min(8, max(0, eighth - floor))
            empty = "┄" if row == line else " "
            text.append(BLOCKS[full - 1] if full else empty, tone if full else "red")
        if row == line:
            text.append("┄" * (width - len(shown)), "red")
        lines.append(text)
    return lines


def _tone(compared: Comparison | None, value: float) -> str:
    wrong = compared is not None and compared.operator.holds(value, compared.amount.value)
    return "red" if wrong else "cyan"


def fitted(report: str, width: int) -> list[str]:
    """Return the lines of a report in that width: messages wrapped, sources cut at their carets."""
    lines, fit = report.splitlines(), list[str]()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.strip() == "^":
            continue
        if below.strip() == "^":
            fit += _around(line, below.index("^"), width)
        else:
            fit += textwrap.wrap(line, width, subsequent_indent="    ")
    return fit


def _around(source: str, caret: int, width: int) -> list[str]:
    start = max(0, min(caret - width * 2 // 3, len(source) - width))
    shown = source[start : start + width]
    if start:
        shown = "…" + shown[1:]
    if start + width < len(source):
        shown = shown[:-1] + "…"
    return [shown, " " * (caret - start) + "^"]


def _reported(lines: list[str]) -> Panel:
    text = Text("\n".join(lines), "red", no_wrap=True)
    return Panel(text, title="your rules; the last good text is in force")


def _event(event: Event) -> Text:
    word, text = event
    first, *_ = text.splitlines() or [""]
    shown = Text.assemble((f"{word:<9}", _TONES.get(word, "dim")), first)
    shown.no_wrap, shown.overflow = (
        " not run: " not in first,
        "ellipsis",
    )  # the reason is worth rows
    return shown
