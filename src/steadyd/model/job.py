"""When a recurring job ran, and from when on it is overdue."""

from msgspec import Struct

from steadyd.model.rule import Job

GRACE = 60.0  # seconds after its interval within which a job is not overdue (language.md)


class JobState(Struct, frozen=True):
    """When a job reported last, or was seen first, in wall-clock seconds; `paused` is how long
    the host was down since.
    """

    last: float
    paused: float = 0.0
    ran: bool = False

    def due(self, job: Job) -> float:
        """Return the wall-clock time from which on the job is overdue."""
        return self.last + self.paused + job.every + GRACE
