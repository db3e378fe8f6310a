"""PURE: the metrics of servers. The old families: inspeqtor.md, section 4.3."""

from collections.abc import Collection, Iterator
from types import MappingProxyType
from typing import Final

from steadyd.model.metric import Dimension, Kind, Metric, MetricId, Subject

# Inspeqtor's families, under the servers' own names: gauges, then counters.
_OLD: Final = MappingProxyType(
    {
        "redis": (
            """connected_clients client_longest_output_list client_biggest_input_buf
            blocked_clients used_memory used_memory_rss used_memory_peak used_memory_lua
            rdb_changes_since_last_save rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec
            aof_last_rewrite_time_sec aof_current_rewrite_time_sec instantaneous_ops_per_sec
            latest_fork_usec master_last_io_seconds_ago connected_slaves repl_backlog_size
            pubsub_channels pubsub_patterns""",
            """total_connections_received total_commands_processed rejected_connections sync_full
            sync_partial_ok sync_partial_err expired_keys evicted_keys keyspace_hits
            keyspace_misses""",
        ),
        "memcached": (
            "curr_connections threads bytes curr_items",
            """total_connections cmd_get cmd_set cmd_flush cmd_touch get_hits get_misses
            delete_hits delete_misses incr_hits incr_misses decr_hits decr_misses cas_hits
            cas_misses cas_badval touch_hits touch_misses auth_cmds auth_errors bytes_read
            bytes_written malloc_fails total_items expired_unfetched evicted_unfetched evictions
            reclaimed crawler_reclaimed""",
        ),
        "nginx": ("Active_connections Reading Writing Waiting", "accepts handled requests"),
        "mysql": (
            """Innodb_buffer_pool_pages_data Innodb_buffer_pool_bytes_data
            Innodb_buffer_pool_pages_free Innodb_buffer_pool_pages_total Innodb_num_open_files
            Max_used_connections Open_files Open_tables Prepared_stmt_count Qcache_free_blocks
            Qcache_free_memory Qcache_queries_in_cache Seconds_Behind_Master Threads_cached
            Threads_connected Threads_running""",
            """Aborted_clients Aborted_connects Bytes_received Bytes_sent Com_delete
            Com_delete_multi Com_insert Com_insert_select Com_select Com_update Com_update_multi
            Connections Created_tmp_disk_tables Created_tmp_files Created_tmp_tables
            Innodb_buffer_pool_reads Innodb_data_read Innodb_data_reads Innodb_data_writes
            Innodb_data_written Innodb_deadlocks Innodb_pages_created Innodb_pages_read
            Innodb_pages_written Innodb_rows_deleted Innodb_rows_inserted Innodb_rows_read
            Innodb_rows_updated Key_reads Key_writes Qcache_hits Qcache_inserts
            Qcache_lowmem_prunes Qcache_not_cached Queries Questions Slow_queries
            Table_locks_immediate Table_locks_waited Threads_created""",
        ),
        "postgresql": ("numbackends blk_hit_rate total_size", "rollbacks deadlocks seq_scans"),
        "memstats": ("Alloc HeapAlloc", "TotalAlloc NumGC PauseTotalNs"),
    }
)
_BYTES: Final = """used_memory used_memory_rss used_memory_peak used_memory_lua
    repl_backlog_size client_biggest_input_buf bytes bytes_read bytes_written
    Innodb_buffer_pool_bytes_data Qcache_free_memory Bytes_received Bytes_sent Innodb_data_read
    Innodb_data_written total_size Alloc HeapAlloc TotalAlloc"""
_SECONDS: Final = """rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec
    aof_last_rewrite_time_sec aof_current_rewrite_time_sec master_last_io_seconds_ago
    Seconds_Behind_Master"""
_DIMENSIONS: Final = {
    **dict.fromkeys(_BYTES.split(), Dimension.BYTES),
    **dict.fromkeys(_SECONDS.split(), Dimension.SECONDS),
    "blk_hit_rate": Dimension.PERCENT,
}

# `name = help`; before the name, where it is so, `+` for a counter, then `B` bytes, `%` percent,
# `s` seconds instead of a count.
_NEW: Final = MappingProxyType(
    {
        "haproxy": """
            connections_current = Connections of the process now.
            connections_limit = Connections that the process may have (maxconn).
            % connections_ratio = Connections of the process against its limit.
            + connections = Connections that the process has taken.
            + requests = HTTP requests of the process.
            % idle = Time in which the process had nothing to do.
            s uptime = Time since the process was started.
            current_sessions = Sessions of all frontends now.
            % session_limit_ratio = Sessions against their limit, of the fullest frontend.
            + sessions = Sessions that the frontends have taken.
            +B bytes_in = Bytes from clients.
            +B bytes_out = Bytes to clients.
            + request_errors = Requests that broke off or made no sense.
            + denied_requests = Requests that a rule of haproxy denied.
            + responses_4xx = Responses with a status of 400 to 499.
            + responses_5xx = Responses with a status of 500 to 599.
            queue_current = Requests that wait for a server, in all backends.
            + connection_errors = Connections to servers that failed.
            + response_errors = Responses of servers that broke off or made no sense.
            + retries = Connections to servers that were tried again.
            + redispatches = Requests that were sent to another server.
            backends_up = Backends with a server in service.
            backends_down = Backends without a server in service.
            servers_up = Servers whose checks say up.
            servers_down = Servers whose checks say down.
            servers_maintenance = Servers in maintenance.
        """,
        "rabbitmq": """
            messages = Messages in all queues.
            messages_ready = Messages that wait for a consumer.
            messages_unacknowledged = Messages that a consumer has and did not acknowledge.
            consumers = Consumers.
            connections = Connections.
            channels = Channels.
            queues = Queues.
            + published = Messages that were published.
            + delivered = Messages that were delivered or fetched.
            + acknowledged = Messages that were acknowledged.
            + redelivered = Messages that were delivered once more.
            + unroutable = Messages that were returned since no queue wanted them.
            nodes = Nodes of the cluster, running or not.
            nodes_down = Nodes of the cluster that do not run.
            memory_alarms = Nodes over their memory limit: publishers are blocked.
            disk_alarms = Nodes with too little free space: publishers are blocked.
            partitions = Nodes that see others cut off.
            B memory_used = Memory of the node that uses most.
            % memory_ratio = Memory against its limit, of the fullest node.
            % fd_ratio = File descriptors against their limit, of the fullest node.
            B disk_free = Free space of the node that has least.
        """,
        "etcd": """
            has_leader = 1 while the member sees a leader.
            is_leader = 1 while the member is the leader.
            + leader_changes = Changes of the leader that the member has seen.
            proposals_pending = Proposals that wait to be committed.
            + proposals_failed = Proposals that failed.
            proposals_committed = Index of the last committed proposal.
            proposals_applied = Index of the last applied proposal.
            + slow_applies = Applies that took too long.
            + slow_reads = Linear reads that took too long.
            + heartbeat_failures = Heartbeats that could not be sent, say on a slow disk.
            B db_size = Size of the database file.
            B db_size_in_use = Size of what is in use of it.
            B db_quota = Size at which the member takes no more writes.
            % db_ratio = Size of the database file against its quota.
            keys = Keys.
            watchers = Watchers.
        """,
        "puma": """
            backlog = Requests that wait for a thread, of all workers.
            running = Threads, of all workers.
            pool_capacity = Requests that could be taken at once, of all workers.
            max_threads = Threads that there may be, of all workers.
            busy = Threads at work, of all workers.
            % busy_ratio = Threads at work against those that there may be.
            + requests = Requests that were served, of the workers that live.
            workers = Workers (cluster mode).
            booted_workers = Workers that are ready (cluster mode).
            old_workers = Workers of the version before a phased restart (cluster mode).
            s oldest_worker = Time since the oldest worker was started.
            s oldest_checkin = Time since the worker that is silent for longest reported.
        """,
        "sidekiq": """
            enqueued = Jobs in all queues.
            queue:* = Jobs in the queue of that name.
            s latency = Time that the next job has waited, of the slowest queue.
            s latency:* = Time that the next job of the queue of that name has waited.
            retries = Jobs that failed and will be tried again.
            scheduled = Jobs for later.
            dead = Jobs that were given up.
            processes = Processes with a heartbeat in the last minute.
            busy = Jobs at work.
            + processed = Jobs that were done, failed ones included.
            + failed = Jobs that failed, each try.
        """,
        "php-fpm": """
            active_processes = Processes at work.
            idle_processes = Processes that wait for a request.
            total_processes = Processes of the pool.
            max_active_processes = Most processes that were at work at once.
            listen_queue = Connections that wait for a process.
            max_listen_queue = Most connections that waited at once.
            listen_queue_len = Connections that may wait (its backlog).
            + accepted_conn = Requests that the pool has taken.
            + max_children_reached = Times that the pool was at its limit of processes.
            + slow_requests = Requests over request_slowlog_timeout.
            s start_since = Time since the pool was started.
        """,
        "http": """
            up = 1 while the endpoint answers, whatever it says; 0 while it does not.
            status = Status code of the endpoint, 0 where none answers; redirects are not followed.
            s seconds = Time until the endpoint had answered.
            tls_days = Days until the certificate of the endpoint ends; below 0 when it has.
        """,
        "tcp": """
            up = 1 while the port can be connected; 0 while it cannot.
            s seconds = Time until the port was connected.
        """,
    }
)
_MARKS: Final = {"B": Dimension.BYTES, "%": Dimension.PERCENT, "s": Dimension.SECONDS}


FAMILIES: Final = frozenset((*_OLD, *_NEW))


def families(metrics: Collection[MetricId]) -> dict[str, frozenset[str]]:
    """Return by family the names of those metrics that servers are asked for."""
    found: dict[str, set[str]] = {}
    for metric in metrics:
        if metric.family in FAMILIES:
            found.setdefault(metric.family, set()).add(metric.name)
    return {family: frozenset(names) for family, names in found.items()}


def metrics() -> Iterator[Metric]:
    """Yield the catalogue's entries of all servers and endpoints."""
    for family, names in _OLD.items():
        for kind, some in zip((Kind.GAUGE, Kind.COUNTER), names, strict=True):
            for name in some.split():
                text = f"{name.replace('_', ' ')}, as {family} reports it."
                dimension = _DIMENSIONS.get(name, Dimension.COUNT)
                yield Metric(MetricId(family, name), Subject.SERVICE, kind, dimension, text)
    for family, table in _NEW.items():
        for line in table.strip().splitlines():
            yield _metric(family, line)


def _metric(family: str, line: str) -> Metric:
    head, _, text = line.strip().partition(" = ")
    marks, _, name = head.rpartition(" ")
    kind = Kind.COUNTER if "+" in marks else Kind.GAUGE
    dimension = _MARKS.get(marks[-1:], Dimension.COUNT)
    return Metric(MetricId(family, name), Subject.SERVICE, kind, dimension, text)
