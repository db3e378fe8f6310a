"""The usual dress of rule texts: what it looks like, and that it changes white space only."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings

from steadyd.cli import main
from steadyd.rulefiles.format import WIDTH, formatted
from steadyd.rulefiles.lexer import COMMENT, END, scan
from steadyd.rulefiles.parser import parse
from tests.fakes import ruletexts

LONG = "if memory:total_rss > 6g for 3 cycles between 22:00 and 06:00 Europe/Berlin"

DRESSED = {
    "": "",
    " \n\n": "",
    "# a": "# a\n",
    "\n  # a  \n\n\n# b": "# a\n\n# b\n",
    "check host": "check host\n",
    "check\nhost check service a": "check host\n\ncheck service a\n",
    "check service a with owner ops  ,cooldown 5m\nexpose memstats": (
        "check service a with owner ops, cooldown 5m expose memstats\n"
    ),
    "check host if load : 1>5 then\n alert  ops,alert": (
        "check host\n  if load:1 > 5 then alert ops, alert\n"
    ),
    "check host if cpu ( user )>=5 and not( x<1 )then alert": (
        "check host\n  if cpu(user) >= 5 and not (x < 1) then alert\n"
    ),
    "check host if not ( x ) == 1 or((down)and y != 5)then alert": (
        "check host\n  if not(x) == 1 or ((down) and y != 5) then alert\n"
    ),
    "check host if x ==5 between 22 : 00 and 06 :00 on mon , tue then alert": (
        "check host\n  if x ==5 between 22:00 and 06:00 on mon, tue then alert\n"
    ),
    # empty lines: one at most, and one between checks
    "check host\n\n\nif x > 1 then alert\n\n\n\nif y > 1 then alert\n\n\n": (
        "check host\n\n  if x > 1 then alert\n\n  if y > 1 then alert\n"
    ),
    # comments
    "check host # a\nif x > 1 then alert# b\n# c\nif y > 1 then alert": (
        "check host  # a\n  if x > 1 then alert  # b\n  # c\n  if y > 1 then alert\n"
    ),
    "check host if x > 1 # a\n# b\nthen # c\nalert": (
        "check host\n  if x > 1  # a\n    # b\n    then  # c\n    alert\n"
    ),
    "check host\n  # of the host\n# of a\ncheck service a": (
        "check host\n  # of the host\n\n# of a\ncheck service a\n"
    ),
    "check host\n# of a\n\n\n# of a, too\ncheck service a\n  # the end\n# of all": (
        "check host\n# of a\n\n# of a, too\ncheck service a\n  # the end\n# of all\n"
    ),
    "check host # windows\r\n# lines\r\n": "check host  # windows\n# lines\n",
    # long lines
    f"check host {LONG} then alert": f"check host\n  {LONG}\n    then alert\n",
    f"check host {LONG} # why\n then alert": f"check host\n  {LONG}  # why\n    then alert\n",
    f"check service {'a' * 50} with owner operators, cooldown 5m, runbook x expose memstats": (
        f"check service {'a' * 50}\n    with owner operators, cooldown 5m, runbook x\n"
        "    expose memstats\n"
    ),
    # quoted texts stay, with their lines
    'check service "a  ,\n b"if x > 1 then alert': (
        'check service "a  ,\n b"\n  if x > 1 then alert\n'
    ),
    "check jobs a happens every 5 minutes b happens every hour # c": (
        "check jobs\n  a happens every 5 minutes\n  b happens every hour  # c\n"
    ),
}


@pytest.mark.parametrize("text", DRESSED)
def test_the_usual_dress(text: str) -> None:
    dressed = DRESSED[text]

    assert formatted(text) == dressed
    assert formatted(dressed) == dressed


def words(text: str) -> list[str]:
    kinds, texts, _ = scan(text, comments=True)
    return [
        word.rstrip(" \t\r") if kind == COMMENT else word
        for kind, word in zip(kinds, texts, strict=True)
        if kind != END
    ]


_PLACES = {"start", "raw_start", "value_start", "argument_start", "zone_start", "places"}


def placeless(node: Any, kind: str = "") -> Any:
    """Return a parse as nested lists, without places (`after` of a comparison is one)."""
    if isinstance(node, tuple):
        fields = getattr(node, "_fields", range(len(node)))
        kind = type(node).__name__
        place = _PLACES | ({"after"} if kind == "Comparison" else set())
        values = zip(fields, node, strict=True)
        return [kind, *(placeless(value) for name, value in values if name not in place)]
    return node


@given(ruletexts.files())
@settings(max_examples=200, deadline=None)
@example("# a\n\n  # b\ncheck host#\n\n\n#c\nif x > 1 # d\n\n# e\n then alert # f\n\n  # g\n")
def test_only_white_space_changes_and_only_once(text: str) -> None:
    dressed = formatted(text)

    assert words(dressed) == words(text)
    before, after = parse(text), parse(dressed)
    assert not after.bad
    assert placeless(after.checks) == placeless(before.checks)
    assert formatted(dressed) == dressed


@given(ruletexts.files())
@settings(max_examples=100, deadline=None)
def test_lines_are_as_they_are_meant(text: str) -> None:
    dressed = formatted(text)

    if '"' in text:  # quoted texts have lines of their own
        return
    lines = dressed.split("\n")
    assert lines.pop() == ""
    assert all(line == line.rstrip() for line in lines)
    assert "\n\n\n" not in dressed
    assert not lines or (lines[0] and lines[-1])
    for before, line in zip(["", *lines], lines, strict=False):
        assert not line.startswith("check ") or not before or before.startswith("#")
        assert line[:1] != " " or line.startswith(("  if", "    ", "  #")) or "happens" in text
        assert len(line) <= WIDTH or "#" in line or " then " not in line.strip()


def test_the_time_is_linear_in_the_length() -> None:
    import time

    def seconds(rules: int) -> float:
        text = "check host\n" + "if load:1 > 5 then alert # a\n# b\n" * rules
        started = time.process_time()
        formatted(text)
        return time.process_time() - started

    seconds(100)
    assert seconds(8000) < 20 * seconds(1000) + 0.2  # 8 would be exact; quadratic is 64


# -- the command

UGLY = "check host if load : 1>5 then alert"
NEAT = "check host\n  if load:1 > 5 then alert\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.inq"
    path.write_text(UGLY)
    path.chmod(0o640)
    return path


def test_a_file_is_written_in_its_place_with_its_mode_and_owner(file: Path) -> None:
    if os.geteuid() == 0:
        os.chown(file, 0, 12345)
    before = file.stat()

    assert main(["fmt", str(file)]) == 0

    after = file.stat()
    assert file.read_text() == NEAT
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert os.listdir(file.parent) == ["a.inq"]


def test_a_file_in_its_usual_dress_is_left_alone(file: Path) -> None:
    file.write_text(NEAT)
    before = file.stat()

    assert main(["fmt", str(file)]) == 0
    assert file.stat().st_ino == before.st_ino


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "b.inq"
    link.symlink_to("a.inq")

    assert main(["fmt", str(link)]) == 0
    assert link.is_symlink()
    assert file.read_text() == NEAT


def test_check_and_diff_write_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fmt", "--check", str(file)]) == 1
    assert capsys.readouterr().out == f"{file} would be formatted\n"
    assert main(["fmt", "--diff", str(file)]) == 0
    assert f"-{UGLY}\n\\ No newline at end of file\n+check host\n" in capsys.readouterr().out
    assert main(["fmt", "--diff", "--check", str(file)]) == 1
    assert file.read_text() == UGLY

    file.write_text(NEAT)
    capsys.readouterr()
    assert main(["fmt", "--diff", "--check", str(file)]) == 0
    assert capsys.readouterr().out == ""


def test_a_file_with_errors_is_not_touched_and_the_others_are(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = file.with_name("0.inq")
    bad.write_text("check host if load:1 >> 5 then alert")

    assert main(["fmt", str(file.parent)]) == 1

    assert f"{bad}:1:23: error: " in capsys.readouterr().err
    assert bad.read_text() == "check host if load:1 >> 5 then alert"
    assert file.read_text() == NEAT


def test_what_check_refuses_to_read_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.chmod(0o666)

    assert main(["fmt", str(file)]) == 1
    assert "may be written by everybody" in capsys.readouterr().err
    assert file.read_text() == UGLY
    assert main(["fmt", "--diff", str(file)]) == 1
    assert capsys.readouterr().out == ""
    assert main(["fmt", str(file.with_name("none.inq"))]) == 1
    file.with_name("latin.inq").write_bytes(b"check service \xe9")
    assert main(["fmt", str(file.with_name("latin.inq"))]) == 1
    assert "not UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "code", "out"),
    [
        (UGLY.encode(), 0, NEAT.encode()),
        (b"\xef\xbb\xbf" + UGLY.encode(), 0, NEAT.encode()),
        (b"check", 1, b""),
        (b"\xff", 1, b""),
        (b" " * (2**20 + 1), 1, b""),
    ],
)
def test_standard_input_goes_to_standard_output(given: bytes, code: int, out: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "steadyd", "fmt", "-"], input=given, capture_output=True, timeout=60
    )

    assert (done.returncode, done.stdout) == (code, out)
    assert b"Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_keeps_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    assert main(["fmt", str(file)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert file.read_text() == UGLY
    assert os.listdir(file.parent) == ["a.inq"]


def test_what_was_saved_meanwhile_is_not_lost(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: file.write_text("check host"))

    assert main(["fmt", str(file)]) == 1
    assert "changed meanwhile" in capsys.readouterr().err
    assert file.read_text() == "check host"
    assert os.listdir(file.parent) == ["a.inq"]


def test_a_file_of_jobs_is_formatted_by_its_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "jobs.d"
    folder.mkdir()
    good, odd, bad = (folder / f"{name}.inq" for name in "abc")
    good.write_text("check jobs if happens every hour # of then\nb happens\nevery 5 days")
    odd.write_text("check jobs a#b\nhappens every hour")
    bad.write_text("check host")

    assert main(["fmt", str(tmp_path)]) == 1

    said = capsys.readouterr().err
    assert good.read_text() == (
        "check jobs\n  if happens every hour  # of then\n  b happens every 5 days\n"
    )
    assert odd.read_text() == "check jobs a#b\nhappens every hour"
    assert f"{odd}:1:1: error: the file cannot be formatted without" in said
    assert f"{bad}:1:7: error: " in said
