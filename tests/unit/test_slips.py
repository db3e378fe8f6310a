"""What people write who know other tools: told at its place, with the way it is written here."""

import pytest

from steadyd.rulefiles.diagnostics import render
from steadyd.rulefiles.parser import parse
from tests.fakes.rulefiles import places, unmark

SLIPS = {
    "if memory:rss §=> 5g then alert": "write `>=`",
    "if memory:rss §=< 5g then alert": "write `<=`",
    "if cpu:user <§> 5 then alert": "write `!=`",
    "if cpu:user §= 5 then alert": "write `==`",
    "if cpu:user §=5 then alert": "write `== 5`",
    "if cpu:user=5 §then alert": "write `user == 5`",
    "if cpu:user==5 §then alert": "put a blank before ==",
    "if cpu:user §is 5 then alert": "write `==`",
    "if cpu:user > 5 §&& down then alert": "write `and`",
    "if down §&& cpu:user > 5 then alert": "write `and`",
    "if cpu:user > 5 §|| down then alert": "write `or`",
    "if down §|| oom then alert": "write `or`",
    "if cpu:user > 5 §AND down then alert": "write `and`",
    "if down §OR oom then alert": "write `or`",
    "if cpu:user > 5 §THEN alert": "write `then`",
    "if memory:rss > 5 §gb then alert": "no blank stands before a unit: 5gb",
    "if memory:rss > 5 §GB then alert": "no blank stands before a unit: 5GB",
    "if cpu:user > 5 §% then alert": "no blank stands before a unit: 5%",
    "if not exists §then restart": "`down` is true while a service does not run",
    "if does §not exist then restart": "`down` is true while a service does not run",
    "if not running §then restart": "`down` is true while a service does not run",
    "if cpu:user > 5 for 5 §minutes then alert": "write `for 5 cycles` or `for 5m`",
    "if cpu:user > 5 for 5 §times then alert": "write `for 5 cycles`",
    "if down then restart §and alert": "commas stand between steps: then restart, alert",
    "if down then restart §&& alert": "commas stand between steps",
    "if down then restart §alert": "commas stand between steps",
    "if down then alert and §restart": "the word behind `alert` is its route; commas",
    "if down then alert to §ops": "write `alert ops`",
    "if down then alert else §alert": "there is no `else`",
    "if down then restart §else alert": "there is no `else`",
    "if down then §Restart": "write `restart`",
    "if down then exec §/bin/true": 'exec "/bin/true"',
}


@pytest.mark.parametrize("marked", SLIPS)
def test_a_slip_is_told_at_its_place_with_the_mend(marked: str) -> None:
    text, expected = unmark(f"check service a\n  {marked}\n")

    said = parse(text).diagnostics

    assert places(said[:1]) == expected, said
    assert SLIPS[marked] in said[0].help
    lines = render("a.inq", text, said[0]).split("\n")
    assert lines[1].strip() == text.split("\n")[1].strip()
    assert lines[2].index("^") == 4 + expected[0][1] - 1
    assert lines[3].startswith("    help: ")


CHECKS = {
    "check §process nginx with pidfile /run/nginx.pid": "write `check service NAME`",
    "check §system $HOST": "write `check host`",
    "check §filesystem rootfs with path /": "a disk is a metric of the host",
    "check §Service a": "write `service`",
}


@pytest.mark.parametrize("marked", CHECKS)
def test_checks_of_other_tools_are_told_with_ours(marked: str) -> None:
    text, expected = unmark(marked)

    said = parse(text).diagnostics

    assert places(said[:1]) == expected
    assert CHECKS[marked] in said[0].help


@pytest.mark.parametrize("word", ["process", "exists", "=", "is", "else", "GB", "to", "AND"])
@pytest.mark.parametrize(
    "text", ["check service {}", "check host with {} {}", "check host if {} > 1 then alert {}"]
)
def test_a_word_of_another_tool_is_a_name_where_a_name_stands(word: str, text: str) -> None:
    assert not parse(text.format(word, word)).bad
