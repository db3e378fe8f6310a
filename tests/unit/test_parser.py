"""The grammar: new words stand only where the old language has none, all errors are told."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from steadyd.rulefiles import tree
from steadyd.rulefiles.diagnostics import render
from steadyd.rulefiles.parser import parse
from steadyd.rulefiles.tree import text_of
from tests.fakes.rulefiles import places, unmark


def rules(text: str) -> tuple[tree.Rule, ...]:
    file = parse(f"check service a {text}")
    assert not file.bad, file.diagnostics
    return file.checks[0].rules


def rule(text: str) -> tree.Rule:
    [only] = rules(text)
    return only


# -- contextual words

_WORDS = """
down crashed oom flapping alerted not avg min max p50 p99 delta rate and or until between over
will within after start stop signal exec cycle happens every of on reach jobs
"""
WORDS = _WORDS.split()


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(
    "form",
    ["{}:x > 1", "{} > 1", "{}(x) < 1", "{} >= 1", "{} == 1", "{}:x != 1", "{} <1", "{}:{} > 1"],
)
def test_a_word_before_an_operator_is_a_metric_whatever_the_word(word: str, form: str) -> None:
    found = rule(f"if {form.format(word, word)} then alert").condition

    assert isinstance(found, tree.Comparison)
    assert found.family == word


@pytest.mark.parametrize("word", WORDS)
def test_after_alert_a_name_is_a_route_and_elsewhere_a_name(word: str) -> None:
    assert rule(f"if x > 1 then alert {word}").actions[0].argument == word
    assert rule(f"if x:{word} > 1 then alert").condition.name == word  # type: ignore[union-attr]
    check = parse(f"check service {word} with {word} {word} expose {word}").checks[0]
    assert check.name is not None
    assert (check.name.text, check.params[0].key, check.exposed[0].text) == (word, word, word)


@pytest.mark.parametrize("hold", ["", " for 30s", " for 1.5h"])
def test_down_alone_is_an_event(hold: str) -> None:
    assert isinstance(rule(f"if down{hold} then alert").condition, tree.Event)


@pytest.mark.parametrize("word", ["Down", "DOWN", '"down"', "downs"])
def test_only_the_word_itself_is_an_event(word: str) -> None:
    assert parse(f"check service a if {word} then alert").bad


@pytest.mark.parametrize(
    ("text", "cycles", "seconds"),
    [
        ("for 3 cycles", 3, None),
        ("for 1 cycle", 1, None),
        ("for 3 cycle", 3, None),
        ("for 0 cycles", 0, None),
        ("for -2 cycles", -2, None),
        ("for 90s", None, 90),
        ("for 5m", None, 300),
        ("for 250ms", None, 0.25),
    ],
)
def test_a_hold_counts_cycles_or_lasts(text: str, cycles: int, seconds: float) -> None:
    found = rule(f"if x > 1 {text} then alert").hold

    assert found is not None
    assert (found.cycles, found.seconds) == (cycles, seconds)


@pytest.mark.parametrize(
    ("text", "operator", "raw"),
    [
        ("x == 5", "==", "5"),
        ("x ==5", "==", "5"),
        ("x !=5g", "!=", "5g"),
        ("x>=5", ">=", "5"),
        ("x<5", "<", "5"),
        ("x:y == 5", "==", "5"),
        ("x(y) != 5", "!=", "5"),
    ],
)
def test_operators_need_no_blank_behind_them(text: str, operator: str, raw: str) -> None:
    found = rule(f"if {text} then alert").condition

    assert isinstance(found, tree.Comparison)
    assert (found.operator, found.raw) == (operator, raw)


def test_a_file_holds_any_number_of_checks_and_a_check_any_number_of_rules() -> None:
    file = parse(
        "check host\ncheck service a\ncheck service b with owner ops\n"
        "check service c expose memstats if x > 1 then alert if down then restart\ncheck host"
    )

    assert not file.diagnostics
    assert [check.name.text if check.name else None for check in file.checks] == [
        None,
        "a",
        "b",
        "c",
        None,
    ]
    assert [len(check.rules) for check in file.checks] == [0, 0, 0, 2, 0]


@pytest.mark.parametrize("text", ["", " \n", "# nothing\n", "# nothing"])
def test_an_empty_file_is_a_warning(text: str) -> None:
    [said] = parse(text).diagnostics
    assert (said.severity, said.line, said.column) == ("warning", 1, 1)


def test_steps_keep_their_written_order() -> None:
    steps = rule("if x > 1 then alert ops, reload, restart, alert, alert reload_team").actions

    assert [(step.name, step.argument) for step in steps] == [
        ("alert", "ops"),
        ("reload", ""),
        ("restart", ""),
        ("alert", ""),
        ("alert", "reload_team"),
    ]


# -- errors

ERRORS = [
    "§if x > 1 then alert",
    "§service a",
    "check §process a",
    "check service §if x > 1 then alert",
    "check service a §b",
    "check host §name if x > 1 then alert",
    "check service a with §if x > 1 then alert",
    "check service a with owner §if x > 1 then alert",
    "check service a with owner ops, §if x > 1 then alert",
    "check service a with owner ops §cooldown 5m",
    "check service a with runbook http§://x.org",
    'check service a with runbook "\\q" §if x > 1 then alert',
    "check service a expose §if x > 1 then alert",
    "check service a if §> 1 then alert",
    "check service a if x §then alert",
    "check service a if x: §> 1 then alert",
    "check service a if x(y §> 1 then alert",
    "check service a if x > §then alert",
    "check service a if x > 1 §alert",
    "check service a if x > 1 §m then alert",
    "check service a if x > 1q §then alert",
    "check service a if x > 1q §for 3 cycles then alert",
    "check service a if x > 1 for §then alert",
    "check service a if x > 1 for 3 §then alert",
    "check service a if x > 1 for 3 §minutes then alert",
    "check service a if x > 1 for q §cycles then alert",
    "check service a if x > 1 for 3q §then alert",
    "check service a if x > 1 for 30s §cycles then alert",
    "check service a if x > 1 then §",
    "check service a if x > 1 then §notify",
    "check service a if x > 1 then alert,§",
    "check service a if x > 1 then alert ops §dev",
    "check service a if x > 1 then restart §ops",
    "check service a if x §é > 1 then alert",
    'check service a if x > 1 then alert §"half',
    "check service a if x > 1 then alert §; # more",
    "check service a if x:y==5 §then alert",
    # all of them, and on at the next `if` or `check`
    "check service a\n if x §1 then alert\n if x > 2 §alert\n if x > 3 then §ring\n",
    "check service\n§check service b if x §then alert\nfoo\ncheck §hostess",
    "check §job a if x §then alert if y > 1 then alert if z > §",
    "§restart check service a with §if x > 1q §then alert",
]


@pytest.mark.parametrize("marked", ERRORS)
def test_every_error_of_a_file_stands_at_its_place(marked: str) -> None:
    text, expected = unmark(marked)

    file = parse(text)

    assert places(d for d in file.diagnostics if d.is_error) == expected, file.diagnostics


NEW = {
    "x > 1 and y > 2": "x > 1 and y > 2",
    "x > 1 or y > 2 and z < 3": "x > 1 or (y > 2 and z < 3)",
    "(x > 1 or y > 2) and z < 3": "(x > 1 or y > 2) and z < 3",
    "not down or not x > 1": "not down or not x > 1",
    "not (down or x > 1)": "not (down or x > 1)",
    "not not down": "not not down",
    "(((x > 1)))": "x > 1",
    "avg memory:rss over 5m > 1g": "avg memory:rss over 300s > 1g",
    "p95 http(seconds) over 90s >= 1": "p95 http:seconds over 90s >= 1",
    "rate x over 5m > 1/min": "rate x over 300s > 1/min",
    "memory:rss will reach 2g within 1h": "memory:rss will reach 2g within 3600s",
    "crashed": "crashed",
    "oom or flapping": "oom or flapping",
    "alerted HighLatency": "alerted HighLatency",
    # words that are metrics where an operator, `will` or a colon says so
    "down:x > 1": "down:x > 1",
    "rate(x) < 1": "rate:x < 1",
    "avg > 5": "avg > 5",
    "not(down) > 5": "not:down > 5",
    "not ( oom ) < 1": "not:oom < 1",
    "not < 5 and crashed != 1": "not < 5 and crashed != 1",
    "oom will reach 5 within 1h": "oom will reach 5 within 3600s",
    "not (x) will reach 5 within 1h": "not:x will reach 5 within 3600s",
}


@pytest.mark.parametrize("text", NEW)
def test_conditions_are_read_as_the_grammar_has_them(text: str) -> None:
    file = parse(f"check service a\n  if {text} then alert\n")

    assert file.diagnostics == ()
    assert text_of(file.checks[0].rules[0].condition) == NEW[text]


@pytest.mark.parametrize(
    "text",
    [
        "if x > 1 for 3 of 5 cycles until < 0.5 for 2 cycles then alert",
        "if x > 1 until (y < 2 or down) then alert",
        "if down for 30s not between 08:00 and 09:00 then alert",
        "if x > 1 between 22:00 and 06:00 Europe/Berlin on mon, weekend then alert",
        "if x > 1 until x < 1 for 5m not between 22:00 and 06:00 on sun then alert",
        "if x > 1 then alert, reload, after 5m restart, after 15m alert oncall",
        "if x > 1 then start, stop, signal USR2, after 90s signal TERM",
        'if x > 1 then exec "/bin/true \\"a b\\"", alert after',
    ],
)
def test_holds_ends_windows_and_steps_are_read(text: str) -> None:
    assert parse(f"check service a\n  {text}\n").diagnostics == ()


NESTED = "(" * 60


@pytest.mark.parametrize(
    "marked",
    [
        "if x > 1 and §then alert",
        "if (x > 1 §then alert",
        "if x > 1 §) then alert",
        "if not §then alert",
        "if avg > 5 §over 5m > 1 then alert",
        "if avg x §> 1 then alert",
        "if avg x over §5q > 1 then alert",
        "if x will §be 5 within 1h then alert",
        "if x will reach 5 §in 1h then alert",
        "if x will reach 5q §within 1h then alert",
        "if x > 1 for §x of 5 cycles then alert",
        "if x > 1 for 3 of 5 §then alert",
        "if down until §< 1 then alert",
        "if x > 1 until §> 2 then alert",
        "if x == 1 until §< 2 then alert",
        "if x > 1 between §24:00 and 06:00 then alert",
        "if x > 1 between 22:00 §then alert",
        "if x > 1 between 22:00 and 06:00 on §then alert",
        "if x > 1 not §then alert",
        "if x > 1 then after §soon restart",
        "if x > 1 then after 5m §then",
        "if x > 1 then signal§",
        "if x > 1 then exec §true",
        'if x > 1 then exec §"\\q"',
    ],
)
def test_what_is_wrong_in_the_new_grammar_is_told_at_its_place(marked: str) -> None:
    text, expected = unmark(f"check service a\n  {marked}")

    assert places(parse(text).diagnostics) == expected


@pytest.mark.parametrize("text", ["(" * 100_000, "not " * 100_000, "x > 1 and " * 100_000])
def test_no_nesting_is_too_deep_for_the_parser(text: str) -> None:
    assert parse(f"check service a if {text}").bad


@pytest.mark.parametrize(
    "marked",
    [
        "check jobs\n  a happens §weekly",
        "check jobs\n  a happens every 5 §seconds",
        "check jobs\n  a happens every 5x §minutes",
        "check jobs\n  a happens every 99999999999999 §days",
        "check jobs\n  a §if x > 1 then alert",
        "check jobs with owner\n§",
        "check §job\n  a happens every day",
    ],
)
def test_what_is_wrong_with_jobs_is_told_at_its_place(marked: str) -> None:
    text, expected = unmark(marked)

    assert places(d for d in parse(text).diagnostics if d.is_error)[:1] == expected


@pytest.mark.parametrize(
    "text",
    ["if crashed > 1q then alert", "if not:x > 1 the alert", "if avg(x) > 1 for then alert"],
)
def test_a_word_that_was_a_metric_is_not_blamed_for_a_later_error(text: str) -> None:
    [error] = parse(f"check service a {text}").diagnostics

    assert "this version" not in error.message


@pytest.mark.parametrize(
    ("text", "help"),
    [
        ("check servce a", "did you mean service?"),
        ("check service a if x > 1 then restrat", "did you mean restart?"),
        ("check service a if x > 1 for 3 then alert", "write `for 3 cycles` or `for 3s`"),
        ("check service a if x > 1 for 3 minutes then alert", "write `for 3 cycles` or `for 3m`"),
        ("check service a if x > 1 for soon then alert", "a hold is such as"),
        ("check service a if x > 1q then alert", "an amount is such as"),
        ("check service a if x:y==5 then alert", "put a blank before =="),
        ("check service a if x > é then alert", "put the text into quotes"),
    ],
)
def test_an_error_tells_the_mend(text: str, help: str) -> None:
    [error] = [each for each in parse(text).diagnostics if each.is_error]

    assert help in error.help


def test_a_million_errors_are_told_up_to_a_bound() -> None:
    said = parse("check service a\n" + "if x\n" * 100_000).diagnostics

    assert len(said) == 1001
    assert said[-1].message == "99000 more of the kind are not shown"


# -- any text

_SOLID = """
check service host with expose if then for cycles cycle alert restart reload down not and ( ) , :
< > <= >= == != 5 1.5g 80% 10s x y:z # " \\ é 世
"""
PIECES = [
    *_SOLID.split(),
    "\n",
    "\t",
    "\r",
    "\0",
    "\u0301",
    "check service a ",
    "if x > 1 then alert ",
]


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from(PIECES), max_size=60).map(" ".join)
    | st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
)
@example("")
@example('check service "')
@example("if")
@example("check service a if x > 1 for")
def test_no_text_breaks_the_parser_or_the_printer(text: str) -> None:
    file = parse(text)

    for said in file.diagnostics:
        assert 1 <= said.line <= text.count("\n") + 1
        assert 0 <= said.offset <= len(text)
        assert said.column >= 1
        shown = render("a.inq", text, said)
        assert shown.replace("\n", "").isprintable() or not text.isprintable()
    if not file.bad:
        assert sum(len(check.rules) for check in file.checks) <= text.count("if")


UNITS = {
    "quotes": '"',
    "escapes": '"\\',
    "finished quotes": '"a" ',
    "comments": "#",
    "comment lines": "#\n",
    "blanks": " ",
    "letters": "a",
    "invalid": "é",
    "ifs": "if ",
    "checks": "check ",
    "bad rules": "if x > 1q then alert\n",
    "typos": "if x > 1 then restrat\n",
    "parameters": "with a b,",
    "signs": ":(,",
    "steps": "alert,",
    "tabs": "\t\rif\n",
    "zeros": "0",
}


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("head", ["", "check service a if x > ", "check service a with b "])
def test_the_time_is_linear_in_the_length(head: str, unit: str) -> None:
    def seconds(size: int) -> float:
        text = head + unit * (size // len(unit))
        started = time.process_time()
        said = parse(text).diagnostics
        for each in said[:20]:
            render("a.inq", text, each)
        return time.process_time() - started

    seconds(2**12)
    assert seconds(2**18) < 40 * seconds(2**14) + 0.5  # 16 would be exact; quadratic is 256


def test_a_secret_is_named_by_its_file() -> None:
    file = parse("check service a with port 1, password file:redis.key if x > 1 then alert")

    assert file.diagnostics == ()
    assert [(p.key, p.value) for p in file.checks[0].params][-1] == ("password", "file:redis.key")


@pytest.mark.parametrize("marked", ["with a b§:c", "with a file:§", "with a files§:c"])
def test_no_other_value_holds_a_colon(marked: str) -> None:
    text, expected = unmark(f"check service a {marked}")

    assert places(parse(text).diagnostics)[:1] == expected
