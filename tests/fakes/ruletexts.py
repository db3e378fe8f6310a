"""Texts of the rule language, made from its grammar with all that may stand between words."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from hypothesis import strategies as st

_NEW = """
avg min max p50 p90 p95 p99 delta rate down crashed oom flapping alerted not and or will reach
within over of cycle until between on after start stop signal exec mon weekdays every happens
jobs minute days == != ==5 !=x
"""
NEW_WORDS: Final = tuple(_NEW.split())
LETTERS: Final = 'ab1 \t\n\r#"\\:,()<>=!/.-;é世\0\x7f\ufeff'
_PLAIN: Final = (
    "x",
    "memory",
    "puma@1.service",
    '"a b"',
    '"a\nb"',
    '"\\""',
    "'q'",
    "世界",
    "5",
    "/",
)
_GAPS: Final = (" ", "\n", "\t", "  \r\n  ", " # if it > 5\n", "\n#\n", ' # then, "\n')
_SIGNS: Final = frozenset((",", ":", "(", ")", "<", ">", "<=", ">="))

Words = list[str]


def _flat(lists: Iterable[Words]) -> Words:
    return [word for each in lists for word in each]


def _say(*parts: str | st.SearchStrategy[Words]) -> st.SearchStrategy[Words]:
    made = (st.just([part]) if isinstance(part, str) else part for part in parts)
    return st.tuples(*made).map(_flat)


def _maybe(part: st.SearchStrategy[Words]) -> st.SearchStrategy[Words]:
    return st.just([]) | part


def _one(*words: str) -> st.SearchStrategy[Words]:
    return st.sampled_from(words).map(lambda word: [word])


def _list(
    part: st.SearchStrategy[Words], between: st.SearchStrategy[Words], most: int = 3
) -> st.SearchStrategy[Words]:
    rest = st.lists(_say(between, part), max_size=most - 1).map(_flat)
    return _say(part, rest)


_comma = st.just([","])
_name = _one(*_PLAIN, *NEW_WORDS)
_plain = _one("x", "memory", "cpu")
_amount = _one("5", "0", "-3", "+1", "1.5g", "80%", "10/sec", "6gb", "90s", "5min", "1k/min")
_count = _one("3", "0", "-2", "+7", "007")
_duration = _one("90s", "5m", "1.5h", "250ms", "2d", "3min")
_sign = _one(">", "<", ">=", "<=", "==", "!=")
_clock = _one("22:00", "06:30", "00:00").map(lambda at: [at[0][:2], ":", at[0][3:]])
_rest: st.SearchStrategy[Words] = st.just([]) | _say(":", _name) | _say("(", _name, ")")


def _not_signed(words: Words) -> bool:
    return words[0][:2] not in ("==", "!=") and words[0] not in ("will", "over")


_comparison = _say(_name, _rest, _sign, _amount)
_aggregate = _say(
    _one("avg", "min", "max", "p50", "p99", "delta", "rate"),
    _say(_plain, _rest),
    "over",
    _duration,
    _sign,
    _amount,
)
_forecast = _say(_name, _rest, "will", "reach", _amount, "within", _duration)
_event = _one("down", "crashed", "oom", "flapping") | _say("alerted", _name.filter(_not_signed))
_leaf = _comparison | _comparison | _aggregate | _forecast | _event


def _deeper(inner: st.SearchStrategy[Words]) -> st.SearchStrategy[Words]:
    return (
        _list(inner, _one("and", "or"))
        | _say("(", inner, ")")
        | _say("not", "(", _list(inner, _one("and", "or")), ")")
        | _say("not", inner.filter(_not_signed))
    )


_condition = st.recursive(_leaf, _deeper, max_leaves=4)
_hold = (
    _say("for", _count, _one("cycles", "cycle"))
    | _say("for", _duration)
    | (_say("for", _count, "of", _count, "cycles"))
)
_until = _say("until", _condition, _maybe(_hold))
_window = _say(
    _maybe(st.just(["not"])),
    "between",
    _clock,
    "and",
    _clock,
    _maybe(_one("UTC", "Europe/Berlin")),
    _maybe(_say("on", _list(_one("mon", "weekend", "sun"), _comma))),
)
_action = (
    _one("alert", "reload", "restart", "start", "stop")
    | _say("alert", _name)
    | _say("signal", _one("USR1", "HUP", "KILL"))
    | _say("exec", _one('"/bin/true"', '"/bin/x \\"a b\\" \\n"'))
)
_step = _action | _say("after", _duration, _action)
_back = _say("if", _plain, _rest, ">", _amount, "until", "<", _amount, _maybe(_hold))
_head = _say("if", _condition, _maybe(_hold), _maybe(_until)) | _back
rule = _say(_head, _maybe(_window), "then", _list(_step, _comma))
_value = _name.filter(lambda words: "\n" not in words[0])
_with = _maybe(_say("with", _list(_say(_name, _value), _comma)))
_rules = st.lists(rule, max_size=3).map(_flat)
_every = _say("every", _maybe(_count), _one("minute", "minutes", "hour", "hours", "day", "days"))
_jobs = st.lists(_say(_name, "happens", _every), max_size=3).map(_flat)
_check = (
    _say("check", "host", _with, _rules)
    | _say("check", "service", _name, _with, _maybe(_say("expose", _list(_name, _comma))), _rules)
    | _say("check", "jobs", _with, _jobs)
)
checks = st.lists(_check, max_size=3).map(_flat)


@st.composite
def _joined(draw: Callable[..., Any], words: st.SearchStrategy[Words]) -> str:
    """Join words by gaps; where a sign stands none is needed."""
    drawn: Words = draw(words)
    gap = st.sampled_from((" ",) * 8 + _GAPS)
    text = draw(st.sampled_from(("", "", "\n", "# a\n")))
    before = ""
    for word in drawn:
        loose = before in _SIGNS or word in _SIGNS or not before
        loose = loose and not (before in "<>" and word.startswith("="))
        text += draw(st.just("") | gap if loose else gap) + word
        before = word
    return str(text + draw(st.sampled_from(("", "\n", " # the end", " # the end\n"))))


def files() -> st.SearchStrategy[str]:
    """Return texts that are good, though they may name what nobody knows."""
    return _joined(checks)


_LOOSE: Final = (
    *_PLAIN, *NEW_WORDS, *_SIGNS, *_SIGNS, "check", "service", "host", "with", "expose", "if",
    "then", "for", "cycles", "alert", "reload", "restart", "22", "00", "1q", "90s", "1.5g", "UTC",
)  # fmt: skip


@st.composite
def _mangled(draw: Callable[..., Any]) -> Words:
    words = list(draw(checks | rule.map(lambda words: ["check", "service", "a", *words])))
    for _ in range(draw(st.integers(0, 3))):
        if not words:
            break
        at: int = draw(st.integers(0, len(words) - 1))
        how: str = draw(st.sampled_from(("drop", "double", "swap", "put", "change")))
        other: str = draw(st.sampled_from(_LOOSE))
        if how == "drop":
            del words[at]
        elif how == "double":
            words.insert(at, words[at])
        elif how == "swap":
            words[at - 1], words[at] = words[at], words[at - 1]
        else:
            words[at : at + (how == "change")] = [other]
    return words


def garbled() -> st.SearchStrategy[str]:
    """Return texts with some words dropped, doubled, swapped, put in or changed."""
    return _joined(_mangled())
