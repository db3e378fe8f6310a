"""A real Sidekiq over a real Redis: jobs that wait, work, fail; and times as version 8 writes."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from steadyd.model.metric import Subject
from steadyd.probes.catalogue import CATALOGUE
from steadyd.probes.catalogue import metric_id as metric
from steadyd.probes.daemons import ProbeFailed, Where, read
from tests.hosts.daemons.kit import LOOPBACK, PLAIN, program, redis_server, running, told, until

WORKER = """
require "sidekiq"
class Reads
  include Sidekiq::Worker
  sidekiq_options retry: 5
  def perform(path)
    raise "broken" if path == "fail"
    File.read(path)
  end
end
"""
NAMED = {each.id.name for each in CATALOGUE.metrics if each.id.family == "sidekiq"}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Where]:
    with redis_server(tmp_path, "--requirepass", PLAIN) as port:
        yield Where(hostname=LOOPBACK, port=port, password=PLAIN)


def cli(where: Where, *words: str) -> str:
    secret = ("--no-auth-warning", "-a", where.password)
    return told("redis-cli", "-p", str(where.port), *secret, *words).strip()


async def test_nothing_was_ever_done(redis: Where) -> None:
    found = await read("sidekiq", redis, frozenset())

    assert found == dict.fromkeys((n for n in NAMED if "*" not in n), 0.0)


async def test_a_real_one_at_work(redis: Where, tmp_path: Path) -> None:
    program("sidekiq")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "worker.rb").write_text(WORKER)
    env = {"REDIS_URL": f"redis://:{PLAIN}@{LOOPBACK}:{redis.port}/2"}
    where = Where(LOOPBACK, redis.port, password=PLAIN, database="2")
    push = "r = %w[{gate} fail fail]; r.each {{ |p| Reads.set(queue: 'mail').perform_async(p) }}"
    jobs = (program("ruby"), "-r", tmp_path / "worker.rb", "-e", push.format(gate=gate))
    told("env", *(f"{name}={value}" for name, value in env.items()), *jobs)

    before = await read("sidekiq", where, frozenset())
    argv = (program("sidekiq"), "-r", tmp_path / "worker.rb", "-c", "1", "-q", "mail")
    with running(argv, lambda: busy(redis), tmp_path / "sidekiq", env=env):
        during = await read("sidekiq", where, frozenset())
        gate.write_text("")
        until(lambda: cli(redis, "-n", "2", "GET", "stat:failed") == "2", lambda: "not failed")
        after = await read("sidekiq", where, frozenset())

    assert (before["enqueued"], before["queue:mail"], before["processes"]) == (3, 3, 0)
    assert before["latency:mail"] == before["latency"]
    assert 0 < float(before["latency"]) < 60
    assert (during["enqueued"], during["busy"], during["processes"]) == (2, 1, 1)
    assert (after["enqueued"], after["retries"], after["latency"]) == (0, 2, 0)
    assert (after["processed"], after["failed"]) == (3, 2)


def busy(redis: Where) -> bool:
    """Tell when the process has told Redis that it works, which it does every few seconds."""
    names = cli(redis, "-n", "2", "SMEMBERS", "processes").split()
    return bool(names) and cli(redis, "-n", "2", "HGET", names[0], "busy") == "1"


@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
async def test_latency_by_the_time_of_the_next_job(redis: Where, unit: int) -> None:
    for name, ages in {"mail": (30, 90), "slow": (600, 700)}.items():
        cli(redis, "SADD", "queues", name)
        for age in reversed(ages):  # new ones come in at the left
            job = json.dumps({"jid": "x", "enqueued_at": (time.time() - age) * unit})
            cli(redis, "LPUSH", f"queue:{name}", job)

    found = await read("sidekiq", redis, frozenset())

    assert (found["queue:mail"], found["queue:slow"], found["enqueued"]) == (2, 2, 4)
    assert found["latency:mail"] == pytest.approx(90, abs=10)
    assert found["latency"] == found["latency:slow"] == pytest.approx(700, abs=10)


async def test_sets_and_a_process_without_a_heartbeat(redis: Where) -> None:
    cli(redis, "ZADD", "retry", "1", "a", "2", "b")
    cli(redis, "ZADD", "schedule", "1", "a")
    cli(redis, "ZADD", "dead", "1", "a", "2", "b", "3", "c")
    cli(redis, "SADD", "processes", "alive", "gone")
    cli(redis, "HSET", "alive", "busy", "7")

    found = await read("sidekiq", redis, frozenset())

    assert (found["retries"], found["scheduled"], found["dead"]) == (2, 1, 3)
    assert (found["processes"], found["busy"]) == (1, 7)


async def test_a_queue_that_nobody_knows_has_that_reason(redis: Where) -> None:
    found = await read("sidekiq", redis, frozenset({"queue:mial", "latency:a:b"}))

    assert "no queue mial" in str(found["queue:mial"])
    assert "no queue a:b" in str(found["latency:a:b"])


@pytest.mark.parametrize(
    "words",
    [
        ("SET", "queues", "text"),
        ("SET", "queue:mail", "text"),
        ("LPUSH", "queue:mail", "{no json"),
        ("LPUSH", "queue:mail", '{"enqueued_at": "soon"}'),
        ("LPUSH", "queue:mail", '{"enqueued_at": 1e400}'),
        ("SET", "retry", "text"),
        ("HSET", "p", "busy", "x"),
    ],
    ids=" ".join,
)
async def test_what_is_not_sidekiqs_is_told(redis: Where, words: tuple[str, ...]) -> None:
    if words[1] != "queues":
        cli(redis, "SADD", "queues", "mail")
    cli(redis, "SADD", "processes", "p")
    cli(redis, *words)

    with pytest.raises(ProbeFailed, match="sidekiq at "):
        await read("sidekiq", redis, frozenset())


async def test_a_wrong_password_is_told(redis: Where) -> None:
    with pytest.raises(ProbeFailed, match="wants a password"):
        await read("sidekiq", Where(redis.hostname, redis.port), frozenset())


def test_a_queues_name_is_known_to_the_catalogue() -> None:
    assert CATALOGUE.lookup(Subject.SERVICE, metric("sidekiq:queue:mail")) is not None
