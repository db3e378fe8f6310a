"""Which verbs of the rules we may not carry out: facts with an age, for people to read.

Read when a service is bound, at each reload, and off what a verb came to. They decide nothing: a
right may be granted at any time, so that a verb is tried all the same.
"""

from collections.abc import Iterable, Mapping, Sequence

from steadyd.engine import Engine
from steadyd.inits.systemd_status import NAME as SYSTEMD
from steadyd.inits.systemd_status import polkit_words
from steadyd.model.fact import Answered
from steadyd.model.incident import Action, Suppression
from steadyd.model.rule import Verb
from steadyd.ports import Denied, InitSystem, Right


class Rights:
    """What is known of them."""

    def __init__(self) -> None:
        self.denied: Denied = {}

    async def learn(self, rights: Iterable[Right], inits: Mapping[str, InitSystem]) -> None:
        """Ask the init systems anew; what only a try or root can tell is forgotten."""
        verbs: dict[tuple[str, str], dict[Verb, list[str]]] = {}
        for right in rights:
            asked = verbs.setdefault((right.init, right.unit), {})
            asked.setdefault(right.verb, []).append(right.service)
        found: dict[str, dict[str, str]] = {}
        for (name, unit), asked in verbs.items():
            if (init := inits.get(name)) is None:
                continue
            for verb, why in (await init.denied(unit, tuple(asked))).items():
                for service in asked[verb]:
                    found.setdefault(service, {})[verb] = why
        self.denied = found

    def tried(self, action: Action, answer: Answered) -> None:
        """Take note of what a verb came to."""
        verbs = {**self.denied.get(action.service, {})}
        verbs.pop(action.verb, None)
        if answer.refused is Suppression.RIGHTS:
            verbs[action.verb] = answer.error
        self.denied = {**self.denied, action.service: verbs}


def wanted(engine: Engine) -> Sequence[Right]:
    """Return what the rules in force may ask for on the units that are known."""
    found: dict[tuple[str, Verb], Right] = {}
    for rule in engine.rules.values():
        subject = engine.subjects.get(rule.service)
        if subject is None or subject.unit is None:
            continue
        can_reload = subject.status is None or subject.status.can_reload
        for verb in rule.verbs:
            words: tuple[str, ...] = ()
            if subject.unit[0] == SYSTEMD:
                signal = rule.params.reload_signal
                words = polkit_words(verb, can_reload=can_reload, reload_signal=signal)
            found[rule.service, verb] = Right(rule.service, *subject.unit, verb, words)
    return tuple(found.values())
