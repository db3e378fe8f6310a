"""Whatever stands in a rule file, reading and judging it ends soon and raises nothing."""

import gc
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from steadyd.cli.check import as_json, judge
from steadyd.model.metric import Subject
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.compile import Compiled, compile_file
from steadyd.rulefiles.diagnostics import Diagnostic, render
from steadyd.rulefiles.format import formatted
from steadyd.rulefiles.judging import Known
from steadyd.rulefiles.parser import parse
from tests.fakes import ruletexts

KNOWN = Known(CATALOGUE, frozenset(("ops", "dev")))
MANY = settings(max_examples=200, deadline=None)


def judged(text: str) -> tuple[tuple[Diagnostic, ...], Compiled | None]:
    """Parse, compile and render; return what was said."""
    file = parse(text)
    compiled = None if file.bad else compile_file("a.inq", file, KNOWN)
    said = file.diagnostics + (compiled.diagnostics if compiled else ())
    for each in said[:50]:
        assert 0 <= each.offset <= len(text)
        shown = render("a.inq", text, each)
        assert "\x1b" not in shown
        assert len(shown) < 5000
    for draft in compiled.drafts if compiled else ():
        for rule in draft.check.rules:
            assert str(rule)
    if compiled:
        assert not parse(formatted(text)).bad
    return said, compiled


@given(st.binary(max_size=300))
@settings(MANY, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.inq"
    path.write_bytes(data)

    entries = judge([str(path)], KNOWN)

    assert as_json(entries)["files"][0]["path"] == str(path)
    for entry in entries:
        for each in entry.diagnostics:
            render(entry.path, entry.text, each)


@given(st.text(max_size=200) | st.text(alphabet=ruletexts.LETTERS, max_size=200))
@MANY
def test_text(text: str) -> None:
    judged(text)


@given(ruletexts.garbled())
@MANY
def test_words(text: str) -> None:
    judged(text)


# -- texts that mean something

_HOST = [name for name in CATALOGUE.names(Subject.HOST) if "*" not in name]
_SERVICE = [name for name in CATALOGUE.names(Subject.SERVICE) if "*" not in name]
_METRIC = st.sampled_from(_HOST + _SERVICE)
_NUMBER = st.integers(-(2**64), 2**64).map(str) | st.decimals(
    0, 10**6, allow_nan=False, places=3
).map(str)
_UNIT = st.sampled_from(("", "k", "m", "g", "t", "P", "kb", "TB", "%", "ms", "s", "min", "h", "d"))
_AMOUNT = st.tuples(_NUMBER, _UNIT, st.sampled_from(("", "", "/sec", "/min", "/h"))).map("".join)
_OPERATOR = st.sampled_from((">", "<", ">=", "<=", "==", "!="))
_DURATION = st.tuples(st.integers(0, 10**12).map(str), st.sampled_from(("ms", "s", "m", "h", "d")))
_COMPARED = st.tuples(_METRIC, _OPERATOR, _AMOUNT).map(" ".join)
_EVENT = st.sampled_from(("down", "oom", "crashed", "flapping", "alerted x", "not down"))
_CONDITION = st.lists(_COMPARED | _EVENT, min_size=1, max_size=3).flatmap(
    lambda terms: st.sampled_from((" and ", " or ")).map(lambda word: word.join(terms))
)
_COUNT = st.integers(-3, 10**19).map(str)
_HOLD = (
    st.just("")
    | _DURATION.map(lambda d: f" for {d[0]}{d[1]}")
    | _COUNT.map(lambda n: f" for {n} cycles")
    | st.tuples(_COUNT, _COUNT).map(lambda n: f" for {n[0]} of {n[1]} cycles")
)
_CLOCK = st.tuples(st.integers(0, 25), st.integers(0, 61)).map(lambda at: f"{at[0]:02}:{at[1]:02}")
_ZONE = st.sampled_from(
    ("", " UTC", " Europe/Berlin", " ../../etc/passwd", " /etc/localtime", ' ""')
)
_DAYS = st.sampled_from(("", " on mon", " on weekend, fri", " on never", ' on "mon"'))
_WINDOW = st.just("") | st.tuples(_CLOCK, _CLOCK, _ZONE, _DAYS).map(
    lambda w: f" between {w[0]} and {w[1]}{w[2]}{w[3]}"
)
_QUOTED = st.text(alphabet='abn01xuU/ \t\n"\\\0\x1b\x7fé世', max_size=30).map(
    lambda text: f'"{text}"'
)
_STEP = st.one_of(
    st.sampled_from(("alert", "alert ops", "alert nobody", "restart", "start", "stop", "reload")),
    st.sampled_from(("signal USR1", "signal sigkill", "signal 9", 'signal "USR1"')),
    _QUOTED.map(lambda text: f"exec {text}"),
    _DURATION.map(lambda d: f"after {d[0]}{d[1]} alert"),
)
_RULE = st.tuples(_CONDITION, _HOLD, _WINDOW, st.lists(_STEP, min_size=1, max_size=3)).map(
    lambda r: f"if {r[0]}{r[1]}{r[2]} then {', '.join(r[3])}"
)
_KEYS = """
owner cooldown budget dry_run verify settle severity runbook watch init unit pidfile match
reload_signal depends warmup group quiet alert_label port hostname socket password endpoint
"""
_KEY = st.sampled_from((*_KEYS.split(), "ownr", '"owner"'))
_VALUE = (
    _QUOTED
    | st.sampled_from(("yes", "no", "ops", "systemd", "3/1h", "HUP", "99999", "-1", "/run/x.pid"))
    | _DURATION.map("".join)
    | _COUNT
)
_WITH = st.lists(st.tuples(_KEY, _VALUE).map(" ".join), max_size=4).map(
    lambda given: f" with {', '.join(given)}" if given else ""
)
_NAME = st.sampled_from(("a", "puma@*", "*", "host.x", '"host"', '"a b"', "[x]", "世", "../../x"))
_CHECK = st.tuples(
    st.just("check host") | _NAME.map(lambda name: f"check service {name}"),
    _WITH,
    st.lists(_RULE, max_size=3).map("\n  ".join),
).map(lambda check: f"{check[0]}{check[1]}\n  {check[2]}\n")


@given(_CHECK)
@settings(MANY, max_examples=600)
@example('check service a with runbook "https://x\\u0000"\n')
@example("check service a if init:uptime < 9223372036854775807d then alert")
@example("check host if load:1 > 1 between 00:00 and 00:00 then alert")
def test_values(text: str) -> None:
    said, compiled = judged(text)

    if compiled is None:
        return
    rules = [rule for draft in compiled.drafts for rule in draft.check.rules]
    assert len(rules) + compiled.disabled == text.count("if ")
    assert not compiled.disabled or any(each.is_error for each in said)
    for rule in rules:
        assert str(rule).isprintable()
        again = f"check {'host' if text[6] == 'h' else 'service a'} {rule}"
        assert not parse(again).bad, again


# -- long texts

_WORDS = """
check service host with expose if then for cycles cycle alert restart reload down not and or
until between on over will reach within after signal exec ( ) , : < > <= >= == != 5 1.5g 80%
x "a b" a # "" 22 00 é
"""
_SOUP = [*_WORDS.split(), "\n"]
_HEAD = "check service a\n"
TEXTS: Final[dict[str, Callable[[int], str]]] = {
    "soup": lambda n: " ".join(random.Random(n).choices(_SOUP, k=n)),
    "rules": lambda n: _HEAD + "if cpu:user > 5 and down then alert, restart\n" * (n // 12),
    "bad rules": lambda n: _HEAD + "if cpu:usr > 5q then alret\n" * (n // 8),
    "other metrics": lambda n: (
        _HEAD + "".join(f"if cpu:usr{at} > 5 then alert\n" for at in range(n // 8))
    ),
    "impossible": lambda n: _HEAD + "if cpu:user > 5 and cpu:user < 3 then alert\n" * (n // 12),
    "terms": lambda n: _HEAD + "if " + "cpu:user > 5 and " * (n // 6) + "down then alert",
    "steps": lambda n: _HEAD + "if down then " + "alert ops, " * (n // 3) + "alert",
    "parameters": lambda n: "check host with " + ", ".join(f"k{at} v" for at in range(n // 3)),
    "same parameter": lambda n: "check host with " + "owner x, " * (n // 3) + "owner y",
    "routes": lambda n: _HEAD + "if down then alert nobody\n" * (n // 5),
    "days": lambda n: (
        _HEAD + f"if down between 01:00 and 02:00 on {'mon, ' * (n // 2)}sun then alert"
    ),
    "zones": lambda n: _HEAD + "if down between 01:00 and 02:00 Mars/X then alert\n" * (n // 14),
    "checks": lambda n: "check service a\n" * (n // 3),
    "escapes": lambda n: 'check host with k "' + r"\x41\n" * n + '"',
    "program": lambda n: _HEAD + 'if down then exec "/bin/x' + " a" * n + '"',
}


def seconds(kind: str, words: int) -> float:
    text = TEXTS[kind](words)
    gc.collect()
    started = time.process_time()
    said, _ = judged(text)
    assert len(said) <= 4 * 1001
    return time.process_time() - started


@pytest.mark.parametrize("kind", TEXTS)
def test_the_time_and_memory_are_linear_in_the_words(kind: str) -> None:
    seconds(kind, 1000)
    some = seconds(kind, 10_000)
    assert some < 20 * seconds("rules", 10_000) + 0.5
    assert seconds(kind, 100_000) < 40 * some + 0.5  # 10 would be exact; quadratic is 100
    text = TEXTS[kind](20_000)
    tracemalloc.start()
    try:
        judged(text)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 2000 * len(text) + 2**21
