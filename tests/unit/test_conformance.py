"""Every text that Inspeqtor reads is read the same way, and refused at the same place."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from steadyd.cli.check import as_json, judge
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.judging import Known

CASES = json.loads((Path(__file__).parents[1] / "data/conformance/inq.json").read_text("utf-8"))
RULE = ("metric", "family", "name", "op", "amount_raw", "amount_value", "per_sec", "cycles")


def text_of(case: dict[str, Any]) -> bytes:
    if "input_b64" in case:
        return base64.b64decode(case["input_b64"])
    if "input_repeat" in case:
        part = case["input_repeat"]
        return str(part["head"] + part["unit"] * part["times"]).encode()
    parts = case.get("input_parts") or [[case["input"], 1]]
    return "".join(text * times for text, times in parts).encode()


def answer(path: Path) -> dict[str, Any]:
    entry: dict[str, Any] = as_json(judge([str(path)], Known(CATALOGUE)))["files"][0]
    return json.loads(json.dumps(entry))  # type: ignore[no-any-return]


def rule_of(rule: dict[str, Any]) -> dict[str, Any]:
    """Reduce a rule to what the recordings hold."""
    return {key: rule[key] for key in RULE} | {"actions": rule["actions"]}


def agree(entry: dict[str, Any], expect: dict[str, Any]) -> None:
    [check] = entry["checks"]
    rules = [rule_of(rule) for rule in check["rules"]]
    if "rules_count" in expect:
        assert len(rules) == expect["rules_count"]
        assert (rules[0], rules[-1]) == (expect["first_rule"], expect["last_rule"])
    else:
        assert rules == expect["rules"]
    if "service_length" in expect:
        assert len(check["service"]) == expect["service_length"]
        expect = expect | {"service": check["service"]}
    for key in ("check", "service", "params", "exposed"):
        assert check.get(key) == expect.get(key), key


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_text_is_read_as_inspeqtor_reads_it(case: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.inq"
    path.write_bytes(text_of(case))

    entry = answer(path)

    errors = [d for d in entry["diagnostics"] if d["severity"] == "error"]
    assert entry["path"] == str(path)
    assert entry["ok"] == (not errors)
    if case["ours_differs"]:
        return
    expect = case["expect"]
    if not case["valid"]:
        first = errors[0]
        place = expect["error"]["line"], expect["error"]["column"]
        assert (first["line"], first["column"]) == place, first
        return
    refused = case.get("ours_refuses") or not expect["load"]["ok"]
    assert entry["ok"] or refused, errors
    agree(entry, expect)


JOBS = json.loads((Path(__file__).parents[1] / "data/conformance/jobs.json").read_text("utf-8"))


@pytest.mark.parametrize("case", JOBS, ids=[case["name"] for case in JOBS])
def test_jobs_are_read_as_inspeqtor_reads_them(case: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "jobs.d" / "x.inq"
    path.parent.mkdir()
    path.write_bytes(text_of(case))

    entry = answer(path)

    errors = [d for d in entry["diagnostics"] if d["severity"] == "error"]
    if case["ours_differs"]:
        return
    expect = case["expect"]
    if not case["valid"]:
        place = expect["error"]["line"], expect["error"]["column"]
        assert (errors[0]["line"], errors[0]["column"]) == place, errors[0]
        return
    assert errors == []
    [check] = entry["checks"]
    assert check == {"check": "jobs", "params": expect["params"], "jobs": expect["jobs"]}


@pytest.mark.parametrize("case", JOBS, ids=[case["name"] for case in JOBS])
def test_jobs_in_other_rule_files_are_read_the_same_but_for_the_hash(
    case: dict[str, Any], tmp_path: Path
) -> None:
    if not case["valid"] or "#" in case.get("input", "#"):
        return
    path = tmp_path / "x.inq"
    path.write_bytes(text_of(case))

    [check] = answer(path)["checks"]
    assert check["jobs"] == case["expect"]["jobs"]


def test_the_recordings_are_all_there() -> None:
    assert len(JOBS) == 26
    assert len(CASES) == 131
    assert sum(case["valid"] for case in CASES) == 67
    assert sum(case["ours_differs"] for case in CASES) == 24


def test_the_command_prints_one_object_with_an_entry_for_each_file(tmp_path: Path) -> None:
    names = ("minimal service", "minimal host", "comment at the end without newline")
    wanted = [next(case for case in CASES if case["name"] == name) for name in names]
    bad = next(c for c in CASES if not c["valid"] and not c["ours_differs"])
    paths = [tmp_path / f"{number}.inq" for number in range(5)]
    for path, case in zip(paths, (*wanted, bad), strict=False):
        path.write_bytes(text_of(case))

    done = subprocess.run(
        [sys.executable, "-m", "steadyd", "check", "--format", "json", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (1, "")
    said = json.loads(done.stdout)
    assert said["ok"] is False
    assert [entry["path"] for entry in said["files"]] == [str(path) for path in paths]
    assert [entry["ok"] for entry in said["files"]] == [True, True, True, False, False]
    assert "cannot be read" in said["files"][4]["diagnostics"][0]["message"]
    for entry, case in zip(said["files"][:2], wanted, strict=False):
        agree(entry, case["expect"])
