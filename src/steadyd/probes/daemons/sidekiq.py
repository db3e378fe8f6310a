"""Sidekiq: what its own API reads from Redis (github.com/sidekiq/sidekiq, lib/sidekiq/api.rb)."""

import time
from typing import Any, Final

import msgspec

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.redis import DEFAULTS as REDIS
from steadyd.probes.daemons.redis import Reply, Session, session
from steadyd.probes.daemons.told import ProbeFailed, value

DEFAULTS: Final = REDIS

_MOST: Final = 4 * 1024 * 1024  # the oldest job of each queue is read whole
_MOST_NAMES: Final = 1000  # queues, processes
_SETS: Final = {"retries": "retry", "scheduled": "schedule", "dead": "dead"}
_MILLISECONDS: Final = 1e11  # since 8.0; in seconds that is the year 5138


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return totals, and for each queue `queue:NAME` (jobs) and `latency:NAME` (seconds)."""
    async with session(where, _MOST) as redis:
        found = await _totals(redis)
        queues = await _queues(redis)
        found |= await _processes(redis)
    sizes = [queues[name][0] for name in queues]
    found["enqueued"] = float(sum(sizes))
    found["latency"] = max((queues[name][1] for name in queues), default=0.0)
    for name, (size, latency) in queues.items():
        found |= {f"queue:{name}": float(size), f"latency:{name}": latency}
    for name in names - found.keys():
        kind, colon, queue = name.partition(":")
        if colon and kind in ("queue", "latency"):
            found[name] = f"sidekiq has no queue {queue} (one is known after its first job)"
    return found


async def _totals(redis: Session) -> dict[str, float | str]:
    sizes = await redis.ask(*(("ZCARD", key) for key in _SETS.values()))
    processed, failed = await redis.ask(("GET", "stat:processed"), ("GET", "stat:failed"))
    found: dict[str, float | str] = {
        name: float(_whole(size)) for name, size in zip(_SETS, sizes, strict=True)
    }
    return found | {"processed": _counter(processed), "failed": _counter(failed)}


async def _queues(redis: Session) -> dict[str, tuple[int, float]]:
    """Return of each queue how many jobs wait, and for how many seconds the next one does."""
    (members,) = await redis.ask(("SMEMBERS", "queues"))
    queues = _names(members)
    sizes = await redis.ask(*(("LLEN", f"queue:{name}") for name in queues))
    oldest = await redis.ask(*(("LINDEX", f"queue:{name}", "-1") for name in queues))
    return {
        name: (_whole(size), _waited(job))
        for name, size, job in zip(queues, sizes, oldest, strict=True)
    }


async def _processes(redis: Session) -> dict[str, float | str]:
    """Count those whose heartbeat is not over: its hash is gone after a minute."""
    (members,) = await redis.ask(("SMEMBERS", "processes"))
    busy = await redis.ask(*(("HGET", name, "busy") for name in _names(members)))
    alive = [int(each) for each in busy if isinstance(each, bytes)]
    return {"processes": float(len(alive)), "busy": float(sum(alive))}


def _waited(job: Reply) -> float:
    if not isinstance(job, bytes):
        return 0.0
    fields = msgspec.json.decode(job, type=dict[str, Any])
    since = float(fields.get("enqueued_at", 0.0))
    if since > _MILLISECONDS:
        since /= 1000.0
    return max(0.0, time.time() - since) if since > 0 else 0.0


def _counter(reply: Reply) -> float | str:
    return value(reply.decode("ascii", "replace")) if isinstance(reply, bytes) else 0.0


def _whole(reply: Reply) -> int:
    if not isinstance(reply, int):
        raise ProbeFailed("a key of sidekiq is of another kind; is `database` right?")
    return reply


def _names(reply: Reply) -> list[str]:
    if not isinstance(reply, list) or len(reply) > _MOST_NAMES:
        raise ProbeFailed(f"a set of sidekiq is none, or has more than {_MOST_NAMES} members")
    return [each.decode("utf-8", "surrogateescape") for each in reply if isinstance(each, bytes)]
