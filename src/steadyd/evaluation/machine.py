"""The state machine of one rule. Pure: all it knows comes in, all it decides goes out.

             true, hold not met               true, hold met -> Opened
    OK ----------------------> PENDING ------------------------------> FIRING
     ^ <----------------------                                          |  ^
     |   false, or unknown for more than one cycle               false  v  |  true
     +-------------------------------------------------------------- RECOVERING
                   false again (GOOD evaluations in a row) -> Resolved

A hold that one evaluation meets leads from OK to FIRING at once. Unknown moves nothing: it
never opens, never closes, and breaks a hold only when it lasts longer than a cycle. A rule with
`until` is RECOVERING while that is true and the condition is not, and resolves when its hold is
met. Outside of its window a rule stays PENDING with its hold met.
"""

from msgspec import Struct
from msgspec.structs import replace

from steadyd.model.condition import Hold
from steadyd.model.decision import Decision, Opened, Resolved
from steadyd.model.fact import Phase, RuleState, Spell
from steadyd.model.rule import Rule

GOOD = 2  # language.md, "Opening and closing"
GAP = 2.0  # cycles between two evaluations after which a timed hold starts again
_FRESH = Spell()


class Look(Struct, frozen=True):
    """What one evaluation found: is the condition true, and the one of `until` (None: unknown).

    `open` tells whether the window of the rule is open now.
    """

    true: bool | None
    ends: bool | None = None
    open: bool = True

    def goes_on(self, rule: Rule) -> bool | None:
        """Tell whether an open incident of the rule still has something to heal; None: unknown."""
        if rule.until is None:
            return self.true
        return None if self.ends is None else not self.ends


def step(
    rule: Rule, state: RuleState, look: Look, at: float, *, tick: bool, cycle: float
) -> tuple[RuleState, tuple[Decision, ...]]:
    """Move one rule by one evaluation at the monotonic time `at`.

    Only a `tick` counts a cycle; of several evaluations inside one cycle the last one counts.
    """
    if state.phase in (Phase.OK, Phase.PENDING):
        return _quiet(rule, state, look, at, tick, cycle)
    if rule.until is not None:
        return _ending(rule, state, look, at, tick, cycle)
    if look.true is None:
        return state, ()
    if look.true:
        return _moved(state, phase=Phase.FIRING, good=0), ()
    good = state.good + 1 if tick else max(state.good, 1)
    if good < GOOD:
        return _moved(state, phase=Phase.RECOVERING, good=good, settled=True), ()
    return RuleState(settled=True), (Resolved(rule),)


def due(rule: Rule, state: RuleState) -> float | None:
    """Return the monotonic time at which the timed hold of a rule will be met."""
    if state.phase is Phase.PENDING:
        hold, spell = rule.hold, state.opening
    elif rule.until is not None and state.phase is not Phase.OK:
        hold, spell = rule.until.hold, state.closing
    else:
        return None
    if hold.seconds is None or spell.last is None:
        return None
    left = hold.seconds - spell.held
    return spell.last + left if left > 0 else None


def restarted(state: RuleState) -> RuleState:
    """Start a hold again: the process it was observed on is another one now."""
    if state.phase not in (Phase.OK, Phase.PENDING):
        return state
    return _moved(state, phase=Phase.OK, opening=_FRESH)


def _quiet(
    rule: Rule, state: RuleState, look: Look, at: float, tick: bool, cycle: float
) -> tuple[RuleState, tuple[Decision, ...]]:
    spell, met = _advance(rule.hold, state.opening, look.true, at, tick, cycle)
    if look.true and met and look.open:
        new = not state.settled and rule.hold.instant and not rule.looks_back
        return RuleState(Phase.FIRING, settled=state.settled), (Opened(rule, new),)
    phase = Phase.PENDING if spell.alive else Phase.OK
    settled = state.settled or look.true is False
    return _moved(state, phase=phase, opening=spell, settled=settled), ()


def _ending(
    rule: Rule, state: RuleState, look: Look, at: float, tick: bool, cycle: float
) -> tuple[RuleState, tuple[Decision, ...]]:
    over = False if look.true else look.ends
    if over and look.true is None:
        over = None  # the condition may be true still
    hold = rule.until.hold if rule.until else Hold()
    spell, met = _advance(hold, state.closing, over, at, tick, cycle)
    if over and met:
        return RuleState(settled=True), (Resolved(rule),)
    if over is None:
        return _moved(state, closing=spell), ()
    phase = Phase.RECOVERING if over else Phase.FIRING
    settled = state.settled or look.true is False
    return _moved(state, phase=phase, closing=spell, settled=settled), ()


def _advance(
    hold: Hold, spell: Spell, true: bool | None, at: float, tick: bool, cycle: float
) -> tuple[Spell, bool]:
    """Move a spell by one evaluation; tell whether the hold is met."""
    base = spell.streak if tick else spell.base
    if true is None:
        blanks = spell.blanks + 1 if tick else spell.blanks
        if not spell.alive or blanks > 1:
            return _FRESH, False
        return replace(spell, base=base, blanks=blanks, last=None), False
    past = spell.past
    if hold.of is not None and tick:
        past = ((past << 1) | true) & ((1 << hold.of) - 1)
    if not true:
        return Spell(base=0 if tick else base, past=past), False
    held = spell.held
    if spell.last is not None:
        held = held + at - spell.last if at - spell.last <= GAP * cycle else 0.0
    moved = Spell(base + 1, base, held, at, 0, past)
    return moved, _met(hold, moved, tick)


def _met(hold: Hold, spell: Spell, tick: bool) -> bool:
    if hold.seconds is not None:
        return spell.held >= hold.seconds - 1e-6
    if hold.of is not None:
        return tick and 0 < (hold.cycles or 0) <= spell.past.bit_count()
    if hold.cycles in (None, 1):
        return True
    return tick and 0 < (hold.cycles or 0) <= spell.streak


def _moved(state: RuleState, **changes: object) -> RuleState:
    """Return the state with changes; the very same one where nothing is changed."""
    told: RuleState = replace(state, **changes)
    return state if told == state else told
