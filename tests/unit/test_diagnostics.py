"""What is shown of an error: the place, the line, and the caret under the exact place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadyd.rulefiles.diagnostics import Diagnostic, Level, Report, printable, quoted, render
from steadyd.rulefiles.lexer import Places


def shown(marked: str, help: str = "") -> list[str]:
    offset = marked.index("§")
    text = marked.replace("§", "")
    report = Report(Places(text))
    report.error(offset, "wrong", help)
    return render("a.inq", text, report.done()[0]).split("\n")


@pytest.mark.parametrize(
    ("marked", "place", "source", "caret"),
    [
        ("§abc", "1:1", "abc", "^"),
        ("ab §cd", "1:4", "ab cd", "   ^"),
        ("one\n  ab §cd\nthree", "2:6", "  ab cd", "     ^"),
        ("\tab §cd", "1:8", "    ab cd", "       ^"),
        ("a\tb\t§c", "1:11", "a    b    c", "          ^"),
        ("old\rab §cd\rnew", "1:4", "ab cd", "   ^"),
        ("old\r\nab §cd\r\nnew", "2:4", "ab cd", "   ^"),
        ("世界 §x", "1:4", "世界 x", "     ^"),
        ("e\u0301e\u0301 §x", "1:6", "e\u0301e\u0301 x", "   ^"),
        ("🙂 §x", "1:3", "🙂 x", "   ^"),
        ("ﾊﾛ §x", "1:4", "ﾊﾛ x", "   ^"),
        ("Ａ §x", "1:3", "Ａ x", "   ^"),
        ("a\u200bb §x", "1:5", "a\ufffdb x", "    ^"),
        ("\x1b[2J §x", "1:6", "\ufffd[2J x", "     ^"),
        ("\u202e §x", "1:3", "\ufffd x", "  ^"),
        ("ab§", "1:3", "ab", "  ^"),
        ("ab§\ncd", "1:3", "ab", "  ^"),
    ],
)
def test_the_caret_stands_under_the_exact_place(
    marked: str, place: str, source: str, caret: str
) -> None:
    assert shown(marked) == [f"a.inq:{place}: error: wrong", "    " + source, "    " + caret]


def test_the_end_of_a_file_after_its_last_line_shows_no_line() -> None:
    assert shown("ab\n§") == ["a.inq:2:1: error: wrong"]


def test_help_has_a_line_of_its_own() -> None:
    assert shown("a§b", "mend it")[-1] == "    help: mend it"


def test_of_a_long_line_the_part_around_the_place_is_shown() -> None:
    head, source, caret = shown("x" * 50_000 + "§y" + "z" * 50_000)

    assert head == "a.inq:1:50001: error: wrong"
    assert len(source) < 200
    assert source.strip().startswith("…x")
    assert source[caret.index("^")] == "y"


def test_a_hostile_path_or_word_cannot_steer_a_terminal() -> None:
    said = Diagnostic(Level.ERROR, 1, 1, f"found {quoted(chr(27) + '[2J' + chr(10))}")
    text = said.at("a\x1b]0;x\x07\n\udcff.inq")

    assert text.isprintable()
    assert text.endswith(":1:1: error: found `\ufffd[2J\ufffd`")


def test_words_are_cut_in_messages() -> None:
    assert len(quoted("x" * 70_000)) < 70
    assert len(printable("x" * 70_000)) < 5000


def test_suggestions_end_where_a_file_asks_for_thousands() -> None:
    report = Report(Places(""))
    answers = [report.nearest("memry", ["memory", "cpu"]) for _ in range(1000)]

    assert answers[0] == "did you mean memory?"
    assert 1 <= sum(map(bool, answers)) < 100
    assert Report(Places("")).nearest("zzz", ["memory"]) == ""


@given(st.text(max_size=80), st.data())
def test_a_caret_stands_under_the_character_of_its_offset(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    report = Report(Places(text))
    report.warning(offset, "odd")
    [said] = report.done()

    lines = render("a.inq", text, said).split("\n")

    assert said.line == text.count("\n", 0, offset) + 1
    if len(lines) == 3 and text.isascii() and offset < len(text) and text[offset].isprintable():
        assert lines[1][lines[2].index("^")] == text[offset]
