"""steadyd services: which unit each checked service resolves to, and why not."""

import argparse
from typing import Any

from steadyd.cli import fail
from steadyd.cli.client import Unreachable, add_options, ask, print_json, unreachable
from steadyd.cli.terminal import clean, plain, table
from steadyd.inits.processes import wrapper

Json = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `services`."""
    add_options(parser)
    parser.add_argument(
        "--rules", metavar="DIR", action="append", help="resolve without the daemon"
    )
    parser.add_argument("--config", metavar="FILE", help="configuration, with --rules")


def run(args: argparse.Namespace) -> int:
    """Ask the daemon, or with `--rules` the init systems, and print."""
    code = 0
    if args.rules or args.config:
        from steadyd.cli.offline import NoAnswer
        from steadyd.settings import SettingsError

        try:
            found, code = _offline(args)
        except SettingsError as error:
            return fail(str(error), 2)
        except NoAnswer as error:
            return fail(str(error), 1)
    else:
        try:
            answer = ask(args, "/api/v1/services")
        except Unreachable as error:
            return unreachable(error)
        if answer.error:
            return fail(plain(answer.error), 1)
        found = answer.data["services"]
    if args.json:
        print_json({"services": found})
    else:
        print("\n".join(lines(found)))
    return code


def lines(services: list[Json]) -> list[str]:
    """Return what is printed."""
    if not services:
        return ["no rule file names a service"]
    rows = [
        (
            service["name"],
            service["state"],
            service["init"] or "–",
            service["unit"] or "–",
            str(service["main_pid"] or "–"),
            str(len(service["pids"])),
            service["why"] or service["reason"] or "",
        )
        for service in services
    ]
    warnings = [
        f"{clean(service['name'])}: {why}; start the program by `exec`"
        for service in services
        if (why := wrapper(service["main_pid"] or 0))
    ]
    heads = ("SERVICE", "STATE", "INIT", "UNIT", "MAIN PID>", "PROCESSES>", "")
    return [*table(heads, rows), *warnings]


def _offline(args: argparse.Namespace) -> tuple[list[Json], int]:
    """Return what was found, and the exit code: 1 where rule files have errors, which are told."""
    from steadyd.cli.offline import resolve, tell_errors
    from steadyd.exposition.api import rfc3339

    found, looked = [], resolve(args)
    code = tell_errors(looked)
    for service in looked.services:
        status = service.status
        found.append(
            {
                "name": service.name,
                "unit": status.unit if status else None,
                "init": status.init if status else None,
                "state": str(status.state) if status else "unknown",
                "reason": status.reason if status else service.finding.reason,
                "pids": list(service.pids),
                "main_pid": (status.main_pid or None) if status else None,
                "since": rfc3339(status.since) if status else None,
                "why": None if status else service.finding.reason,
            }
        )
    return found, code
