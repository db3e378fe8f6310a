"""steadyd reload: read the rule files again, now."""

import argparse

from steadyd.cli import fail
from steadyd.cli.client import Unreachable, add_options, ask, print_json, unreachable
from steadyd.cli.terminal import plain

PATIENCE = 120.0  # seconds, with --wait
AT_ONCE = 2.0  # seconds in which a refusal is heard; a reload goes on without us


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `reload`."""
    parser.add_argument(
        "--wait", action="store_true", help="wait for the result; exit 1 if a file is bad"
    )
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and with `--wait` tell what it came to."""
    try:
        answer = ask(args, "/-/reload", "POST", PATIENCE if args.wait else AT_ONCE)
    except Unreachable as error:
        if not args.wait and isinstance(error.__cause__, TimeoutError):
            return 0  # it was asked, and is still at it
        return unreachable(error)
    if "ok" not in answer.data:
        return fail(plain(answer.error) or f"the daemon answered {answer.status}", 1)
    if not args.wait:
        return 0
    if args.json:
        print_json(answer.data)
    elif answer.data["ok"]:
        print(f"{answer.data['loaded']} rules in force")
    else:
        errors = (str(text).splitlines() for text in answer.data["errors"])
        fail("\n".join(plain(line) for lines in errors for line in lines), 1)
    return 0 if answer.data["ok"] else 1
