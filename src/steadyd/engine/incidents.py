"""The incidents that are open: how one opens, what is done for it, and how it ends."""

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from steadyd.engine.silences import Silences
from steadyd.engine.standing import Standings
from steadyd.engine.subjects import Subjects
from steadyd.engine.telling import Telling
from steadyd.engine.turn import Turn
from steadyd.evaluation.judge import Judge
from steadyd.healing.ladder import Ladder, Standing
from steadyd.model.condition import UP, Comparison, Event, Forecast
from steadyd.model.decision import Opened
from steadyd.model.fact import Phase, RuleState
from steadyd.model.incident import (
    Action,
    CloseReason,
    Incident,
    LineKind,
    Suppression,
    make_id,
)
from steadyd.model.notification import Occasion
from steadyd.model.rule import CheckParams, Job, Rule, Severity

SECOND_LOOK = 0.25  # seconds; a fork doubles a process sum for milliseconds (language.md)
ABSENT = 300.0  # seconds after which the incident of an absent subject is withdrawn
FRESH = 1.0  # seconds for which a reading is one of this moment
SUMS = ("memory", "process")  # families that sum over processes


class Incidents:
    """Open incidents by id. `rules` are those in force, by key."""

    def __init__(
        self,
        turn: Turn,
        known: Mapping[str, Incident],
        hostname: str,
        subjects: Subjects,
        standings: Standings,
        judge: Judge,
        silences: Silences,
        ladder: Ladder,
    ) -> None:
        self.open = dict(known)
        self.rules: Mapping[str, Rule] = {}
        self.telling = Telling(turn, subjects, silences, ladder)
        self._turn, self._hostname, self._subjects = turn, hostname, subjects
        self._standings, self._judge = standings, judge
        self._silences, self._ladder = silences, ladder
        self._by_rule = {incident.rule_key: incident.id for incident in known.values()}
        self._dark: dict[str, float] = {}

    @property
    def rule_keys(self) -> tuple[str, ...]:
        """Return the keys of the rules and jobs that have an open incident."""
        return tuple(self._by_rule)

    @property
    def dark(self) -> dict[str, float]:
        """Return since when (wall clock) nothing is known of what an open incident is about."""
        return {self._by_rule[key]: at for key, at in self._dark.items()}

    def of_rule(self, key: str) -> Incident | None:
        """Return the open incident of a rule or job."""
        return self.open.get(self._by_rule.get(key, ""))

    def params(self) -> dict[str, CheckParams]:
        """Return the parameters of the check of each incident, by its id."""
        found = ((i.id, self.rules.get(i.rule_key)) for i in self.open.values())
        return {id_: rule.params for id_, rule in found if rule is not None}

    def seen(self, key: str, true: bool | None) -> None:
        """Take note of what the condition of a rule was found to be; None: not known."""
        if true is None and key in self._by_rule:
            self._dark.setdefault(key, self._turn.now.wall)
        elif self._dark:
            self._dark.pop(key, None)

    def wake_at(self) -> Iterator[float]:
        """Yield the monotonic times at which an incident wants to be looked after."""
        for incident in self.open.values():
            absent = self._subjects.absent_since(incident.service)
            if absent is not None:
                yield absent + ABSENT
            if (told_at := self._told_at(incident)) is not None:
                yield told_at

    # -- how one opens

    def open_rule(self, decision: Opened) -> None:
        """Open the incident of a rule: start its ladder, and tell."""
        rule, now = decision.rule, self._turn.now
        leaf, value = self._judge.shown(rule, now, wanted=True)
        amount = None if isinstance(leaf, Event) else leaf.amount.value
        operator = str(leaf.operator) if isinstance(leaf, Comparison) else ""
        routes, remarks = self.telling.routes_of(rule)
        silence = self._silences.muting(rule.service, rule.key)
        incident = Incident(
            self._id(rule.key),
            rule.service,
            rule.key,
            str(rule),
            str(rule.source),
            leaf.topic,
            rule.severity,
            now.wall,
            value,
            amount,
            routes,
            operator=operator or ("will reach" if isinstance(leaf, Forecast) else ""),
            what=leaf.subject if isinstance(leaf, Comparison) else "",
            topics=rule.topics,
            muted_until=silence.until if silence else None,
        )
        self._put(incident)
        self.telling.line(incident, LineKind.OPENED, str(rule), incident.value)
        deeds = [deed for deed in rule.deeds if not deed.after]
        sums = any(metric.family in SUMS for metric in self._judge.plans[rule.key].metrics)
        looks = bool(deeds) and rule.hold.instant and sums and not decision.new
        confirm_at = now.mono + SECOND_LOOK if looks else None
        self._ladder.open(incident, rule, new=decision.new, confirm_at=confirm_at)
        if looks:
            remarks += (f"{deeds[0].text} follows if a second look confirms the value",)
        remarks += self._advance(incident, rule)
        if silence is None:
            self.telling.tell(Occasion.OPENED, incident, rule, remarks)
        else:
            muted = f"muted by {silence}: not told"
            self.telling.line(incident, LineKind.NOTIFICATION, muted)

    def open_job(self, job: Job) -> None:
        """Open the incident of a job that is overdue."""
        silence = self._silences.muting(job.name)
        incident = Incident(
            self._id(job.key),
            job.name,
            job.key,
            str(job),
            str(job.source),
            "overdue",
            Severity.WARNING,
            self._turn.now.wall,
            None,
            None,
            (self.telling.route(job.owner),),
            muted_until=silence.until if silence else None,
        )
        self._put(incident)
        self.telling.line(incident, LineKind.OPENED, str(job))
        self._ladder.open_without_steps(incident)
        if silence is None:
            self.telling.tell(Occasion.OPENED, incident, None)

    # -- what is done while it is open

    def look_after(self) -> None:
        """Go on with each incident as far as it is time to."""
        for incident in list(self.open.values()):
            if self._withdrawn(incident):
                continue
            self._unmute(incident)
            incident = self.open[incident.id]
            rule = self.rules.get(incident.rule_key)
            if rule is None:
                continue
            remarks = self._advance(incident, rule)
            if remarks and self._ladder.spent(incident, rule):
                self._give_up(incident, rule, remarks)

    def answered(self, action: Action) -> None:
        """Say so if an action ended without healing, and it was the last one of its ladder."""
        incident = self.open.get(action.incident) if action.outcome else None
        rule = self.rules.get(incident.rule_key) if incident else None
        if incident and rule and self._ladder.spent(incident, rule):
            self._give_up(incident, rule, ())

    def silences_changed(self) -> None:
        """Tell of what is muted when the silence ends that mutes it now."""
        for incident in list(self.open.values()):
            if incident.muted_until is not None:
                silence = self._silences.muting(incident.service, incident.rule_key)
                until = min(incident.muted_until, self._turn.now.wall)
                self._put(replace(incident, muted_until=silence.until if silence else until))

    def inherit(self, incident: Incident, heir: Rule) -> None:
        """Hand an incident to the changed self of its rule."""
        del self._by_rule[incident.rule_key]
        self._dark.pop(incident.rule_key, None)
        self._put(replace(incident, rule_key=heir.key, rule=str(heir), source=str(heir.source)))
        self._ladder.hand_over(incident, heir)

    # -- how it ends

    def close(
        self,
        incident: Incident,
        reason: CloseReason,
        why: str = "",
        value: float | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        """End an incident, and tell unless `quiet`; `value` is what the condition read last."""
        now = self._turn.now.wall
        closed = replace(incident, closed_at=now, close_reason=reason, close_text=why)
        recovered = reason is CloseReason.RECOVERED
        rule = self.rules.get(incident.rule_key)
        actions = self._ladder.close(incident, rule, recovered=recovered)
        self._turn.out.incidents[incident.id] = closed
        del self.open[incident.id], self._by_rule[incident.rule_key]
        self._dark.pop(incident.rule_key, None)
        muted = incident.muted_until is not None
        inside = " (nobody was told: it opened and closed inside a silence)" if muted else ""
        self.telling.line(closed, LineKind.CLOSED, (why or "recovered") + inside, value)
        if not quiet and not muted:
            self.telling.closed(closed, rule, actions)

    def _withdrawn(self, incident: Incident) -> bool:
        """Close an incident if its service is not there for long; tell whether it was."""
        absent = self._subjects.absent_since(incident.service)
        if absent is None or self._turn.now.mono - absent < ABSENT:
            return False
        stopped = self._subjects.is_stopped(incident.service)
        subject = self._subjects.by_name[incident.service]
        why = "the service is stopped" if stopped else subject.reason
        self.close(incident, CloseReason.WITHDRAWN, why, quiet=stopped)
        state = self._standings.by_rule.get(incident.rule_key)
        if state is not None and incident.topic not in _ABOUT_UP:
            self._standings.put(incident.rule_key, RuleState(settled=state.settled))
        return True

    def _told_at(self, incident: Incident) -> float | None:
        """Return the monotonic time at which a muted incident is told if it is still true."""
        if incident.muted_until is None:
            return None
        subject = self._subjects.by_name.get(incident.service)
        return self._turn.mono(incident.muted_until) + (subject.params.settle if subject else 0.0)

    def _unmute(self, incident: Incident) -> None:
        """Tell what opened inside a silence and is still true after it, and start its ladder."""
        at = self._told_at(incident)
        if at is None or at > self._turn.now.mono:
            return
        silence = self._silences.muting(incident.service, incident.rule_key)
        if silence is not None:
            self._put(replace(incident, muted_until=silence.until))
            return
        rule = self.rules.get(incident.rule_key)
        if rule is not None and self._standings.of(rule.key).phase is not Phase.FIRING:
            return  # it is about to close
        told = replace(incident, muted_until=None)
        self._put(told)
        if rule is not None:
            self._ladder.begin_again(told, rule)
        remark = "it began while messages were muted"
        self.telling.tell(Occasion.OPENED, told, rule, (remark,))

    def _advance(self, incident: Incident, rule: Rule) -> tuple[str, ...]:
        """Take the steps of the ladder that are due; return what is worth telling of them."""
        standing = self._standing(incident, rule)
        for alert in self._ladder.alerts_due(incident, standing):
            self._put(self.telling.escalate(self.open[incident.id], rule, alert))
        return self._ladder.advance(incident, standing)

    def _standing(self, incident: Incident, rule: Rule) -> Standing:
        subject = self._subjects.by_name[rule.service]
        look = self._judge.look(rule, self._turn.now)
        sampled = self._judge.plans[rule.key].sampled
        silence = self._silences.muting(rule.service, rule.key)
        until = self._told_at(incident)
        muted = Suppression(silence.kind) if silence else None
        if muted is None and until is not None:
            muted = Suppression.SILENCE  # it ended; what settles is not yet told
        return Standing(
            rule,
            self._standings.of(rule.key).phase,
            subject.unit,
            subject.status,
            self._subjects.unit_of(rule.params.depends),
            self._subjects.others(subject),
            look.goes_on(rule),
            not sampled or self._turn.now.mono - self._subjects.read_at(subject) < FRESH,
            self._judge.window_open(rule, self._turn.now),
            muted,
            until if silence is None else self._turn.mono(silence.until),
        )

    def _give_up(self, incident: Incident, rule: Rule, remarks: tuple[str, ...]) -> None:
        if self._ladder.give_up(incident):
            remarks += ("nothing more is tried by itself",)
            self.telling.tell(Occasion.GAVE_UP, incident, rule, remarks)

    def _put(self, incident: Incident) -> None:
        self.open[incident.id] = self._turn.out.incidents[incident.id] = incident
        self._by_rule[incident.rule_key] = incident.id

    def _id(self, key: str) -> str:
        return make_id(self._hostname, key, f"{self._turn.now.wall:.3f}")


_ABOUT_UP = ("down", str(UP))  # told once: it stays firing until the service is up again
