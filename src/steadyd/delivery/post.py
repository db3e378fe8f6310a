"""The post office: takes what is due out of the outbox, has it sent, records how it ended."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from steadyd.delivery.outbox import Delivery, Outbox
from steadyd.delivery.render import together
from steadyd.model.notification import Message, Parcel, ParcelState, Receipt

log = logging.getLogger(__name__)

Send = Callable[[str, Message], Awaitable[tuple[Receipt, str]]]


class PostOffice:
    """Delivers until cancelled; what it could not deliver stays in the outbox."""

    def __init__(
        self,
        outbox: Outbox,
        send: Send,
        save: Callable[[Sequence[Parcel]], Awaitable[object]],
        url_of: Callable[[Parcel], str | None],
        hostname: str,
    ) -> None:
        """`url_of` finds the URL of a parcel's target, None where no route leads there now."""
        self.outbox, self.sent, self.failed = outbox, dict[str, int](), dict[str, int]()
        self._send, self._save, self._url_of, self._hostname = send, save, url_of, hostname
        self._wake = asyncio.Event()
        self._epoch = time.time() - time.monotonic()

    def now(self) -> float:
        """Return the wall-clock time as it would be had nobody set the clock since we began."""
        return self._epoch + time.monotonic()

    def nudge(self) -> None:
        """Say that something was posted."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._wake.clear()
                    for delivery in self.outbox.due(self.now()):
                        await self._save(delivery.parcels)
                        group.create_task(self._deliver(delivery))
                    await self._rest()
        finally:
            self._wake.clear()

    async def _rest(self) -> None:
        now = self.now()
        due = self.outbox.next_due(now)
        try:
            async with asyncio.timeout(None if due is None else max(0.01, due - now)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _deliver(self, delivery: Delivery) -> None:
        first = delivery.parcels[0]
        url = self._url_of(first)
        if url is None:
            receipt, why = Receipt.TRY_AGAIN, f"route {first.route} has no target now"
        else:
            message = together([p.message for p in delivery.parcels], self._hostname)
            receipt, why = await self._send(url, message)
        settled = self.outbox.settle(delivery, receipt, why, self.now())
        self._count(first, receipt, why, settled)
        await self._save(settled)
        self._wake.set()

    def _count(self, first: Parcel, receipt: Receipt, why: str, settled: Sequence[Parcel]) -> None:
        counts = self.sent if receipt is Receipt.DELIVERED else self.failed
        counts[first.scheme] = counts.get(first.scheme, 0) + 1
        if receipt is Receipt.DELIVERED:
            return
        dead = sum(1 for p in settled if p.state is ParcelState.DEAD)
        if dead:
            log.error("%d message(s) for route %s are given up: %s", dead, first.route, why)
        elif first.tries == 0:
            log.warning("a message for route %s (%s) is kept: %s", first.route, first.scheme, why)
