"""/metrics: the collectors over one snapshot, and the text that the scraper asked for.

Names, types and labels: ecosystem.md, section 3, and contract.md, section 5.
"""

import gzip
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.registry import Collector

from steadyd.exposition import delivery, itself, rules, services
from steadyd.exposition.families import Family, Lines, write
from steadyd.model.snapshot import Snapshot

log = logging.getLogger(__name__)

OPENMETRICS = "application/openmetrics-text"
GZIP_LEVEL = 1  # repeated labels: higher levels cost much and gain little

Group = Callable[[Snapshot], Iterable[Metric]]


class Metrics:
    """Writes snapshots. Safe to use from several threads."""

    def __init__(self, groups: Mapping[str, Group] | None = None) -> None:
        """`groups` are the collectors by name; None: all of them."""
        self._lines = Lines()
        self._groups: Mapping[str, Group] = groups or {
            "services": services.collect,
            "rules": rules.collect,
            "delivery": delivery.collect,
            "itself": itself.collect,
            "process": itself.process,
        }

    def registry(self, snapshot: Snapshot) -> CollectorRegistry:
        """Return a registry over this snapshot: series of what is gone cannot be in it."""
        registry = CollectorRegistry()
        registry.register(_Timed(self._groups, snapshot))
        return registry

    def text(self, snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
        """Return the text and its content type for an Accept header."""
        content_type = negotiate(accept)
        as_openmetrics = content_type.startswith(OPENMETRICS)
        text = write(self.registry(snapshot), self._lines, as_openmetrics=as_openmetrics)
        return text, content_type


def negotiate(accept: str) -> str:
    """Return the content type to answer with: text 0.0.4, text 1.0.0 or OpenMetrics 1.0.0."""
    try:
        _, content_type = choose_encoder(accept)
    except TypeError:  # a version that is no number
        return CONTENT_TYPE_PLAIN_0_0_4
    if content_type.startswith(OPENMETRICS):
        return f"{OPENMETRICS}; version=1.0.0; charset=utf-8; escaping=underscores"
    return content_type


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether an Accept-Encoding header allows gzip."""
    for offer in accept_encoding.lower().split(","):
        coding, _, parameter = offer.partition(";")
        if coding.strip() in ("gzip", "*"):
            return parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def compress(text: bytes) -> bytes:
    """Return it in gzip."""
    return gzip.compress(text, GZIP_LEVEL, mtime=0)


class _Timed(Collector):
    """Collects group by group: a broken one is a metric, not a failed scrape."""

    def __init__(self, groups: Mapping[str, Group], snapshot: Snapshot) -> None:
        self._groups, self._snapshot = groups, snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield the families of all groups, then how long each took and whether it worked."""
        seconds = Family(
            "steadyd_scrape_duration_seconds",
            "gauge",
            "How long the collector took.",
            ("collector",),
        )
        success = Family(
            "steadyd_scrape_collector_success",
            "gauge",
            "Whether the collector worked.",
            ("collector",),
        )
        for name, group in self._groups.items():
            started = time.perf_counter()
            families = self._of(name, group)
            yield from families or ()
            success.add((name,), 0.0 if families is None else 1.0)
            seconds.add((name,), time.perf_counter() - started)
        yield seconds
        yield success

    def _of(self, name: str, group: Group) -> list[Metric] | None:
        try:
            return list(group(self._snapshot))
        except Exception:
            log.exception("the collector %s failed; the others are served", name)
            return None
