"""What mutes a service now: silences and deploys of the operator, and its own `quiet`."""

from steadyd.engine.subjects import Subjects
from steadyd.engine.turn import Turn
from steadyd.evaluation.judge import Judge
from steadyd.model.fact import Silenced
from steadyd.model.silence import Silence, muting


class Silences:
    """`in_force` are those of the operator, as they were told last."""

    def __init__(
        self, turn: Turn, in_force: tuple[Silence, ...], subjects: Subjects, judge: Judge
    ) -> None:
        self.in_force = in_force
        self._turn, self._subjects, self._judge = turn, subjects, judge

    def told(self, fact: Silenced) -> None:
        """Take what is in force from now on."""
        now = self._turn.now.wall
        self.in_force = tuple(each for each in fact.silences if each.until > now)
        self._turn.out.silences = self.in_force

    def muting(self, service: str, rule_key: str = "") -> Silence | None:
        """Return the silence or deploy that mutes a service now, None if none does.

        A rule that names no event is silenced by the `quiet` of its service too.
        """
        now = self._turn.now
        subject, plan = self._subjects.by_name.get(service), self._judge.plans.get(rule_key)
        own = subject.quiet(now) if subject and plan and not plan.eventful else None
        silences = self.in_force if own is None else (*self.in_force, own)
        return muting(silences, service, now.wall) if silences else None
