"""Look services up without a running daemon: read the rules, ask the init systems once."""

import argparse
import asyncio
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from steadyd.inits import detect
from steadyd.model.metric import MetricId
from steadyd.model.rule import HOST, Check, CheckParams, Rule, RuleSet
from steadyd.model.service import UnitStatus, is_glob
from steadyd.ports import InitSystem, SampleTarget
from steadyd.probes.catalogue import CATALOGUE
from steadyd.probes.procfs import ProcSampler
from steadyd.rulefiles.folder import Judged, RuleFiles, defaults_of, one_line
from steadyd.rulefiles.globs import expand
from steadyd.settings import Settings, SettingsError, load
from steadyd.watch import Finding, find_unit, members_of

DEADLINE = 15.0  # seconds for all look-ups together


class Service(Struct, frozen=True):
    """One checked service: what its name stands for, its processes, and its rules."""

    name: str
    finding: Finding
    pids: tuple[int, ...]
    rules: tuple[Rule, ...]

    @property
    def status(self) -> UnitStatus | None:
        """Return what the init says, None if the service was not found."""
        return self.finding.status


class Looked(Struct, frozen=True):
    """What the rule files name, as it is here: `host` are the metrics that they name of the host.

    `folders` were read; `files` are those with errors, of which not all is in force.
    """

    folders: tuple[str, ...]
    services: tuple[Service, ...]
    host: frozenset[MetricId]
    files: tuple[Judged, ...]

    @property
    def errors(self) -> tuple[str, ...]:
        """Return what is wrong with the files, a line for each mistake."""
        return tuple(one_line(file.path, error) for file in self.files for error in file.errors)


class NoAnswer(Exception):
    """The init systems do not answer; str() is one line."""


def resolve(args: argparse.Namespace) -> Looked:
    """Resolve every checked service of `--rules` or the configuration.

    Raises SettingsError, NoAnswer.
    """
    settings = load(args.config, strict=not args.rules)
    if args.rules:
        settings = replace(settings, rules=tuple(args.rules))
    files = RuleFiles(settings.rules, CATALOGUE, defaults=defaults_of(settings.defaults))
    world = files.read(frozenset(settings.routes))
    services = look_up(world.rules.checks, settings)
    host = (rule.metrics for rule in world.rules.rules if rule.service == HOST)
    bad = tuple(file for file in world.files if file.errors)
    folders = tuple(str(Path(folder)) for folder in settings.rules)
    return Looked(folders, tuple(services), frozenset().union(*host), bad)


def tell_errors(looked: Looked) -> int:
    """Print what is wrong with the rule files; return the exit code that it means."""
    for error in looked.errors:
        print(f"steadyd: {error}", file=sys.stderr)
    return 1 if looked.errors else 0


def look_up(checks: Iterable[Check], settings: Settings) -> list[Service]:
    """Ask the init systems for the services of some checks. Raises SettingsError, NoAnswer."""
    checks = [check for check in checks if check.service != HOST]
    try:
        mere = any(check.params.process for check in checks)
        url = settings.inits.supervisord.url
        inits = detect(settings.init, supervisord=url, processes=mere)
    except ValueError as error:
        raise SettingsError(str(error)) from error

    params: dict[str, CheckParams] = {}
    rules: dict[str, list[Rule]] = {}

    async def find_all() -> dict[str, Finding]:
        async with asyncio.timeout(DEADLINE):
            try:
                globs = [check for check in checks if is_glob(check.service)]
                found = {g.service: await members_of(inits, g.service, g.params) for g in globs}
                for check in expand(RuleSet(tuple(checks)), found).checks:
                    params.setdefault(check.service, check.params)
                    rules.setdefault(check.service, []).extend(check.rules)
                findings = {name: await find_unit(inits, name, p) for name, p in params.items()}
                return await _with_nearest(findings, inits, params)
            finally:
                for init in inits:
                    await init.close()

    try:
        findings = asyncio.run(find_all()) if checks else {}
    except TimeoutError as error:
        raise NoAnswer(f"the init systems do not answer within {DEADLINE:g} s") from error
    pids = _pids(findings)
    return [
        Service(name, finding, pids.get(name, ()), tuple(rules[name]))
        for name, finding in findings.items()
    ]


async def _with_nearest(
    findings: Mapping[str, Finding], inits: Sequence[InitSystem], params: Mapping[str, CheckParams]
) -> dict[str, Finding]:
    """Add the nearest name that an init system knows to what it was asked for in vain."""
    missing = [n for n, f in findings.items() if f.status is None and not params[n].process]
    members = sorted(await members_of(inits, "*", CheckParams())) if missing else []
    mended = dict(findings)
    for name in missing:
        only, wanted = params[name].init, (params[name].unit or name)[:60]
        known = [member.service for member in members if only in ("", member.init)]
        if near := get_close_matches(wanted, known, n=1):
            reason = f"{findings[name].reason}; did you mean {near[0]}?"
            mended[name] = replace(findings[name], reason=reason)
    return mended


def targets(findings: Mapping[str, Finding]) -> list[SampleTarget]:
    """Return what to sample of those services that run, by their names."""
    return [
        SampleTarget(name, status.cgroup, status.main_pid, others=status.others)
        for name, finding in findings.items()
        if (status := finding.status) is not None and (status.cgroup or status.main_pid)
    ]


def _pids(findings: Mapping[str, Finding]) -> dict[str, tuple[int, ...]]:
    samples = ProcSampler().sample(targets(findings))
    return {name: tuple(p.pid for p in sample.processes) for name, sample in samples.items()}
