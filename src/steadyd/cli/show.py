"""steadyd show: the last readings of a metric that a rule names, as numbers and as a curve."""

import argparse
from urllib.parse import quote

from steadyd.cli import fail
from steadyd.cli.client import Unreachable, add_options, ask, print_json, unreachable
from steadyd.cli.terminal import clean, columns, plain
from steadyd.exposition.human import measure, span, sparkline, squeezed


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `show`."""
    parser.add_argument("name", metavar="NAME", help="a service, or host")
    parser.add_argument("metric", metavar="METRIC", help="such as memory:total_rss")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    path = f"/api/v1/show/{quote(args.name, safe='')}/{quote(args.metric, safe='')}"
    try:
        answer = ask(args, path)
    except Unreachable as error:
        return unreachable(error)
    if answer.error:
        return fail(plain(answer.error), 1)
    if args.json:
        print_json(answer.data)
        return 0
    told = answer.data
    numbers = [
        f"{word} {measure(args.metric, told[word])}" for word in ("min", "max", "avg", "now")
    ]
    seconds = span(len(told["values"]) * told["cycle_seconds"])
    print(f"{clean(args.name)} {clean(args.metric)}: {', '.join(numbers)}, of {seconds}")
    print(sparkline(squeezed(told["values"], columns())))
    return 0
