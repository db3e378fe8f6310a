"""steadyd job-done: tell that a recurring job ran. Every local user may."""

import argparse
from urllib.parse import quote

from steadyd.cli import fail
from steadyd.cli.client import Unreachable, add_options, ask, place, print_json, unreachable
from steadyd.cli.terminal import plain
from steadyd.settings import job_socket


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `job-done`."""
    parser.add_argument("name", metavar="NAME", help="of the job in `check jobs`")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Tell; 1 if there is no such job."""
    args.control = job_socket(args.control or place())
    try:
        answer = ask(args, f"/api/v1/job-done/{quote(args.name, safe='')}", "POST")
    except Unreachable as error:
        return unreachable(error)
    if args.json:
        print_json(answer.data)
    return fail(plain(answer.error), 1) if answer.error else 0
