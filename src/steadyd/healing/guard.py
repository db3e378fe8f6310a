"""May we act? Pure: the whole situation comes in, one answer goes out.

`Later` is asked again while the condition holds, `No` is final for this step of the ladder.
The checks stand in the order in which an operator would want to hear of them.
"""

from msgspec import Struct

from steadyd.model.incident import Suppression
from steadyd.model.rule import CheckParams, Verb
from steadyd.model.service import ServiceState, UnitStatus

HOUR = 3600.0
EXEC = "exec"


class Situation(Struct, frozen=True):
    """All that the answer depends on. Times are monotonic seconds.

    verbs       when verbs were asked of this unit, oldest first
    host_verbs  when verbs were asked of any unit of this host, oldest first
    busy        another action on this unit is under way
    new         the rule was never false since it is known
    refused     why an earlier try showed that we lack the right, "" if none did
    allowed     of `exec`: the configuration allows its program
    depends_busy  an action is under way on what the unit depends on
    group_busy    an action is under way on another service of its group
    muted       by a silence or a deploy, until `muted_until`
    """

    now: float
    verb: str
    params: CheckParams
    status: UnitStatus | None
    verbs: tuple[float, ...] = ()
    host_verbs: tuple[float, ...] = ()
    host_count: int = 10
    host_seconds: float = HOUR
    dry_run: bool = False
    kill_switch: bool = False
    busy: bool = False
    new: bool = False
    refused: str = ""
    allowed: bool = True
    window_open: bool = True
    depends_busy: bool = False
    group_busy: bool = False
    muted: Suppression | None = None
    muted_until: float | None = None


class Yes(Struct, frozen=True):
    """Act now."""


class Later(Struct, frozen=True):
    """Ask again: at `at` if it is known when, else at the next evaluation."""

    reason: Suppression
    text: str
    at: float | None = None


class No(Struct, frozen=True):
    """Do not act in this step. `next_step` tells whether a further verb of the ladder may help."""

    reason: Suppression
    text: str
    next_step: bool = False


Answer = Yes | Later | No


def may_act(s: Situation) -> Answer:
    """Answer yes, later or no."""
    return _by_will(s) or _by_possibility(s) or _by_moment(s) or _by_budget(s) or Yes()


def _by_will(s: Situation) -> Answer | None:
    if s.kill_switch:
        return No(Suppression.KILL_SWITCH, "the kill switch is set")
    if s.params.alert_only:
        return No(Suppression.ALERT_ONLY, "a parameter of the check is wrong: it only alerts")
    if s.dry_run or s.params.dry_run:
        return No(Suppression.DRY_RUN, f"dry run: would {s.verb} now")
    if s.new:
        return No(Suppression.NEW_RULE, "the rule is new and was never false: it only alerts")
    if s.muted is not None:
        return Later(s.muted, f"a {s.muted} mutes the service", s.muted_until)
    if not s.window_open:
        return Later(Suppression.WINDOW, "the window of the rule is closed")
    return None


def _by_possibility(s: Situation) -> Answer | None:
    if s.verb == EXEC:
        why = "its program is not among those that [exec] allow names"
        return None if s.allowed else No(Suppression.IMPOSSIBLE, why, next_step=True)
    if s.status is None or s.status.state is ServiceState.UNKNOWN:
        return Later(Suppression.BUSY, "the state of the unit is unknown")
    if s.status.stopped:
        return No(Suppression.STOPPED, "somebody stopped the service: that is not undone")
    if s.verb == Verb.RELOAD and not s.status.can_reload and not s.params.reload_signal:
        why = f"{s.status.unit} has no reload; name one with reload_signal"
        return No(Suppression.IMPOSSIBLE, why, next_step=True)
    if s.refused:
        return No(Suppression.RIGHTS, s.refused, next_step=True)
    return None


def _by_moment(s: Situation) -> Answer | None:
    if s.busy:
        return Later(Suppression.BUSY, "another action on the unit is under way")
    if s.depends_busy:
        text = f"an action is under way on {s.params.depends}, which it depends on"
        return Later(Suppression.DEPENDS, text)
    if s.group_busy:
        text = f"an action is under way on another service of the group {s.params.group}"
        return Later(Suppression.BUSY, text)
    if s.status is not None and s.verb != EXEC and (s.status.acting or s.status.respawning):
        return Later(Suppression.BUSY, f"{s.status.init} is acting by itself: {s.status.state}")
    if s.verbs and s.now - s.verbs[-1] < s.params.cooldown:
        until = s.verbs[-1] + s.params.cooldown
        return Later(Suppression.COOLDOWN, f"cooldown for {until - s.now:.0f} s more", until)
    return None


def _by_budget(s: Situation) -> Answer | None:
    budget = s.params.budget
    if _spent(s.verbs, s.now, budget.seconds) >= budget.count:
        return No(Suppression.BUDGET, f"the budget of the service is spent ({budget})")
    if _spent(s.host_verbs, s.now, s.host_seconds) >= s.host_count:
        spent = f"{s.host_count} in {s.host_seconds:g} s"
        return No(Suppression.HOST_BUDGET, f"the budget of the host is spent ({spent})")
    return None


def _spent(verbs: tuple[float, ...], now: float, window: float) -> int:
    return sum(1 for at in verbs if now - at < window)
