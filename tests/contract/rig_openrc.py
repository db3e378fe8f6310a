"""OpenRC: start-stop-daemon, and supervise-daemon for what is to be started again."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from steadyd.model.service import UnitStatus
from steadyd.ports import InitSystem
from tests.contract.rig_sysvinit import PYTHON, inside
from tests.contract.rigs import Service, _pids

# by the pid file alone: a script that becomes another program is not found again by its name
STOP = (
    "stop() { start-stop-daemon --stop --oknodo --retry 5 --remove-pidfile --pidfile $pidfile; }\n"
)
RELOAD = {
    "": "",
    "hup": "start-stop-daemon --stop --signal HUP --pidfile $pidfile",
    "fail": "eerror it is broken; return 1",
    "hang": "sleep 60",
}


class OpenrcRig:
    """openrc-init as PID 1 of a throw-away host; the adapter inside."""

    name = "openrc"
    reload_signal = ""
    always_reloads = groups = signals = keeps_running = False

    def __init__(self, host: Any) -> None:
        self.host = host

    @asynccontextmanager
    async def adapter(self, python: Sequence[str] = PYTHON) -> AsyncIterator[InitSystem]:
        made = "Openrc()"
        async with inside(self.host, self.name, "openrc", made, None, python) as remote:
            yield remote

    def install(self, service: Service) -> None:
        name, script = service.name, f"/srv/{service.name}.sh"
        self.host.put(script, f"#!/bin/sh\n{service.command}\n", 0o755)
        text = f"#!/sbin/openrc-run\ncommand={script}\n"
        text += "pidfile=/run/${RC_SVCNAME}.pid\n"
        if service.respawn:
            text += "supervisor=supervise-daemon\nrespawn_delay=1\n"
        else:
            text += "command_background=yes\n" + STOP
        if reload := RELOAD[service.reload]:
            text += f'extra_started_commands="reload"\nreload() {{ {reload}; }}\n'
        self.host.put(f"/etc/init.d/{name}", text, 0o755)

    def start(self, name: str) -> None:
        self.host.service(name, "start")

    def stop(self, name: str) -> None:
        self.host.service(name, "stop")

    def kill(self, name: str, signal: str) -> None:
        child = f"/run/openrc/options/{name}/child_pid"
        file = f"$(test -e {child} && echo {child} || echo /run/{name}.pid)"
        self.host.run(f"kill -{signal} $(cat {file})")

    def unit(self, name: str) -> str:
        return name

    def pids(self, status: UnitStatus) -> list[int]:
        return _pids(self.host, status)

    def lose(self) -> None:
        self.host.run(["mv", "/run/openrc", "/run/openrc.away"])

    def regain(self) -> None:
        self.host.run(["mv", "/run/openrc.away", "/run/openrc"])

    def hang(self) -> None:
        """There is nothing that could."""

    def unhang(self) -> None:
        """See hang."""
