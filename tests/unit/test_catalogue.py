"""The catalogue of metrics is complete: what a rule may name is there, with what it measures."""

import re

import pytest

from steadyd.model.metric import Dimension, Kind, MetricId, Subject
from steadyd.probes.catalogue import CATALOGUE, metric_id

BYTES, PERCENT, COUNT, SECONDS = (
    Dimension.BYTES,
    Dimension.PERCENT,
    Dimension.COUNT,
    Dimension.SECONDS,
)
GAUGE, COUNTER = Kind.GAUGE, Kind.COUNTER

SERVICE = [
    ("memory:rss memory:total_rss", GAUGE, BYTES, True),
    ("memory:pss memory:current memory:working_set memory:swap", GAUGE, BYTES, True),
    ("memory:limit_ratio", GAUGE, PERCENT, True),
    ("cpu:user cpu:system cpu:total_user cpu:total_system cpu:tree", COUNTER, PERCENT, True),
    ("cpu:throttled", COUNTER, PERCENT, True),
    ("process:count process:threads process:fds process:zombies", GAUGE, COUNT, True),
    ("process:fd_ratio", GAUGE, PERCENT, True),
    ("io:read io:write", COUNTER, BYTES, True),
    ("pressure:cpu pressure:memory pressure:memory_full pressure:io", GAUGE, PERCENT, True),
    ("init:up", GAUGE, COUNT, True),
    ("init:uptime", GAUGE, SECONDS, True),
    ("init:restarts init:crashes", COUNTER, COUNT, True),
    ("init:oom_kills", COUNTER, COUNT, True),
    ("http:status http:tls_days", GAUGE, COUNT, True),
    ("http:seconds tcp:seconds", GAUGE, SECONDS, True),
    ("haproxy:session_limit_ratio haproxy:connections_ratio", GAUGE, PERCENT, True),
    ("haproxy:current_sessions haproxy:backends_down haproxy:queue_current", GAUGE, COUNT, True),
    ("haproxy:bytes_in haproxy:bytes_out", COUNTER, BYTES, True),
    ("haproxy:requests haproxy:request_errors haproxy:responses_5xx", COUNTER, COUNT, True),
    ("rabbitmq:messages_ready rabbitmq:consumers rabbitmq:memory_alarms", GAUGE, COUNT, True),
    ("rabbitmq:memory_used rabbitmq:disk_free", GAUGE, BYTES, True),
    ("rabbitmq:published", COUNTER, COUNT, True),
    ("etcd:has_leader etcd:proposals_pending", GAUGE, COUNT, True),
    ("etcd:leader_changes etcd:proposals_failed", COUNTER, COUNT, True),
    ("etcd:db_size", GAUGE, BYTES, True),
    ("puma:backlog puma:running puma:pool_capacity puma:busy puma:workers", GAUGE, COUNT, True),
    ("puma:oldest_worker", GAUGE, SECONDS, True),
    ("sidekiq:enqueued sidekiq:queue:mail sidekiq:queue:a:b sidekiq:busy", GAUGE, COUNT, True),
    ("sidekiq:latency sidekiq:latency:mail", GAUGE, SECONDS, True),
    ("sidekiq:processed sidekiq:failed", COUNTER, COUNT, True),
    ("php-fpm:active_processes php-fpm:listen_queue", GAUGE, COUNT, True),
    ("php-fpm:max_children_reached php-fpm:slow_requests", COUNTER, COUNT, True),
    # Inspeqtor's daemon families
    ("redis:connected_clients redis:blocked_clients redis:connected_slaves", GAUGE, COUNT, True),
    ("redis:used_memory redis:used_memory_rss redis:repl_backlog_size", GAUGE, BYTES, True),
    ("redis:rdb_last_bgsave_time_sec redis:aof_last_rewrite_time_sec", GAUGE, SECONDS, True),
    ("redis:total_commands_processed redis:evicted_keys redis:sync_full", COUNTER, COUNT, True),
    ("memcached:curr_connections memcached:threads memcached:curr_items", GAUGE, COUNT, True),
    ("memcached:bytes", GAUGE, BYTES, True),
    ("memcached:get_hits memcached:evictions memcached:crawler_reclaimed", COUNTER, COUNT, True),
    ("memcached:bytes_read memcached:bytes_written", COUNTER, BYTES, True),
    ("nginx:Active_connections nginx:Reading nginx:Writing nginx:Waiting", GAUGE, COUNT, True),
    ("nginx:accepts nginx:handled nginx:requests", COUNTER, COUNT, True),
    ("mysql:Threads_connected mysql:Open_files mysql:Prepared_stmt_count", GAUGE, COUNT, True),
    ("mysql:Seconds_Behind_Master", GAUGE, SECONDS, True),
    ("mysql:Slow_queries mysql:Queries mysql:Aborted_clients", COUNTER, COUNT, True),
    ("mysql:Bytes_received mysql:Innodb_data_written", COUNTER, BYTES, True),
    ("postgresql:numbackends", GAUGE, COUNT, True),
    ("postgresql:blk_hit_rate", GAUGE, PERCENT, True),
    ("postgresql:total_size", GAUGE, BYTES, True),
    ("postgresql:rollbacks postgresql:deadlocks postgresql:seq_scans", COUNTER, COUNT, True),
    ("memstats:Alloc memstats:HeapAlloc", GAUGE, BYTES, True),
    ("memstats:TotalAlloc", COUNTER, BYTES, True),
    ("memstats:NumGC memstats:PauseTotalNs", COUNTER, COUNT, True),
]
HOST = [
    ("cpu cpu:user cpu:system cpu:iowait cpu:steal", COUNTER, PERCENT, True),
    ("load:1 load:5 load:15", GAUGE, COUNT, True),
    ("swap disk:/ disk:/srv/data", GAUGE, PERCENT, True),
    ("memory:used memory:available", GAUGE, BYTES, True),
    ("pressure:cpu pressure:memory pressure:memory_full pressure:io", GAUGE, PERCENT, True),
    ("net:eth0", COUNTER, BYTES, True),
]
ROWS = [(Subject.SERVICE, name, *row[1:]) for row in SERVICE for name in row[0].split()] + [
    (Subject.HOST, name, *row[1:]) for row in HOST for name in row[0].split()
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_what_a_rule_may_name_is_there(
    row: tuple[Subject, str, Kind, Dimension, bool],
) -> None:
    subject, name, kind, dimension, probed = row

    entry = CATALOGUE.lookup(subject, metric_id(name))

    assert entry is not None
    assert (entry.kind, entry.dimension, entry.probed) == (kind, dimension, probed)
    assert entry.help.endswith(".")


COUNTS = {"redis": 30, "memcached": 33, "nginx": 7, "mysql": 56, "postgresql": 6, "memstats": 5}


@pytest.mark.parametrize("family", COUNTS)
def test_the_daemon_families_have_all_their_names(family: str) -> None:
    found = [each for each in CATALOGUE.metrics if each.id.family == family]

    assert len(found) == COUNTS[family]


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        (Subject.SERVICE, "memory"),
        (Subject.SERVICE, "cpu"),
        (Subject.SERVICE, "load:1"),
        (Subject.SERVICE, "swap"),
        (Subject.SERVICE, "disk:/"),
        (Subject.SERVICE, "redis:"),
        (Subject.SERVICE, "redis:x"),
        (Subject.SERVICE, "puma"),
        (Subject.SERVICE, "puma:*"),
        (Subject.SERVICE, "puma:x"),
        (Subject.SERVICE, "php-fpm:x"),
        (Subject.SERVICE, "sidekiq:x"),
        (Subject.SERVICE, "sidekiq:queue"),
        (Subject.SERVICE, "sidekiq:queue:"),
        (Subject.SERVICE, "sidekiq:queue:*"),
        (Subject.SERVICE, "sidekiq:busy:mail"),
        (Subject.SERVICE, "Memory:rss"),
        (Subject.HOST, "memory:rss"),
        (Subject.HOST, "init:up"),
        (Subject.HOST, "disk"),
        (Subject.HOST, "disk:*"),
        (Subject.HOST, "load"),
        (Subject.HOST, "load:2"),
    ],
)
def test_nobody_knows_other_names(subject: Subject, name: str) -> None:
    assert CATALOGUE.lookup(subject, metric_id(name)) is None


def test_every_entry_stands_once_and_is_found_by_its_own_name() -> None:
    keys = [(each.subject, each.id) for each in CATALOGUE.metrics]
    assert len(keys) == len(set(keys))
    for each in CATALOGUE.metrics:
        name = each.id.name.replace("*", "/any")
        assert CATALOGUE.lookup(each.subject, MetricId(each.id.family, name)) is each
        assert re.fullmatch(r"[A-Za-z-]+(:[A-Za-z0-9_]+){0,2}(:\*)?", str(each.id))


def test_a_name_may_hold_colons_and_a_family_cannot() -> None:
    assert metric_id("disk:/a:b") == MetricId("disk", "/a:b")
    assert metric_id("swap") == MetricId("swap")


def test_only_what_the_process_starts_anew_is_per_process() -> None:
    found = {str(each.id) for each in CATALOGUE.metrics if each.per_process}

    assert {"memory:total_rss", "cpu:tree", "process:count", "init:uptime", "io:read"} <= found
    assert not found & {"init:up", "init:restarts", "init:crashes", "load:1", "disk:*", "swap"}
