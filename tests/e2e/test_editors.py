"""What colours and indents rule files in Vim and VS Code, held against a sample."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VIM, CODE = ROOT / "contrib/vim", ROOT / "contrib/vscode"

SAMPLE = """\
# of the host: if down then alert
check host with owner ops
  if disk:/ > 90% for 3 cycles then alert
  if load(1) >= 4 and not swap == 5 then alert after, alert

check service "my app" with cooldown 5m
  if down or not (oom) for 10s then restart, after 5m alert oncall
  if down:x < 1 and rate(x) < 1 and avg != 5 then reload
  if avg memory:rss over 5m > 1.5g between 22:00 and 06:00 on mon then signal USR1
  if disk:/srv will reach 95% within 6h then exec "/bin/if \\" then" # then TODO

check jobs with owner ops
  sweep happens every 5 minutes
"""

# A word of the sample (its n-th of the line), and the group that it belongs to.
COLOURS = {
    (1, "if"): "comment",
    (2, "check"): "keyword",
    (2, "host"): "keyword",
    (2, "with"): "keyword",
    (2, "owner"): "",
    (3, "if"): "keyword",
    (3, "disk"): "metric",
    (3, ">"): "operator",
    (3, "90"): "number",
    (3, "for"): "keyword",
    (3, "3"): "number",
    (3, "cycles"): "keyword",
    (3, "then"): "keyword",
    (3, "alert"): "action",
    (4, "load"): "metric",
    (4, ">="): "operator",
    (4, "and"): "joint",
    (4, "not"): "joint",
    (4, "=="): "operator",
    (4, "after"): "route",
    (6, '"my'): "string",
    (6, "5m"): "number",
    (7, "down"): "event",
    (7, "10s"): "number",
    (7, "or not"): "joint",
    (7, "not"): "joint",
    (7, "oom"): "event",
    (7, "restart"): "action",
    (7, "after"): "joint",
    (7, "oncall"): "route",
    (8, "down"): "metric",
    (8, "rate"): "metric",
    (8, "avg"): "",
    (8, "!="): "operator",
    (8, "reload"): "action",
    (9, "avg"): "function",
    (9, "memory"): "metric",
    (9, "over"): "joint",
    (9, "1.5g"): "number",
    (9, "between"): "joint",
    (9, "22:00"): "time",
    (9, "on"): "joint",
    (9, "signal"): "action",
    (9, "USR1"): "",
    (10, "will"): "joint",
    (10, "within"): "joint",
    (10, "6h"): "number",
    (10, "exec"): "action",
    (10, '"/bin'): "string",
    (10, '" then"'): "string",
    (10, "# then"): "comment",
    (12, "check"): "keyword",
    (12, "jobs"): "keyword",
    (13, "sweep"): "",
    (13, "happens"): "joint",
    (13, "every"): "joint",
    (13, "5"): "number",
    (13, "minutes"): "joint",
}
PLACES = [(line, SAMPLE.split("\n")[line - 1].index(word) + 1) for line, word in COLOURS]


def differing(found: list[str]) -> dict[tuple[int, str], str]:
    return {
        place: told
        for (place, wanted), told in zip(COLOURS.items(), found, strict=True)
        if told != wanted
    }


# -- Vim

_VIM = shutil.which("vim.basic") or shutil.which("vim")
_HAS_SYNTAX = _VIM and b"+syntax" in subprocess.run([_VIM, "--version"], capture_output=True).stdout
vim_only = pytest.mark.skipif(not _HAS_SYNTAX, reason="vim with +syntax is not installed")


def vim(tmp_path: Path, *commands: str) -> list[str]:
    """Open the file in Vim with our files alone; return the lines that the commands leave."""
    assert _VIM
    script, out = tmp_path / "script.vim", tmp_path / "out"
    script.write_text(
        "\n".join(
            (
                "let lines = []",
                f"set runtimepath^={VIM}",
                "filetype plugin indent on",
                "syntax on",
                f"edit {tmp_path}/a.inq",
                *commands,
                f"call writefile(lines, '{out}')",
                "qall!",
            )
        )
    )
    subprocess.run(
        [_VIM, "-N", "-u", "NONE", "-i", "NONE", "-n", "-es", "-S", str(script)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        env={"HOME": str(tmp_path), "TERM": "dumb", "PATH": "/usr/bin:/bin"},
        check=False,
    )
    return out.read_text().splitlines()


@vim_only
def test_vim_colours_the_sample(tmp_path: Path) -> None:
    (tmp_path / "a.inq").write_text(SAMPLE)

    told = vim(
        tmp_path,
        "call add(lines, &filetype)",
        *(f"call add(lines, synIDattr(synID({at[0]}, {at[1]}, 1), 'name'))" for at in PLACES),
        "call add(lines, synIDattr(synID(10, col([10, '$']) - 2, 1), 'name'))",
        "call add(lines, &commentstring)",
    )

    assert (told[0], told[-2:]) == ("inq", ["inqTodo", "# %s"])
    groups = [name.removeprefix("inq").lower() for name in told[1:-2]]
    assert differing(groups) == {}


@vim_only
def test_vim_indents_as_the_formatter_does(tmp_path: Path) -> None:
    from steadyd.rulefiles.format import formatted

    dressed = formatted(
        "check service a with owner ops # a\n"
        "if memory:total_rss > 6g for 3 cycles between 22:00 and 06:00 Europe/Berlin then alert\n"
        "# b\nif down then alert\n\ncheck host if swap > 5 then alert"
    )
    flat = "".join(line.lstrip() + "\n" for line in dressed.splitlines())
    (tmp_path / "a.inq").write_text(flat)

    told = vim(tmp_path, "normal! gg=G", "let lines = getline(1, '$')")

    wanted = dressed.splitlines()
    wanted[3] = "    # b"  # a comment goes with what is above it
    assert "    then alert" in wanted
    assert told == wanted


# -- VS Code

_NODE = shutil.which("node")

# Enough of a TextMate engine: the earliest match of a line wins, of those the first in the list.
_ENGINE = r"""
const fs = require("fs");
const [grammar, text, places] = JSON.parse(fs.readFileSync(0, "utf8"));
const compile = source => new RegExp(source, "g");
const first = (rules, line, from) => {
  let best = null;
  for (const rule of rules) {
    const found = compile(rule.match || rule.begin);
    found.lastIndex = from;
    const match = found.exec(line);
    if (match && match[0] && (!best || match.index < best.match.index)) best = {rule, match};
  }
  return best;
};
const scopes = text.split("\n").map(line => {
  const names = Array(line.length + 1).fill("");
  const paint = (name, from, to) => { for (let at = from; at < to; at++) names[at] = name; };
  for (let at = 0; at < line.length;) {
    const best = first(grammar.patterns, line, at);
    if (!best) break;
    const {rule, match} = best;
    let end = match.index + match[0].length;
    if (rule.begin) {
      let stop;
      do {
        stop = first([{match: rule.end}, ...rule.patterns], line, end);
        end = stop ? stop.match.index + stop.match[0].length : line.length;
      } while (stop && stop.rule.match !== rule.end);
    }
    if (rule.name) paint(rule.name, match.index, end);
    let from = match.index;
    for (const [number, capture] of Object.entries(rule.captures || {})) {
      const part = match[number];
      if (!part) continue;
      from = line.indexOf(part, from);
      paint(capture.name, from, from + part.length);
      from += part.length;
    }
    at = end;
  }
  return names;
});
console.log(JSON.stringify(places.map(([line, column]) => scopes[line - 1][column - 1])));
"""
_SCOPES = {
    "comment.line": "comment",
    "keyword.control": "keyword",
    "variable.other.metric": "metric",
    "keyword.operator.comparison": "operator",
    "constant.numeric.time": "time",
    "constant.numeric": "number",
    "support.function.action": "action",
    "support.function.aggregate": "function",
    "support.constant.event": "event",
    "entity.name.tag.route": "route",
    "keyword.operator.logical": "joint",
    "keyword.other": "joint",
    "string.quoted": "string",
    "entity.name.section": "string",
}


def group(scope: str) -> str:
    return next((name for start, name in _SCOPES.items() if scope.startswith(start)), scope)


@pytest.mark.skipif(not _NODE, reason="node is not installed")
def test_vs_code_colours_the_sample() -> None:
    grammar = json.loads((CODE / "syntaxes/inq.tmLanguage.json").read_text())

    assert _NODE
    done = subprocess.run(
        [_NODE, "-e", _ENGINE],
        input=json.dumps([grammar, SAMPLE, PLACES]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stderr == ""
    assert differing([group(scope) for scope in json.loads(done.stdout)]) == {}


def test_vs_code_finds_what_its_package_names() -> None:
    package = json.loads((CODE / "package.json").read_text())

    [language] = package["contributes"]["languages"]
    [grammar] = package["contributes"]["grammars"]
    assert language["extensions"] == [".inq"]
    assert language["id"] == grammar["language"]
    told = json.loads((CODE / grammar["path"]).read_text())
    assert told["scopeName"] == grammar["scopeName"]
    assert json.loads((CODE / language["configuration"]).read_text())["comments"] == {
        "lineComment": "#"
    }


def test_the_sample_is_one_that_the_parser_reads() -> None:
    from steadyd.rulefiles.parser import parse

    assert not parse(SAMPLE).bad
