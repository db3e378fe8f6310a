"""The tick: APScheduler on the monotonic clock, safe against steps of the wall clock.

APScheduler computes with the wall clock: after a step back it would not run until the old time
is reached again, after a step forward its interval trigger would replay every missed run. `Every`
and the guard in `Ticker` cure both (measured in libraries.md, section 7).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, JobExecutionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

GUARD = 5.0  # seconds between two looks at the wall clock
TOLERANCE = 0.5  # seconds of drift that are no step


class Every(BaseTrigger):  # type: ignore[misc]
    """Next run = now + what is left of the interval by the monotonic clock."""

    __slots__ = ("interval", "start")

    def __init__(self, interval: float) -> None:
        self.interval, self.start = interval, time.monotonic()

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """Return when to run next; there is never anything to replay."""
        gone = (time.monotonic() - self.start) % self.interval
        return now + timedelta(seconds=self.interval - gone)


class Ticker:
    """Run one coroutine function per interval; never twice at once."""

    def __init__(self) -> None:
        self.missed_runs = self.clock_steps = 0
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = AsyncIOScheduler(
            timezone="UTC",
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._scheduler.add_listener(self._missed, EVENT_JOB_MAX_INSTANCES)
        self._scheduler.add_listener(self._failed, EVENT_JOB_ERROR)
        self._fault: BaseException | None = None
        self._faulty = asyncio.Event()

    def every(self, interval: float, work: Callable[[], Awaitable[None]]) -> None:
        """Call `work` every `interval` seconds."""
        self._scheduler.add_job(work, Every(interval))

    async def run(self) -> None:
        """Tick until cancelled. Raises what a tick raised."""
        self._scheduler.start()
        try:
            await self._guard()
        finally:
            self._scheduler.shutdown(wait=False)

    def _missed(self, _event: object) -> None:
        self.missed_runs += 1

    def _failed(self, event: JobExecutionEvent) -> None:
        self._fault = event.exception
        self._faulty.set()

    async def _guard(self) -> None:
        base = time.time() - time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._faulty.wait(), GUARD)
            if self._fault is not None:
                raise self._fault
            offset = time.time() - time.monotonic()
            if abs(offset - base) > TOLERANCE:
                base = offset
                self.clock_steps += 1
                for job in self._scheduler.get_jobs():
                    job.modify(next_run_time=datetime.now(UTC))
