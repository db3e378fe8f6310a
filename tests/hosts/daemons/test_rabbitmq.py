"""A real RabbitMQ with its management plugin: queues, messages, alarms, logins."""

import asyncio
import base64
import json
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from steadyd.probes.catalogue import CATALOGUE
from steadyd.probes.daemons import ProbeFailed, Where, read
from tests.hosts.daemons.kit import LOOPBACK, free_port, listens, program, running, told

CONF = """
listeners.tcp.1 = {host}:{amqp}
management.tcp.ip = {host}
management.tcp.port = {port}
collect_statistics_interval = 500
disk_free_limit.absolute = 1MB
management.sample_retention_policies.global.minute = 1
management.sample_retention_policies.basic.minute = 1
management.sample_retention_policies.detailed.10 = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rabbitmq")
    (folder / "plugins").write_text("[rabbitmq_management].")
    (folder / "epmd.port").write_text(str(free_port()))
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {
        "HOME": str(folder),
        "ERL_EPMD_PORT": (folder / "epmd.port").read_text(),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "RABBITMQ_NODENAME": "probed@localhost",
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log.d"),
        "RABBITMQ_LOGS": "-",
    }


@pytest.fixture(scope="module")
def rabbitmq(folder: Path) -> Iterator[Where]:
    port, env = free_port(), environment(folder)
    (folder / "rabbitmq.conf").write_text(CONF.format(host=LOOPBACK, amqp=free_port(), port=port))
    env["RABBITMQ_DIST_PORT"] = str(free_port())
    inside = "-kernel inet_dist_use_interface {127,0,0,1}"
    env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] = inside
    names = int(env["ERL_EPMD_PORT"])
    # else the server starts one, which stays
    epmd = (program("epmd"), "-port", str(names), "-address", LOOPBACK)
    server = (program("rabbitmq-server", "/usr/lib/rabbitmq/bin"),)
    where = Where(hostname=LOOPBACK, port=port)
    with (
        running(epmd, lambda: listens(names), folder / "epmd"),
        running(server, lambda: answers(where), folder / "log", env=env),
    ):
        yield where


def answers(where: Where) -> bool:
    """Tell when the node answers and has measured itself, which it does a little later."""
    try:
        return b"mem_limit" in ask(where, "nodes")
    except OSError:
        return False


def ask(where: Where, path: str, body: object = None, method: str = "GET") -> bytes:
    data = None if body is None else json.dumps(body).encode()
    url = f"http://{where.hostname}:{where.port}/api/{path}"
    request = urllib.request.Request(url, data, method=method)
    request.add_header("Authorization", f"Basic {base64.b64encode(b'guest:guest').decode()}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        text: bytes = answer.read()
    return text


def publish(where: Where, times: int) -> None:
    ask(where, "queues/%2F/mail", {"durable": False}, "PUT")
    message = {
        "properties": {},
        "routing_key": "mail",
        "payload": "x",
        "payload_encoding": "string",
    }
    for _ in range(times):
        assert b"true" in ask(where, "exchanges/%2F/amq.default/publish", message, "POST")


async def becomes(where: Where, expected: Mapping[str, float]) -> Mapping[str, float | str]:
    """Read until the server has counted, which it does every few seconds."""
    found: Mapping[str, float | str] = {}
    async with asyncio.timeout(40):
        while expected != {name: found.get(name) for name in expected}:
            await asyncio.sleep(0.05)
            found = await read("rabbitmq", where, frozenset(expected))
    return found


async def test_messages_are_counted_as_they_come_and_go(rabbitmq: Where) -> None:
    publish(rabbitmq, 3)
    waiting = {"messages": 3.0, "messages_ready": 3.0, "messages_unacknowledged": 0.0}
    await becomes(rabbitmq, {**waiting, "queues": 1.0, "consumers": 0.0, "published": 3.0})

    publish(rabbitmq, 2)

    await becomes(rabbitmq, {"messages_ready": 5.0, "published": 5.0})
    get = {"count": 4, "ackmode": "ack_requeue_false", "encoding": "auto"}
    ask(rabbitmq, "queues/%2F/mail/get", get, "POST")
    await becomes(rabbitmq, {"messages_ready": 1.0, "published": 5.0, "delivered": 4.0})


async def test_the_node_is_well(rabbitmq: Where) -> None:
    found = await read("rabbitmq", rabbitmq, frozenset())

    alarms = ("nodes_down", "memory_alarms", "disk_alarms", "partitions")
    assert {name: found[name] for name in alarms} == dict.fromkeys(alarms, 0.0)
    assert found["nodes"] == 1
    assert 0 < float(found["memory_ratio"]) < 100
    assert 0 < float(found["fd_ratio"]) < 100
    assert float(found["memory_used"]) > 10_000_000
    named = {each.id.name for each in CATALOGUE.metrics if each.id.family == "rabbitmq"}
    assert found.keys() == named


async def test_a_memory_alarm_is_seen(rabbitmq: Where, folder: Path) -> None:
    ctl = (program("rabbitmqctl", "/usr/lib/rabbitmq/bin"), "-n", "probed@localhost")
    env = {name: value for name, value in environment(folder).items() if name != "RABBITMQ_LOGS"}

    def limit(size: str) -> None:
        words = (*ctl, "set_vm_memory_high_watermark", "absolute", size)
        told("env", *(f"{name}={value}" for name, value in env.items()), *words)

    limit("1MiB")
    await becomes(rabbitmq, {"memory_alarms": 1.0})
    limit("8GiB")
    await becomes(rabbitmq, {"memory_alarms": 0.0})


@pytest.mark.parametrize(
    ("username", "password"), [("guest", "wr0ng"), ("nobody", "x"), ("guest", "")]
)
async def test_a_missing_or_wrong_password_is_told(
    rabbitmq: Where, username: str, password: str
) -> None:
    where = Where(rabbitmq.hostname, rabbitmq.port, "", username, password)

    with pytest.raises(ProbeFailed, match=r"/api/overview is refused \(401\)") as failure:
        await read("rabbitmq", where, frozenset())

    assert "wr0ng" not in str(failure.value)
