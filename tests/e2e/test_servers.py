"""Rules on what servers say of themselves, in the running daemon."""

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.local import SLEEPER, Local, free_port, local, until


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path) as made:
        yield made


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += ["--requirepass", "hushhush", "--dir", str(tmp_path)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as process:
        try:
            until(lambda: client(port, "PING") == "PONG", what="redis")
            yield port
        finally:
            process.kill()


def client(port: int, *words: str) -> str:
    command = ["redis-cli", "-p", str(port), "--no-auth-warning", "-a", "hushhush", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def metrics(daemon: Local, service: str) -> dict[str, float | None]:
    found = {s["name"]: s["metrics"] for s in daemon.api("status")["services"]}
    return dict(found[service])


def opened(daemon: Local) -> set[tuple[str, str]]:
    return {(i["service"], i["metric"]) for i in daemon.api("status")["incidents"]}


def test_gauges_and_counters_of_a_server_open_rules_and_a_hung_one_disturbs_nobody(
    daemon: Local, redis: int
) -> None:
    secret = daemon.folder / "redis-password"
    secret.write_text("hushhush\n")
    secret.chmod(0o600)
    daemon.keep(cache=SLEEPER, web=SLEEPER, hung=SLEEPER)
    daemon.rule(
        "cache",
        f'check service cache with port {redis}, password "file:redis-password"\n'
        "  if redis:connected_clients >= 1 then alert\n"
        "  if redis:total_commands_processed > 20/sec then alert\n",
    )
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):  # it takes connections, and says nothing
        daemon.rule(
            "hung",
            f"check service hung with port {port}\n  if redis:used_memory > 1m "
            "then alert\n  if memory:rss > 80k then alert\n",
        )
        daemon.rule(
            "web",
            f"check service web with port {port + 1}\n  if http:status != 200 "
            "then alert\n  if tcp:up < 1 then alert\n",
        )
        daemon.start()
        until(lambda: ("cache", "redis:connected_clients") in opened(daemon), what="the gauge")
        until(lambda: ("hung", "memory:rss") in opened(daemon), what="what does not hang")
        nobody = {("web", "http:status"), ("web", "tcp:up")}
        until(lambda: nobody <= opened(daemon), what="where nobody listens")

        def hung() -> str:
            status = {s["name"]: s for s in daemon.api("status")["services"]}
            return str(status["hung"]["missing"]["redis:used_memory"])

        until(lambda: "no answer within" in hung(), what="the reason")
        assert ("hung", "redis:used_memory") not in opened(daemon)
        assert "hushhush" not in daemon.log() + str(daemon.api("status"))

    end = time.monotonic() + 20
    while ("cache", "redis:total_commands_processed") not in opened(daemon):
        assert time.monotonic() < end
        subprocess.run(
            [
                "redis-benchmark",
                "-p",
                str(redis),
                "-a",
                "hushhush",
                "-n",
                "2000",
                "-q",
                "-t",
                "set",
            ],
            capture_output=True,
            check=True,
        )
    assert metrics(daemon, "cache")["redis:connected_clients"]


def test_a_secret_that_cannot_be_read_is_the_reason(daemon: Local, redis: int) -> None:
    daemon.keep(cache=SLEEPER)
    daemon.rule(
        "cache",
        f'check service cache with port {redis}, password "file:nowhere"\n'
        "  if redis:connected_clients >= 1 then alert\n",
    )
    daemon.start()

    def reason() -> str:
        (service,) = daemon.api("status")["services"]
        return str(service["missing"].get("redis:connected_clients", ""))

    until(lambda: "nowhere" in reason(), what="the reason")
