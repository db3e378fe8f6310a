"""What the contract suite needs of an init system's host: install, start, stop, break, look."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
import xmlrpc.client
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from steadyd.inits.link import Address
from steadyd.inits.supervisord_rpc import Connection, call
from steadyd.inits.systemd import Systemd
from steadyd.model.service import UnitStatus
from steadyd.ports import InitReport, InitSystem
from tests.contract.remote import Remote

ROOT = Path(__file__).resolve().parents[2]
PATHS = f"{ROOT}/src:{ROOT}:{sysconfig.get_path('purelib')}"
ENV = {"PYTHONPATH": PATHS}
REMOTE = str(ROOT / "tests/contract/remote.py")
SUPERVISORD = {  # arguments of SupervisordHost
    "supervisord": f"{sysconfig.get_path('scripts')}/supervisord",
    "programs": "[include]\nfiles = /etc/supervisor.d/*.conf\n",
}
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
    """One real init system, and what it cannot do.

    reload_signal  "" where a service has a reload of its own, else the signal to name
    always_reloads whether the init itself sends SIGHUP where nothing else is said
    groups         whether every process of a service is known, also those that left its tree
    signals        whether it tells by which signal a process ended
    keeps_running  whether what it respawns can be neither stopped nor started
    """

    name: str
    reload_signal: str
    always_reloads: bool
    groups: bool
    signals: bool
    keeps_running: bool

    def adapter(self) -> Any:
        """Return an async context manager of an adapter."""

    def install(self, service: Service) -> None: ...
    def start(self, name: str) -> None: ...
    def stop(self, name: str) -> None: ...
    def kill(self, name: str, signal: str) -> None: ...
    def unit(self, name: str) -> str: ...
    def pids(self, status: UnitStatus) -> list[int]: ...
    def lose(self) -> None:
        """Make the init unreachable, for a moment or until `regain`, without touching services."""

    def regain(self) -> None: ...
    def hang(self) -> None: ...
    def unhang(self) -> None: ...


class SystemdRig:
    """systemd in a throw-away host, over the bus from outside or its private socket inside."""

    name = "systemd"
    reload_signal = ""
    always_reloads = keeps_running = False
    groups = signals = True

    def __init__(self, host: Any, private: bool = False) -> None:
        self.host, self.private = host, private

    @asynccontextmanager
    async def adapter(self) -> AsyncIterator[InitSystem]:
        if self.private:
            async with served(self.host, self.name, "unix:path=/run/systemd/private") as remote:
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
        return _pids(self.host, status)

    def lose(self) -> None:
        self.host.run(["systemctl", "daemon-reexec"])

    def regain(self) -> None:
        """It is there again by itself."""

    def hang(self) -> None:
        self.host.run(["systemctl", "kill", "-s", "STOP", "dbus"])

    def unhang(self) -> None:
        # the bus that systemctl would ask is the one that hangs
        self.host.run("kill -CONT $(cat /sys/fs/cgroup/system.slice/dbus.service/cgroup.procs)")


class SupervisordRig:
    """supervisord as PID 1 of a throw-away host; the adapter inside, since it opens pids."""

    name = "supervisord"
    reload_signal = "HUP"
    always_reloads = groups = signals = keeps_running = False
    socket = "/run/supervisor.sock"

    def __init__(self, host: Any) -> None:
        self.host = host

    @asynccontextmanager
    async def adapter(self, python: Sequence[str] = (sys.executable,)) -> AsyncIterator[InitSystem]:
        async with served(self.host, self.name, f"unix://{self.socket}", python) as remote:
            yield remote

    def install(self, service: Service) -> None:
        script = f"/srv/{service.name}.sh"
        self.host.put(script, f"#!/bin/sh\n{service.command}\n", 0o755)
        self.program(service.name, f"command={script}\nautorestart={str(service.respawn).lower()}")

    def program(self, name: str, text: str) -> None:
        """Add one program with this text in its section."""
        text = f"[program:{name}]\nautostart=false\nstartsecs=0\n{text}\n"
        self.host.put(f"/etc/supervisor.d/{name}.conf", text)
        self.rpc("reloadConfig")
        self.rpc("addProcessGroup", name)

    def rpc(self, method: str, *values: str) -> Any:
        return call(Connection(f"unix://{self.host.path(self.socket)}", 20), method, values)

    def start(self, name: str) -> None:
        with contextlib.suppress(xmlrpc.client.Fault):  # what it comes to is read off the state
            self.rpc("startProcess", name)

    def stop(self, name: str) -> None:
        self.rpc("stopProcess", name)

    def kill(self, name: str, signal: str) -> None:
        self.rpc("signalProcess", name, signal)

    def unit(self, name: str) -> str:
        return name

    def pids(self, status: UnitStatus) -> list[int]:
        return _pids(self.host, status)

    def lose(self) -> None:
        self.host.run(["mv", self.socket, f"{self.socket}.away"])

    def regain(self) -> None:
        self.host.run(["mv", f"{self.socket}.away", self.socket])

    def hang(self) -> None:
        os.kill(self.host.leader_pid, signal.SIGSTOP)

    def unhang(self) -> None:
        os.kill(self.host.leader_pid, signal.SIGCONT)


class SuiteRig:
    """What runit's and s6's rigs share: services in a scan folder."""

    reload_signal = ""
    always_reloads = True
    groups = keeps_running = False
    scan: str

    def __init__(self, host: Any) -> None:
        self.host = host

    def unit(self, name: str) -> str:
        return name

    def pids(self, status: UnitStatus) -> list[int]:
        return _pids(self.host, status)

    def lose(self) -> None:
        self.host.run(["mv", self.scan, f"{self.scan}.away"])

    def regain(self) -> None:
        self.host.run(["mv", f"{self.scan}.away", self.scan])

    def hang(self) -> None:
        """There is nothing that could."""

    def unhang(self) -> None:
        """See hang."""


class RunitRig(SuiteRig):
    """runsv for each service, in a scan folder of the rig's own: runsvdir looks every 5 s only."""

    name = "runit"
    signals = False
    scan = "/srv/service"

    @asynccontextmanager
    async def adapter(self) -> AsyncIterator[InitSystem]:
        self.host.run(["mkdir", "-p", self.scan])
        async with served(self.host, self.name, self.scan) as remote:
            yield remote

    def install(self, service: Service) -> None:
        folder = f"{self.scan}/{service.name}"
        self.host.put(f"{folder}/down", "")
        script = f"/srv/{service.name}.sh"
        self.host.put(script, f"#!/bin/sh\n{service.command}\n", 0o755)
        self.host.put(f"{folder}/run", f"#!/bin/sh\nexec {script}\n", 0o755)
        if service.respawn:
            self.host.put(f"{folder}/respawn", "")
        self.host.run(f"setsid runsv {folder} < /dev/null > /dev/null 2>&1 &")
        self.host.wait_for(lambda: os.path.exists(self.host.path(f"{folder}/supervise/ok")))
        self.host.wait_for(lambda: self.host.run(["sv", "status", folder], check=False).stdout)

    def start(self, name: str) -> None:
        folder = f"{self.scan}/{name}"
        again = os.path.exists(self.host.path(f"{folder}/respawn"))
        self.host.run(["sv", "up" if again else "once", folder])

    def stop(self, name: str) -> None:
        self.host.run(["sv", "down", f"{self.scan}/{name}"])
        self.host.wait_for(
            lambda: self.host.out(["sv", "status", f"{self.scan}/{name}"]).startswith("down")
        )

    def kill(self, name: str, signal: str) -> None:
        pid = self.host.get(f"{self.scan}/{name}/supervise/pid").strip()
        self.host.run(["kill", f"-{signal}", pid])


class S6Rig(SuiteRig):
    """s6-svscan, told of each new service."""

    name = "s6"
    signals = True
    scan = "/etc/s6-service"

    @asynccontextmanager
    async def adapter(self) -> AsyncIterator[InitSystem]:
        async with served(self.host, self.name, self.scan) as remote:
            yield remote

    def install(self, service: Service) -> None:
        folder = f"{self.scan}/{service.name}"
        script = f"/srv/{service.name}.sh"
        self.host.put(script, f"#!/bin/sh\n{service.command}\n", 0o755)
        self.host.put(f"/srv/s6/{service.name}/down", "")
        self.host.put(f"/srv/s6/{service.name}/run", f"#!/bin/sh\nexec {script}\n", 0o755)
        if service.respawn:
            self.host.put(f"/srv/s6/{service.name}/respawn", "")
        self.host.run(["ln", "-sfn", f"/srv/s6/{service.name}", folder])
        self.host.run(["s6-svscanctl", "-a", self.scan])
        self.host.wait_for(lambda: not self.host.run(["s6-svok", folder], check=False).returncode)

    def start(self, name: str) -> None:
        again = os.path.exists(self.host.path(f"/srv/s6/{name}/respawn"))
        how = "-u" if again else "-o"
        self.host.run(["s6-svc", "-wu", "-T", "5000", how, f"{self.scan}/{name}"])

    def stop(self, name: str) -> None:
        self.host.run(["s6-svc", "-wd", "-d", f"{self.scan}/{name}"])

    def kill(self, name: str, signal: str) -> None:
        pid = int(self.host.out(["s6-svstat", "-o", "pid", f"{self.scan}/{name}"]))
        if pid > 1:  # it is -1 while the service is down
            self.host.run(["kill", f"-{signal}", str(pid)])


def _pids(host: Any, status: UnitStatus) -> list[int]:
    argv = [sys.executable, "-c", SAMPLE, status.unit, status.cgroup, status.main_pid]
    pids: list[int] = json.loads(host.out(argv, env=ENV))
    return pids


@asynccontextmanager
async def served(
    host: Any, name: str, place: str, python: Sequence[str] = (sys.executable,)
) -> AsyncIterator[Remote]:
    """Run an adapter inside a host; it ends with the context."""
    command = [*python, REMOTE, name, place]
    with host.popen(
        command, env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        remote = Remote(process.stdin, process.stdout, name)
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
