"""What commands print on a terminal of some width: nothing is lost, nothing runs over its edge."""

import argparse
import io
import re
import sys
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from steadyd.cli import services, show, status, top
from steadyd.cli.client import Answer
from steadyd.cli.terminal import cut, fold, table, width
from steadyd.exposition.human import number, sparkline, squeezed

LONG = "supervisord: there is no program web-frontend-of-the-shop; did you mean web-frontend?"
RED = "\x1b[31m"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make stdout a terminal of some size."""

    def made(columns: int, lines: int = 24) -> Screen:
        screen = Screen()
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(lines))
        monkeypatch.delenv("NO_COLOR", raising=False)
        return screen

    return made


def bare(text: str) -> str:
    return re.sub(r"\x1b\[[?\d]*[a-zA-Z]", "", text)


def a_service(name: str, **more: Any) -> dict[str, Any]:
    plain = {"state": "active", "since": None, "init": "supervisord", "unit": name, "pids": [1],
             "main_pid": 4194304, "reason": "", "why": None}  # fmt: skip
    return {"name": name, **plain, **more}


def a_status(**more: Any) -> dict[str, Any]:
    plain = {
        "at": "2026-11-23T08:00:00.000Z", "started_at": "2026-11-23T07:00:00.000Z",
        "version": "0.1.0", "hostname": "web1", "incidents": [], "files": [], "inits": [],
        "services": [a_service("web"), a_service("db", state="failed", why=LONG)],
        "rules": {"loaded": 1, "disabled": 0},
        "outbox": {"pending": 0, "dead": 0, "oldest_age_seconds": 0},
    }  # fmt: skip
    return {**plain, **more}


BROKEN = {
    "path": "/etc/steadyd/rules.d/" + "shop/" * 9 + "web.inq",
    "ok": False,
    "report": "web.inq:2:6: error: nobody knows the metric `memry:total_rss`" + " of a service" * 3
    + "\n      if memry:total_rss > 250m for 2 cycles then alert, reload\n         ^^^^^"
    "\n    help: did you mean memory:total_rss?",
}  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "plain", "café ☃ 日本語", "e\u0301", "日本語", "ｗｉｄｅ", "a\u20dd", "½"]
)
def test_the_width_of_a_text_is_what_a_terminal_needs(text: str) -> None:
    assert width(text) == width(f"{RED}{text}\x1b[0m") == cell_len(text)


@pytest.mark.parametrize(
    ("text", "most", "kept"),
    [
        ("plain", 5, "plain"),
        ("plain", 4, "pla…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        (f"{RED}failed\x1b[0m: why", 5, f"{RED}fail…\x1b[0m"),
    ],
)
def test_a_text_is_cut_at_cells_and_its_colour_ends_with_it(
    text: str, most: int, kept: str
) -> None:
    assert cut(text, most) == kept


@pytest.mark.parametrize("most", [1, 2, 7, 20, 40])
@pytest.mark.parametrize("text", ["", LONG, f"    {LONG}", "日本語 " * 9, "x" * 99, f"{RED}{LONG}"])
def test_what_is_folded_keeps_every_character_and_the_width(text: str, most: int) -> None:
    lines = fold(text, max(most, 2))
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", text)
    assert all(width(line) <= max(most, 2) for line in lines)


def test_columns_stay_aligned_beside_wide_characters() -> None:
    lines = table(("NAME", "STATE", ""), [("café ☃ 日本語", "active", ""), ("web", "failed", "")])
    assert {cell_len(line[: line.index(word)]) for line, word in zip(
        lines, ("STATE", "active", "failed"), strict=True)} == {15}  # fmt: skip


def test_services_at_80_columns_tell_pids_and_why_not(screen: Any) -> None:
    name = "web-frontend-of-the-shop"
    screen(80)
    lines = services.lines([a_service(name), a_service("x" * 24, state="unknown", why=LONG)])
    assert all(width(line) <= 80 for line in lines)
    assert "4194304" in lines[1]
    told = " ".join(bare(line).strip() for line in lines)
    assert LONG in told


def test_services_that_are_piped_are_a_line_each() -> None:
    (_, line) = services.lines([a_service("x" * 99, why=LONG)])
    assert "x" * 99 in line
    assert line.endswith(LONG)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 20), (80, 8)])
def test_a_watched_status_keeps_its_first_line(
    screen: Any, monkeypatch: pytest.MonkeyPatch, columns: int, rows: int
) -> None:
    drawn = screen(columns, rows)
    denied = {"restart": "polkit: no rule lets steadyd do so; `steadyd grants polkit` has it"}
    many = [a_service(f"a{n}", denied=denied) for n in range(3)]
    data = a_status(files=[BROKEN], services=many)
    monkeypatch.setattr(status, "ask", lambda *_, **__: Answer(200, data))
    assert status._shown(argparse.Namespace())
    lines = bare(drawn.getvalue()).split("\n")
    assert lines[0].startswith("web1: steadyd 0.1.0, up 1h")
    assert len(lines) <= rows
    assert all(width(line) <= columns for line in lines)


def test_the_mark_of_a_report_stays_under_its_place(screen: Any) -> None:
    screen(40)
    lines = status.lines(a_status(files=[BROKEN]))
    (at,) = (n for n, line in enumerate(lines) if line.strip() == "^^^^^")
    assert lines[at].index("^") == lines[at - 1].index("memry")


def test_status_tells_the_whole_reason(screen: Any) -> None:
    screen(80)
    told = " ".join(bare(line).strip() for line in status.lines(a_status()))
    assert LONG in told


@pytest.mark.parametrize(("count", "told"), [(1, "1 message "), (2, "2 messages ")])
def test_one_is_no_plural(count: int, told: str) -> None:
    outbox = {"pending": count, "dead": count, "oldest_age_seconds": 5}
    text = "\n".join(status.lines(a_status(outbox=outbox)))
    assert f"{told}not delivered yet" in text
    assert f"{told}given up" in text
    assert number(count, "message") in text


def test_top_leaves_columns_out_and_cuts_no_figure() -> None:
    uses = [top.Use("web-frontend-of-the-shop", "active", 103.2, 250e6, 12345.0, 67890.0, 80123.0,
                    31, "memory:total_rss")]  # fmt: skip
    shown = {}
    for columns in (200, 80, 60, 40):
        console = Console(width=columns, file=io.StringIO())
        console.print(top._table(uses, "c", top.Looker(), None, columns))
        assert isinstance(console.file, io.StringIO)
        shown[columns] = console.file.getvalue()
        assert {"103.2", "238.4", "MiB"} <= set(shown[columns].split())
        figures = {"12,345", "67,890", "80,123", "31"}
        assert not [word for word in shown[columns].split() if word[0].isdigit() and "…" in word]
        assert (figures <= set(shown[columns].split())) == (columns >= 80)
    assert "memory:total_rss" in shown[200]


def test_top_cuts_nothing_that_is_piped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a-service-with-a-name-that-is-longer-than-any-terminal-should-have-to-bear"
    met = {"metrics": {"memory:total_rss": 250e6}}
    told = a_status(services=[a_service(name, **met)], incidents=[
        {"service": name, "metric": "memory:total_rss"}])  # fmt: skip
    monkeypatch.setattr(top, "ask", lambda *_, **__: Answer(200, told))
    monkeypatch.setattr(top, "SECONDS", 0.0)
    args = argparse.Namespace(json=False, sort="cpu")
    assert top.run(args) == 0
    shown = capsys.readouterr().out
    assert name in shown
    assert "memory:total_rss" in shown


def test_a_curve_is_of_the_same_time_as_its_numbers() -> None:
    values = [10.0, 132.0, *[11.0] * 100, None, *[11.0] * 136, 9.0]
    few = squeezed(values, 80)
    assert len(few) == 80
    assert (few[0], few[-1]) == (132.0, 9.0)
    assert squeezed(values, 240) == values
    assert squeezed([None] * 9, 4) == [None] * 9
    assert squeezed([*[5.0] * 4, *[None] * 4], 4) == [5.0, 5.0, None, None]
    assert sparkline([1.0, None, 2.0]) == "▁ █"
    assert sparkline([None]) == ""


def test_show_draws_all_of_it(screen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = screen(40)
    told = {"min": 10.0, "max": 132.0, "avg": 11.0, "now": 11.0, "cycle_seconds": 1.0,
            "values": [10.0, 132.0, *[11.0] * 238]}  # fmt: skip
    monkeypatch.setattr(show, "ask", lambda *_, **__: Answer(200, told))
    assert show.run(argparse.Namespace(name="web", metric="load:1", json=False)) == 0
    curve = drawn.getvalue().splitlines()[-1]
    assert len(curve) == 40
    assert curve[0] == "█"
