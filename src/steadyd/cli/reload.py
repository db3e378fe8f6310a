"""steadyd reload: read the rule files again, now."""

import argparse
import os
import sys
from typing import Any

from steadyd.cli import fail
from steadyd.cli.client import Unreachable, add_options, ask, daemon_of, print_json, unreachable
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
    denied = answer.data["denied"] = [*answer.data["denied"], *_asked_as_root(args)]
    if args.json:
        print_json(answer.data)
    elif answer.data["ok"]:
        print(f"{answer.data['loaded']} rules in force")
        for right in denied:
            told = f"no right: {right['service']}: {right['verb']}: {right['why']}"
            print(plain(told), file=sys.stderr)
    else:
        errors = (str(text).splitlines() for text in answer.data["errors"])
        fail("\n".join(plain(line) for lines in errors for line in lines), 1)
    return 0 if answer.data["ok"] else 1


def _asked_as_root(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Ask polkit on behalf of a daemon that is not root, which it does not answer; tell the daemon.

    Polkit tells its verdict on single units to root alone.
    """
    if os.geteuid() != 0:
        return []
    try:
        pid, uid = daemon_of(args)
        rights = [right for right in ask(args, "/api/v1/rights").data["rights"] if right["words"]]
        if uid == 0 or not rights:
            return []
        denied = _refused(rights, pid, uid)
        ask(args, "/api/v1/rights", "POST", body=denied)
    except (OSError, Unreachable):  # the daemon ended meanwhile: it was reloaded all the same
        return []
    return denied


def _refused(rights: list[dict[str, Any]], pid: int, uid: int) -> list[dict[str, Any]]:
    import asyncio

    from steadyd.inits.systemd import default_addresses
    from steadyd.inits.systemd_manager import GRANT
    from steadyd.inits.systemd_polkit import NoVerdict, refused

    denied = []
    for right in rights:
        words = right["words"]
        try:
            no = asyncio.run(refused(default_addresses()[0], right["unit"], words, pid, uid))
            why = f"polkit refuses {', '.join(no)}" if no else ""
        except NoVerdict as error:
            why = f"polkit gives no verdict: {error}"
        if why:
            why = f"{why}; {GRANT}"
            denied.append({"service": right["service"], "verb": right["verb"], "why": why})
    return denied
