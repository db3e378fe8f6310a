"""What the contract suite needs of an init system's host: install, start, stop, break, look."""

import asyncio
import json
import subprocess
import sys
import sysconfig
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from steadyd.inits.link import Address
from steadyd.inits.systemd import Systemd
from steadyd.model.service import UnitStatus
from steadyd.ports import InitReport, InitSystem
from tests.contract.remote import Remote

ROOT = Path(__file__).resolve().parents[2]
PATHS = f"{ROOT}/src:{ROOT}:{sysconfig.get_path('purelib')}"
ENV = {"PYTHONPATH": PATHS}
REMOTE = str(ROOT / "tests/contract/remote.py")
SAMPLE = (
    "import json,sys\n"
    "from steadyd.ports import SampleTarget\n"
    "from steadyd.probes.procfs import ProcSampler\n"
    "name, cgroup, main = sys.argv[1:]\n"
    "found = ProcSampler().sample([SampleTarget(name, cgroup, int(main))]).get(name)\n"
    "print(json.dumps([p.pid for p in found.processes] if found else []))\n"
)


@dataclass(frozen=True)
class Service:
    """A service as every init system can have it. `command` is a shell's.

    reload: "" none, "hup" SIGHUP to the main process, "fail" a command that exits with 1, "hang"
    one that does not end.
    """

    name: str
    command: str = "exec sleep infinity"
    reload: str = "hup"
    respawn: bool = False


class Rig(Protocol):
    """One real init system."""

    name: str

    def adapter(self) -> Any:
        """Return an async context manager of an adapter."""

    def install(self, service: Service) -> None: ...
    def start(self, name: str) -> None: ...
    def stop(self, name: str) -> None: ...
    def kill(self, name: str, signal: str) -> None: ...
    def unit(self, name: str) -> str: ...
    def pids(self, status: UnitStatus) -> list[int]: ...
    def restart_init(self) -> None: ...
    def hang(self) -> None: ...
    def unhang(self) -> None: ...


class SystemdRig:
    """systemd in a throw-away host, over the bus from outside or its private socket inside."""

    name = "systemd"

    def __init__(self, host: Any, private: bool = False) -> None:
        self.host, self.private = host, private

    @asynccontextmanager
    async def adapter(self) -> AsyncIterator[InitSystem]:
        if self.private:
            command = [sys.executable, REMOTE, "unix:path=/run/systemd/private"]
            async with served(self.host, command) as remote:
                yield remote
        else:
            init = Systemd([Address(self.host.bus_address)])
            try:
                yield init
            finally:
                await init.close()

    def install(self, service: Service) -> None:
        reload = {
            "": "",
            "hup": "ExecReload=/bin/kill -HUP $MAINPID\n",
            "fail": "ExecReload=/bin/false\n",
            "hang": "ExecReload=/bin/sleep 60\n",
        }[service.reload]
        respawn = "Restart=always\nRestartSec=10ms\n" if service.respawn else ""
        script = f"/srv/{service.name}.sh"
        self.host.put(script, f"#!/bin/sh\n{service.command}\n", 0o755)
        self.host.unit_file(
            self.unit(service.name), f"[Service]\nExecStart={script}\n{reload}{respawn}"
        )

    def start(self, name: str) -> None:
        self.host.run(["systemctl", "start", name], check=False)

    def stop(self, name: str) -> None:
        self.host.run(["systemctl", "stop", name])

    def kill(self, name: str, signal: str) -> None:
        self.host.run(["systemctl", "kill", "--kill-who=main", "-s", signal, name])

    def unit(self, name: str) -> str:
        return f"{name}.service"

    def pids(self, status: UnitStatus) -> list[int]:
        argv = [sys.executable, "-c", SAMPLE, status.unit, status.cgroup, status.main_pid]
        pids: list[int] = json.loads(self.host.out(argv, env=ENV))
        return pids

    def restart_init(self) -> None:
        self.host.run(["systemctl", "daemon-reexec"])

    def hang(self) -> None:
        self.host.run(["systemctl", "kill", "-s", "STOP", "dbus"])

    def unhang(self) -> None:
        # the bus that systemctl would ask is the one that hangs
        self.host.run("kill -CONT $(cat /sys/fs/cgroup/system.slice/dbus.service/cgroup.procs)")


@asynccontextmanager
async def served(host: Any, command: list[str]) -> AsyncIterator[Remote]:
    """Run an adapter inside a host; it ends with the context."""
    with host.popen(
        command, env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        remote = Remote(process.stdin, process.stdout)
        try:
            yield remote
        finally:
            async with asyncio.timeout(10):
                await remote.close()
                process.stdin.close()
                reader = remote._reader
                if reader is not None:
                    await reader
                await asyncio.to_thread(process.wait)


class Follower:
    """All that an adapter reported, and waiting for more of it."""

    def __init__(self) -> None:
        self.reports: list[tuple[float, InitReport]] = []
        self._more = asyncio.Event()

    def __call__(self, report: InitReport) -> None:
        self.reports.append((time.monotonic(), report))
        self._more.set()

    async def until(
        self, test: Callable[[InitReport], bool], since: int = 0, seconds: float = 10
    ) -> tuple[float, InitReport]:
        """Return the first report from place `since` on that is meant, and when it came."""
        async with asyncio.timeout(seconds):
            while True:
                for at, report in self.reports[since:]:
                    if test(report):
                        return at, report
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def following(init: InitSystem, *units: str) -> AsyncIterator[Follower]:
    """Run an adapter that watches units."""
    follower = Follower()
    await init.watch(units)
    task = asyncio.create_task(init.run(follower))
    try:
        yield follower
    finally:
        await init.close()
        async with asyncio.timeout(10):
            await task
