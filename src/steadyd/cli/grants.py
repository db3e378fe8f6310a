"""steadyd grants: exactly the rights that the loaded rules need, in the form of the host."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping

from steadyd.cli.offline import Offline, resolved
from steadyd.model.rule import Rule, Verb

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
    """Print the rule; 1 if some service could not be found, so that its right is missing."""
    offline = resolved(args)
    print(polkit(needed(offline), args.user))
    missing = [s for s in offline.verbs if s not in offline.units]
    for service in missing:
        print(f"steadyd: no right for {service}: {offline.reasons[service]}", file=sys.stderr)
    return 1 if missing else 0


def needed(offline: Offline) -> dict[str, tuple[str, ...]]:
    """Return the polkit verbs of each systemd unit."""
    units: dict[str, set[str]] = {}
    for service, rules in offline.verbs.items():
        status = offline.units.get(service)
        if status is not None and status.init == "systemd":
            verbs = units.setdefault(status.unit, set())
            verbs.update(v for rule in rules for v in _verbs(rule, status.can_reload))
    return {unit: tuple(sorted(verbs)) for unit, verbs in sorted(units.items())}


def polkit(units: Mapping[str, Iterable[str]], user: str) -> str:
    """Return a rule file for /etc/polkit-1/rules.d (polkit(8)). Names are data: JSON strings."""
    allowed = json.dumps({unit: list(verbs) for unit, verbs in units.items()}, indent=2)
    return f"""\
// Made by `steadyd grants polkit`: what its rules may ask of systemd, and nothing else.
// Install as /etc/polkit-1/rules.d/50-steadyd.rules; polkitd takes it up by itself.
var steadydAllowed = {allowed};
polkit.addRule(function (action, subject) {{
  if (action.id !== "org.freedesktop.systemd1.manage-units" || subject.user !== {json.dumps(user)}) {{
    return polkit.Result.NOT_HANDLED;
  }}
  var unit = action.lookup("unit");
  var verbs = steadydAllowed.hasOwnProperty(unit) ? steadydAllowed[unit] : [];
  if (verbs.indexOf(action.lookup("verb")) >= 0) {{
    return polkit.Result.YES;
  }}
  return polkit.Result.NO;
}});"""


def _verbs(rule: Rule, can_reload: bool) -> Iterable[str]:
    for verb in rule.verbs:
        by_signal = verb is Verb.RELOAD and not can_reload and rule.params.reload_signal
        yield from SIGNAL if by_signal else POLKIT_VERBS[verb]
