"""Words, white space, quotes and comments as inspeqtor.md section 1 lays them down."""

import string

import pytest

from steadyd.rulefiles.lexer import END, INVALID, KEYWORDS, NAME, OPERATOR, Places, scan


def words(text: str) -> list[str]:
    kinds, texts, starts = scan(text)
    assert kinds[-1] == END
    assert all(text[start:].startswith(word) for word, start in zip(texts, starts, strict=True))
    return texts[: kinds.index(END)]


def kinds(text: str) -> list[str]:
    found = scan(text).kinds
    return found[: found.index(END)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\r\n", []),
        ("a b\tc\rd\ne", ["a", "b", "c", "d", "e"]),
        ("memory:rss>6g", ["memory", ":", "rss", ">", "6g"]),
        ("cpu(user)<=5", ["cpu", "(", "user", ")", "<=", "5"]),
        ("a,b , c", ["a", ",", "b", ",", "c"]),
        ("a== b", ["a==", "b"]),
        ("x != 5", ["x", "!=", "5"]),
        ("disk:/srv/data", ["disk", ":", "/srv/data"]),
        ("kettle#x", ["kettle"]),
        ("a # b\nc", ["a", "c"]),
        ("a #", ["a"]),
        ("# only", []),
        ("#a\n#b\n  # c\nd#e", ["d"]),
        ("'a b'", ["'a", "b'"]),
        ('"a b" c', ['"a b"', "c"]),
        ('"a\nb"', ['"a\nb"']),
        (r'"a\"b" c', [r'"a\"b"', "c"]),
        (r'"\"" c', [r'"\""', "c"]),
        ('"""', ['"""']),
        ('""a" b', ['""a"', "b"]),
        ('a"b"c', ["a", '"b"', "c"]),
        ('"# no comment"', ['"# no comment"']),
        ("ſ世界\u3000\u2028\ufffd", ["ſ世界\u3000\u2028\ufffd"]),
    ],
)
def test_a_text_is_cut_into_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert INVALID not in kinds(text)


def test_every_code_point_below_256_is_a_letter_a_sign_a_blank_or_invalid() -> None:
    letters = string.ascii_letters + string.digits + "!$%&'*+-/=?^_`{|}~.@"
    for char in map(chr, range(256)):
        found = kinds(f"{char}x")
        if char in letters + " \t\r\n":
            assert found == [NAME], char
        elif char in ",:()":
            assert found == [char, NAME]
        elif char in "<>":
            assert found == [OPERATOR, NAME]
        elif char == "#":
            assert found == []
        elif char == '"':
            assert found == [INVALID]
        else:
            assert found == [INVALID, NAME], hex(ord(char))


@pytest.mark.parametrize("text", ['"', '""', '"abc', '"\\"', '"a\\', '"" ', '"abc\nif x'])
def test_an_unfinished_quote_takes_the_rest_as_one_invalid_token(text: str) -> None:
    found = scan("a " + text)

    assert found.kinds[:3] == [NAME, INVALID, END]
    assert found.texts[1] == text
    assert found.starts[1] == 2


def test_reserved_words_are_reserved_in_lower_case_and_whole_only() -> None:
    for word in KEYWORDS:
        assert kinds(word) == [word]
        assert kinds(word.upper()) == [NAME]
        assert kinds(f'"{word}"') == [NAME]
        assert kinds(f"{word}x") == [NAME]
    assert kinds("cycle down until after") == [NAME] * 4


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("X", 1, 1),
        ("ab X", 1, 4),
        ("ab\nX", 2, 1),
        ("\tX", 1, 5),
        ("a\tb\tX", 1, 11),
        ("\t\n\tX", 2, 5),
        ("abc\rX", 1, 1),
        ("abc\r\nX", 2, 1),
        ("a\n\tb\r\tX", 2, 5),
        ("世界X", 1, 3),
        ("e\u0301X", 1, 3),
        ("🙂X", 1, 2),
        ("\u2028\x0b\x0c\x85X", 1, 5),
    ],
)
def test_lines_count_lf_and_columns_count_code_points_and_four_for_a_tab(
    text: str, line: int, column: int
) -> None:
    places, offset = Places(text), text.index("X")

    assert (places.line(offset), places.column(offset)) == (line, column)


def test_the_end_of_a_text_has_a_place() -> None:
    assert (Places("a\nbc").line(4), Places("a\nbc").column(4)) == (2, 3)
    assert (Places("a\n").line(2), Places("a\n").column(2)) == (2, 1)
    assert (Places("").line(0), Places("").column(0)) == (1, 1)
