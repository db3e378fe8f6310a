"""An `inspeqtor.conf` is read as Inspeqtor reads it, and refused at the same place."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadyd.cli.check import as_json, judge
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.diagnostics import render
from steadyd.rulefiles.inspeqtorconf import masked, parse
from steadyd.rulefiles.judging import Known

CASES = json.loads((Path(__file__).parents[1] / "data/conformance/conf.json").read_text("utf-8"))


def check(path: Path) -> dict[str, Any]:
    entry: dict[str, Any] = as_json(judge([str(path)], Known(CATALOGUE)))["files"][0]
    return entry


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_text_is_read_as_inspeqtor_reads_it(case: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "inspeqtor.conf"
    text = case.get("input")
    path.write_bytes(base64.b64decode(case["input_b64"]) if text is None else text.encode())

    entry = check(path)

    errors = [d for d in entry["diagnostics"] if d["severity"] == "error"]
    assert entry["ok"] == (not errors)
    if case["ours_differs"]:
        return
    expect = case["expect"]
    if not case["valid"]:
        place = expect["error"]["line"], expect["error"]["column"]
        assert (errors[0]["line"], errors[0]["column"]) == place, errors
        return
    load = expect["load"]
    assert entry["ok"] or not load["ok"] or load["route_errors"], errors
    assert entry["variables"] == expect["variables"]
    assert sorted(entry["routes"], key=lambda r: r["route"]) == expect["routes"]


def test_the_recordings_are_all_there() -> None:
    assert len(CASES) == 32
    assert sum(case["valid"] for case in CASES) == 22
    assert sum(case["ours_differs"] for case in CASES) == 3


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("set a \tb c\n", (1, 13)),  # a tab counts four columns
        ("set a b\r\nset c\rd e\n", (2, 3)),  # CR sets the column to 1
        ('set a "\\q"\nset c d\n', (2, 1)),  # a bad value stands at the token after it
        ('send alerts via null with a "\\q", b c\nset c d\n', (2, 1)),
        ('set a "\\q" b\n', (1, 12)),  # and only if that token may stand there
        ('set a "" b\n', (1, 7)),  # "" does not end there
        ("set a b\ufeff (\n", (1, 10)),
        ("send alert via null with a b\n", (1, 6)),
    ],
)
def test_the_place_of_an_error(text: str, place: tuple[int, int]) -> None:
    first = parse(text).diagnostics[0]

    assert (first.line, first.column) == place, first


def test_all_errors_are_told_and_what_is_good_is_kept() -> None:
    conf = parse("set a\nset b c\nsend alerts by x\nset d e f\nsend alerts via null with a b\n")

    assert [(d.line, d.column) for d in conf.diagnostics] == [(2, 1), (3, 13), (4, 9)]
    assert conf.bad
    assert [route.channel for route in conf.routes] == ["null"]


def test_the_first_written_wins() -> None:
    conf = parse(
        "set a 1\nset a 2\nsend alerts via null with x 1, x 2\nsend alerts via email with x 3\n"
    )

    assert conf.variables == {"a": "1"}
    assert [(route.channel, route.params) for route in conf.in_force] == [("null", {"x": "1"})]


def test_places_are_those_of_the_text() -> None:
    text = "set k v # c\nsend alerts to ops via slack with url http://x/;a<b>\n"
    conf = parse(text)
    route = conf.routes[0]

    assert not conf.bad
    assert text[route.start :].startswith("send alerts to ops")
    assert text[route.channel_start :].startswith("slack")
    assert text[route.settings[0].value_start :] == "http://x/;a<b>\n"
    assert route.params == {"url": "http://x/;a<b>"}


def test_no_secret_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "inspeqtor.conf"
    path.write_text(
        "send alerts via email with username bob, password hush hush, to_email a@b.de\n"
    )

    [entry] = judge([str(path)], Known(CATALOGUE))
    shown = "".join(render(entry.path, entry.text, each) for each in entry.diagnostics)

    assert entry.diagnostics
    assert "hush" not in shown
    assert "bob" not in shown
    assert "to_email a@b.de" in shown


@given(st.text(alphabet=st.sampled_from('set nd ale rts via with ,"\\#\n\tpassword x:é(')))
def test_any_text_is_answered(text: str) -> None:
    conf = parse(text)

    assert len(masked(text)) == len(text)
    assert re.sub(r"[^\n]", "", masked(text)) == re.sub(r"[^\n]", "", text)
    lines = text.count("\n") + 1
    assert all(1 <= each.line <= lines for each in conf.diagnostics)


def test_a_hostile_text_takes_linear_time() -> None:
    for text in ('"' + "\\x" * 200_000, "set " * 200_000, "# x\n" * 200_000, 'set a "\\' * 90_000):
        assert parse(text).bad or text[0] == "#"
