"""Where each rule stands: what is remembered of it between two evaluations."""

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from steadyd.engine.turn import Turn
from steadyd.evaluation import machine
from steadyd.model.fact import Memory, Moment, Phase, RuleState, Spell
from steadyd.model.rule import Rule

_FRESH = RuleState()


class Standings:
    """The state of each rule that was evaluated once, by its key."""

    def __init__(self, turn: Turn, memory: Memory, cycle: float) -> None:
        self._turn = turn
        self.by_rule = {k: _resumed(s, memory, turn.now, cycle) for k, s in memory.states.items()}
        self._held: set[str] = set()  # those of which a hold is under way

    def of(self, key: str) -> RuleState:
        """Return the state of a rule; a fresh one if nothing is known."""
        return self.by_rule.get(key, _FRESH)

    def put(self, key: str, state: RuleState) -> None:
        """Replace the state of a rule."""
        self.by_rule[key] = self._turn.out.states[key] = state
        waits = state.opening if state.phase is Phase.PENDING else state.closing
        if waits.last is not None:
            self._held.add(key)
        else:
            self._held.discard(key)

    def drop(self, key: str) -> RuleState | None:
        """Forget a rule; return what its state was."""
        known = self.by_rule.pop(key, None)
        if known is not None:
            self._turn.out.states[key] = None
        self._held.discard(key)
        return known

    def restart(self, key: str) -> None:
        """Begin the holds of a rule anew."""
        state = self.by_rule.get(key)
        if state is not None and (told := machine.restarted(state)) is not state:
            self.put(key, told)

    def timed(self, rules: Mapping[str, Rule]) -> Iterator[tuple[float, Rule]]:
        """Yield the rules of which a hold ends between two ticks, and the monotonic time of it."""
        for key in self._held:
            rule, state = rules.get(key), self.by_rule.get(key)
            at = machine.due(rule, state) if rule and state else None
            if rule and at is not None:
                yield at, rule


def _resumed(state: RuleState, memory: Memory, now: Moment, cycle: float) -> RuleState:
    """Return what counts still of a state that an earlier daemon left."""
    if state.phase is not Phase.PENDING:
        return replace(state, closing=Spell())
    last = state.opening.last
    gap = now.mono - last if last is not None else 0.0
    if memory.same_boot and gap <= machine.GAP * cycle:
        return state
    return machine.restarted(state)
