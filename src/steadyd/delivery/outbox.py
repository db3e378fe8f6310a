"""What is still to be sent. Pure: the caller tells the time, stores, sends, and reports back.

Every parcel ends delivered, folded or dead. Delivery is at least once: a parcel that was being
sent when we died is sent again. The first parcel for a target goes at once; those that follow
within GATHER seconds wait and go as one. Times are seconds of a clock of the caller's that does
not step; one that an earlier daemon stored may be of a clock that did.
"""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from steadyd.model.notification import Message, Occasion, Parcel, ParcelState, Receipt

MINUTE, DAY = 60.0, 86_400.0
WAITS = (1 * MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE)  # design.md, section 8
PATIENCE = DAY
GATHER = 10.0
LONGEST_WAIT = max(WAITS)
TOGETHER = 250  # parcels in one message; more would not be read


class Delivery(Struct, frozen=True):
    """Parcels that go to one target as one message."""

    target: str
    parcels: tuple[Parcel, ...]


class Outbox:
    """The parcels that are not settled, and a count of those that died."""

    def __init__(self, parcels: Iterable[Parcel] = ()) -> None:
        """Take up what was not settled when the daemon ended."""
        self._parcels: dict[str, Parcel] = {}
        self._dead: dict[str, Parcel] = {}
        self._started: dict[str, float] = {}
        self._busy: set[str] = set()
        for parcel in parcels:
            if parcel.state is ParcelState.DEAD:
                self._dead[parcel.id] = parcel
            else:
                self._parcels[parcel.id] = replace(parcel, state=ParcelState.NEW)

    def __len__(self) -> int:
        return len(self._parcels)

    @property
    def sending(self) -> int:
        """Return how many parcels are on their way right now."""
        return sum(1 for p in self._parcels.values() if p.state is ParcelState.SENDING)

    @property
    def dead(self) -> int:
        """Return how many parcels were given up."""
        return len(self._dead)

    def oldest(self) -> float | None:
        """Return when the oldest parcel that is not delivered was posted."""
        return min((p.posted_at for p in self._parcels.values()), default=None)

    def post(self, parcel: Parcel, if_folded: Message | None = None) -> list[Parcel]:
        """Add a parcel; return what is to be stored.

        One that is known by its id adds nothing. Where the opening of the same incident still
        waits for the same target, both become one parcel with the text `if_folded`.
        """
        if parcel.id in self._parcels or parcel.id in self._dead:
            return []
        opening = self._waiting_opening(parcel) if if_folded else None
        if opening is None or if_folded is None:
            self._parcels[parcel.id] = parcel
            return [parcel]
        one = replace(
            parcel,
            message=if_folded,
            due_at=opening.due_at,
            tries=opening.tries,
            posted_at=opening.posted_at,
        )
        del self._parcels[opening.id]
        self._parcels[one.id] = one
        return [replace(opening, state=ParcelState.FOLDED), one]

    def due(self, now: float) -> list[Delivery]:
        """Mark as being sent, and return, what is to go now; at most one delivery per target."""
        by_target: dict[str, list[Parcel]] = {}
        for parcel in self._parcels.values():
            if parcel.state is ParcelState.NEW and _due_at(parcel, now) <= now:
                by_target.setdefault(parcel.target, []).append(parcel)
        deliveries = []
        for target, parcels in by_target.items():
            if target in self._busy or now < self._started.get(target, -GATHER) + GATHER:
                continue
            going = [replace(p, state=ParcelState.SENDING) for p in parcels[:TOGETHER]]
            if len(parcels) <= TOGETHER:
                self._started[target] = now
            self._busy.add(target)
            self._parcels.update((p.id, p) for p in going)
            deliveries.append(Delivery(target, tuple(going)))
        return deliveries

    def settle(self, delivery: Delivery, receipt: Receipt, reason: str, now: float) -> list[Parcel]:
        """Record how a delivery ended; return the parcels as they are to be stored."""
        self._busy.discard(delivery.target)
        return [self._settle(parcel, receipt, reason, now) for parcel in delivery.parcels]

    def next_due(self, now: float) -> float | None:
        """Return when due() will have something, None if nothing waits."""
        times = [
            max(_due_at(p, now), self._started.get(p.target, -GATHER) + GATHER)
            for p in self._parcels.values()
            if p.state is ParcelState.NEW and p.target not in self._busy
        ]
        return max(now, min(times)) if times else None

    def _waiting_opening(self, parcel: Parcel) -> Parcel | None:
        return next(
            (
                p
                for p in self._parcels.values()
                if p.occasion is Occasion.OPENED
                and p.state is ParcelState.NEW
                and (p.incident, p.target) == (parcel.incident, parcel.target)
            ),
            None,
        )

    def _settle(self, parcel: Parcel, receipt: Receipt, reason: str, now: float) -> Parcel:
        tried = replace(parcel, tries=parcel.tries + 1, last_error=reason)
        if receipt is Receipt.DELIVERED:
            del self._parcels[parcel.id]
            return replace(tried, state=ParcelState.DELIVERED, last_error="")
        if receipt is Receipt.REFUSED or now - parcel.posted_at >= PATIENCE:
            del self._parcels[parcel.id]
            dead = replace(tried, state=ParcelState.DEAD)
            self._dead[parcel.id] = dead
            return dead
        wait = WAITS[min(parcel.tries, len(WAITS) - 1)]
        again = replace(tried, state=ParcelState.NEW, due_at=now + wait)
        self._parcels[parcel.id] = again
        return again


def _due_at(parcel: Parcel, now: float) -> float:
    """Return when a parcel is due: at once where that lies further off than anything waits."""
    return parcel.due_at if parcel.due_at - now <= LONGEST_WAIT else now
