"""etcd: some of its /metrics (etcd.io/docs, op-guide/monitoring)."""

from typing import Final

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.client import page
from steadyd.probes.daemons.told import ProbeFailed, ratio, shown, value

DEFAULTS: Final = Where(hostname="localhost", port=2379, endpoint="/metrics")

_MOST: Final = 4 * 1024 * 1024  # a member has a series for each method of gRPC
_SERIES: Final = {
    "etcd_server_has_leader": "has_leader",
    "etcd_server_is_leader": "is_leader",
    "etcd_server_leader_changes_seen_total": "leader_changes",
    "etcd_server_proposals_pending": "proposals_pending",
    "etcd_server_proposals_failed_total": "proposals_failed",
    "etcd_server_proposals_committed_total": "proposals_committed",
    "etcd_server_proposals_applied_total": "proposals_applied",
    "etcd_server_slow_apply_total": "slow_applies",
    "etcd_server_slow_read_indexes_total": "slow_reads",
    "etcd_server_heartbeat_send_failures_total": "heartbeat_failures",
    "etcd_server_quota_backend_bytes": "db_quota",
    "etcd_mvcc_db_total_size_in_bytes": "db_size",
    "etcd_mvcc_db_total_size_in_use_in_bytes": "db_size_in_use",
    "etcd_debugging_mvcc_keys_total": "keys",
    "etcd_debugging_mvcc_watcher_total": "watchers",
}


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return the series without labels that are named above, and the database against its quota."""
    found: dict[str, float | str] = {}
    for text in (await page(where, _MOST)).decode("utf-8", "replace").split("\n"):
        words = text.split()
        if len(words) in (2, 3) and words[0] in _SERIES:  # the third is a timestamp
            found[_SERIES[words[0]]] = value(words[1])
    if "has_leader" not in found:
        raise ProbeFailed(
            f"{shown(where.endpoint)} has no metrics of etcd; is this another server?"
        )
    none = "the server does not report it"
    found["db_ratio"] = ratio(found.get("db_size", none), found.get("db_quota", none))
    return found
