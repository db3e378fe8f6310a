"""`steadyd replay` as a user runs it: files, the ring of a real daemon, wrong use."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.e2e.local import SLEEPER, Local, local, until

RULE = "check service app\n  if memory:total_rss > 100 for 2 cycles then alert, reload\n"
HOSTILE = "a\x1b[2J<script>b"


def ctl(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "steadyd", "replay", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def recording(**series: object) -> str:
    told = {"start": "2026-11-16T08:00:00Z", "step_seconds": 15, "series": series}
    return json.dumps(told)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "app.inq"
    path.write_text(RULE)
    return path


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / "history.json"
    path.write_text(recording(app={"memory:total_rss": [1, 200, None, 300, 300, 1, 1, 1]}))
    return path


def test_a_file_is_told_in_80_columns(rules: Path, history: Path) -> None:
    done = ctl(rules, "--from", history)

    assert (done.returncode, done.stderr) == (0, "")
    assert "2026-11-16 08:00:45  opened      300 B against 100 B" in done.stdout
    assert "2026-11-16 08:01:30  closed      recovered" in done.stdout
    assert "opened once, open for 45s; ran reload ×1" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_json_has_every_event_and_the_summary(rules: Path, history: Path) -> None:
    told = json.loads(ctl(rules.parent, "--from", history, "--format", "json").stdout)

    rule = told["rules"][0]
    assert (told["start"], told["step_seconds"]) == ("2026-11-16T08:00:00.000Z", 15)
    assert [(e["at"][11:19], e["kind"], e["verb"]) for e in rule["events"]] == [
        ("08:00:45", "opened", None),
        ("08:00:45", "acted", "reload"),
        ("08:01:30", "outcome", None),
        ("08:01:30", "closed", None),
    ]
    assert rule["summary"] == {
        "opened": 1,
        "open_seconds": 45.0,
        "open_at_end": False,
        "verbs": {"reload": 1},
        "not_run": {},
    }


def test_svg_is_one_picture(rules: Path, history: Path) -> None:
    done = ctl(rules, "--from", history, "--format", "svg")

    assert (done.returncode, done.stderr) == (0, "")
    root = ElementTree.fromstring(done.stdout)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert [each.text for each in root.iter() if each.text == "reload"] == ["reload"]


def test_a_part_of_the_history_is_replayed(rules: Path, history: Path) -> None:
    done = ctl(rules, "--from", history, "--start", "2026-11-16T08:01:00Z", "--format", "json")
    told = json.loads(done.stdout)

    assert told["start"] == "2026-11-16T08:01:00.000Z"
    assert told["rules"][0]["events"] == []


def test_a_glob_stands_for_the_recorded_services(tmp_path: Path) -> None:
    rule, history = tmp_path / "a.inq", tmp_path / "h.json"
    rule.write_text('check service "w*"\n  if process:count > 5 then alert\n')
    history.write_text(
        recording(**{f"w{n}": {"process:count": [1, 9, 9]} for n in (1, 2)}, x={"cpu:tree": [1]})
    )
    told = json.loads(ctl(rule, "--from", history, "--format", "json").stdout)

    opened = {r["service"] for r in told["rules"] if r["events"]}
    assert opened == {"w1", "w2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no recording: Input data was truncated"),
        ("[" * 5000, "is no recording"),
        ("\xff", "is no recording"),
        ('{"start": "2026-11-16T08:00:00Z", "series": {}}', "is no recording"),
        ('{"start": "today", "step_seconds": 15, "series": {}}', "'today' is no time"),
        ('{"start": "2026-11-16T08:00:00", "step_seconds": 15, "series": {}}', "is no time"),
        ('{"start": "2026-11-16T08:00:00Z", "step_seconds": 0, "series": {}}', "a step of 0 s"),
        (recording(), "0 instants cannot be replayed"),
        (recording(app={"cpu": [float("nan")]}), "is no recording"),
        (recording(app={"cpu": ["\x1b[2J"]}), "is no recording"),
    ],
)
def test_a_hostile_file_is_one_clear_line(
    tmp_path: Path, rules: Path, text: str, said: str
) -> None:
    path = tmp_path / "h.json"
    path.write_bytes(text.encode("latin-1"))
    done = ctl(rules, "--from", path)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


def test_names_from_a_history_steer_no_terminal(tmp_path: Path) -> None:
    rule, history = tmp_path / "a.inq", tmp_path / "h.json"
    rule.write_text('check service "a*"\n  if process:count > 5 then alert\n')
    history.write_text(recording(**{HOSTILE: {"process:count": [1, 9]}}))
    done = ctl(rule, "--from", history)

    assert done.returncode == 0
    assert "<script>b: if process:count > 5 then alert" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--from", "nowhere.json"], 2, "nowhere.json: No such file or directory"),
        (["--from", "/dev/null"], 2, "/dev/null is no regular file"),
        (["--start", "soon"], 2, "'soon' is no time"),
        (["--start", "1h", "--end", "2h"], 2, "--start is not before --end"),
        (["--step", "15s"], 2, "--step is for --prometheus"),
        (["--host", "a"], 2, "--host is for --prometheus"),
        (["--control", "/nowhere.sock"], 3, "cannot reach the daemon at /nowhere.sock"),
    ],
)
def test_wrong_use_is_one_line(rules: Path, words: list[str], code: int, said: str) -> None:
    done = ctl(rules, *words)

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_bad_rules_are_told_with_their_place(tmp_path: Path, history: Path) -> None:
    rule = tmp_path / "bad.inq"
    rule.write_text("check service app\n  if memory:total_rs > 1m then alert\n")
    done = ctl(rule, "--from", history)

    assert done.returncode == 1
    assert done.stderr.startswith(f"{rule}:2:6: error: ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path) as made:
        made.keep(app=SLEEPER)
        yield made


def test_the_ring_of_a_real_daemon_opens_where_the_daemon_did(daemon: Local) -> None:
    daemon.rule("app", "check service app\n  if memory:rss > 80k for 2 cycles then alert\n")
    daemon.start()
    until(lambda: daemon.incidents("app"), what="the incident")
    done = daemon.ask("replay", str(daemon.rules), "--format", "json")

    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    (live,) = daemon.incidents("app")
    event = told["rules"][0]["events"][0]
    assert (event["kind"], event["threshold"]) == ("opened", live["threshold"])
    assert event["value"] == live["value"]


def test_what_the_ring_does_not_have_is_no_history(daemon: Local, tmp_path: Path) -> None:
    daemon.rule("app", "check service app\n  if memory:rss > 80k then alert\n")
    daemon.start()
    other = tmp_path / "other.inq"
    other.write_text("check service ghost\n  if memory:rss > 80k then alert\n")
    done = daemon.ask("replay", str(other))

    assert done.returncode == 1
    assert "there are no readings of ghost memory:rss" in done.stderr
