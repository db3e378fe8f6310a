"""What commands without a daemon say of rule files that are bad or cannot be read."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from steadyd.cli import doctor, main
from steadyd.probes.host import NO_SWAP

NOBODY = 65534
GOOD = "check host\n  if disk:/nope > 3% then alert\n"
SYNTAX = "check service some\n  if memory:rss > 3g thne alert\n"
MEANING = "check host\n  if lode:5 > 3 then alert\n"
COMMANDS = [("services",), ("grants", "polkit"), ("grants", "sudoers")]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may enter, with a configuration."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "rules").mkdir()
        (folder / "steadyd.toml").write_text(f'rules = ["{folder}/rules"]\n')
        yield folder


@contextmanager
def nobody() -> Iterator[None]:
    if os.geteuid():
        pytest.skip("only root can be somebody else")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("text", "wrong"), [(SYNTAX, "did you mean then?"), (MEANING, "lode:5"), (None, "No such file")]
)
def test_a_bad_rule_file_is_told_and_the_rest_is_done(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    text: str | None,
    wrong: str,
) -> None:
    rules = place / "rules" if text else place / "gone"
    (place / "rules" / "bad.inq").write_text(text or "")
    asked = (*command, "--config", place / "steadyd.toml", "--rules", rules)
    code, out, err = called(capsys, *asked)
    assert code == 1
    assert wrong in err
    assert err.startswith(f"steadyd: {rules}")
    assert err.count("\n") == 1
    assert out
    (place / "rules" / "bad.inq").write_text(GOOD)
    assert called(capsys, *asked[:-1], place / "rules")[::2] == (0, "")


def test_doctor_tells_of_bad_files_and_of_the_host(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "rules" / "a.inq").write_text(GOOD)
    (place / "rules" / "b.inq").write_text(SYNTAX)
    (place / "rules" / "c.inq").write_text(MEANING)
    code, out, _ = called(capsys, "doctor", "--config", place / "steadyd.toml")
    assert code == 1
    assert f"steadyd: {place}/rules/b.inq:2:22: expected" in out
    assert "    mend: did you mean then?\n" in out
    assert f"steadyd: {place}/rules/c.inq:2:6: nobody knows the metric `lode:5`" in out
    assert "host: disk:/nope: nothing is mounted at /nope\n" in out
    assert "no rule file names a service" not in out


def test_doctor_without_a_folder_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = f"{place}/gone/"
    _, out, _ = called(capsys, "doctor", "--config", place / "steadyd.toml", "--rules", gone)
    assert "No such file or directory" in out
    assert f"    mend: write a rule file in {place}/gone, or " in out
    _, out, _ = called(capsys, "doctor", "--config", place / "steadyd.toml")
    assert "no rule file names a service\n    mend: write a rule file in " in out


def test_doctor_of_a_user_who_may_not_read_the_rules(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "rules").chmod(0o700)
    asked = ("doctor", "--config", place / "steadyd.toml")
    called(capsys, *asked)  # what it imports may be root's alone
    with nobody():
        code, out, _ = called(capsys, *asked)
    assert code == 1
    assert "the folder cannot be read: Permission denied" in out
    assert f"    mend: sudo steadyd doctor, or let this user read it: chmod o+rX {place}" in out
    assert "write a rule file" not in out


def test_a_host_without_swap_has_a_mend() -> None:
    assert "swap" in doctor._light(NO_SWAP)


def test_init_into_a_folder_of_somebody_else_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "rules").chmod(0o700)
    into = place / "rules" / "below"
    called(capsys, "init", "--print")
    with nobody():
        code, out, err = called(capsys, "init", "--into", into)
    assert (code, out) == (1, "")
    assert err.startswith(f"steadyd: {into}/")
    assert err.endswith(": Permission denied; write elsewhere: --into DIR\n")
