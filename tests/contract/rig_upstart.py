"""Upstart's rig: the stand-in as PID 1 of a throw-away host, the adapter inside.

Run as a program it serves one `Upstart` as tests/contract/remote.py does; the place `bus` has it
ask on the system bus alone.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from steadyd.inits.link import Address
from steadyd.inits.upstart import Upstart, default_addresses
from steadyd.model.service import UnitStatus
from steadyd.ports import InitSystem, UnitNotFound
from tests.contract.remote import _serve
from tests.contract.rigs import Service, _pids, served
from tests.hosts.upstart.host import UpstartHost


def make_upstart_host() -> Any:
    """Return a booted host. Raises HostError, OSError: there can be none here."""
    return UpstartHost()


class UpstartRig:
    """Upstart over its private socket. A service's reload is Upstart's own: HUP."""

    name = "upstart"
    reload_signal = ""
    groups = keeps_running = False
    signals = always_reloads = True

    def __init__(self, host: Any) -> None:
        self.host = host

    @asynccontextmanager
    async def adapter(
        self, place: str = "private", before: tuple[str, ...] = (), program: str = sys.executable
    ) -> AsyncIterator[InitSystem]:
        """Serve an adapter that listens already: what failed before that reads as stopped."""
        python = (*before, program, __file__)
        async with served(self.host, self.name, place, python) as remote:
            with contextlib.suppress(UnitNotFound):
                await remote.find("ghost")
            yield remote

    def install(self, service: Service) -> None:
        script = f"/srv/{service.name}.sh"
        self.host.put(script, f"#!/bin/sh\n{service.command}\n", 0o755)
        self.job(service.name, f"exec {script}\n" + "respawn\n" * service.respawn)

    def job(self, name: str, text: str) -> None:
        """Write a job file, and wait until Upstart knows the job."""
        self.host.put(f"/etc/init/{name}.conf", text)
        deadline = time.monotonic() + 10
        while self.host.run(["initctl", "usage", name], check=False).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(name)

    def start(self, name: str) -> None:
        self.host.run(["start", name], check=False)

    def stop(self, name: str) -> None:
        self.host.run(["stop", name])

    def kill(self, name: str, signal: str) -> None:
        pid = self.host.out(["status", name]).strip().rpartition(" ")[2]
        self.host.run(["kill", "-s", signal, str(int(pid))])

    def unit(self, name: str) -> str:
        return name

    def pids(self, status: UnitStatus) -> list[int]:
        return _pids(self.host, status)

    def lose(self) -> None:
        self.host.run(["telinit", "u"])

    def regain(self) -> None:
        """It listens again by itself."""

    def hang(self) -> None:
        os.kill(self.host.leader_pid, signal.SIGSTOP)

    def unhang(self) -> None:
        os.kill(self.host.leader_pid, signal.SIGCONT)


if __name__ == "__main__":
    bus = Address("unix:path=/run/dbus/system_bus_socket")
    asyncio.run(_serve(Upstart([bus] if sys.argv[-1] == "bus" else default_addresses())))
