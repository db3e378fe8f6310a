"""steadyd doctor: what is dark, and the line that lights it.

Looks as the user that the daemon runs as: root may look as anybody (`--user`), others as
themselves. Nothing is acted upon: polkit and sudo are asked for their verdict only.
"""

import argparse
import asyncio
import errno
import os
import pwd
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from steadyd.cli import fail
from steadyd.cli.client import print_json
from steadyd.cli.grants import SUDO_COMMANDS, service_verbs
from steadyd.cli.offline import Looked, NoAnswer, Service, resolve, targets
from steadyd.cli.terminal import clean, plain
from steadyd.inits import processes
from steadyd.model.metric import MetricId, Reading, Subject
from steadyd.model.notification import DEFAULT_ROUTE
from steadyd.model.rule import HOST, Verb
from steadyd.ports import SampleTarget
from steadyd.probes.catalogue import CATALOGUE
from steadyd.probes.host import NO_SWAP
from steadyd.probes.procfs import ProcSampler
from steadyd.probes.rates import EXTRA, extra, host_extra, host_readings, service_readings
from steadyd.settings import Settings, SettingsError, load

Found = dict[str, dict[str, str]]  # service, metric, why it is dark

BETWEEN = 0.05  # seconds between two samples: rates need both
VERDICT_SECONDS = 10.0
POLKIT_FILE = "/etc/polkit-1/rules.d/50-steadyd.rules"
SUDOERS_FILE = "/etc/sudoers.d/steadyd"
ROOT_ONLY = frozenset(("sysvinit", "openrc", "runit", "s6"))


class Dark(Struct, frozen=True):
    """Something that does not work: of which service ("" for the host), why, and the mend."""

    service: str
    what: str
    why: str
    mend: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `doctor`."""
    parser.add_argument("--config", metavar="FILE", help="configuration (steadyd.toml)")
    parser.add_argument("--rules", metavar="DIR", action="append", help="folder of rule files")
    parser.add_argument("--user", metavar="NAME", help="the user that steadyd runs as")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what is dark; 1 if anything is."""
    try:
        user = _user(args.user)
        settings = load(args.config, strict=True)
        looked = resolve(args)
    except SettingsError as error:
        return fail(str(error), 2)
    except NoAnswer as error:
        return fail(str(error), 1)
    found = list(_all(looked, settings, user))
    if args.json:
        print_json({"user": user.pw_name, "dark": msgspec.to_builtins(found)})
    else:
        print("\n".join(_lines(found, looked.services, user.pw_name)))
    return 1 if found else 0


def _all(looked: Looked, settings: Settings, user: pwd.struct_passwd) -> Iterator[Dark]:
    yield from _routes(settings)
    yield from _files(looked)
    if not looked.services and not looked.host and not looked.files:
        mend = f"write a rule file in {', '.join(map(str, looked.folders))}"
        yield Dark("", "services", "no rule file names a service", mend)
    for service in looked.services:
        yield from _binding(service)
        yield from _verbs(service, user)
    yield from _metrics(looked, user)


def _files(looked: Looked) -> Iterator[Dark]:
    """Yield what is wrong with the rule files: a mistake disables its rule, or the whole file."""
    for file in looked.files:
        for error in file.errors:
            mend = error.help or f"steadyd check {shlex.quote(file.path)}"
            if os.strerror(errno.EACCES) in error.message:
                path = shlex.quote(file.path)
                mend = f"sudo steadyd doctor, or let this user read it: chmod o+rX {path}"
            elif file.path in looked.folders:
                mend = f"write a rule file in {file.path}, or name another folder: --rules DIR"
            yield Dark("", f"{file.path}:{error.line}:{error.column}", error.message, mend)


def _routes(settings: Settings) -> Iterator[Dark]:
    if not settings.routes.get(DEFAULT_ROUTE):
        mend = 'in steadyd.toml: [routes] default = ["file:slack"]'
        yield Dark("", "alerts", "there is no default route: they go to the log only", mend)


def _binding(service: Service) -> Iterator[Dark]:
    if service.status is None:
        mend = "correct the name, or say which: with unit NAME, with init NAME"
        yield Dark(service.name, "everything", service.finding.reason, mend)
        return
    if why := processes.wrapper(service.status.main_pid):
        yield Dark(service.name, "signals", why, "start the program by `exec`")
    for rule in service.rules:
        for metric in sorted(rule.metrics):
            entry = CATALOGUE.lookup(Subject.SERVICE, metric)
            if entry is not None and not entry.probed:
                why = f"{rule.source}: it is not measured in this version"
                yield Dark(service.name, str(metric), why, "")


# verbs


def _verbs(service: Service, user: pwd.struct_passwd) -> Iterator[Dark]:
    status = service.status
    if status is None:
        return
    wanted = dict.fromkeys(verb for rule in service.rules for verb in rule.verbs)
    by_signal = any(rule.params.reload_signal for rule in service.rules)
    for verb in wanted:
        if verb is Verb.RELOAD and not status.can_reload and not by_signal:
            mend = "give the unit an ExecReload=, or the check `with reload_signal HUP`"
            yield Dark(service.name, verb, f"{status.unit} has no reload", mend)
        elif verb is Verb.RESTART and status.init == "process":
            yield Dark(service.name, verb, "no init system starts it", "let one keep it")
        elif refusal := _refusal(service, verb, user):
            yield Dark(service.name, verb, *refusal)


def _refusal(service: Service, verb: Verb, user: pwd.struct_passwd) -> tuple[str, str] | None:
    """Return why a verb is not allowed to a user, and the mend; None if it is."""
    status = service.status
    if status is None or user.pw_uid == 0:
        return None
    if status.init == "systemd":
        return _polkit(service, verb, user)
    if status.init in SUDO_COMMANDS:
        commands = ([each, status.unit] for each in SUDO_COMMANDS[status.init][verb])
        return next((no for command in commands if (no := _sudo(command, user))), None)
    if status.init in ROOT_ONLY:
        return f"only root may command {status.init}", "run steadyd as root there"
    return None


def _sudo(command: list[str], user: pwd.struct_passwd) -> tuple[str, str] | None:
    other = ("-U", user.pw_name) if os.geteuid() == 0 else ()
    sudo, mend = shutil.which("sudo"), f"steadyd grants sudoers > {SUDOERS_FILE}"
    if sudo is None:
        return "sudo is not installed", "install sudo, or run steadyd as root"
    argv = [sudo, "-n", "-l", *other, *command]
    try:
        done = subprocess.run(  # noqa: S603  whole words, no shell
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            timeout=VERDICT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return clean(error), mend
    return None if done.returncode == 0 else (f"sudo refuses `{' '.join(command)}`", mend)


def _polkit(service: Service, verb: Verb, user: pwd.struct_passwd) -> tuple[str, str] | None:
    mend = f"steadyd grants polkit > {POLKIT_FILE}"
    if os.geteuid() != 0:
        return "only root may ask polkit for its verdict", "sudo steadyd doctor"
    from steadyd.inits.systemd_polkit import NoVerdict

    try:
        refused = _refused(service, verb, user)
    except (OSError, NoVerdict) as error:
        return f"polkit gives no verdict: {clean(error)}", mend
    return (f"polkit refuses {', '.join(refused)}", mend) if refused else None


def _refused(service: Service, verb: Verb, user: pwd.struct_passwd) -> list[str]:
    """Return the words of a verb that polkit refuses this user for the unit of a service."""
    from steadyd.inits.systemd import default_addresses
    from steadyd.inits.systemd_polkit import refused

    unit = service.status.unit if service.status else ""
    # polkit judges a process: one of this user's that lives while it is asked
    with subprocess.Popen(
        ["/bin/cat"], stdin=subprocess.PIPE, user=user.pw_uid, group=user.pw_gid, extra_groups=[]
    ) as child:
        words = sorted(service_verbs(service, verb))
        return asyncio.run(refused(default_addresses()[0], unit, words, child.pid, user.pw_uid))


# metrics


def _metrics(looked: Looked, user: pwd.struct_passwd) -> Iterator[Dark]:
    """Yield each metric that cannot be read of a service that runs; the dear ones if named.

    Of the host those that rules name.
    """
    services = looked.services
    named = {s.name: frozenset[MetricId]().union(*(r.metrics for r in s.rules)) for s in services}
    running = [
        replace(target, extra=extra(named[target.unit]))
        for target in targets({service.name: service.finding for service in services})
    ]
    if not running and not looked.host:
        return
    try:
        found = _as(user, lambda: _readings(running, looked.host))
    except OSError as error:
        yield Dark("", "metrics", f"they cannot be read as {user.pw_name}: {error}", "")
        return
    for name, reasons in found.items():
        by_reason: dict[str, list[str]] = {}
        for metric, why in reasons.items():
            by_reason.setdefault(why, []).append(metric)
        for why, metrics in by_reason.items():
            yield Dark(name, " ".join(metrics), why, _light(why))


def _readings(running: list[SampleTarget], host: frozenset[MetricId]) -> Found:
    wanted = [
        metric.id
        for metric in CATALOGUE.metrics
        if metric.id in EXTRA or (metric.per_process and metric.id.family != "init")
    ]
    sampler = ProcSampler()
    mounts, more = sorted(m.name for m in host if m.family == "disk"), host_extra(host)
    before, host_before = sampler.sample(running), sampler.host(mounts, more)
    time.sleep(BETWEEN)
    after, host_after = sampler.sample(running), sampler.host(mounts, more)
    found = {HOST: _unread(host_readings(host, host_before, host_after))}
    for target in running:
        readings = service_readings(wanted, before.get(target.unit), after.get(target.unit))
        found[target.unit] = _unread(readings)
    return found


def _unread(readings: Mapping[MetricId, Reading]) -> dict[str, str]:
    return {str(m): r.why_missing for m, r in sorted(readings.items()) if r.value is None}


def _light(why: str) -> str:
    if why.startswith("no right") and "IOAccounting" not in why:
        return "in a drop-in of steadyd.service: AmbientCapabilities=CAP_SYS_PTRACE"
    if why == NO_SWAP:
        return "take the rule on swap away, or give the host some"
    return ""


def _as(user: pwd.struct_passwd, work: Callable[[], Found]) -> Found:
    """Do some work as a user, in a process of its own if that is another one. Raises OSError."""
    if os.geteuid() == user.pw_uid:
        return work()
    back, to = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(back)
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            with os.fdopen(to, "wb") as pipe:
                pipe.write(msgspec.json.encode(work()))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(to)
    with os.fdopen(back, "rb") as pipe:
        text = pipe.read()
    _, ended = os.waitpid(pid, 0)
    if ended:
        raise ChildProcessError("the process that looks ended before it was done")
    return msgspec.json.decode(text, type=Found)


def _user(name: str | None) -> pwd.struct_passwd:
    """Return the user to look as. Raises SettingsError."""
    try:
        if name is None:
            return pwd.getpwnam("steadyd") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        user = pwd.getpwnam(name)
    except KeyError:
        if name is None:
            return pwd.getpwuid(os.geteuid())
        raise SettingsError(f"there is no user {plain(name)}") from None
    if user.pw_uid != os.geteuid() != 0:
        raise SettingsError(f"only root may look as {user.pw_name}")
    return user


def _lines(found: list[Dark], services: Sequence[Service], user: str) -> Iterator[str]:
    for dark in found:
        yield f"{clean(dark.service or 'steadyd')}: {clean(dark.what)}: {clean(dark.why)}"
        if dark.mend:
            yield f"    mend: {clean(dark.mend)}"
    count = len(services)
    said = f"{len(found)} dark" if found else "nothing is dark"
    yield f"{count} service{'' if count == 1 else 's'} looked at as {user}: {said}"
