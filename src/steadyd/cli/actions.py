"""What `steadyd check --actions` asks of the host: could the verbs run, what would fire now."""

import argparse
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from steadyd.cli.offline import Service, look_up, targets
from steadyd.delivery.render import amount
from steadyd.inits.processes import wrapper
from steadyd.model.condition import Comparison
from steadyd.model.metric import Kind, MetricId, Reading, Subject
from steadyd.model.rule import Check, Rule, Verb
from steadyd.probes.catalogue import CATALOGUE
from steadyd.probes.procfs import ProcSampler
from steadyd.probes.rates import extra, service_readings
from steadyd.settings import Settings, load


class Told(Struct, frozen=True):
    """A line for each verb that could not run now, and for what is worth a look."""

    impossible: tuple[str, ...]
    warnings: tuple[str, ...]


def look(args: argparse.Namespace, checks: Sequence[Check]) -> Told:
    """Ask the init systems and the processes once. Raises SettingsError, NoAnswer."""
    settings = load(args.config) if args.config or not args.paths else Settings()
    services = look_up(checks, settings)
    impossible = tuple(line for service in services for line in _impossible(service))
    return Told(impossible, (*_wrapped(services), *_firing(services)))


def _impossible(service: Service) -> Iterator[str]:
    for rule in service.rules:
        for verb in rule.verbs:
            status = service.status
            if status is None:
                yield f"{rule.source}: no {verb} now: {service.finding.reason}"
            elif verb is Verb.RELOAD and not (status.can_reload or rule.params.reload_signal):
                mend = "add ExecReload= to the unit, or: with reload_signal HUP"
                yield f"{rule.source}: {status.unit} has no reload; {mend}"


def _wrapped(services: Iterable[Service]) -> Iterator[str]:
    for service in services:
        main_pid = service.status.main_pid if service.status else 0
        if service.rules and (why := wrapper(main_pid)):
            first = service.rules[0].source
            yield f"{first}: warning: {service.name}: {why}; start the program by `exec`"


def _firing(services: Sequence[Service]) -> Iterator[str]:
    """Tell where a limit lies on the wrong side of the present value of a running service."""
    wanted = {
        service.name: frozenset(rule.condition.metric for rule in _plain(service.rules))
        for service in services
    }
    found = targets({each.name: each.finding for each in services if wanted[each.name]})
    deep = [replace(target, extra=extra(wanted[target.unit])) for target in found]
    sampler = ProcSampler()
    try:
        samples = sampler.sample(deep)
    finally:
        sampler.close()
    for service in services:
        now = service_readings(wanted[service.name], None, samples.get(service.name))
        for rule in _plain(service.rules):
            if line := _fires(rule.condition, now):
                yield f"{rule.source}: warning: would fire now: {line}"


class _Plain(Struct, frozen=True):
    condition: Comparison
    source: object


def _plain(rules: Iterable[Rule]) -> Iterator[_Plain]:
    for rule in rules:
        condition = rule.condition
        if not isinstance(condition, Comparison) or condition.over is not None:
            continue
        entry = CATALOGUE.lookup(Subject.SERVICE, condition.metric)
        if entry is not None and entry.per_process and entry.kind is Kind.GAUGE:
            yield _Plain(condition, rule.source)


def _fires(compared: Comparison, now: dict[MetricId, Reading]) -> str:
    reading = now.get(compared.metric)
    entry = CATALOGUE.lookup(Subject.SERVICE, compared.metric)
    if reading is None or reading.value is None or entry is None:
        return ""
    if not compared.operator.holds(reading.value, compared.amount.value):
        return ""
    return f"{compared.metric} is {amount(reading.value, entry.dimension)}"
