"""steadyd export: all numbers as JSON, in the form of Inspeqtor's `export`."""

import argparse

from steadyd.cli import fail
from steadyd.cli.client import Unreachable, add_options, ask, print_json, unreachable
from steadyd.cli.terminal import plain


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export`."""
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    try:
        answer = ask(args, "/api/v1/export")
    except Unreachable as error:
        return unreachable(error)
    if answer.error:
        return fail(plain(answer.error), 1)
    print_json(answer.data)
    return 0
