"""`steadyd check`: text and JSON, exit codes, and no input that ends in a traceback."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
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


# -- windows, traps of Inspeqtor, what the host says

WINDOWS = (
    "check service app\n"
    "  if down between 22:00 and 06:00 UTC on mon then alert\n"
    "  if oom then alert\n"
    "  if crashed not between 22:00 and 06:00 then alert\n"
)


def test_the_next_openings_of_a_window_are_told_in_local_time_and_utc(file: Path) -> None:
    file.write_text(WINDOWS)

    code, out, _ = check(file, TZ="Asia/Kolkata")

    assert code == 0
    first, _, second, _, last, _ = out.split("\n")
    time = r"\w{3} \d{4}-\d\d-\d\d 03:30 IST \(Mon 22:00 UTC\)"
    assert re.fullmatch(rf"{file}:2:3: note: opens next at {time}, {time}, {time}", first)
    assert first.count("Tue ") == 3
    assert re.match(rf"{file}:4:3: note: opens next at .* 06:00 IST \(\w+ 00:30 UTC\)", second)
    assert last == "1 file, 3 rules in force, no errors"


def test_the_openings_are_part_of_the_rule_in_json(file: Path) -> None:
    file.write_text(WINDOWS)

    code, out, _ = check("--format", "json", file, TZ="Asia/Kolkata")

    first, second, third = json.loads(out)["files"][0]["checks"][0]["rules"]
    assert (code, "openings" in second, len(third["openings"])) == (0, False, 3)
    times = [datetime.fromisoformat(text) for text in first["openings"]]
    assert times == sorted(times)
    assert {(at.weekday(), at.hour, at.minute, at.utcoffset()) for at in times} == {
        (1, 3, 30, timedelta(hours=5.5))
    }
    assert datetime.now(UTC) < times[0] <= datetime.now(UTC) + timedelta(days=7)
    assert times[2] - times[0] == timedelta(days=14)


def test_a_hold_is_held_against_the_cycle_of_the_configuration(file: Path, tmp_path: Path) -> None:
    file.write_text("check service app\n  if cpu:user > 5 for 90 cycles then alert\n")
    config = tmp_path / "steadyd.toml"
    config.write_text(f'rules = ["{file}"]\ncycle = "1h"\n')

    assert "90 cycles of 3600s are 3.8 days" in check("--config", config, file)[1]
    assert "warning" not in check(file)[1]


OLD = (
    "check service app\n"
    "  if cpu:user > 5 then restart\n"
    "  if memory:rss > 1g then restart\n"
    "  if cpu:user < 5 then alert\n"
    "  if memory:rss < 1m then alert, restart\n"
    "  if memory:rss < 2m then alert, alert dev\n"
)


def test_the_traps_of_inspeqtor_are_told_once_where_its_folder_is_judged(tmp_path: Path) -> None:
    services = tmp_path / "services.d"
    services.mkdir()
    (services / "app.inq").write_text(OLD)
    (tmp_path / "host.inq").write_text("check host if load:1 > 5 then alert")

    assert "Inspeqtor" not in check(tmp_path)[1]
    conf = "send alerts via null with a b send alerts to dev via null with a b set log_level info\n"
    (tmp_path / "inspeqtor.conf").write_text(conf)
    code, out, _ = check(tmp_path)

    told = [line.removeprefix(f"{services}/app.inq") for line in out.split("\n") if "inq:" in line]
    assert code == 0, out
    assert [line.split(";")[0] for line in told if "warning: Inspeqtor" in line] == [
        ":2:3: warning: Inspeqtor runs restart once more when a rule recovers",
        ":4:3: warning: Inspeqtor takes a counter as 0 in its first cycle, so that a `<` rule "
        "fires then",
        ":5:3: warning: Inspeqtor runs the steps in reverse order",
    ]


def test_actions_warns_of_wrappers_and_of_what_would_fire_now(file: Path, tmp_path: Path) -> None:
    pidfile, config = tmp_path / "app.pid", tmp_path / "steadyd.toml"
    config.write_text(f'rules = ["{file}"]\n')
    file.write_text(
        f'check service app with pidfile "{pidfile}"\n'
        "  if memory:rss > 64k then alert\n"
        "  if memory:rss > 64g then alert\n"
        "  if process:count >= 1 and down then alert\n"
        "  if avg memory:rss over 5m > 64k then alert\n"
        "  if process:fds < 500 then alert\n"
    )
    with subprocess.Popen(["sh", "-c", "read line; exit"], stdin=subprocess.PIPE) as process:
        try:
            pidfile.write_text(f"{process.pid}\n")
            code, out, _ = check("--config", config, "--actions", file)
            answer = check("--config", config, "--actions", "--format", "json", file)
        finally:
            process.kill()

    assert code == 0, out
    lines = out.strip().split("\n")
    assert lines[1] == (
        f"{file}:2: warning: app: its main process {process.pid} is `sh`, not the program "
        "itself; start the program by `exec`"
    )
    assert re.fullmatch(
        rf"{file}:2: warning: would fire now: memory:rss is [\d.]+ [KM]iB", lines[2]
    )
    assert re.fullmatch(rf"{file}:6: warning: would fire now: process:fds is \d+", lines[3])
    assert len(lines) == 4
    told = json.loads(answer[1])
    assert (answer[0], told["impossible"], told["warnings"][1][:-4]) == (0, [], lines[2][:-4])
