"""When what is sampled: at each tick for all, in between for whom it is asked, for scrapes apart.

A tick looks as deep as the rules need; a sample for a scrape is complete.

Rules read tick samples and those made for an event; a sample taken for a scrape is only shown.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from steadyd.model.metric import MetricId, Readings, Sample
from steadyd.ports import Depth, Sampler, SampleTarget
from steadyd.probes.rates import EXTRA, extra, host_extra, host_readings, service_readings

SLICE = 50  # services sampled before the loop gets its turn: about 5 ms
HOST_DEADLINE = 5.0  # seconds; a mount that hangs must not hold the tick back
DISK = "disk"
FDS = frozenset((MetricId("process", "fds"), MetricId("process", "fd_ratio")))
SAMPLED = frozenset(("memory", "cpu", "process"))  # families that samples of processes tell
LIGHT = frozenset(
    (MetricId("memory", "rss"), MetricId("memory", "total_rss"), MetricId("process", "count"))
)


class Wanted(Struct, frozen=True):
    """One service (or the host: `host`) and the metrics that its rules name.

    `target` is None where nothing runs; `full` is the same for a complete sample.
    """

    name: str
    metrics: frozenset[MetricId]
    target: SampleTarget | None = None
    full: SampleTarget | None = None
    host: bool = False


class Observer:
    """The samples of the last tick, and the newest ones."""

    def __init__(self, sampler: Sampler) -> None:
        self.newest: Mapping[str, Sample] = {}
        self._complete_at = 0.0
        self._ticked: Mapping[str, Sample] = {}
        self._sampler = sampler
        self._one = asyncio.Lock()
        self._host: asyncio.Future[Sample] | None = None

    def own(self) -> Mapping[str, float]:
        """Return what this process itself uses."""
        return self._sampler.own()

    async def tick(self, wanted: Sequence[Wanted]) -> dict[str, Readings]:
        """Sample all; return the readings by name against the tick before."""
        samples = await self._sample(wanted)
        readings = self._readings(wanted, samples)
        self._ticked = self.newest = samples
        self._complete_at = 0.0
        return readings

    async def look(self, wanted: Sequence[Wanted]) -> dict[str, Readings]:
        """Sample some now; return their readings against the last tick."""
        return self._readings(wanted, await self._sample(wanted))

    async def refresh(self, wanted: Sequence[Wanted], oldest: float) -> None:
        """Make the newest samples at most `oldest` seconds old, with one walk for all who ask."""
        if time.monotonic() - self._complete_at < oldest:
            return
        async with self._one:
            if time.monotonic() - self._complete_at >= oldest:
                self.newest = await self._sample(wanted, complete=True)
                self._complete_at = time.monotonic()

    def _readings(
        self, wanted: Sequence[Wanted], samples: Mapping[str, Sample]
    ) -> dict[str, Readings]:
        return {
            w.name: (host_readings if w.host else service_readings)(
                w.metrics, self._ticked.get(w.name), samples.get(w.name)
            )
            for w in wanted
        }

    async def _sample(
        self, wanted: Sequence[Wanted], *, complete: bool = False
    ) -> dict[str, Sample]:
        samples: dict[str, Sample] = {}
        targets = [t for w in wanted if (t := _target(w, complete)) is not None]
        grouped = [t for t in targets if t.cgroup]
        slices = [grouped[i : i + SLICE] for i in range(0, len(grouped), SLICE)]
        slices.append([t for t in targets if not t.cgroup])  # these share one pass over /proc
        found: dict[str, Sample] = {}
        for some in slices:
            if some:
                found.update(self._sampler.sample(some))
                await asyncio.sleep(0)
        for w in wanted:
            if w.target is not None and w.target.unit in found:
                samples[w.name] = found[w.target.unit]
            elif w.host and (sample := await self._host_sample(w)) is not None:
                samples[w.name] = sample
        return samples

    async def _host_sample(self, wanted: Wanted) -> Sample | None:
        """Sample the host in a thread; while one hangs in a mount, no other is started."""
        mounts = sorted(m.name for m in wanted.metrics if m.family == DISK)
        if self._host is None or self._host.done():
            loop = asyncio.get_running_loop()
            more = host_extra(wanted.metrics)
            self._host = loop.run_in_executor(None, self._sampler.host, mounts, more)
        try:
            return await asyncio.wait_for(asyncio.shield(self._host), HOST_DEADLINE)
        except TimeoutError:
            return None


def _target(wanted: Wanted, complete: bool) -> SampleTarget | None:
    """Return what to sample of a service: what its rules name is in a complete sample too."""
    target = wanted.full if complete else wanted.target
    if target is None or not (more := extra(wanted.metrics)):
        return target
    return replace(target, extra=more)


def wanted_depth(metrics: frozenset[MetricId]) -> Depth:
    """Return how deep a tick has to look for the metrics that rules name."""
    if metrics & FDS:
        return Depth.FULL
    sampled = {m for m in metrics if m.family in SAMPLED} - EXTRA
    return Depth.MEMORY if sampled <= LIGHT else Depth.USUAL
