"""PURE: an Inspeqtor folder as one of ours: the same texts, with what they do and what differs.

What Inspeqtor 2.0.0 does: inspeqtor.md, sections 2 to 5.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

from steadyd.importing.product import (
    RULES,
    Left,
    OutFile,
    Product,
    one_line,
    settings_file,
)
from steadyd.inspeqtor import meaning
from steadyd.model.metric import Dimension, Kind, Subject
from steadyd.probes.catalogue import CATALOGUE, metric_id
from steadyd.rulefiles import inspeqtorconf
from steadyd.rulefiles.compile import compile_file
from steadyd.rulefiles.diagnostics import Diagnostic
from steadyd.rulefiles.judging import Known
from steadyd.rulefiles.lexer import scan
from steadyd.rulefiles.parser import parse

_COMMENT: Final = re.compile(r'("(?:\\.|[^\\])(?:\\.|[^"\\])*+")|#[^\n]*')
_RULE: Final = re.compile(
    r"""if \s+ (?P<family> [^\s:(<>]+ ) \s* (?: [:(] \s* (?P<name> [^\s)<>]+ ) \s* \)? )?
    \s* (?P<op> [<>] ) \s* (?P<amount> \S+ )
    (?: \s+ for \s+ (?P<count> \S+ ) \s+ cycles )? \s+ then \s+ (?P<actions> .+ )""",
    re.VERBOSE | re.DOTALL,
)

_LONGEST: Final = 2000  # characters of a rule that is told in words
_WATCHED: Final = (
    "Without a rule that names `down`, steadyd also alerts when the service is down for 10 s;"
    " Inspeqtor told every look at which it was found down or up."
)
_ONCE: Final = (
    "differs: Inspeqtor ran restart and reload again after the recovery; steadyd runs them once,"
    " when the rule opens, and alerts on recovery only."
)
_ORDER: Final = "differs: Inspeqtor ran the actions in reverse; steadyd runs them as written."
_PER_SECOND: Final = (
    "differs: Inspeqtor divided by the configured cycle; steadyd by the time that really passed."
)
_GAIN: Final = (
    "the gain within one cycle; differs: the first one is unknown (Inspeqtor took it for 0)."
)
_PERCENT: Final = (
    "differs: measured over the time that really passed (Inspeqtor: the configured cycle);"
    " 100 is one core."
)
_TREE: Final = (
    "differs: processes that live count too (Inspeqtor: only children that had ended and were"
    " waited for), so that the value is higher."
)
_NAMED: Final = {
    "cpu:total_user": _TREE,
    "cpu:total_system": _TREE,
    "memory:total_rss": "differs: the processes of the whole unit (Inspeqtor: the main process and"
    " its live descendants); shared pages count in each.",
    "swap": "differs: a host without swap has no value, and the rule is silent (Inspeqtor: 100).",
    "disk": "differs: a mount point that does not exist is unknown (Inspeqtor: 0).",
}


def convert(
    conf: tuple[str, str] | None, rules: Mapping[str, tuple[str, str]], folder: str
) -> Product:
    """Return the files of a folder. `conf` and the values of `rules` are path and text.

    `rules` has them by their new names under rules.d; `folder` is where rules.d will be.
    """
    left: list[Left] = []
    errors: list[str] = []
    files = _settings(conf, folder, left, errors) if conf else settings_file(folder, {}, {})
    for name, (path, text) in rules.items():
        job = name.startswith("jobs.d/")
        files.append(
            OutFile(f"{RULES}/{name}", _jobs(path, text) if job else annotated(path, text, errors))
        )
    return Product(tuple(files), tuple(left), tuple(errors))


def _settings(
    conf: tuple[str, str], folder: str, left: list[Left], errors: list[str]
) -> list[OutFile]:
    path, text = conf
    parsed = inspeqtorconf.parse(text)
    found = meaning(parsed)
    lines = inspeqtorconf.masked(text).split("\n")
    for each in found.diagnostics:
        source = lines[each.line - 1]
        if each.is_error:
            errors.append(_told(path, each))
        left.append(Left(path, each.line, source.strip(), _with_mend(each)))
    given = {"cycle": found.cycle, "deploy": found.deploy, "statsd": found.statsd}
    head = {key: value for key, value in given.items() if value}
    comments = [f"From {path} of Inspeqtor."]
    comments += [f"line {each.line}: {_with_mend(each)}" for each in found.diagnostics]
    return settings_file(folder, head, found.routes, comments)


def _jobs(path: str, text: str) -> str:
    return (
        f"# From {one_line(path)} of Inspeqtor.\n"
        "# Each job has 60 s of grace for itself; the last report survives reloads and restarts.\n"
        f"{_ended(text)}"
    )


def annotated(path: str, text: str, errors: list[str]) -> str:
    """Return a rule file with comments above each rule; its rules are the same."""
    file = parse(text)
    head = [f"From {one_line(path)} of Inspeqtor."]
    if file.bad:
        bad = [each for each in file.diagnostics if each.is_error]
        errors += [_told(path, each) for each in bad]
        head.append("Inspeqtor left this file out, and so does steadyd until it is mended:")
        head += [f"line {each.line}: {_with_mend(each)}" for each in bad]
        return _commented(head) + _ended(text)
    compiled = compile_file(path, file, Known(CATALOGUE))
    starts = sorted(rule.start for check in file.checks for rule in check.rules)
    if any(check.name for check in file.checks):
        head.append(_WATCHED)
    if not starts:
        head.append("differs: without a rule or an expose Inspeqtor left the whole file out.")
    said: set[str] = set()
    notes: dict[int, list[str]] = {}
    for start, end in pairwise([*starts, len(text)]):
        host = not any(check.name for check in file.checks if check.start < start)
        told = [each for each in compiled.diagnostics if start <= each.offset < end]
        place = text.rfind("\n", 0, start) + 1
        words = _words(text[start:end], Subject.HOST if host else Subject.SERVICE)
        words = [each for each in words if each not in said]
        said.update(each for each in words if each.startswith(("differs", "the gain")))
        words += [f"{each.severity}: {_with_mend(each)}" for each in told]
        notes.setdefault(place, []).extend(words)
    first = min(starts, default=len(text))
    head += [_with_mend(each) for each in compiled.diagnostics if each.offset < first]
    made = _insert(text, notes)
    if scan(made).texts != scan(text).texts:  # a comment came into a quoted text
        made = text
    return _commented(head) + _ended(made)


def _words(written: str, subject: Subject) -> list[str]:
    """Tell a rule in plain words, and what is different."""
    plain = " ".join(_COMMENT.sub(lambda found: found[1] or "", written).split())
    found = _RULE.fullmatch(plain) if len(plain) < _LONGEST else None
    if found is None:
        return []
    name = f"{found['family']}:{found['name']}" if found["name"] else found["family"]
    entry = CATALOGUE.lookup(subject, metric_id(name))
    side = "above" if found["op"] == ">" else "below"
    count = found["count"]
    hold = f" at {count} looks in a row" if count and count != "1" else ""
    actions = found["actions"].replace(" ,", ",")
    what = f" {entry.help}" if entry else ""
    words = [f"When {name} is {side} {found['amount']}{hold}: {actions}.{what}"]
    if entry is None:
        words.append("differs: Inspeqtor took an unknown metric for 0; steadyd refuses the rule.")
    else:
        key = "disk" if found["family"] == "disk" else name
        words += [_NAMED[key]] if key in _NAMED else []
        percent = entry.dimension is Dimension.PERCENT
        if entry.kind is Kind.COUNTER:
            per_second = found["amount"].endswith("/sec")
            words.append(_PERCENT if percent else _PER_SECOND if per_second else _GAIN)
    if re.search(r"\b(?:restart|reload)\b", actions):
        words.append(_ONCE)
    return words + ([_ORDER] if "," in actions else [])


def _insert(text: str, notes: Mapping[int, list[str]]) -> str:
    parts, end = [], 0
    for place, words in sorted(notes.items()):
        indent = re.match(r"[ \t]*", text[place:])
        parts += [text[end:place], _commented(words, indent[0] if indent else "")]
        end = place
    return "".join(parts) + text[end:]


def _commented(lines: list[str], indent: str = "") -> str:
    return "".join(f"{indent}# {one_line(line, 400)}\n" for line in lines)


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _with_mend(diagnostic: Diagnostic) -> str:
    return diagnostic.message + (f"; {diagnostic.help}" if diagnostic.help else "")


def _told(path: str, diagnostic: Diagnostic) -> str:
    return diagnostic.at(path) + (f"; {diagnostic.help}" if diagnostic.help else "")
