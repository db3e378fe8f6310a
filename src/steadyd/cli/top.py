"""steadyd top: what services use, live on a terminal; one table without one."""

import argparse
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.live import Live
from rich.table import Table
from rich.text import Text

from steadyd.cli import fail
from steadyd.cli.client import Unreachable, add_options, ask, print_json, unreachable
from steadyd.cli.keys import keys, lively
from steadyd.cli.terminal import clean, columns, plain
from steadyd.exposition.human import NOTHING, count, size, sparkline

SECONDS = 2.0  # between two looks
HISTORY = 16  # memory readings in the curve
_LESS = ("", "THR", "FDS", "RST", "PROCS", "INCIDENT", "STATE")  # left out first where it is narrow
_TONES = {"active": "green", "failed": "red", "inactive": "dim"}

Json = dict[str, Any]


class Use(Struct, frozen=True):
    """What a service uses now; `cpu` is percent of one core. None: not known."""

    name: str
    state: str
    cpu: float | None
    memory: float | None
    processes: float | None
    threads: float | None
    files: float | None
    restarts: int
    trouble: str


_ORDERS: Mapping[str, tuple[str, Callable[[Use], Any]]] = {
    "c": ("CPU", lambda use: (-(use.cpu or 0), use.name)),
    "m": ("memory", lambda use: (-(use.memory or 0), use.name)),
    "t": ("trouble", lambda use: (not use.trouble, use.state == "active", use.name)),
    "n": ("name", lambda use: use.name),
}

_HINT = "  ".join(("[b]q[/b] quit", *(f"[b]{key}[/b] {w}" for key, (w, _) in _ORDERS.items())))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `top`."""
    add_options(parser)
    sorts = [name.lower() for name, _ in _ORDERS.values()]
    parser.add_argument("--sort", choices=sorts, default="cpu", help="what comes first")


def run(args: argparse.Namespace) -> int:
    """Look and show."""
    looker = Looker()
    order = next(key for key, (name, _) in _ORDERS.items() if name.lower() == args.sort)
    try:
        if lively() and not args.json:
            return _live(args, looker, order)
        looker.take(_status(args))
        time.sleep(SECONDS / 2)  # a share of CPU is a difference
        uses = looker.take(_status(args))
    except Unreachable as error:
        return unreachable(error)
    except _Refused as error:
        return fail(plain(str(error)), 1)
    except KeyboardInterrupt:
        return 0
    if args.json:
        names = Use.__struct_fields__
        print_json({"services": [{n: getattr(use, n) for n in names} for use in uses]})
    else:
        console = Console(highlight=False, width=columns())
        console.print(_table(uses, order, looker, None, console.width))
    return 0


class _Refused(Exception):
    """The daemon answered with an error."""


class Looker:
    """Makes what is used of two looks at the status."""

    def __init__(self) -> None:
        self.curves: dict[str, deque[float]] = {}
        self._before: dict[str, tuple[float, float]] = {}

    def take(self, status: Json) -> list[Use]:
        """Return what each service uses, by the look before and this one."""
        at, before = time.monotonic(), self._before
        open_ = {each["service"]: each for each in status["incidents"]}
        self._before, uses = {}, []
        for service in status["services"]:
            name, spent = service["name"], service.get("cpu_seconds")
            cpu = None
            if spent is not None:
                self._before[name] = (at, spent)
                then, was = before.get(name, (at, spent))
                cpu = max(0.0, spent - was) / (at - then) * 100 if at > then else None
            uses.append(self._use(service, cpu, open_.get(name)))
        return uses

    def _use(self, service: Json, cpu: float | None, incident: Json | None) -> Use:
        metrics = service["metrics"]
        memory = metrics.get("memory:total_rss")
        if memory is not None:
            curve = self.curves.setdefault(service["name"], deque(maxlen=HISTORY))
            curve.append(memory)
        return Use(
            service["name"],
            service["state"],
            cpu,
            memory,
            metrics.get("process:count"),
            metrics.get("process:threads"),
            metrics.get("process:fds"),
            service.get("restarts", 0),
            incident["metric"] if incident else "",
        )


def _status(args: argparse.Namespace) -> Json:
    answer = ask(args, "/api/v1/status")
    if answer.error:
        raise _Refused(answer.error)
    return answer.data


def _live(args: argparse.Namespace, looker: Looker, order: str) -> int:
    console = Console()
    uses = looker.take(_status(args))
    with keys() as key, Live(console=console, screen=True, auto_refresh=False) as live:
        trouble, looked = "", time.monotonic()
        while True:
            rows = max(1, console.size.height - 4)
            live.update(_table(uses, order, looker, rows, console.width, trouble), refresh=True)
            pressed = key(max(0.0, looked + SECONDS - time.monotonic()))
            if pressed == "q":
                return 0
            order = pressed if pressed in _ORDERS else order
            if time.monotonic() - looked >= SECONDS:
                looked = time.monotonic()
                try:
                    uses, trouble = looker.take(_status(args)), ""
                except (Unreachable, _Refused) as error:
                    trouble = str(error)


class _Column(Struct, frozen=True):
    """A head and its cells. `shrinks`: to so many cells where there is little room."""

    head: str
    cells: Sequence[str | Text]
    right: bool = True
    shrinks: int = 0

    @property
    def most(self) -> int:
        """Return how many cells it takes, with the blanks around it."""
        return 2 + max(map(cell_len, (self.head, *map(str, self.cells))))

    @property
    def least(self) -> int:
        """Return how many of them it cannot do without."""
        return min(self.most, self.shrinks + 2) if self.shrinks else self.most


def _table(
    uses: list[Use], order: str, looker: Looker, most: int | None, width: int, trouble: str = ""
) -> Table:
    """Return the table; at most that many services, and what the daemon does not answer.

    Where it is not wide enough, columns are left out: a figure is never cut.
    """
    name, by = _ORDERS[order]
    shown = sorted(uses, key=by)[:most]
    more = f"{len(uses) - len(shown)} more. " if len(shown) < len(uses) else ""
    hint = Text.from_markup(f"{more}by {name}; {_HINT}")
    caption = Text(clean(trouble), "red") if trouble else hint
    caption.truncate(width, overflow="ellipsis")
    live = most is not None
    table = Table(box=None, padding=(0, 1), caption=caption if live else None, expand=live)
    chosen = _fitting(_columns(shown, looker if live else None), width)
    spare = width - sum(column.least for column in chosen)
    for column in chosen:
        extra = max(0, min(spare, column.most - column.least))
        spare -= extra
        justify: JustifyMethod = "right" if column.right else "left"
        wide = column.least + extra - 2
        table.add_column(column.head, justify=justify, no_wrap=True, width=wide)
    for row in zip(*(column.cells for column in chosen), strict=True):
        table.add_row(*row)
    return table


def _columns(uses: Sequence[Use], looker: Looker | None) -> list[_Column]:
    """Return all columns; with curves if somebody looked for long."""
    curves = [sparkline(looker.curves.get(use.name, ())) if looker else "" for use in uses]
    return [
        _Column("SERVICE", [Text(clean(use.name)) for use in uses], right=False, shrinks=8),
        _Column(
            "STATE",
            [Text(clean(use.state), _TONES.get(use.state, "yellow")) for use in uses],
            right=False,
        ),
        _Column("CPU%", [NOTHING if use.cpu is None else f"{use.cpu:.1f}" for use in uses]),
        _Column("MEMORY", [size(use.memory) for use in uses]),
        *([_Column("", curves, right=False)] if looker else []),
        _Column("PROCS", [count(use.processes) for use in uses]),
        _Column("THR", [count(use.threads) for use in uses]),
        _Column("FDS", [count(use.files) for use in uses]),
        _Column("RST", [count(use.restarts) for use in uses]),
        _Column(
            "INCIDENT",
            [Text(clean(use.trouble), "yellow") for use in uses],
            right=False,
            shrinks=8,
        ),
    ]


def _fitting(found: list[_Column], width: int) -> list[_Column]:
    """Return the columns for which there is room; those that tell least go first."""
    for head in _LESS:
        if sum(column.least for column in found) <= width:
            break
        found = [column for column in found if column.head != head]
    return found
