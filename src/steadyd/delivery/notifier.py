"""Notifications are rendered for each target, kept in the outbox, and sent from there."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from steadyd.delivery.dispatch import Dispatch
from steadyd.delivery.outbox import Outbox
from steadyd.delivery.post import PostOffice
from steadyd.delivery.redact import shown
from steadyd.delivery.render import DimensionOf, folded, render
from steadyd.delivery.routes import Routes
from steadyd.model.incident import make_id
from steadyd.model.notification import (
    DEFAULT_ROUTE,
    Notification,
    Occasion,
    Parcel,
    Receipt,
    Target,
)
from steadyd.model.snapshot import OutboxView
from steadyd.ports import TestReport

log = logging.getLogger(__name__)


class Notifier:
    """`routes` may be replaced at any time. What is posted must be saved before it is nudged."""

    def __init__(
        self,
        routes: Routes,
        parcels: Iterable[Parcel],
        save: Callable[[Sequence[Parcel]], Awaitable[object]],
        hostname: str,
        dimension_of: DimensionOf,
    ) -> None:
        """`parcels` are those that an earlier daemon left; `save` commits what became of some."""
        self.routes = routes
        self._hostname, self._dimension_of = hostname, dimension_of
        self._save, self._dispatch, self._outbox = save, Dispatch(), Outbox(parcels)
        self._office = PostOffice(
            self._outbox, self._dispatch.send, save, lambda p: self.routes.url_of(p), hostname
        )
        self.sent, self.failed = self._office.sent, self._office.failed  # by kind of target

    def nudge(self) -> None:
        """Say that something was posted, and saved."""
        self._office.nudge()

    async def run(self) -> None:
        """Deliver until cancelled."""
        await self._office.run()

    async def close(self) -> None:
        """End the courier."""
        await self._dispatch.close()

    def view(self) -> OutboxView:
        """Return what is still to be told."""
        now, oldest = self._office.now(), self._outbox.oldest()
        age = max(0.0, now - oldest) if oldest is not None else 0.0
        return OutboxView(len(self._outbox), self._outbox.sending, self._outbox.dead, age)

    def post(self, notifications: Iterable[Notification]) -> list[Parcel]:
        """Put notifications into the outbox; return what is to be saved of it."""
        changed, now = list[Parcel](), self._office.now()
        for told in notifications:
            message = render(told, self._hostname, self._dimension_of)
            targets = self.routes.to(told.route)
            if not targets:
                log.warning("%s (no route: told here only)", message.title)
            for target in targets:
                incident = told.incident.id if told.incident else ""
                parcel = Parcel(
                    make_id(incident or str(told.at), told.occasion, target.id),
                    target.id,
                    target.route,
                    target.scheme,
                    incident,
                    told.occasion,
                    message,
                    now,
                    now,
                )
                whole = folded(told, self._hostname, self._dimension_of)
                changed += self._outbox.post(parcel, whole)
        return changed

    async def tell(self, text: str) -> None:
        """Tell the default route something that is of no incident."""
        told = Notification(Occasion.CONFIGURATION, DEFAULT_ROUTE, time.time(), text=text)
        await self._save(self.post([told]))
        self.nudge()

    async def test(self, route: str) -> Sequence[TestReport]:
        """Send a test message through each target of a route. Raises KeyError: no such route."""
        name = route or DEFAULT_ROUTE
        targets = self.routes.targets[name]
        text = f"test of route {name}\nIf you read this, the route works."
        told = Notification(Occasion.TEST, route, time.time(), text=text)
        message = render(told, self._hostname, self._dimension_of)

        async def report(target: Target) -> TestReport:
            url = self.routes.url(target)
            receipt, why = await self._dispatch.send(url, message)
            return TestReport(target.route, shown(url), receipt is Receipt.DELIVERED, why)

        return await asyncio.gather(*map(report, targets))
