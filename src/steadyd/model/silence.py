"""Silences and deploys: for a while messages and verbs are muted, and never the evaluation."""

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from steadyd.model.service import matches

QUIET = "quiet"  # the id of the silence that a service has of its own after a start


class SilenceKind(StrEnum):
    """A deploy is a silence that somebody meant to end when the work is done."""

    SILENCE = "silence"
    DEPLOY = "deploy"


class Silence(Struct, frozen=True):
    """Times are wall-clock seconds. `services` are names or globs; none: all, and the host."""

    id: str
    kind: SilenceKind
    since: float
    until: float
    services: tuple[str, ...] = ()
    comment: str = ""
    by: str = ""

    def __str__(self) -> str:
        return self.comment if self.id == QUIET else f"a {self.kind}"

    def covers(self, service: str, now: float) -> bool:
        """Tell whether it mutes a service at a moment."""
        if not self.since <= now < self.until:
            return False
        return not self.services or any(matches(name, service) for name in self.services)


def muting(silences: Iterable[Silence], service: str, now: float) -> Silence | None:
    """Return the silence that mutes a service for the longest time, None if none does."""
    found = [silence for silence in silences if silence.covers(service, now)]
    return max(found, key=lambda silence: silence.until, default=None)
