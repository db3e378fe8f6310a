"""The state machine of one rule. Pure: all it knows comes in, all it decides goes out.

             true, hold not met               true, hold met -> Opened
    OK ----------------------> PENDING ------------------------------> FIRING
     ^ <----------------------                                          |  ^
     |   false, or unknown for more than one cycle               false  v  |  true
     +-------------------------------------------------------------- RECOVERING
                   false again (GOOD evaluations in a row) -> Resolved

A hold that one evaluation meets leads from OK to FIRING at once. Unknown moves nothing: it
never opens, never closes, and breaks a hold only when it lasts longer than a cycle.
"""

from msgspec.structs import replace

from steadyd.model.decision import Decision, Opened, Resolved
from steadyd.model.fact import Phase, RuleState
from steadyd.model.metric import Reading
from steadyd.model.rule import Comparison, Rule

GOOD = 2  # language.md, "Opening and closing"
GAP = 2.0  # cycles between two evaluations after which a timed hold starts again


def truth(rule: Rule, reading: Reading, cycle: float) -> bool | None:
    """Tell whether the condition of `rule` is true on `reading`; None is unknown.

    An amount per second (or minute, hour) is held against value / elapsed; a reading that
    tells no elapsed time was made over one `cycle`.
    """
    if reading.value is None:
        return None
    condition = rule.condition
    if not isinstance(condition, Comparison):
        return reading.value < 1
    value = reading.value
    if condition.amount.per:
        value = value / (reading.elapsed or cycle) * condition.amount.per
    return condition.operator.holds(value, condition.amount.value)


def step(
    rule: Rule, state: RuleState, reading: Reading, at: float, *, tick: bool, cycle: float
) -> tuple[RuleState, tuple[Decision, ...]]:
    """Move one rule by one evaluation at the monotonic time `at`.

    Only a `tick` counts a cycle; of several evaluations inside one cycle the last one counts.
    """
    true = truth(rule, reading, cycle)
    if tick:
        state = replace(state, base=state.streak) if state.base != state.streak else state
    if true is None:
        return _unknown(state, tick), ()
    if state.phase in (Phase.OK, Phase.PENDING):
        return _quiet(rule, state, reading, at, true, tick, cycle)
    if true:
        return replace(state, phase=Phase.FIRING, good=0), ()
    good = state.good + 1 if tick else max(state.good, 1)
    if good < GOOD:
        return replace(state, phase=Phase.RECOVERING, good=good, settled=True), ()
    return RuleState(settled=True), (Resolved(rule, reading),)


def due(rule: Rule, state: RuleState) -> float | None:
    """Return the monotonic time at which the timed hold of a pending rule will be met."""
    if state.phase is not Phase.PENDING or rule.hold.seconds is None or state.last is None:
        return None
    return state.last + max(0.0, rule.hold.seconds - state.held)


def restarted(state: RuleState) -> RuleState:
    """Start a hold again: the process it was observed on is another one now."""
    return (
        replace(state, phase=Phase.OK, streak=0, base=0, held=0.0, last=None, blanks=0)
        if (state.phase in (Phase.OK, Phase.PENDING))
        else state
    )


def _unknown(state: RuleState, tick: bool) -> RuleState:
    if state.phase is not Phase.PENDING:
        return state
    blanks = state.blanks + 1 if tick else state.blanks
    if blanks > 1:
        return RuleState(settled=state.settled)
    return replace(state, blanks=blanks, last=None)


def _quiet(
    rule: Rule, state: RuleState, reading: Reading, at: float, true: bool, tick: bool, cycle: float
) -> tuple[RuleState, tuple[Decision, ...]]:
    if not true:
        calm = RuleState(base=0 if tick else state.base, settled=True)
        return (state if state == calm else calm), ()
    held = state.held
    if state.last is not None:
        held = held + at - state.last if at - state.last <= GAP * cycle else 0.0
    state = replace(state, phase=Phase.PENDING, streak=state.base + 1, held=held, last=at, blanks=0)
    if not _met(rule, state, tick):
        return state, ()
    new = not state.settled and rule.hold.instant
    return RuleState(Phase.FIRING, settled=state.settled), (Opened(rule, reading, new),)


def _met(rule: Rule, state: RuleState, tick: bool) -> bool:
    hold = rule.hold
    if hold.seconds is not None:
        return state.held >= hold.seconds - 1e-6
    if hold.cycles in (None, 1):
        return True
    return tick and 0 < (hold.cycles or 0) <= state.streak
