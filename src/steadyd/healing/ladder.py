"""The ladders of all open incidents: which verb is next, what was asked, what came of it. Pure.

    next verb ──guard──▶ yes ──▶ asked ──answer──▶ verified ──▶ healed | not healed ─┐
        ▲                 later: asked again       failed, refused ─────────────────┤
        │                 no: suppressed ───────────────────────────────────────────┤
        └──────────────────────── next step of the ladder ◀──────────────────────────┘

A verb that was asked is never asked again for the same step, also not after a crash of ours.
"""

import hashlib
from collections.abc import Collection, Mapping

from msgspec import Struct
from msgspec.structs import replace

from steadyd.healing.guard import HOUR, Later, No, Situation, Yes, may_act
from steadyd.healing.verify import verdict
from steadyd.model.fact import Answered, Course, Intent, Memory, Moment, Phase, Step
from steadyd.model.incident import Action, Incident, Line, LineKind, Outcome
from steadyd.model.rule import Act, Budget, CheckParams, Rule, Verb
from steadyd.model.service import UnitStatus

DAY = 86_400.0
UnitKey = tuple[str, str]


class Standing(Struct, frozen=True):
    """Where the rule of an incident and its unit stand at this moment."""

    rule: Rule
    phase: Phase
    unit: UnitKey | None
    status: UnitStatus | None


class Ladder:
    """Courses of the open incidents, the actions of each, and what budgets are made of."""

    def __init__(self, memory: Memory, now: Moment, host_budget: Budget, dry_run: bool) -> None:
        self._host_budget, self._dry_run = host_budget, dry_run
        self.actions = dict(memory.actions)
        self.courses = {k: _rebased(c, memory, now) for k, c in memory.courses.items()}
        self._verbs: dict[UnitKey, list[float]] = {}
        self._running: dict[UnitKey, str] = {}
        self._unjudged = {
            (a.init, a.unit): a.id for a in self.actions.values() if a.finished_at is None
        }
        self._refused: dict[tuple[UnitKey, Verb], tuple[float, str]] = {}
        self._healed: dict[str, tuple[float, Action]] = {}
        for action in memory.recent:
            age = max(0.0, now.wall - action.asked_at)
            self._verbs.setdefault((action.init, action.unit), []).append(now.mono - age)
        self._now, self._out, self._kill_switch = now, Step(), False

    def begin(self, now: Moment, out: Step, kill_switch: bool) -> None:
        """Start a batch: everything until the next one happens at `now` and is told in `out`."""
        self._now, self._out, self._kill_switch = now, out, kill_switch

    def running(self, unit: UnitKey | None) -> Verb | None:
        """Return the verb that is under way on a unit."""
        action = self.actions.get(self._running.get(unit, "")) if unit else None
        return action.verb if action else None

    def of(self, incident: Incident) -> tuple[Action, ...]:
        """Return the actions of an incident, oldest first."""
        return tuple(a for a in self.actions.values() if a.incident == incident.id)

    def wake_at(self) -> list[float]:
        """Return the monotonic times at which a course wants to go on."""
        return [
            at
            for c in self.courses.values()
            for at in (c.verify_until, c.confirm_at, c.retry_at)
            if at is not None
        ]

    def confirming(self, incident: str, now: float) -> bool:
        """Tell whether a second look at the value is due."""
        at = self.courses[incident].confirm_at if incident in self.courses else None
        return at is not None and at <= now

    # -- the course of one incident

    def open(self, incident: Incident, rule: Rule, *, new: bool, confirm_at: float | None) -> None:
        """Start the ladder of an incident; what healed a moment ago came back."""
        self._put(incident.id, Course(new=new, confirm_at=confirm_at))
        until, action = self._healed.pop(rule.key, (0.0, None))
        if action is not None and self._now.mono < until:
            self._outcome(action, Outcome.CAME_BACK, "the condition came back")
            del self.actions[action.id]

    def close(
        self, incident: Incident, rule: Rule | None, *, recovered: bool
    ) -> tuple[Action, ...]:
        """End the ladder; return the incident's actions as they are now."""
        course = self.courses.pop(incident.id, Course())
        action = self.actions.get(course.action)
        if action is not None and action.finished_at is not None:
            if recovered:
                window = (rule.params if rule else CheckParams()).verify_seconds(action.verb)
                action = self._outcome(action, Outcome.HEALED, "the condition is false again")
                self._healed[incident.rule_key] = (self._now.mono + window, action)
            else:
                self._outcome(action, Outcome.UNKNOWN, "the incident was withdrawn")
        actions = self.of(incident)
        for done in actions:
            if done.finished_at is not None:
                del self.actions[done.id]
        return actions

    def advance(self, incident: Incident, at: Standing) -> tuple[str, ...]:
        """Go on as far as it is time to; return sentences that are worth telling."""
        remarks = self._judge_healing(incident, at)
        while rest := self._ready(incident, at):
            course = self.courses[incident.id]
            answer = may_act(self._situation(at, rest[0], course))
            match answer:
                case Yes():
                    self._ask(incident, at, rest[0])
                    break
                case Later():
                    remarks += self._defer(incident, rest[0], answer)
                    break
                case No():
                    remarks += self._suppress(incident, at, rest[0], answer)
        return remarks

    def spent(self, incident: Incident, rule: Rule) -> bool:
        """Tell whether the ladder has verbs, and none is left or under way."""
        course = self.courses[incident.id]
        return bool(rule.verbs) and not course.action and not _rest(rule, course.done)

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
        if fact.error:
            return self._failed(action, fact)
        if action.incident in self.courses:
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
            action.verb is Verb.RESTART
            and bool(status.invocation)
            and status.invocation != action.invocation
        )
        if carried_out and action.incident in self.courses:
            return self._verify(action, params.get(action.incident, CheckParams()))
        why = "steadyd ended before the init system answered"
        action = self._outcome(action, Outcome.UNKNOWN, why)
        self._release(action)
        return action

    # -- inside

    def _ready(self, incident: Incident, at: Standing) -> list[Verb]:
        course = self.courses[incident.id]
        waits = max(course.confirm_at or 0.0, course.retry_at or 0.0) > self._now.mono
        if course.action or waits or at.phase is not Phase.FIRING:
            return []
        return _rest(at.rule, course.done)

    def _judge_healing(self, incident: Incident, at: Standing) -> tuple[str, ...]:
        course = self.courses[incident.id]
        action = self.actions.get(course.action)
        if action is None or course.verify_until is None:
            return ()
        recovering = at.phase is Phase.RECOVERING
        outcome = verdict(self._now.mono, course.verify_until, closed=False, recovering=recovering)
        if outcome is None:
            return ()
        self._outcome(action, outcome, "the condition is still true")
        self._release(action)
        return (f"{action.verb} did not help",)

    def _situation(self, at: Standing, verb: Verb, course: Course) -> Situation:
        unit, now = at.unit or ("", ""), self._now.mono
        since, refused = self._refused.get((unit, verb), (0.0, ""))
        return Situation(
            now,
            verb,
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
        )

    def _ask(self, incident: Incident, at: Standing, verb: Verb) -> None:
        action = self._put_action(replace(self._action(incident, at, verb), ran=True))
        unit = (action.init, action.unit)
        self._running[unit] = action.id
        times = [when for when in self._verbs.get(unit, ()) if self._now.mono - when < DAY]
        self._verbs[unit] = [*times, self._now.mono]
        done = (*self.courses[incident.id].done, verb)
        self._put(incident.id, Course(done, action.id))
        can_reload = at.status is not None and at.status.can_reload
        signal = at.rule.params.reload_signal if verb is Verb.RELOAD and not can_reload else ""
        self._out.intents.append(Intent(action, signal))
        self._line(action, LineKind.ACTION, f"{verb} asked of {action.init}")

    def _action(self, incident: Incident, at: Standing, verb: Verb) -> Action:
        init, unit = at.unit or ("", "")
        step = next(i for i, s in enumerate(at.rule.steps) if isinstance(s, Act) and s.verb is verb)
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

    def _defer(self, incident: Incident, verb: Verb, answer: Later) -> tuple[str, ...]:
        course = self.courses[incident.id]
        self._put(incident.id, replace(course, deferred=answer.reason, retry_at=answer.at))
        if course.deferred is answer.reason:
            return ()
        self._out.suppressed.append((incident.service, answer.reason))
        text = f"{verb} is deferred: {answer.text}"
        self._out.lines.append(Line(incident.id, self._now.wall, LineKind.DEFERRED, text))
        return (text,)

    def _suppress(
        self, incident: Incident, at: Standing, verb: Verb, answer: No
    ) -> tuple[str, ...]:
        course = self.courses[incident.id]
        action = replace(
            self._action(incident, at, verb),
            finished_at=self._now.wall,
            outcome=Outcome.SUPPRESSED,
            reason=answer.text,
        )
        self._put_action(action)
        done = (*course.done, verb) if answer.next_step else at.rule.verbs
        self._put(incident.id, replace(course, done=tuple(done)))
        self._out.suppressed.append((incident.service, answer.reason))
        self._line(action, LineKind.SUPPRESSED, f"{verb} not run: {answer.text}")
        return (f"no {verb}: {answer.text}",)

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


def make_id(*parts: str) -> str:
    """Make an id that is the same for the same parts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _rest(rule: Rule, done: Collection[str]) -> list[Verb]:
    left, rest = list(done), []
    for verb in rule.verbs:
        if verb in left:
            left.remove(verb)
        else:
            rest.append(verb)
    return rest


def _rebased(course: Course, memory: Memory, now: Moment) -> Course:
    """Monotonic times of another boot mean nothing: what was waited for is due now."""
    if memory.same_boot:
        return course
    until = None if course.verify_until is None else now.mono
    return replace(course, verify_until=until, confirm_at=None, retry_at=None)
