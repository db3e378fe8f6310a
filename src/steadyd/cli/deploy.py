"""steadyd deploy: a silence around a deployment, which always ends."""

import argparse

from steadyd.cli.client import Unreachable, add_options, unreachable
from steadyd.cli.silence import added, ended, listed


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deploy`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    start = verbs.add_parser("start", help="mute services (all without a name; globs are fine)")
    start.add_argument(
        "--for", dest="span", metavar="DURATION", default="", help="(`deploy` of the configuration)"
    )
    start.add_argument("--comment", metavar="TEXT", default="", help="why, for those who look")
    finish = verbs.add_parser("finish", help="end them, or those of these services")
    for each in (start, finish):
        each.add_argument("services", metavar="SERVICE", nargs="*", help="none: all")
        add_options(each)
    add_options(verbs.add_parser("status", help="the deploys under way"))


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    try:
        match args.verb:
            case "start":
                return added(args, "deploy", args.span, args.comment)
            case "finish":
                return ended(args, {"kind": "deploy", "services": args.services})
            case _:
                return listed(args, "deploy")
    except Unreachable as error:
        return unreachable(error)
