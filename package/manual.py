"""The manual: pages in man(7), whose lists are made from the parser and from the catalogue."""

import argparse
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import steadyd
from steadyd.cli import whole
from steadyd.model.metric import Subject
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles import editing

MAN: Final = Path(__file__).parent / "man"
LISTS: Final = {
    "COMMANDS": lambda: "".join(_commands(whole(), "steadyd")),
    "KEYS": lambda: "".join(_words(editing.KEYS)),
    "EVENTS": lambda: "".join(_words(editing.EVENTS)),
    "ACTIONS": lambda: "".join(_words(editing.ACTIONS)),
    "SERVICE METRICS": lambda: "".join(_metrics(Subject.SERVICE)),
    "HOST METRICS": lambda: "".join(_metrics(Subject.HOST)),
}


def pages() -> Mapping[str, str]:
    """Return the text of each page, by its file's name."""
    return {path.name: _filled(path.read_text("utf-8")) for path in sorted(MAN.iterdir())}


def _filled(text: str) -> str:
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    date = time.strftime("%Y-%m-%d", time.gmtime(epoch))
    text = text.replace("@DATE@", date).replace("@VERSION@", steadyd.__version__)
    return re.sub(r"^@LIST (.+)@\n", lambda found: LISTS[found[1]](), text, flags=re.MULTILINE)


def _commands(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {each.dest: each.help or "" for each in action._choices_actions}
            for word, command in action.choices.items():
                yield f".SS {escaped(f'{name} {word}')}\n"
                yield _line(_sentence(told[word]))
                yield from _options(command)
                yield from _commands(command, f"{name} {word}")


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        yield f".TP\n{_head(action)}\n"
        yield _line(_sentence((action.help or "") % vars(action)))


def _head(action: argparse.Action) -> str:
    words = ", ".join(rf"\fB{escaped(word)}\fR" for word in action.option_strings)
    if action.nargs == 0:
        return words
    value = action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper()
    value = rf"\fI{escaped(str(value))}\fR"
    if action.nargs in ("*", "?"):
        value = f"[{value}]"
    return f"{words} {value}".strip() + (" ..." if action.nargs in ("*", "+") else "")


def _words(told: Mapping[str, str]) -> Iterator[str]:
    for word, text in told.items():
        yield f".TP\n\\fB{escaped(word)}\\fR\n"
        yield _line(text)


def _metrics(subject: Subject) -> Iterator[str]:
    for metric in CATALOGUE.metrics:
        if metric.subject is subject:
            yield f".TP\n\\fB{escaped(str(metric.id))}\\fR ({metric.dimension.name.lower()})\n"
            yield _line(metric.help)


def _sentence(text: str) -> str:
    return text and text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _line(text: str) -> str:
    """Return a line of text; one that begins with a dot or a quote is no request."""
    text = escaped(text)
    return ("\\&" if text.startswith((".", "'")) else "") + text + "\n"


def escaped(text: str) -> str:
    """Return text as roff prints it: a backslash is one, a hyphen can be copied."""
    signs = {"\\": "\\e", "-": "\\-", "\n": " ", "…": "...", "`": "\\(ga", "'": "\\(aq"}
    return "".join(signs.get(sign, sign) for sign in text)
