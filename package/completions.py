"""Completions for bash, zsh and fish, made from the parser of all commands."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Final

import shtab

from steadyd.cli import whole

PLACES: Final = {
    "bash": "usr/share/bash-completion/completions/steadyd",
    "zsh": "usr/share/zsh/vendor-completions/_steadyd",
    "fish": "usr/share/fish/vendor_completions.d/steadyd.fish",
}
# what an argument takes, by the word that the help shows for it
TAKES: Final = dict.fromkeys(("FILE", "PATH", "RULES", "SOCKET"), shtab.FILE) | {"DIR": shtab.DIR}


def files() -> Mapping[str, str]:
    """Return the text of each file, by its path below the root."""
    parser = whole()
    for action in actions(parser):
        if isinstance(action.metavar, str) and action.metavar in TAKES:
            action.complete = TAKES[action.metavar]  # type: ignore[attr-defined]
    return {path: shtab.complete(parser, shell=shell) for shell, path in PLACES.items()}


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of all its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from actions(command)
