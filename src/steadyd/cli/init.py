"""steadyd init: a commented configuration, and a first rule for each service that was found.

It asks nothing that it can find out, acts on nothing, and leaves what is there as it is.
"""

import argparse
import asyncio
import json
import os
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from math import ceil
from pathlib import Path

from msgspec import Struct

from steadyd.cli import fail
from steadyd.cli.offline import targets
from steadyd.cli.terminal import clean
from steadyd.exposition.human import size
from steadyd.inits import detect
from steadyd.model.rule import CheckParams
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import InitError, InitSystem
from steadyd.probes.procfs import ProcSampler
from steadyd.settings import Settings, SettingsError, load
from steadyd.watch import Finding, find_unit, members_of

SYSTEM = Path("/etc/steadyd")
DEADLINE = 30.0  # seconds for the init systems to answer
MOST = 40  # services in the first rule file, those with most memory
ROOM = 3  # times the memory of now: above that it is worth a word
LEAST = 256 * 2**20  # bytes; less is not worth one
LOAD = 2  # for each core: above that it is worth a word
# what hosts run for themselves; whoever wants it watched names it
# fmt: off
PLUMBING = frozenset((
    "accounts-daemon", "agetty", "atd", "avahi-daemon", "blk-availability", "bluetooth",
    "chrony", "chronyd", "cloud-config", "cloud-final", "cloud-init", "colord", "console-getty",
    "cron", "crond", "dbus", "dbus-broker", "dm-event", "fwupd", "gdm", "getty", "haveged",
    "irqbalance", "kmod", "lvm2-monitor", "ModemManager", "multipathd", "networkd-dispatcher",
    "NetworkManager", "packagekit", "polkit", "polkitd", "power-profiles-daemon", "rngd",
    "rsyslog", "rtkit-daemon", "serial-getty", "smartd", "snapd", "ssh", "sshd", "steadyd",
    "sysstat", "thermald", "udev", "udisks2", "unattended-upgrades", "upower", "user",
    "user-runtime-dir", "uuidd", "wpa_supplicant",
))
# fmt: on


class Found(Struct, frozen=True):
    """A service that runs here; `memory` in bytes, None if it could not be read."""

    name: str
    status: UnitStatus
    memory: float | None


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `init`."""
    parser.add_argument(
        "--into", metavar="DIR", help=f"where to write (default: {SYSTEM}, for others ~/.config)"
    )
    parser.add_argument("--print", action="store_true", help="print it and write nothing")


def run(args: argparse.Namespace) -> int:
    """Find out, write, and say what comes next."""
    into = _place() if args.into is None else Path(os.path.abspath(args.into))
    if args.into == "" or not str(into).isprintable():
        return fail("--into takes the name of a folder, in printable characters", 2)
    try:
        settings = load(None)
        found = asyncio.run(_look(settings))
    except SettingsError as error:
        return fail(str(error), 2)
    except (TimeoutError, ValueError) as error:
        return fail(clean(error) or f"the init systems do not answer in {DEADLINE:g} s", 1)
    files = {
        into / "steadyd.toml": configuration(into),
        into / "rules.d" / "services.inq": rules(found),
        into / "rules.d" / "host.inq": host_rules(_has_swap(), os.cpu_count() or 1),
    }
    if args.print:
        print("\n".join(f"# {path}\n{text}" for path, text in files.items()))
        return 0
    try:
        new = {path: text for path, text in files.items() if not path.exists()}
        _write(new)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}; write elsewhere: --into DIR", 1)
    if not new:
        return fail(f"{into} has all of it, and is not touched; write elsewhere: --into DIR", 1)
    print("\n".join(_told(into, files, new, found)))
    return 0


def _place() -> Path:
    if os.geteuid() == 0:
        return SYSTEM
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home, "steadyd")


def _write(files: dict[Path, str]) -> None:
    """Write new files. Raises OSError."""
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)


async def _look(settings: Settings) -> list[Found]:
    """Return the services that run, those with most memory first. Raises TimeoutError."""
    inits = detect(settings.init, supervisord=settings.inits.supervisord.url, processes=False)
    try:
        async with asyncio.timeout(DEADLINE):
            statuses = await _running(inits)
    finally:
        for init in inits:
            await init.close()
    findings = {name: Finding(status, "") for name, status in statuses.items()}
    samples = ProcSampler().sample(targets(findings))
    found = [
        Found(name, status, samples[name].raw.get("total_rss") if name in samples else None)
        for name, status in statuses.items()
    ]
    return sorted(found, key=lambda each: (-(each.memory or 0), each.name))[:MOST]


async def _running(inits: Sequence[InitSystem]) -> dict[str, UnitStatus]:
    found: dict[str, UnitStatus] = {}
    for member in sorted(await members_of(inits, "*", CheckParams())):
        name = member.service
        if name in found or not _worth(name):
            continue
        try:
            status = (await find_unit(inits, name, CheckParams())).status
        except InitError:
            continue
        if status and status.state is ServiceState.ACTIVE and (status.main_pid or status.cgroup):
            found[name] = status
    return found


def _worth(name: str) -> bool:
    kind, _, _ = name.partition("@")
    return kind not in PLUMBING and not kind.startswith("systemd-") and name.isprintable()


def rules(found: Iterable[Found]) -> str:
    """Return the first rule file: it alerts, and does nothing."""
    return "".join(_rules(list(found)))


def _rules(found: list[Found]) -> Iterator[str]:
    yield (
        "# What ran here when `steadyd init` looked. Each check alerts when its service is down\n"
        "# for 10 s, which needs no rule. Nothing is done yet: write `then alert, reload` or\n"
        "# `then alert, restart` where you want it done; `steadyd grants` prints the right.\n"
        "# Edits take effect at once; `steadyd check` judges them.\n"
    )
    if not found:
        yield "\n# No service was found. For example:\n# check service puma\n"
        yield "#   if memory:total_rss > 2g for 2 cycles then alert, reload\n"
    for each in found:
        yield f"\ncheck service {_quoted(each.name)}"
        yield f" with init {each.status.init}\n" if each.status.init != "systemd" else "\n"
        if each.memory is not None:
            limit = max(LEAST, each.memory * ROOM)
            yield f"  # {size(each.memory)} now\n"
            yield f"  if memory:total_rss > {ceil(limit / 2**20)}m for 4 cycles then alert\n"


def _quoted(name: str) -> str:
    plain = all(char.isalnum() or char in "._-@:" for char in name)
    return name if plain and name.isascii() else '"' + name.replace('"', "") + '"'


def _has_swap() -> bool:
    return "swap_used_percent" in ProcSampler().host(()).raw


def host_rules(swap: bool, cores: int) -> str:
    """Return the first rules of the host; one on swap would be dark where there is none."""
    on_swap = "if swap > 50% for 4 cycles then alert"
    return f"""\
# The host itself. A disk that fills up is told before it is full.
check host
  # {LOAD} for each core, of which there {"is 1" if cores == 1 else f"are {cores}"}
  if load:5 > {LOAD * cores} for 4 cycles then alert
  {on_swap if swap else f"# this host has no swap; with some: {on_swap}"}
  if disk:/ > 90% for 4 cycles then alert
  if disk:/ will reach 95% within 6h then alert
"""


def configuration(into: Path) -> str:
    """Return a commented steadyd.toml; what is commented out is the default."""
    return f"""\
# steadyd.toml: everything has a default. `steadyd reload` takes new routes, a restart the rest.
rules = [{json.dumps(f"{into}/rules.d", ensure_ascii=False)}]
#cycle = "15s"                  # how often rules are evaluated; events are seen at once
#dry_run = false                # true: tell, and do nothing

[routes]
# Lists of Apprise URLs. `alert` without a name goes to `default`; without one, to the log.
# A secret URL stands in a file of its own beside this one, 0640: "file:slack".
#default = ["file:slack"]
#ops = ["mailto://ops@example.com"]

[defaults]
#cooldown = "1m"                # between two verbs for a service
#budget = "3/1h"                # verbs for a service

[actions]
#host_budget = "10/1h"          # verbs on this host
#kill_switch = "/etc/steadyd/STOP"      # while this file exists, no verb runs

[web]
#listen = ["127.0.0.1:10870"]   # the page, /metrics, the API
#config_file = ""               # TLS and users, as Prometheus' exporters have it
"""


def _told(
    into: Path, files: Iterable[Path], new: Collection[Path], found: list[Found]
) -> Iterator[str]:
    for path in files:
        yield f"wrote {path}" if path in new else f"{path} is there already, and is not touched"
    names = ", ".join(clean(each.name) for each in found[:8])
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    yield f"services found: {names}{more}" if found else "no service was found"
    yield "next:"
    config = shlex.quote(f"{into}/steadyd.toml")
    yield f"  steadyd check {shlex.quote(f'{into}/rules.d')}"
    yield f"  steadyd doctor --config {config}"
    if into == SYSTEM:
        yield "  systemctl enable --now steadyd      # or: steadyd run"
    else:
        yield f"  steadyd run --config {config}"
