"""What the demo makes of the answers of its daemon, and draws of them; its apps and its rules."""

import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from steadyd.cli import demoplace, demowatch
from steadyd.cli.demo import bar
from steadyd.cli.demoplace import DemoError, Place
from steadyd.cli.demoscreen import Screen, fitted
from steadyd.cli.demotroubles import BY_NAME, MOST_MIB, REST, TROUBLES
from steadyd.cli.demowatch import Watching, last_line, undelivered
from steadyd.settings import load

LEAK, CRASH, STUCK = BY_NAME["leak"], BY_NAME["crash"], BY_NAME["deadlock"]
REFUSED = "no verb runs on this host now: the budget of the host is spent"


class Told(Place, frozen=True):
    """A place whose daemon answers what stands in `answers`."""

    answers: dict[str, Any]

    def get(self, what: str) -> Any:
        return self.answers[what.partition("?")[0]]


@pytest.fixture
def place(tmp_path: Path) -> Told:
    status: dict[str, Any] = {
        "at": "now",
        "services": [
            {"name": t.service, "state": "active", "metrics": {t.metric: value}}
            for t, value in zip(TROUBLES, (2.0**27, None, 100.0, 200.0), strict=True)
        ],
        "files": [],
        "outbox": {"pending": 0, "dead": 0},
    }
    made = Told(tmp_path, 1234, 1235, {"status": status, "incidents": {"incidents": []}})
    demoplace._write(made, ["json://127.0.0.1:9/"])
    (tmp_path / "steadyd.log").write_text("")
    return made


@pytest.fixture
def daemon() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "infinity"]) as process:
        yield process
        process.kill()


@pytest.fixture
def watching(place: Told, daemon: "subprocess.Popen[bytes]") -> Watching:
    return Watching(place, daemon, queue.Queue(), LEAK, once=False)


def incident(*actions: dict[str, Any], **other: Any) -> dict[str, Any]:
    fixed = {"id": "1", "service": "leaky", "rule": "if x", "metric": "memory:total_rss"}
    return {**fixed, "value": 2.0**27, "state": "open", "actions": list(actions), **other}


def action(outcome: str | None, reason: str = "") -> dict[str, Any]:
    return {"id": "2", "verb": "reload", "outcome": outcome, "reason": reason}


def drawn(watching: Watching, width: int = 80, height: int = 24, first: Any = LEAK) -> str:
    screen = Screen(watching, first)
    screen._events.extend(watching.look())
    console = Console(width=width, height=height, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(screen._drawn(console))
        return console.export_text()


# what goes wrong


def test_the_leak_is_bounded_and_rests_after_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, kept, handlers = [time.time() + 10], list[float](), dict[int, Any]()
    names: dict[str, Any] = {"bytearray": int}  # the sizes alone
    ends = [now[0] + 500, now[0] + 500 + REST - 2, now[0] + 500 + REST + 30]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] >= ends[0]:
            del ends[0]
            kept.append(sum(names["kept"]) / 2**20)
            handlers[signal.SIGHUP]() if len(kept) == 1 else None
        if not ends:
            raise StopIteration

    LEAK.trigger(tmp_path).touch()
    monkeypatch.setattr(sys, "argv", ["app", str(LEAK.trigger(tmp_path))])
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(StopIteration):
        exec(LEAK.program(), names)
    most, rested, again = kept
    assert MOST_MIB - 10 < most <= MOST_MIB
    assert rested == 0
    assert 120 < again <= MOST_MIB


def test_the_budgets_of_the_demo_last_for_an_hour_of_its_troubles(place: Told) -> None:
    settings = load(str(place.folder / "steadyd.toml"))
    an_hour = 3600 / REST
    assert settings.host_budget.count >= len(TROUBLES) * an_hour
    for trouble in TROUBLES:
        assert "budget 100/1h" in trouble.rule
        assert an_hour <= 100


# what is seen


def test_a_verb_that_was_not_run_is_told_with_its_reason(place: Told, watching: Watching) -> None:
    place.answers["incidents"] = {"incidents": [incident(action("suppressed", REFUSED))]}
    told = watching.look()
    assert ("action", f"leaky: reload not run: {REFUSED}") in told
    assert not any("asked" in text for _, text in told)
    assert "not run" in drawn(watching)


def test_a_verb_is_under_way_until_its_outcome_is_known(place: Told, watching: Watching) -> None:
    place.answers["incidents"] = {"incidents": [incident(action(None))]}
    assert "under way" in drawn(watching)
    place.answers["incidents"] = {"incidents": [incident(action("not_healed"))]}
    said = drawn(watching)
    assert "under way" not in said
    assert "not healed" in said
    closed = incident(action("not_healed"), state="closed", close_reason="recovered")
    place.answers["incidents"] = {"incidents": [closed]}
    assert " not healed" not in drawn(watching).partition("what happened")[0]


def test_what_has_no_value_is_told_without_one(place: Told, watching: Watching) -> None:
    place.answers["incidents"] = {"incidents": [incident(value=None)]}
    assert ("incident", "leaky: if x") in watching.look()


def test_the_limit_is_that_of_the_rule_file_as_it_is(place: Told, watching: Watching) -> None:
    assert "limit 120 MiB" in drawn(watching)
    good = place.rules.read_text()
    place.rules.write_text(good.replace("120m", "90m"))
    assert "limit 90 MiB" in drawn(watching)
    place.rules.write_text(good.replace("120m", "9 0m"))
    assert "limit 90 MiB" in drawn(watching)  # the last good text is in force


def test_with_once_it_is_told_what_was_not_delivered(
    place: Told, daemon: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = Watching(place, daemon, queue.Queue(), LEAK, once=True)
    healed = incident(action("healed"), state="closed", close_reason="recovered")
    place.answers["incidents"] = {"incidents": [healed]}
    place.answers["status"]["outbox"]["pending"] = 1
    watching._mails.put("title\nbody")
    watching.look()
    assert not watching.over
    monkeypatch.setattr(demowatch, "PATIENCE", 0)
    (place.folder / "steadyd.log").write_text(KEPT)
    with pytest.raises(DemoError, match=r"^healed, but the message was not delivered: A Conn.*d$"):
        watching.look()
    place.answers["status"]["outbox"]["pending"] = 0
    assert watching.over
    place.answers["status"]["outbox"]["dead"] = 1
    assert not watching.over


def test_nothing_healed_is_one_line(
    place: Told, daemon: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demowatch, "DEADLINE", 0)
    (place.folder / "steadyd.log").write_text("first\nlast words\n")
    watching = Watching(place, daemon, queue.Queue(), LEAK, once=True)
    with pytest.raises(DemoError, match=r"^nothing was healed within 0 s: last words$"):
        watching.look()


@pytest.mark.parametrize(
    ("log", "last"),
    [
        ("a\nb: c\n\n", "b: c"),
        ("  +-+--- 1 ---\n    |   File x\n    | NameError: no y\n    +-----\n", "NameError: no y"),
        ("", "its log is empty"),
    ],
)
def test_the_last_words_of_a_daemon_are_those_of_its_error(log: str, last: str) -> None:
    assert last_line(log) == last


def test_the_question_is_one_that_can_be_typed_here(
    place: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [f"{tmp_path}/bin/steadyd", "demo"])
    assert place.question == f"bin/steadyd why leaky --control {place.control}"
    (tmp_path / "steadyd").touch(0o755)
    assert place.question.startswith("steadyd why")


KEPT = (
    'ts=1 level=warn msg="a message for route default (json) is kept: A Connection error '
    'occurred; [Errno 111] Connection refused"\nts=2 level=warn msg="something else"\n'
)


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (KEPT, "A Connection error occurred; [Errno 111] Connection refused"),
        ('msg="2 message(s) for route default are given up: no such scheme"', "no such scheme"),
        ("", "its target does not answer"),
    ],
)
def test_the_reason_of_a_message_that_waits_is_in_the_log(log: str, why: str) -> None:
    assert undelivered(log) == why


# what is drawn

REPORT = """demo.inq:4:47: error: expected `then`, found `thne`, a long message for a screen
      if memory:total_rss > 120m for 2 cycles thne alert, reload
                                              ^
    help: did you mean then?"""


@pytest.mark.parametrize("height", [18, 20, 24, 50])
def test_a_report_has_its_caret_under_the_word(watching: Watching, height: int) -> None:
    watching.look()
    watching.report = REPORT
    screen = Screen(watching, LEAK)
    with open("/dev/null", "w") as nowhere:
        console = Console(width=80, height=height, record=True, file=nowhere)
        console.print(screen._drawn(console))
    lines = console.export_text().splitlines()
    (source,) = (line for line in lines if "thne alert" in line)
    (caret,) = (line for line in lines if line.strip("│ ") == "^")
    assert source.index("thne") == caret.index("^")
    assert any("long message" in line for line in lines)
    assert any("what happened" in line for line in lines)


def test_a_long_source_is_cut_around_its_caret() -> None:
    source = "    " + "a " * 100 + "thne" + " b" * 100
    message, cut, caret = fitted(f"x:1:1: error: m\n{source}\n{' ' * 204}^", 60)
    assert message == "x:1:1: error: m"
    assert len(cut) == 60
    assert (cut[0], cut[-1]) == ("…", "…")
    assert cut[caret.index("^") :].startswith("thne")


@pytest.mark.parametrize("height", [14, 16, 19, 24])
def test_what_happened_is_there_on_a_small_screen(
    place: Told, watching: Watching, height: int
) -> None:
    place.answers["incidents"] = {"incidents": [incident()]}
    said = drawn(watching, height=height)
    assert "leaky: if x" in said
    assert "q  quit" in said
    assert len(said.splitlines()) == height


def test_a_screen_of_80_columns_shows_units_and_one_row_for_each_service(
    place: Told, watching: Watching
) -> None:
    place.answers["incidents"] = {"incidents": [incident(action(None))]}
    said = drawn(watching)
    assert "leaky memory 128.0 MiB, limit 120 MiB" in said
    assert any("leaky" in line and "under way" in line for line in said.splitlines())
    place.answers["status"]["services"][0]["state"] = "reloading"
    place.answers["incidents"] = {"incidents": [incident(action("not_healed"))]}
    lines = drawn(watching).partition("services")[2].splitlines()[1:5]
    assert [line.rpartition("││")[2].split()[0] for line in lines] == [t.service for t in TROUBLES]
    assert "ask    steadyd why leaky --control" in said


@pytest.mark.parametrize(
    ("first", "shown"), [(LEAK, "leaky memory"), (STUCK, "stuck http"), (CRASH, "leaky memory")]
)
def test_the_curve_is_of_the_chosen_trouble(watching: Watching, first: Any, shown: str) -> None:
    assert shown in drawn(watching, first=first)


def test_the_mark_of_a_bar_stands_where_it_is() -> None:
    marks = {bar("memory:total_rss", value, 100.0).index("│") for value in (0.0, 50.0, 110.0)}
    assert len(marks) == 1
    assert bar("memory:total_rss", 110.0, 100.0).count("█") == 33
    assert "█│███" in bar("memory:total_rss", 110.0, 100.0)


@pytest.mark.parametrize(("port", "said"), [(10870, ""), (34567, "  (10870 is taken)")])
def test_another_port_is_told_with_its_reason(tmp_path: Path, port: int, said: str) -> None:
    assert Place(tmp_path, port, 1).about_page == said
