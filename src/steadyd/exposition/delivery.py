"""The collector of delivery: what is still to be told, and how telling it goes."""

from collections.abc import Iterator

from prometheus_client.core import Metric

from steadyd.exposition.families import Family
from steadyd.model.snapshot import Snapshot


def collect(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the families of the outbox and of notifications."""
    yield _parcels(snapshot)
    oldest = Family(
        "steadyd_undelivered_oldest_age_seconds",
        "gauge",
        "Age of the oldest message that is not delivered, 0 without one.",
    )
    oldest.add((), snapshot.outbox.oldest_age_seconds)
    yield oldest
    dead = Family("steadyd_dead_parcels", "counter", "Messages that were given up.")
    dead.add((), snapshot.counters.dead_parcels)
    yield dead
    delivered, failed = snapshot.counters.notifications, snapshot.counters.notifications_failed
    attempts = {
        scheme: delivered.get(scheme, 0) + failed.get(scheme, 0)
        for scheme in (*delivered, *(scheme for scheme in failed if scheme not in delivered))
    }
    for name, help_, counts in (
        ("notifications", "Attempts to deliver a message.", attempts),
        ("notifications_failed", "Attempts to deliver a message that failed.", failed),
    ):
        family = Family(f"steadyd_{name}", "counter", help_, ("integration",))
        for scheme, count in counts.items():
            family.add((scheme,), count)
        yield family


def _parcels(snapshot: Snapshot) -> Family:
    """Give each parcel to one state: what is being sent is among `OutboxView.pending`."""
    outbox = snapshot.outbox
    family = Family(
        "steadyd_outbox_parcels", "gauge", "Messages that are not delivered, by state.", ("state",)
    )
    family.add(("dead",), outbox.dead)
    family.add(("pending",), max(0, outbox.pending - outbox.sending))
    family.add(("sending",), outbox.sending)
    return family
