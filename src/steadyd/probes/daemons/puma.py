"""Puma: `/stats` of its control app (github.com/puma/puma, docs/stats.md)."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.client import page, parsed
from steadyd.probes.daemons.told import ProbeFailed, count, ratio

DEFAULTS: Final = Where(hostname="localhost", port=9293, endpoint="/stats")

_TOKEN: Final = re.compile(r"(?:(?![#&;])[!-~])*")  # the signs that end it in a query
_SUMS: Final = {
    "backlog": "backlog",
    "running": "running",
    "pool_capacity": "pool_capacity",
    "max_threads": "max_threads",
    "requests": "requests_count",
}
_NONE: Final = "the server does not report it"
_ALONE: Final = "this puma has no workers (single mode)"


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return the sums over all workers; `password` is the control token."""
    if not _TOKEN.fullmatch(where.password):
        raise ProbeFailed(
            "a token with blanks, # & ; or beyond ASCII cannot be sent; choose another"
        )
    mend = "give the check the control token as `password`"
    endpoint = where.endpoint.partition("?")[0]
    if where.password:
        # it compares the text as it comes: a quoted token would be another one
        endpoint += f"?token={where.password}"
        mend = "correct `password`, the control token"
    there = replace(where, endpoint=endpoint, username="", password="")
    stats = parsed(await page(there, refused=mend))
    if "worker_status" in stats:
        return _of_cluster(stats)
    if "backlog" not in stats:
        raise ProbeFailed("its answer is not of puma's control app; is this another server?")
    alone = dict.fromkeys(("workers", "booted_workers", "old_workers", "oldest_checkin"), _ALONE)
    return alone | _sums([stats]) | {"oldest_worker": _oldest([stats], "started_at")}


def _of_cluster(stats: Mapping[str, Any]) -> dict[str, float | str]:
    workers = [each for each in stats["worker_status"] if each.get("booted") is True]
    booted = [each["last_status"] for each in workers if each.get("last_status")]
    return _sums(booted) | {
        "workers": count(stats.get("workers")),
        "booted_workers": count(stats.get("booted_workers")),
        "old_workers": count(stats.get("old_workers")),
        "oldest_worker": _oldest(workers, "started_at"),
        "oldest_checkin": _oldest(workers, "last_checkin"),
    }


def _sums(statuses: Sequence[Mapping[str, Any]]) -> dict[str, float | str]:
    found = {ours: _sum(statuses, theirs) for ours, theirs in _SUMS.items()}
    threads, free = found["max_threads"], found["pool_capacity"]
    if isinstance(threads, str) or isinstance(free, str):
        busy: float | str = _NONE
    else:
        busy = threads - free  # puma 7 tells it too, older ones do not
    return found | {"busy": busy, "busy_ratio": ratio(busy, threads)}


def _sum(statuses: Sequence[Mapping[str, Any]], name: str) -> float | str:
    values = [count(each.get(name)) for each in statuses]
    numeric = [each for each in values if not isinstance(each, str)]
    if not values:
        return "no worker has reported yet"
    return sum(numeric) if len(numeric) == len(values) else _NONE


def _oldest(of: Iterable[Mapping[str, Any]], field: str) -> float | str:
    """Return the seconds since the earliest of the times (ISO 8601, UTC)."""
    times = [datetime.fromisoformat(each[field]).timestamp() for each in of if each.get(field)]
    return max(0.0, time.time() - min(times)) if times else "no worker has reported yet"
