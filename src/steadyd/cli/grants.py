"""steadyd grants: exactly the rights that the loaded rules need, in the form of the host."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping

from steadyd.cli import fail
from steadyd.cli.offline import NoAnswer, Service, resolve
from steadyd.cli.terminal import plain
from steadyd.inits.systemd_status import unit_name
from steadyd.model.rule import Rule, Verb
from steadyd.settings import SettingsError

# The words that systemd gives to polkit for the D-Bus calls that a verb may need.
POLKIT_VERBS = {
    Verb.RELOAD: ("reload",),
    Verb.RESTART: ("restart", "try-restart"),
}
SIGNAL = ("kill",)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `grants`."""
    parser.add_argument("kind", choices=("polkit",), help="the form: a polkit rule (>= 0.106)")
    parser.add_argument("--config", metavar="FILE")
    parser.add_argument("--rules", metavar="DIR", action="append")
    parser.add_argument("--user", default="steadyd", help="the user that steadyd runs as")


def run(args: argparse.Namespace) -> int:
    """Print the rule. A service that is not there yet gets the unit that its name would have."""
    try:
        services = resolve(args)
    except SettingsError as error:
        return fail(str(error), 2)
    except NoAnswer as error:
        return fail(str(error), 1)
    print(polkit(needed(services), args.user))
    for service in services:
        if service.status is None and service_verbs(service):
            unit = _unit(service)
            what = f"the right is for {unit}" if unit else "no unit can have this name"
            print(f"steadyd: {plain(service.finding.reason)}; {what}", file=sys.stderr)
    return 0


def needed(services: Iterable[Service]) -> dict[str, tuple[str, ...]]:
    """Return the polkit verbs of each systemd unit."""
    units: dict[str, set[str]] = {}
    for service in services:
        if service.status is None or service.status.init == "systemd":
            unit, verbs = _unit(service), service_verbs(service)
            if unit and verbs:
                units.setdefault(unit, set()).update(verbs)
    return {unit: tuple(sorted(verbs)) for unit, verbs in sorted(units.items())}


def service_verbs(service: Service) -> set[str]:
    """Return the words that polkit has for what the rules of a service may ask."""
    can_reload = service.status is None or service.status.can_reload
    return {word for rule in service.rules for word in _verbs(rule, can_reload)}


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


def _verbs(rule: Rule, can_reload: bool) -> Iterable[str]:
    for verb in rule.verbs:
        by_signal = verb is Verb.RELOAD and not can_reload and rule.params.reload_signal
        yield from SIGNAL if by_signal else POLKIT_VERBS[verb]
