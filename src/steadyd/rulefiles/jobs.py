"""PURE: recurring jobs, in rule files and in the files of a folder `jobs.d`.

Those have words of their own (inspeqtor.md, sections 1 and 3.2): `#` is a letter, and begins a
comment only where a blank or the line's end follows it.
"""

import re
from typing import Final

from steadyd.rulefiles import amounts
from steadyd.rulefiles.cursor import Cursor, Stop
from steadyd.rulefiles.diagnostics import quoted
from steadyd.rulefiles.lexer import END, INVALID, NAME, Tokens
from steadyd.rulefiles.tree import Job

UNITS: Final = {
    **dict.fromkeys(("minute", "minutes"), 60),
    **dict.fromkeys(("hour", "hours"), 3600),
    **dict.fromkeys(("day", "days"), 86_400),
}
_RESERVED: Final = frozenset(("check", "jobs", "with", "happens", "every", *UNITS, ","))
_LARGEST: Final = 2**63 // 10**9  # seconds that fit into the ancestor's nanoseconds
_LETTER: Final = r'[^\x00-\x20"(),:;<>\[\\\]\x7f-\xff]'
_PIECE: Final = re.compile(
    rf"""[ \t\r\n]*+ (?: (?P<comment> \#(?=[ \t\r\n]) [^\n]*+ | \#\Z) | (?P<word> {_LETTER}++ )
                       | (?P<sign> , ) | (?P<quoted> "(?:\\.|[^\\])(?:\\.|[^"\\])*+" )
                       | (?P<bad> ".* | . ) | (?P<end> \Z ) )""",
    re.DOTALL | re.VERBOSE,
)


def scan(text: str) -> Tokens:
    """Return the tokens of a file of a folder `jobs.d`."""
    kinds: list[str] = []
    texts: list[str] = []
    starts: list[int] = []
    for found in _PIECE.finditer(text):
        group = found.lastgroup or "end"
        if group == "comment":
            continue
        word = found[group]
        kind = {"end": END, "bad": INVALID}.get(group, NAME)
        kinds.append(word if word in _RESERVED and kind == NAME else kind)
        texts.append(word)
        starts.append(found.start(group))
        if group == "end":
            break
    return Tokens(kinds, texts, starts)


class Jobs(Cursor):
    """Reads `NAME happens every 5 minutes`."""

    def _jobs(self) -> tuple[Job, ...]:
        jobs: list[Job] = []
        while self._kind not in ("check", END):
            try:
                self._broken = False
                job = self._job()
                if not self._broken:
                    jobs.append(job)
            except Stop:
                self._recover()
                break
        return tuple(jobs)

    def _job(self) -> Job:
        name, start = self._take(NAME, "the name of a job")
        self._word("happens")
        self._word("every")
        count, place = 1, self._start
        if self._text not in UNITS:
            text, place = self._take(NAME, "a number or a period")
            if self._text not in UNITS:
                self._fail(*(f"`{unit}`" for unit in UNITS))
            try:
                count = amounts.integer(text)
            except amounts.BadNumber as why:
                self._bad(self._start, f"{quoted(text)} {why}", "write `every 5 minutes`")
        seconds = count * UNITS[self._text]
        if abs(seconds) > _LARGEST:
            self._bad(self._start, "the period does not fit into 64 bits of nanoseconds", "")
        self._next()
        return Job(name, seconds, start, place)

    def _word(self, word: str) -> None:
        if self._text != word or self._kind not in (NAME, word):
            self._fail(f"`{word}`", help="write `NAME happens every 5 minutes`")
        self._next()
