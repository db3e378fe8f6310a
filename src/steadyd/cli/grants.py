"""steadyd grants: exactly the rights that the loaded rules need, in the form of the host."""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping

from steadyd.cli import fail
from steadyd.cli.offline import NoAnswer, Service, resolve, tell_errors
from steadyd.cli.terminal import plain
from steadyd.inits.systemd_status import polkit_words, unit_name
from steadyd.inits.upstart_sudo import COMMANDS
from steadyd.model.rule import Verb
from steadyd.settings import SettingsError

# What the adapters run through sudo, whole command lines with absolute paths (sudoers(5)).
SUDO_COMMANDS: dict[str, dict[Verb, tuple[str, ...]]] = {
    "upstart": {verb: tuple(f"/sbin/{each}" for each in some) for verb, some in COMMANDS.items()}
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `grants`."""
    parser.add_argument(
        "kind",
        choices=("polkit", "sudoers"),
        help="the form: a polkit rule (>= 0.106) for systemd, a sudoers fragment for Upstart",
    )
    parser.add_argument("--config", metavar="FILE", help="configuration (steadyd.toml)")
    parser.add_argument("--rules", metavar="DIR", action="append", help="folder of rule files")
    parser.add_argument("--user", default="steadyd", help="the user that steadyd runs as")


def run(args: argparse.Namespace) -> int:
    """Print the rule. A service that is not there yet gets the unit that its name would have."""
    try:
        looked = resolve(args)
    except SettingsError as error:
        return fail(str(error), 2)
    except NoAnswer as error:
        return fail(str(error), 1)
    code, services = tell_errors(looked), looked.services
    if args.kind == "sudoers":
        try:
            print(sudoers(commands(services), args.user), end="")
        except ValueError as error:
            return fail(str(error), 2)
        for text in without_sudo(services):
            print(f"steadyd: {text}", file=sys.stderr)
        return code
    print(polkit(needed(services), args.user))
    for service in services:
        if service.status is None and service_verbs(service):
            unit = _unit(service)
            what = f"the right is for {unit}" if unit else "no unit can have this name"
            print(f"steadyd: {plain(service.finding.reason)}; {what}", file=sys.stderr)
    return code


def needed(services: Iterable[Service]) -> dict[str, tuple[str, ...]]:
    """Return the polkit verbs of each systemd unit."""
    units: dict[str, set[str]] = {}
    for service in services:
        if service.status is None or service.status.init == "systemd":
            unit, verbs = _unit(service), service_verbs(service)
            if unit and verbs:
                units.setdefault(unit, set()).update(verbs)
    return {unit: tuple(sorted(verbs)) for unit, verbs in sorted(units.items())}


def service_verbs(service: Service, only: Verb | None = None) -> set[str]:
    """Return the words that polkit has for what the rules of a service may ask, by one verb."""
    can_reload = service.status is None or service.status.can_reload
    return {
        word
        for rule in service.rules
        for verb in rule.verbs
        if only in (None, verb)
        for word in polkit_words(
            verb, can_reload=can_reload, reload_signal=rule.params.reload_signal
        )
    }


def _unit(service: Service) -> str:
    """Return the unit, "" if no unit can have this name."""
    if service.status is not None:
        return service.status.unit
    try:
        return unit_name(service.rules[0].params.unit or service.name)
    except ValueError:
        return ""


def polkit(units: Mapping[str, Iterable[str]], user: str) -> str:
    """Return a rule file for /etc/polkit-1/rules.d (polkit(8)). Names are data: JSON strings."""
    allowed = json.dumps({unit: list(verbs) for unit, verbs in units.items()}, indent=2)
    return f"""\
// Made by `steadyd grants polkit`: what its rules may ask of systemd, and nothing else.
// Install as /etc/polkit-1/rules.d/50-steadyd.rules; polkitd takes it up by itself.
var steadydAllowed = {allowed};
polkit.addRule(function (action, subject) {{
  if (action.id !== "org.freedesktop.systemd1.manage-units" ||
      subject.user !== {json.dumps(user)}) {{
    return polkit.Result.NOT_HANDLED;
  }}
  var unit = action.lookup("unit");
  var known = Object.prototype.hasOwnProperty.call(steadydAllowed, unit);
  var verbs = known ? steadydAllowed[unit] : [];
  if (verbs.indexOf(action.lookup("verb")) >= 0) {{
    return polkit.Result.YES;
  }}
  return polkit.Result.NO;
}});"""


def commands(services: Iterable[Service]) -> list[str]:
    """Return the command lines that the rules may need root for, escaped for sudoers."""
    return sorted(
        {
            f"{command} {escaped(service.status.unit)}"
            for service in services
            if service.status is not None
            and service.status.init in SUDO_COMMANDS
            and _can_be_an_argument(service.status.unit)
            for rule in service.rules
            for verb in rule.verbs
            for command in SUDO_COMMANDS[service.status.init][verb]
        }
    )


def without_sudo(services: Iterable[Service]) -> Iterable[str]:
    """Yield a line for each service whose verbs sudo cannot help with."""
    for service in services:
        if not any(rule.verbs for rule in service.rules):
            continue
        if service.status is None:
            yield f"{plain(service.finding.reason)}; nothing is granted for {plain(service.name)}"
        elif service.status.init == "systemd":
            yield f"{plain(service.name)} is kept by systemd; see `steadyd grants polkit`"
        elif service.status.init not in SUDO_COMMANDS:
            yield f"{plain(service.name)} is kept by {service.status.init}, which needs no command"
        elif not _can_be_an_argument(service.status.unit):
            yield f"{plain(service.name)}: sudoers cannot hold its name; run steadyd as root"


def sudoers(lines: Iterable[str], user: str) -> str:
    """Return a file for /etc/sudoers.d (sudoers(5)). Raises ValueError: no such user can be."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", user):
        raise ValueError(f"{user!a} is no name of a user")
    text = "# Made by `steadyd grants sudoers`: what its rules may ask of Upstart, nothing else.\n"
    text += "# Install as /etc/sudoers.d/steadyd, mode 0440; `visudo -c` checks it.\n"
    allowed = ", \\\n    ".join(lines)
    return text + (f"{user} ALL = (root) NOPASSWD: \\\n    {allowed}\n" if allowed else "")


def escaped(argument: str) -> str:
    """Return an argument as sudoers takes it literally."""
    return re.sub(r"([,:])", r"\\\1", argument)


def _can_be_an_argument(unit: str) -> bool:
    """Tell whether sudoers takes a name for itself: no pattern, option, variable or comment."""
    return bool(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@/+,:~%-]*", unit))
