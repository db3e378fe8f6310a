"""PURE: every metric that a rule may name (language.md; the old families: inspeqtor.md, 4).

One entry serves rules, exposition, documentation and completion. `probed=False`: this version
cannot measure it, so that its reading is unknown.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from steadyd.model.metric import Dimension, Kind, Metric, MetricId, Subject

ANY: Final = "*"

_BYTES, _PERCENT = Dimension.BYTES, Dimension.PERCENT
_COUNT, _SECONDS = Dimension.COUNT, Dimension.SECONDS
_Row = tuple[str, Dimension, str]

_PROCESS_GAUGES: Final[tuple[_Row, ...]] = (
    ("memory:rss", _BYTES, "Resident memory of the main process."),
    ("memory:total_rss", _BYTES, "Resident memory of all processes; shared pages count in each."),
    ("process:count", _COUNT, "Processes."),
    ("process:threads", _COUNT, "Threads of all processes."),
    ("process:fds", _COUNT, "Open file descriptors of all processes."),
    ("process:fd_ratio", _PERCENT, "Open descriptors against the limit, of the fullest process."),
    ("process:zombies", _COUNT, "Processes that ended and were not waited for."),
    ("init:uptime", _SECONDS, "Time since the service was started."),
)
_PROCESS_COUNTERS: Final[tuple[_Row, ...]] = (
    ("cpu:user", _PERCENT, "User time of the main process; 100 is one core."),
    ("cpu:system", _PERCENT, "System time of the main process; 100 is one core."),
    ("cpu:total_user", _PERCENT, "User time of all processes and of reaped children."),
    ("cpu:total_system", _PERCENT, "System time of all processes and of reaped children."),
    ("cpu:tree", _PERCENT, "User and system time of the whole unit; 100 is one core."),
)
_INIT: Final[tuple[_Row, ...]] = (
    ("init:restarts", _COUNT, "Starts of the service after its first, by whomever."),
    ("init:crashes", _COUNT, "Ends of the service that nobody asked for."),
)
_DARK_GAUGES: Final[tuple[_Row, ...]] = (
    ("memory:pss", _BYTES, "Proportional memory of all processes (opt-in: it is costly)."),
    ("memory:current", _BYTES, "Memory charged to the cgroup, page cache included."),
    ("memory:working_set", _BYTES, "Memory of the cgroup without inactive page cache."),
    ("memory:swap", _BYTES, "Swap charged to the cgroup."),
    ("memory:limit_ratio", _PERCENT, "Memory of the cgroup against its limit."),
)
_DARK_COUNTERS: Final[tuple[_Row, ...]] = (
    ("cpu:throttled", _PERCENT, "Time in which the cgroup was held back by its CPU quota."),
    ("io:read", _BYTES, "Bytes read from storage."),
    ("io:write", _BYTES, "Bytes written to storage."),
)
_PRESSURE: Final[tuple[_Row, ...]] = (
    ("pressure:cpu", _PERCENT, "Share of the last 10 s in which some task waited for CPU."),
    ("pressure:memory", _PERCENT, "Share of the last 10 s in which some task waited for memory."),
    ("pressure:memory_full", _PERCENT, "Share of the last 10 s in which all tasks did."),
    ("pressure:io", _PERCENT, "Share of the last 10 s in which some task waited for storage."),
)
_ENDPOINTS: Final[tuple[_Row, ...]] = (
    ("http:status", _COUNT, "Status code of the endpoint."),
    ("http:seconds", _SECONDS, "Time until the endpoint had answered."),
    ("tcp:seconds", _SECONDS, "Time until the port was connected."),
)
_HOST_GAUGES: Final[tuple[_Row, ...]] = (
    ("load:1", _COUNT, "Load average of 1 minute."),
    ("load:5", _COUNT, "Load average of 5 minutes."),
    ("load:15", _COUNT, "Load average of 15 minutes."),
    ("swap", _PERCENT, "Swap in use; unknown on a host without swap."),
    (f"disk:{ANY}", _PERCENT, "Space in use on the file system mounted there."),
)
_HOST_COUNTERS: Final[tuple[_Row, ...]] = (
    ("cpu", _PERCENT, "CPU time of the host, all cores: 100 is one core."),
    ("cpu:user", _PERCENT, "User time, all cores, without nice."),
    ("cpu:system", _PERCENT, "System time, all cores."),
    ("cpu:iowait", _PERCENT, "Time spent waiting for storage, all cores."),
    ("cpu:steal", _PERCENT, "Time taken by the hypervisor, all cores."),
)
_HOST_DARK: Final[tuple[_Row, ...]] = (
    ("memory:used", _BYTES, "Memory in use."),
    ("memory:available", _BYTES, "Memory that can be had without swapping."),
)

# Daemon families: gauges, then counters; inspeqtor.md section 4.3.
_REDIS = (
    """connected_clients client_longest_output_list client_biggest_input_buf blocked_clients
    used_memory used_memory_rss used_memory_peak used_memory_lua rdb_changes_since_last_save
    rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec aof_last_rewrite_time_sec
    aof_current_rewrite_time_sec instantaneous_ops_per_sec latest_fork_usec
    master_last_io_seconds_ago connected_slaves repl_backlog_size pubsub_channels
    pubsub_patterns""",
    """total_connections_received total_commands_processed rejected_connections sync_full
    sync_partial_ok sync_partial_err expired_keys evicted_keys keyspace_hits keyspace_misses""",
)
_MEMCACHED = (
    "curr_connections threads bytes curr_items",
    """total_connections cmd_get cmd_set cmd_flush cmd_touch get_hits get_misses delete_hits
    delete_misses incr_hits incr_misses decr_hits decr_misses cas_hits cas_misses cas_badval
    touch_hits touch_misses auth_cmds auth_errors bytes_read bytes_written malloc_fails
    total_items expired_unfetched evicted_unfetched evictions reclaimed crawler_reclaimed""",
)
_NGINX = ("Active_connections Reading Writing Waiting", "accepts handled requests")
_MYSQL = (
    """Innodb_buffer_pool_pages_data Innodb_buffer_pool_bytes_data Innodb_buffer_pool_pages_free
    Innodb_buffer_pool_pages_total Innodb_num_open_files Max_used_connections Open_files
    Open_tables Prepared_stmt_count Qcache_free_blocks Qcache_free_memory
    Qcache_queries_in_cache Seconds_Behind_Master Threads_cached Threads_connected
    Threads_running""",
    """Aborted_clients Aborted_connects Bytes_received Bytes_sent Com_delete Com_delete_multi
    Com_insert Com_insert_select Com_select Com_update Com_update_multi Connections
    Created_tmp_disk_tables Created_tmp_files Created_tmp_tables Innodb_buffer_pool_reads
    Innodb_data_read Innodb_data_reads Innodb_data_writes Innodb_data_written Innodb_deadlocks
    Innodb_pages_created Innodb_pages_read Innodb_pages_written Innodb_rows_deleted
    Innodb_rows_inserted Innodb_rows_read Innodb_rows_updated Key_reads Key_writes Qcache_hits
    Qcache_inserts Qcache_lowmem_prunes Qcache_not_cached Queries Questions Slow_queries
    Table_locks_immediate Table_locks_waited Threads_created""",
)
_POSTGRESQL = ("numbackends blk_hit_rate total_size", "rollbacks deadlocks seq_scans")
_MEMSTATS = ("Alloc HeapAlloc", "TotalAlloc NumGC PauseTotalNs")
_DAEMONS: Final = {
    "redis": _REDIS,
    "memcached": _MEMCACHED,
    "nginx": _NGINX,
    "mysql": _MYSQL,
    "postgresql": _POSTGRESQL,
    "memstats": _MEMSTATS,
}
_IN_BYTES: Final = """used_memory used_memory_rss used_memory_peak used_memory_lua
    repl_backlog_size client_biggest_input_buf bytes bytes_read bytes_written
    Innodb_buffer_pool_bytes_data Qcache_free_memory Bytes_received Bytes_sent Innodb_data_read
    Innodb_data_written total_size Alloc HeapAlloc TotalAlloc"""
_IN_SECONDS: Final = """rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec
    aof_last_rewrite_time_sec aof_current_rewrite_time_sec master_last_io_seconds_ago
    Seconds_Behind_Master"""
_DIMENSIONS: Final = {
    **dict.fromkeys(_IN_BYTES.split(), _BYTES),
    **dict.fromkeys(_IN_SECONDS.split(), _SECONDS),
    "blk_hit_rate": _PERCENT,
}
_LATER_FAMILIES: Final = ("haproxy", "rabbitmq", "puma", "sidekiq", "php-fpm")


def metric_id(text: str) -> MetricId:
    """Return the id that `family:name` writes; a name may hold colons, a family cannot."""
    family, _, name = text.partition(":")
    return MetricId(family, name)


def _metrics(
    rows: Iterable[_Row], subject: Subject, kind: Kind, *, probed: bool = True, per: bool = False
) -> Iterator[Metric]:
    for name, dimension, text in rows:
        yield Metric(metric_id(name), subject, kind, dimension, text, probed, per)


def _daemons() -> Iterator[Metric]:
    for family, names in _DAEMONS.items():
        for kind, some in zip((Kind.GAUGE, Kind.COUNTER), names, strict=True):
            for name in some.split():
                dimension = _DIMENSIONS.get(name, _COUNT)
                text = f"{name.replace('_', ' ')}, as {family} reports it."
                yield Metric(MetricId(family, name), Subject.SERVICE, kind, dimension, text, False)
    for family in _LATER_FAMILIES:
        text = f"A value that {family} reports."
        yield Metric(MetricId(family, ANY), Subject.SERVICE, Kind.GAUGE, _COUNT, text, False)


def _all() -> Iterator[Metric]:
    service, host, gauge, counter = Subject.SERVICE, Subject.HOST, Kind.GAUGE, Kind.COUNTER
    up = ("init:up", _COUNT, "1 while the init has the service up, 0 when it is down.")
    oom = ("init:oom_kills", _COUNT, "Processes that the kernel killed for lack of memory.")
    net = (f"net:{ANY}", _BYTES, "Bytes that went through the network interface.")
    yield from _metrics(_PROCESS_GAUGES, service, gauge, per=True)
    yield from _metrics(_PROCESS_COUNTERS, service, counter, per=True)
    yield from _metrics((up,), service, gauge)
    yield from _metrics(_INIT, service, counter)
    yield from _metrics((oom,), service, counter, probed=False)
    yield from _metrics(_DARK_GAUGES, service, gauge, probed=False, per=True)
    yield from _metrics(_DARK_COUNTERS, service, counter, probed=False, per=True)
    yield from _metrics((*_PRESSURE, *_ENDPOINTS), service, gauge, probed=False)
    yield from _daemons()
    yield from _metrics(_HOST_GAUGES, host, gauge)
    yield from _metrics(_HOST_COUNTERS, host, counter)
    yield from _metrics((*_HOST_DARK, *_PRESSURE), host, gauge, probed=False)
    yield from _metrics((net,), host, counter, probed=False)


class Catalogue:
    """The metrics by subject and name."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = tuple(metrics)
        self._by_name = {(each.subject, each.id): each for each in self.metrics}

    def lookup(self, subject: Subject, metric: MetricId) -> Metric | None:
        """Return the entry of a metric; of `disk:/srv` the one of `disk:*`. None: nobody knows."""
        entry = self._by_name.get((subject, metric))
        if entry is None and metric.name and metric.name != ANY:
            return self._by_name.get((subject, MetricId(metric.family, ANY)))
        return None if metric.name == ANY else entry

    def names(self, subject: Subject) -> Sequence[str]:
        """Return what a rule may name, `disk:MOUNT` as `disk:/`."""
        return [
            str(each.id).replace(f"disk:{ANY}", "disk:/")
            for each in self.metrics
            if each.subject is subject
        ]


CATALOGUE: Final = Catalogue(_all())
