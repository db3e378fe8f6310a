"""PURE: checks of several units (`check service puma@*`) as one check for each unit."""

from collections.abc import Collection, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from steadyd.model.rule import Check, RuleSet
from steadyd.model.service import is_glob

MOST: Final = 200  # units of one glob; more is refused (language.md)
_SERVICE: Final = ".service"


class Member(Struct, frozen=True, order=True):
    """A unit that a glob stands for."""

    init: str
    unit: str

    @property
    def service(self) -> str:
        """Return the name by which it is known: the unit's without `.service`."""
        return self.unit.removesuffix(_SERVICE)


Members = Mapping[str, Collection[Member]]


def expand(rules: RuleSet, members: Members) -> RuleSet:
    """Return the rules with each check of a glob replaced by checks of its units.

    An exact check beats a glob; a unit of two globs has the rules of both.
    """
    exact = [check for check in rules.checks if not is_glob(check.service)]
    taken = {check.service for check in exact} | {check.params.unit for check in exact}
    checks = {check.service: check for check in exact}
    for check in rules.checks:
        if not is_glob(check.service):
            continue
        for member in sorted(members.get(check.service, ())):
            if taken.isdisjoint((member.service, member.unit)):
                one = _one(check, member)
                checks[member.service] = _both(checks.get(member.service), one)
    return replace(rules, checks=tuple(checks.values()))


def _one(check: Check, member: Member) -> Check:
    bound = {"unit": member.unit, "init": member.init}
    rules = tuple(
        replace(rule, service=member.service, params=replace(rule.params, **bound))
        for rule in check.rules
    )
    params = replace(check.params, **bound)
    return replace(check, service=member.service, params=params, rules=rules)


def _both(first: Check | None, second: Check) -> Check:
    if first is None:
        return second
    known = {rule.key for rule in first.rules}
    more = tuple(rule for rule in second.rules if rule.key not in known)
    return replace(first, rules=(*first.rules, *more))
