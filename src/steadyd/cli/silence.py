"""steadyd silence: mute messages and verbs for a while; what goes on is watched all the same."""

import argparse
from typing import Any

from steadyd.cli import fail
from steadyd.cli.client import Unreachable, add_options, ask, print_json, unreachable
from steadyd.cli.terminal import clean, plain, table
from steadyd.rulefiles.amounts import BadNumber, duration

Json = dict[str, Any]
HEADS = ("ID", "KIND", "SERVICES", "UNTIL", "BY", "")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `silence`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    add = verbs.add_parser("add", help="mute services (all without a name; globs are fine)")
    add.add_argument("services", metavar="SERVICE", nargs="*", help="none: all")
    add.add_argument("--for", dest="span", metavar="DURATION", default="1h", help="(1h)")
    add.add_argument("--comment", metavar="TEXT", default="", help="why, for those who look")
    expire = verbs.add_parser("expire", help="end one, by its id")
    expire.add_argument("id", metavar="ID", help="of `silence list`")
    listed = verbs.add_parser("list", help="those that are in force")
    for each in (add, expire, listed):
        add_options(each)


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    try:
        match args.verb:
            case "add":
                return added(args, "silence", args.span, args.comment)
            case "expire":
                return ended(args, {"id": args.id})
            case _:
                return listed(args)
    except Unreachable as error:
        return unreachable(error)


def added(args: argparse.Namespace, kind: str, span: str, comment: str) -> int:
    """Begin a silence or a deploy and tell until when it lasts."""
    wish: Json = {"kind": kind, "services": args.services, "comment": comment}
    if span:
        try:
            wish["seconds"] = duration(span)
        except BadNumber as why:
            return fail(f"--for {plain(span)} {why}", 2)
    answer = ask(args, "/api/v1/silences", "POST", body=wish)
    if answer.error:
        return fail(plain(answer.error), 1)
    if args.json:
        print_json(answer.data)
    else:
        print(f"{_of(answer.data)}: muted until {answer.data['until']} ({answer.data['id']})")
    return 0


def ended(args: argparse.Namespace, wish: Json) -> int:
    """End what is wished to end; 1 if there was nothing."""
    answer = ask(args, "/api/v1/silences/expire", "POST", body=wish)
    if answer.error:
        return fail(plain(answer.error), 1)
    if args.json:
        print_json(answer.data)
    count = len(answer.data["ended"])
    if not count:
        return fail("there is nothing to end; `steadyd silence list` tells what is in force", 1)
    if not args.json:
        print(f"{count} ended; what is still wrong is told as soon as it has settled")
    return 0


def listed(args: argparse.Namespace, kind: str = "") -> int:
    """Print those in force."""
    answer = ask(args, "/api/v1/silences")
    if answer.error:
        return fail(plain(answer.error), 1)
    found = [each for each in answer.data["silences"] if kind in ("", each["kind"])]
    if args.json:
        print_json({"silences": found})
    elif not found:
        print("nothing is muted")
    else:
        rows = [
            (each["id"], each["kind"], _of(each), each["until"], each["by"], each["comment"])
            for each in found
        ]
        print("\n".join(table(HEADS, rows)))
    return 0


def _of(silence: Json) -> str:
    return clean(" ".join(silence["services"])) or "everything"
