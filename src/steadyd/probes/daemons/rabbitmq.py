"""RabbitMQ: its management API (rabbitmq.com/docs/management, the plugin's own api page)."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.client import page, parsed
from steadyd.probes.daemons.told import ProbeFailed, count, ratio

DEFAULTS: Final = Where(
    hostname="localhost",
    port=15672,
    username="guest",
    password="guest",  # noqa: S106 (the server's own default, which it takes from this host only)
    endpoint="/api",
)

_MOST: Final = 1024 * 1024  # a node lists its contexts, plugins and links
_OVERVIEW: Final = {
    "messages": ("queue_totals", "messages"),
    "messages_ready": ("queue_totals", "messages_ready"),
    "messages_unacknowledged": ("queue_totals", "messages_unacknowledged"),
    "consumers": ("object_totals", "consumers"),
    "connections": ("object_totals", "connections"),
    "channels": ("object_totals", "channels"),
    "queues": ("object_totals", "queues"),
    "published": ("message_stats", "publish"),
    "delivered": ("message_stats", "deliver_get"),
    "acknowledged": ("message_stats", "ack"),
    "redelivered": ("message_stats", "redeliver"),
    "unroutable": ("message_stats", "return_unroutable"),
}
_NONE: Final = "no node reports it"

_Nodes = list[dict[str, Any]]


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return totals of the cluster, and of its nodes the alarms and the fullest."""
    found: dict[str, float | str] = {}
    if not names or names & _OVERVIEW.keys():
        overview = parsed(await _get(where, "overview"))
        if "rabbitmq_version" not in overview:
            raise ProbeFailed("its overview is not of RabbitMQ; is this another server?")
        found |= {name: _of(overview, *place) for name, place in _OVERVIEW.items()}
    if not names or names - _OVERVIEW.keys():
        nodes = msgspec.json.decode(await _get(where, "nodes"), type=_Nodes)
        found |= _of_nodes(nodes)
    return found


async def _get(where: Where, name: str) -> bytes:
    return await page(replace(where, endpoint=f"{where.endpoint.rstrip('/')}/{name}"), _MOST)


def _of(overview: Mapping[str, Any], part: str, name: str) -> float | str:
    fields = overview.get(part)
    if not isinstance(fields, dict) or name not in fields:
        return "the server has not counted it yet"  # after its start, and before the first message
    return count(fields[name])


def _of_nodes(nodes: _Nodes) -> dict[str, float | str]:
    up = [node for node in nodes if node.get("running") is True]
    return {
        "nodes": float(len(nodes)),
        "nodes_down": float(len(nodes) - len(up)),
        "memory_alarms": float(sum(node.get("mem_alarm") is True for node in up)),
        "disk_alarms": float(sum(node.get("disk_free_alarm") is True for node in up)),
        "partitions": float(sum(bool(node.get("partitions")) for node in up)),
        "memory_used": _most(count(node.get("mem_used")) for node in up),
        "memory_ratio": _most(_ratio(node, "mem_used", "mem_limit") for node in up),
        "fd_ratio": _most(_ratio(node, "fd_used", "fd_total") for node in up),
        "disk_free": _least(count(node.get("disk_free")) for node in up),
    }


def _ratio(node: Mapping[str, Any], part: str, whole: str) -> float | str:
    return ratio(count(node.get(part)), count(node.get(whole)))


def _most(values: Iterable[float | str]) -> float | str:
    return max((each for each in values if not isinstance(each, str)), default=_NONE)


def _least(values: Iterable[float | str]) -> float | str:
    return min((each for each in values if not isinstance(each, str)), default=_NONE)
