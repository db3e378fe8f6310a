"""The batch of facts that is under way, shared by all rooms of the engine."""

from msgspec import Struct

from steadyd.model.fact import Moment, Step


class Turn(Struct):
    """All of the batch happens at `now`; what comes of it is collected in `out`."""

    now: Moment
    out: Step

    def begin(self, now: Moment) -> None:
        """Start another batch."""
        self.now, self.out = now, Step()

    def mono(self, wall: float) -> float:
        """Return a wall-clock time as a monotonic one."""
        return wall - self.now.wall + self.now.mono
