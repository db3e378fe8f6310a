"""Recurring jobs: which of them reported, and which are overdue."""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from steadyd.engine.incidents import Incidents
from steadyd.engine.turn import Turn
from steadyd.model.fact import JobRan, Memory
from steadyd.model.incident import CloseReason
from steadyd.model.job import JobState
from steadyd.model.rule import Job


class Jobs:
    """The jobs of the rule files and what is known of each, by key."""

    def __init__(self, turn: Turn, memory: Memory, incidents: Incidents) -> None:
        self._turn, self._incidents = turn, incidents
        self.by_key: dict[str, Job] = {}
        self.states = dict(memory.jobs)
        down = not memory.same_boot and memory.alive
        self._down_for = max(0.0, turn.now.wall - memory.alive) if down else 0.0

    def changed(self, jobs: Iterable[Job]) -> None:
        """Expect these jobs; a host that was down excuses them for as long as it was."""
        self.by_key = {job.key: job for job in jobs}
        for key in self.states.keys() - self.by_key.keys():
            del self.states[key]
            self._turn.out.jobs[key] = None
        for key in self.by_key.keys() - self.states.keys():
            self._put(key, JobState(self._turn.now.wall))
        if self._down_for:
            for key, state in list(self.states.items()):
                self._put(key, replace(state, paused=state.paused + self._down_for))
            self._down_for = 0.0

    def ran(self, fact: JobRan) -> None:
        """Take note that a job ran."""
        job = self.by_key.get(f"job {fact.name}")
        if job is None:
            return
        self._put(job.key, JobState(self._turn.now.wall, ran=True))
        if incident := self._incidents.of_rule(job.key):
            self._incidents.close(incident, CloseReason.RECOVERED)

    def look(self) -> None:
        """Open an incident for each job that is overdue."""
        for job in list(self._awaited()):
            if self.states[job.key].due(job) <= self._turn.now.wall:
                self._incidents.open_job(job)

    def wake_at(self) -> list[float]:
        """Return the monotonic times at which a job would be overdue."""
        return [self._turn.mono(self.states[job.key].due(job)) for job in self._awaited()]

    def _awaited(self) -> Iterator[Job]:
        """Yield the jobs of which it was not yet told that they are overdue."""
        return (job for key, job in self.by_key.items() if self._incidents.of_rule(key) is None)

    def _put(self, key: str, state: JobState) -> None:
        self.states[key] = self._turn.out.jobs[key] = state
