"""`steadyd check`: text and JSON, exit codes, and no input that ends in a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steadyd.cli.check import as_json, judge
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.diagnostics import render
from steadyd.rulefiles.judging import Known

GOOD = "check service app\n  if cpu:user > 5 then alert\n"
BAD = "check service app\n  if cpu:user > 5 thn alert\n"
ODD = "check service app\n  if cpu:user > 5 then alert\n  if cpu:usr > 5 then alert\n"


def check(*words: str | Path, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "steadyd", "check", *words],
        capture_output=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "app.inq"
    path.write_text(GOOD)
    return path


def test_a_good_file_is_one_line(file: Path) -> None:
    assert check(file) == (0, "1 file, 1 rule in force, no errors\n", "")


def test_a_bad_text_is_shown_with_its_place_and_mend(file: Path) -> None:
    file.write_text(BAD)

    code, out, err = check(file)

    assert (code, err) == (1, "")
    assert out == (
        f"{file}:2:19: error: expected `for` or `then`, found `thn`\n"
        "      if cpu:user > 5 thn alert\n"
        "                      ^\n"
        "    help: did you mean then?\n"
        "\n"
        "1 file, 0 rules in force, 1 error\n"
    )


def test_a_semantic_error_is_1_and_the_parse_is_printed_all_the_same(file: Path) -> None:
    file.write_text(ODD)

    code, out, err = check("--format", "json", file)

    assert (code, err) == (1, "")
    [entry] = json.loads(out)["files"]
    assert not entry["ok"]
    assert [rule["metric"] for rule in entry["checks"][0]["rules"]] == ["cpu:user", "cpu:usr"]
    [said] = entry["diagnostics"]
    assert (said["severity"], said["line"], said["column"]) == ("error", 3, 6)
    assert said["help"] == "did you mean cpu:user?"


def test_a_folder_is_judged_and_a_missing_path_is_an_error(file: Path) -> None:
    (file.parent / "b.inq").write_text(ODD.replace("app", "web"))

    code, out, _ = check(file.parent)
    assert (code, out.splitlines()[-1]) == (1, "2 files, 2 rules in force, 1 error")

    code, out, err = check(file.parent / "nowhere")
    assert (code, err) == (1, "")
    assert "nowhere:1:1: error: the file cannot be read: No such file or directory" in out


def test_wrong_use_and_a_bad_configuration_are_2(file: Path) -> None:
    assert check("--nonsense")[0] == 2
    code, out, err = check("--config", file, file)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_routes_and_defaults_are_those_of_the_configuration(file: Path, tmp_path: Path) -> None:
    file.write_text(GOOD.replace("alert", "alert opps"))
    config = tmp_path / "steadyd.toml"
    config.write_text('[routes]\nops = ["json://localhost"]\n')

    code, out, _ = check("--config", config, file)

    assert code == 1
    assert "there is no route `opps`" in out
    assert "did you mean ops?" in out
    assert check(file)[0] == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_cannot_show_a_text_gets_what_it_can(file: Path, encoding: str) -> None:
    file.write_text("check service 世界🙂 if x > then alert\n")

    code, out, err = check(file, PYTHONIOENCODING=encoding)

    assert (code, err) == (1, "")
    assert out.splitlines()[1].rstrip().endswith("if x > then alert")


def test_a_path_that_is_no_utf_8_is_shown_as_it_can(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9\n.inq"
    with open(name, "w") as file:
        file.write(BAD)

    code, out, err = check(Path(os.fsdecode(name)))
    assert (code, err) == (1, "")
    assert out.startswith(f"{tmp_path}/caf\ufffd\ufffd.inq:2:19: error: ")

    code, out, _ = check("--format", "json", Path(os.fsdecode(name)))
    assert json.loads(out)["files"][0]["path"] == os.fsdecode(name)


SIGNS = b'> < : , ( ) " \\ # \n \r \t \xff \xc3\xa9 \xe4\xb8\x96 \0 '
WORDS = b"check service host if then for cycles " + SIGNS


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300)
    | st.lists(st.sampled_from(WORDS.split(b" ")), max_size=50).map(b" ".join)
)
def test_no_bytes_break_check(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.inq"
    path.write_bytes(data)

    entries = judge([str(path)], Known(CATALOGUE, frozenset()))

    json.dumps(as_json(entries), ensure_ascii=True)
    for entry in entries:
        for said in entry.diagnostics:
            assert render(entry.path, entry.text, said)
