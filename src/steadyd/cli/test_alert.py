"""steadyd test-alert: send a test message through a route, and tell how each target took it."""

import argparse
from urllib.parse import quote

from steadyd.cli import fail
from steadyd.cli.client import Unreachable, add_options, ask, print_json, unreachable
from steadyd.cli.terminal import clean, paint, plain

PATIENCE = 290.0  # seconds; each target has a deadline of its own in the daemon


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `test-alert`."""
    parser.add_argument("route", metavar="ROUTE", nargs="?", default="", help="(default)")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and print. Exit 1 if a target did not take it, or there is none."""
    path = "/api/v1/test-alert"
    if args.route:
        path += f"/{quote(args.route, safe='')}"
    try:
        answer = ask(args, path, "POST", PATIENCE)
    except Unreachable as error:
        return unreachable(error)
    if answer.error:
        return fail(plain(answer.error), 1)
    targets = answer.data["targets"]
    if args.json:
        print_json(answer.data)
    else:
        for target in targets:
            said = paint("ok") if target["ok"] else paint("failed")
            reason = f": {clean(target['reason'])}" if target["reason"] else ""
            print(f"{said}  {clean(target['route'])}  {clean(target['target'])}{reason}")
    if not targets:
        return fail(f"route {args.route or 'default'} has no targets", 1)
    return 0 if all(target["ok"] for target in targets) else 1
