"""The grammar kept twice: whatever the text, the parser and tests/data/rules.lark agree on it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lark import Lark, Token, Tree, UnexpectedInput

from steadyd.rulefiles import tree
from steadyd.rulefiles.parser import parse
from tests.fakes import ruletexts

GRAMMAR: Final = Lark(
    (Path(__file__).parents[1] / "data/rules.lark").read_text("utf-8"),
    parser="lalr",
    lexer="basic",
    maybe_placeholders=True,
)

# -- values, written from language.md and from what Inspeqtor reads as an amount

_INTEGER = re.compile(r"[+-]?[0-9]+")
_AMOUNT = re.compile(
    r"([+-]?[0-9]+)(\.[0-9]{1,30})?([kmgtpKMGTP]|[kmgtKMGT][bB]|%|ms|s|min|h|d)?(/sec|/min|/h)?"
)
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|min|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_STRING = re.compile(
    r'"(?:[^"\\\n]|\\[abfnrtv\\"]|\\[0-3][0-7]{2}|\\x[0-9A-Fa-f]{2}|\\u(?![dD][89a-fA-F])'
    r'[0-9A-Fa-f]{4}|\\U000(?!0[dD][89a-fA-F])[0-9A-Fa-f]{5}|\\U0010[0-9A-Fa-f]{4})*"'
)
_BACK = {">": "<", "<": ">"}


def _word(node: Tree[Token]) -> str:
    return " ".join(str(token) for token in node.scan_values(lambda _: True))


def _fits(text: str) -> bool:
    return bool(_INTEGER.fullmatch(text)) and -(2**63) <= int(text) < 2**63


def _is_amount(text: str) -> bool:
    found = _AMOUNT.fullmatch(text)
    return found is not None and _fits(found[1])


def _is_duration(text: str) -> bool:
    found = _DURATION.fullmatch(text)
    return found is not None and float(found[1]) * _SECONDS[found[2]] <= 3650 * 86400


def _is_clock(text: str) -> bool:
    return _CLOCK.fullmatch(text.replace(" ", ":")) is not None


def _is_string(text: str) -> bool:
    return _STRING.fullmatch(text) is not None


_JUDGES: Final[dict[str, Callable[[str], bool]]] = {
    "amount": _is_amount,
    "count": _fits,
    "duration": _is_duration,
    "clock": _is_clock,
    "program": _is_string,
}


def _single(node: Tree[Token]) -> str:
    """Return the sign of a condition that is a single comparison, "" of any other."""
    while node.data in ("condition", "conjunct", "term", "group"):
        if len(node.children) != 1:
            return ""
        [only] = node.children
        assert isinstance(only, Tree)
        node = only
    return _sign(node) if node.data == "comparison" else ""


def _sign(node: Tree[Token]) -> str:
    limit = next(node.find_data("limit"))
    return str(limit.children[0])[:2]


def _leads_back(rule: Tree[Token]) -> bool:
    backs = list(rule.find_data("back"))
    if not backs:
        return True
    condition = rule.children[1]
    assert isinstance(condition, Tree)
    return _BACK.get(_single(condition)[:1]) == _sign(backs[0])[:1]


def _limits(top: Tree[Token]) -> Iterator[str]:
    """Yield the amounts that are one word with their operator: `==5`."""
    for limit in top.find_data("limit"):
        if len(limit.children) == 1:
            yield str(limit.children[0])[2:]


def _values(top: Tree[Token]) -> Iterator[str]:
    for param in top.find_data("param"):
        value = param.children[1]
        assert isinstance(value, Tree)
        yield _word(value)


_NANOSECONDS = {"minute": 60 * 10**9, "hour": 3600 * 10**9, "day": 86_400 * 10**9}


def _is_period(job: Tree[Token]) -> bool:
    count, unit = str(job.children[-2] or "1"), str(job.children[-1])
    return _fits(count) and _fits(str(int(count) * _NANOSECONDS[unit.rstrip("s")]))


def accepts(text: str) -> bool:
    """Tell whether the second grammar has the text."""
    try:
        top = GRAMMAR.parse(text)
    except UnexpectedInput:
        return False
    words = (judge(_word(node)) for rule, judge in _JUDGES.items() for node in top.find_data(rule))
    return (
        all(words)
        and all(map(_is_amount, _limits(top)))
        and all(not value.startswith('"') or _is_string(value) for value in _values(top))
        and all(map(_leads_back, top.find_data("rule")))
        and all(map(_is_period, top.find_data("job")))
    )


# -- both agree


@given(ruletexts.files())
@settings(max_examples=150, deadline=None)
def test_what_the_grammar_makes_both_accept(text: str) -> None:
    assert accepts(text), text
    assert not parse(text).bad, text


@given(ruletexts.garbled())
@settings(max_examples=600, deadline=None)
@example("check service a if not will > 5 then alert")
@example("check service a if not will reach 5 within 1h then alert")
@example("check service a if avg (x) over 5m > 1 then alert")
@example("check service a if x > 1 for 3 of 5 cycle then alert")
@example("check service a if x > 1 between 1:00 and 02:00 then alert")
@example("check service a if x > 1 between 01:00 and 02:00 on on mon then alert")
@example("check service a if x > 1 until == > 5 then alert")
@example("check service a if (x > 1) until < 5 then alert")
@example("check service a if not x > 1 until < 5 then alert")
@example('check service a with k ""')
@example("check service a if x ==then alert")
@example("check jobs a happens every hours hours happens every 5 days")
@example("check jobs with k v, l w a happens every 9223372036 minutes")
@example("check jobs jobs happens every 153722867 minutes b happens every -153722868 minutes")
@example("check jobs if x > 1 then alert")
@example("check service a if down #\n > 5 then alert")
@example("check service a if down ( a #)\n ) > 5 then alert")
@example("check service a with k 9223372036854775808 if x > 9223372036854775808 then alert")
def test_of_garbled_texts_both_accept_the_same(text: str) -> None:
    assert accepts(text) == (not parse(text).bad), text


@given(st.text(alphabet=ruletexts.LETTERS, max_size=40))
@settings(max_examples=300, deadline=None)
def test_of_odd_letters_both_make_the_same_words(text: str) -> None:
    for frame in ("check service {}", "check service a with k {}", "check host {}"):
        framed = frame.format(text)
        assert accepts(framed) == (not parse(framed).bad), framed


# -- a new word wherever the old language reads a name

_PLACES: Final = {
    "service": "check service {} if x > 1 then alert",
    "key": "check service a with {} v if x > 1 then alert",
    "value": "check service a with k {} if x > 1 then alert",
    "second key": "check host with k v, {} v if x > 1 then alert",
    "exposed": "check service a expose {} if x > 1 then alert",
    "second exposed": "check service a expose memstats, {}",
    "family": "check service a if {} > 1 then alert",
    "family below": "check service a if {} < 1 then alert",
    "family with a name": "check service a if {}:x > 1 then alert",
    "family with a name in parentheses": "check service a if {} ( x ) < 1 then alert",
    "name": "check service a if x:{} > 1 then alert",
    "name in parentheses": "check service a if x({}) > 1 then alert",
    "route": "check service a if x > 1 then alert {}",
    "route before a step": "check service a if x > 1 then alert {}, restart",
    "route before a rule": "check service a if x > 1 then alert {} if y > 1 then alert",
}


def _named(file: tree.File, place: str) -> str:
    [check] = file.checks
    rule = check.rules[0] if check.rules else None
    found: dict[str, Callable[[], object]] = {
        "service": lambda: check.name and check.name.text,
        "key": lambda: check.params[0].key,
        "value": lambda: check.params[0].value,
        "second key": lambda: check.params[1].key,
        "exposed": lambda: check.exposed[0].text,
        "second exposed": lambda: check.exposed[1].text,
    }
    if place in found:
        return str(found[place]())
    assert rule is not None
    if place.startswith("route"):
        return rule.actions[0].argument
    assert isinstance(rule.condition, tree.Comparison)
    return rule.condition.family if place.startswith("family") else rule.condition.name


@pytest.mark.parametrize("place", _PLACES)
@pytest.mark.parametrize("word", ruletexts.NEW_WORDS)
def test_a_new_word_is_a_name_wherever_it_was_one(word: str, place: str) -> None:
    text = _PLACES[place].format(word)

    file = parse(text)

    assert not file.bad, file.diagnostics
    assert _named(file, place) == word
    assert accepts(text)


@pytest.mark.parametrize("word", ruletexts.NEW_WORDS)
@pytest.mark.parametrize("text", ["if x > {} then alert", "if x > 1 for {} cycles then alert"])
def test_a_new_word_is_as_little_an_amount_or_a_count_as_before(word: str, text: str) -> None:
    text = "check service a " + text.format(word)

    assert [each.column for each in parse(text).diagnostics] == [
        text.index(" then") + 2 if "for" not in text.split("then")[0] else text.index("cycles") + 1
    ]
    assert not accepts(text)
