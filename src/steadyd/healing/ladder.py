"""The ladders of all open incidents: which step is next, what was asked, what came of it. Pure.

    next step ──guard──▶ yes ──▶ asked ──answer──▶ verified ──▶ healed | not healed ─┐
        ▲                 later: asked again       failed, refused ─────────────────┤
        │                 no: suppressed ───────────────────────────────────────────┤
        └──────────────────────── next step of the ladder ◀──────────────────────────┘

A verb that was asked is never asked again for the same step, also not after a crash of ours. A
step with a time (`after 5m restart`) waits for it; when it falls due, what was asked before and
did not help until then did not help.
"""

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from steadyd.healing.guard import HOUR, Later, No, Situation, Yes, may_act
from steadyd.healing.verify import verdict
from steadyd.model.fact import Answered, Course, Intent, Memory, Moment, Phase, Step
from steadyd.model.incident import (
    Action,
    Incident,
    Line,
    LineKind,
    Outcome,
    Suppression,
    make_id,
)
from steadyd.model.rule import Alert, Budget, CheckParams, Deed, Exec, Rule, Verb
from steadyd.model.rule import Step as Rung
from steadyd.model.service import UnitStatus

LONGEST = 7 * 86_400.0  # seconds that a cooldown or a budget may look back
_SLACK = 1e-3  # seconds by which a timer may be early
_SOON = 0.25  # seconds after which a step that is free to go gets its fresh reading
UnitKey = tuple[str, str]


class Standing(Struct, frozen=True):
    """Where the rule of an incident and its unit stand at this moment.

    Nothing is asked unless `holds` is true on a `fresh` reading.
    """

    rule: Rule
    phase: Phase
    unit: UnitKey | None
    status: UnitStatus | None
    above: UnitKey | None = None  # the unit of what the service depends on
    group: frozenset[UnitKey] = frozenset()  # the units of the others of its group
    holds: bool | None = True  # whether there is still something to heal; None: not known
    fresh: bool = True  # that is known from a reading of this moment
    window_open: bool = True
    muted: Suppression | None = None
    muted_until: float | None = None  # monotonic


class Ladder:
    """Courses of the open incidents, the actions of each, and what budgets are made of."""

    def __init__(
        self,
        memory: Memory,
        now: Moment,
        host_budget: Budget,
        dry_run: bool,
        exec_allowed: Collection[str] = (),
    ) -> None:
        self._host_budget, self._dry_run, self._allowed = host_budget, dry_run, exec_allowed
        self.actions = dict(memory.actions)
        self.courses = {
            k: _rebased(c, memory.incidents.get(k), memory, now) for k, c in memory.courses.items()
        }
        self._verbs: dict[UnitKey, list[float]] = {}
        self._running: dict[UnitKey, str] = {}
        self._unjudged = {
            (a.init, a.unit): a.id for a in self.actions.values() if a.finished_at is None
        }
        self._refused: dict[tuple[UnitKey, str], tuple[float, str]] = {}
        self._last: dict[UnitKey, str] = {}  # unit -> the verb asked of it last
        self._healed: dict[str, tuple[float, Action]] = {}
        for action in memory.recent:
            age = max(0.0, now.wall - action.asked_at)
            self._verbs.setdefault((action.init, action.unit), []).append(now.mono - age)
            self._last[action.init, action.unit] = action.verb
        self._now, self._out, self._kill_switch = now, Step(), False

    def begin(self, now: Moment, out: Step, kill_switch: bool) -> None:
        """Start a batch: everything until the next one happens at `now` and is told in `out`."""
        self._now, self._out, self._kill_switch = now, out, kill_switch

    def running(self, unit: UnitKey | None) -> str | None:
        """Return the verb that is under way on a unit."""
        action = self.actions.get(self._running.get(unit, "")) if unit else None
        return action.verb if action else None

    def stopped(self, unit: UnitKey | None) -> bool:
        """Tell whether the last verb that was asked of a unit was to stop."""
        return unit is not None and self._last.get(unit) == Verb.STOP

    def seen_up(self, unit: UnitKey) -> None:
        """Take note that a unit runs: whoever started it ended our stop of it."""
        if unit not in self._running and self._last.get(unit) == Verb.STOP:
            del self._last[unit]

    def of(self, incident: Incident) -> tuple[Action, ...]:
        """Return the actions of an incident, oldest first."""
        return tuple(a for a in self.actions.values() if a.incident == incident.id)

    def wake_at(self) -> list[float]:
        """Return the monotonic times at which a course wants to go on."""
        return [
            at
            for c in self.courses.values()
            for at in (c.verify_until, c.confirm_at, c.retry_at, c.due_at)
            if at is not None
        ]

    def wants_look(self, incident: str, now: float) -> bool:
        """Tell whether a step waits for a fresh look at the value."""
        course = self.courses.get(incident)
        times = (course.confirm_at, course.due_at, course.retry_at) if course else ()
        return any(at is not None and at <= now for at in times)

    # -- the course of one incident

    def open(self, incident: Incident, rule: Rule, *, new: bool, confirm_at: float | None) -> None:
        """Start the ladder of an incident; what healed a moment ago came back."""
        course = Course(opened=self._now.mono, new=new, confirm_at=confirm_at)
        self._put(incident.id, replace(course, due_at=_due_at(rule, course)))
        until, action = self._healed.pop(rule.key, (0.0, None))
        if action is not None and self._now.mono < until:
            self._outcome(action, Outcome.CAME_BACK, "the condition came back")
            del self.actions[action.id]

    def open_without_steps(self, incident: Incident) -> None:
        """Start the course of an incident that has nothing to do but to be told."""
        self._put(incident.id, Course(opened=self._now.mono))

    def begin_again(self, incident: Incident, rule: Rule) -> None:
        """Start the ladder of an incident now: it opened inside a silence that is over."""
        course = replace(self.courses[incident.id], opened=self._now.mono, retry_at=None)
        self._put(incident.id, replace(course, due_at=_due_at(rule, course)))

    def hand_over(self, incident: Incident, rule: Rule) -> None:
        """Go on by the steps of the changed self of a rule."""
        course = self.courses[incident.id]
        self._put(incident.id, replace(course, due_at=_due_at(rule, course)))

    def reconsider(self) -> None:
        """Ask again for what was deferred: parameters may be others now."""
        for id_, course in list(self.courses.items()):
            if course.deferred is not None and course.retry_at is not None:
                self._put(id_, replace(course, retry_at=None))

    def close(
        self, incident: Incident, rule: Rule | None, *, recovered: bool
    ) -> tuple[Action, ...]:
        """End the ladder; return the incident's actions as they are now."""
        course = self.courses.pop(incident.id, Course())
        action = self.actions.get(course.action)
        if action is not None and not recovered:
            self._outcome(action, Outcome.UNKNOWN, "the incident was withdrawn")
        elif action is not None and action.finished_at is not None:
            window = (rule.params if rule else CheckParams()).verify_seconds(action.verb)
            action = self._outcome(action, Outcome.HEALED, "the condition is false again")
            self._healed[incident.rule_key] = (self._now.mono + window, action)
        actions = self.of(incident)
        for done in actions:
            if done.finished_at is not None:
                del self.actions[done.id]
        return actions

    def advance(self, incident: Incident, at: Standing) -> tuple[str, ...]:
        """Go on as far as it is time to; return sentences that are worth telling."""
        remarks = self._judge_healing(incident, at)
        while deed := self._ready(incident, at):
            course = self.courses[incident.id]
            answer = may_act(self._situation(at, deed, course))
            match answer:
                case Yes() if not at.fresh:
                    again = replace(course, retry_at=self._now.mono + _SOON)
                    self._put(incident.id, again)
                    break
                case Yes():
                    self._ask(incident, at, deed)
                    break
                case Later():
                    remarks += self._defer(incident, deed, answer)
                    break
                case No():
                    remarks += self._suppress(incident, at, deed, answer)
        return remarks

    def alerts_due(self, incident: Incident, at: Standing) -> list[Alert]:
        """Return the alerts of later steps that fell due; they are taken as sent."""
        course = self.courses[incident.id]
        elapsed = self._now.mono - course.opened
        still = at.phase is Phase.FIRING and at.holds
        if not still or course.due_at is None or at.muted is not None:
            return []
        due = [
            step
            for step in _rest(at.rule, course.done)
            if isinstance(step, Alert) and step.after <= elapsed + _SLACK
        ]
        if due:
            done = (*course.done, *(str(step) for step in due))
            course = replace(course, done=done)
            self._put(incident.id, replace(course, due_at=_due_at(at.rule, course)))
        return due

    def spent(self, incident: Incident, rule: Rule) -> bool:
        """Tell whether the ladder has verbs, and none is left or under way."""
        course = self.courses[incident.id]
        left = any(not isinstance(step, Alert) for step in _rest(rule, course.done))
        return bool(rule.deeds) and not course.action and not left

    def give_up(self, incident: Incident) -> bool:
        """Note that people are told that nothing more is tried; False if they were told before."""
        course = self.courses[incident.id]
        if course.gave_up:
            return False
        self._put(incident.id, replace(course, gave_up=True))
        return True

    def answered(self, fact: Answered, params: Mapping[str, CheckParams]) -> Action | None:
        """Take the init's answer to a verb; `params` by incident. Return the action it was for."""
        action = self.actions.get(fact.action)
        if action is None:
            return None
        self._running.pop((action.init, action.unit), None)
        action = self._put_action(replace(action, finished_at=self._now.wall))
        if action.outcome is not None:  # its incident was withdrawn meanwhile
            del self.actions[action.id]
            return action
        if fact.error:
            return self._failed(action, fact)
        if action.incident in self.courses:
            if action.verb == Verb.STOP:
                action = self._outcome(action, Outcome.HEALED, "it is stopped")
                self._release(action)
                return action
            return self._verify(action, params.get(action.incident, CheckParams()))
        del self.actions[action.id]
        return self._outcome(action, Outcome.HEALED, "the condition was false before the answer")

    def judge(self, status: UnitStatus, params: Mapping[str, CheckParams]) -> Action | None:
        """Tell from a unit's first status what became of a verb asked just before we ended.

        Return the action, None if there was none.
        """
        key = self._unjudged.pop((status.init, status.unit), None)
        if key is None:
            return None
        action = self._put_action(replace(self.actions[key], finished_at=self._now.wall))
        carried_out = (
            action.verb in (Verb.RESTART, Verb.START)
            and bool(status.invocation)
            and status.invocation != action.invocation
        )
        if carried_out and action.incident in self.courses:
            return self._verify(action, params.get(action.incident, CheckParams()))
        why = "steadyd ended before the init system answered"
        action = self._outcome(action, Outcome.UNKNOWN, why)
        self._release(action)
        if course := self.courses.get(action.incident):  # it may have been carried out all the same
            window = params.get(action.incident, CheckParams()).verify_seconds(action.verb)
            self._put(action.incident, replace(course, retry_at=self._now.mono + window))
        return action

    # -- inside

    def _ready(self, incident: Incident, at: Standing) -> Deed | None:
        """Return the next step that is more than to tell, if its time has come."""
        course = self.courses[incident.id]
        waits = max(course.confirm_at or 0.0, course.retry_at or 0.0) > self._now.mono
        if course.action or waits or at.phase is not Phase.FIRING or not at.holds:
            return None
        return self._next(at.rule, course)

    def _next(self, rule: Rule, course: Course) -> Deed | None:
        elapsed = self._now.mono - course.opened
        for step in _rest(rule, course.done):
            if not isinstance(step, Alert):
                return step if step.after <= elapsed + _SLACK else None
        return None

    def _judge_healing(self, incident: Incident, at: Standing) -> tuple[str, ...]:
        course = self.courses[incident.id]
        action = self.actions.get(course.action)
        if action is None or course.verify_until is None or at.holds is None:
            return ()
        recovering = at.phase is Phase.RECOVERING
        until, follower = course.verify_until, self._next(at.rule, course)
        if follower is not None and follower.after:
            until = min(until, self._now.mono)  # the time of the next step has come
        outcome = verdict(self._now.mono, until, closed=False, recovering=recovering)
        if outcome is None:
            return ()
        self._outcome(action, outcome, "the condition is still true")
        self._release(action)
        return (f"{action.verb} did not help",)

    def _situation(self, at: Standing, deed: Deed, course: Course) -> Situation:
        unit, now = at.unit or ("", ""), self._now.mono
        since, refused = self._refused.get((unit, deed.verb), (0.0, ""))
        return Situation(
            now,
            deed.verb,
            at.rule.params,
            at.status,
            tuple(self._verbs.get(unit, ())),
            tuple(when for verbs in self._verbs.values() for when in verbs),
            self._host_budget.count,
            self._host_budget.seconds,
            self._dry_run,
            self._kill_switch,
            unit in self._running,
            course.new,
            refused if now - since < HOUR else "",
            not isinstance(deed, Exec) or deed.command.split()[0] in self._allowed,
            at.window_open,
            at.above is not None and at.above in self._running,
            not at.group.isdisjoint(self._running),
            at.muted,
            at.muted_until,
        )

    def _ask(self, incident: Incident, at: Standing, deed: Deed) -> None:
        action = self._put_action(replace(self._action(incident, at, deed), ran=True))
        verb = action.verb
        unit = (action.init, action.unit)
        self._running[unit] = action.id
        times = [when for when in self._verbs.get(unit, ()) if self._now.mono - when < LONGEST]
        self._verbs[unit] = [*times, self._now.mono]
        course = self.courses[incident.id]
        done = (*course.done, str(deed))
        course = Course(course.opened, None, done, action.id)
        self._put(incident.id, replace(course, due_at=_due_at(at.rule, course)))
        if isinstance(deed, Exec):
            self._out.intents.append(Intent(action, command=deed.command))
            self._line(action, LineKind.ACTION, f"{deed.text} begins")
            return
        self._last[unit] = verb
        can_reload = at.status is not None and at.status.can_reload
        by_signal = verb == Verb.RELOAD and not can_reload
        signal = deed.signal or (at.rule.params.reload_signal if by_signal else "")
        self._out.intents.append(Intent(action, signal))
        self._line(action, LineKind.ACTION, f"{deed.text} asked of {action.init}")

    def _action(self, incident: Incident, at: Standing, deed: Deed) -> Action:
        init, unit = at.unit or ("", "")
        step, verb = at.rule.steps.index(deed), deed.verb
        return Action(
            make_id(incident.id, verb, str(len(self.of(incident))), f"{self._now.wall:.3f}"),
            incident.id,
            incident.service,
            init,
            unit,
            verb,
            step,
            self._now.wall,
            invocation=at.status.invocation if at.status else "",
            main_pid=at.status.main_pid if at.status else 0,
        )

    def _defer(self, incident: Incident, deed: Deed, answer: Later) -> tuple[str, ...]:
        course = self.courses[incident.id]
        self._put(incident.id, replace(course, deferred=answer.reason, retry_at=answer.at))
        if course.deferred is answer.reason:
            return ()
        self._out.suppressed.append((incident.service, answer.reason))
        text = f"{deed.text} is deferred: {answer.text}"
        self._out.lines.append(Line(incident.id, self._now.wall, LineKind.DEFERRED, text))
        return (text,)

    def _suppress(
        self, incident: Incident, at: Standing, deed: Deed, answer: No
    ) -> tuple[str, ...]:
        course = self.courses[incident.id]
        action = replace(
            self._action(incident, at, deed),
            finished_at=self._now.wall,
            outcome=Outcome.SUPPRESSED,
            reason=answer.text,
        )
        self._put_action(action)
        rest = [deed] if answer.next_step else _deeds(_rest(at.rule, course.done))
        course = replace(course, done=(*course.done, *map(str, rest)))
        self._put(incident.id, replace(course, due_at=_due_at(at.rule, course)))
        self._out.suppressed.append((incident.service, answer.reason))
        self._line(action, LineKind.SUPPRESSED, f"{deed.text} not run: {answer.text}")
        return (f"no {deed.text}: {answer.text}",)

    def _verify(self, action: Action, params: CheckParams) -> Action:
        until = self._now.mono + params.verify_seconds(action.verb)
        self._put(action.incident, replace(self.courses[action.incident], verify_until=until))
        self._line(action, LineKind.ACTION, f"{action.verb} done, its effect is watched")
        return action

    def _failed(self, action: Action, fact: Answered) -> Action:
        if fact.refused is None:
            action = self._outcome(action, Outcome.FAILED, fact.error)
        else:
            unit = (action.init, action.unit)
            self._refused[unit, action.verb] = (self._now.mono, fact.error)
            self._out.suppressed.append((action.service, fact.refused))
            action = self._outcome(action, Outcome.SUPPRESSED, fact.error)
        self._release(action)
        return action

    def _release(self, action: Action) -> None:
        """Let the ladder of the action's incident go on."""
        if course := self.courses.get(action.incident):
            self._put(action.incident, replace(course, action="", verify_until=None))
        else:
            self.actions.pop(action.id, None)

    def _outcome(self, action: Action, outcome: Outcome, reason: str) -> Action:
        action = self._put_action(replace(action, outcome=outcome, reason=reason))
        if outcome is not Outcome.SUPPRESSED:
            self._out.outcomes.append((action.service, action.verb, outcome))
        text = f"{action.verb} {outcome.replace('_', ' ')}: {reason}"
        self._line(action, LineKind.OUTCOME, text)
        return action

    def _put(self, incident: str, course: Course) -> None:
        self.courses[incident] = self._out.courses[incident] = course

    def _put_action(self, action: Action) -> Action:
        self.actions[action.id] = self._out.actions[action.id] = action
        return action

    def _line(self, action: Action, kind: LineKind, text: str) -> None:
        self._out.lines.append(Line(action.incident, self._now.wall, kind, text))


def _rest(rule: Rule, done: Collection[str]) -> list[Rung]:
    """Return the steps that are still to come: all but the alerts of the opening and `done`."""
    left, rest = list(done), []
    for step in rule.steps:
        if isinstance(step, Alert) and not step.after:
            continue
        if (text := str(step)) in left:
            left.remove(text)
        else:
            rest.append(step)
    return rest


def _deeds(steps: Sequence[Rung]) -> list[Deed]:
    return [step for step in steps if not isinstance(step, Alert)]


def _due_at(rule: Rule, course: Course) -> float | None:
    """Return when the next timed step falls due; a deed waits for those before it."""
    rest = _rest(rule, course.done)
    first = next(iter(_deeds(rest)), None)
    times = [step.after for step in rest if isinstance(step, Alert)]
    times += [first.after] if first is not None and first.after else []
    return course.opened + min(times) if times else None


def _rebased(course: Course, incident: Incident | None, memory: Memory, now: Moment) -> Course:
    """Monotonic times of another boot mean nothing: what was waited for is due now."""
    if memory.same_boot:
        return course
    until = None if course.verify_until is None else now.mono
    opened = now.mono - max(0.0, now.wall - incident.opened_at) if incident else now.mono
    due = None if course.due_at is None else course.due_at - course.opened + opened
    return replace(
        course, opened=opened, due_at=due, verify_until=until, confirm_at=None, retry_at=None
    )
