"""sysvinit: init scripts with start-stop-daemon, and inittab for what is to be started again."""

import asyncio
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from steadyd.model.service import UnitStatus
from steadyd.ports import InitSystem
from tests.contract.remote import Remote
from tests.contract.rigs import ENV, Service, _pids

PYTHON = (sys.executable,)
RECORD = struct.Struct("=hxxi32s4s340x")  # utmp(5)
SCRIPT = """\
#!/bin/sh
# pidfile: /run/{name}.pid
run() {{ start-stop-daemon "$@" --pidfile /run/{name}.pid; }}
start() {{ run --start --background --make-pidfile --startas /srv/{name}.sh; }}
stop() {{ run --stop --oknodo --quiet --retry 5 --remove-pidfile; }}
case "$1" in
start) start ;;
stop) stop ;;
restart) stop; start ;;
{reload}
*) exit 3 ;;
esac
"""
RELOAD = {
    "": "",
    "hup": "reload) run --stop --signal HUP ;;",
    "fail": "reload) echo it is broken; exit 1 ;;",
    "hang": "reload) sleep 60 ;;",
}


class SysvinitRig:
    """sysvinit's init as PID 1 of a throw-away host; the adapter inside."""

    name = "sysvinit"
    reload_signal = ""
    always_reloads = groups = signals = False
    keeps_running = True

    def __init__(self, host: Any) -> None:
        self.host = host
        self.ids: dict[str, str] = {}  # of lines in inittab, by name
        self.texts: dict[str, str] = {}

    @asynccontextmanager
    async def adapter(self, python: Sequence[str] = PYTHON) -> AsyncIterator[InitSystem]:
        made = "Sysvinit()"
        async with inside(self.host, self.name, "sysvinit", made, self.ids, python) as remote:
            yield remote

    def install(self, service: Service) -> None:
        name, script = service.name, f"/srv/{service.name}.sh"
        self.host.put(script, f"#!/bin/sh\n{service.command}\n", 0o755)
        if service.respawn:
            lines = self.host.get("/etc/inittab").splitlines()
            self.ids[name] = f"r{len(lines):x}"
            self.texts[name] = f"{self.ids[name]}:2:respawn:{script}"
        else:
            text = SCRIPT.format(name=name, reload=RELOAD[service.reload])
            self.host.put(f"/etc/init.d/{name}", text, 0o755)

    def start(self, name: str) -> None:
        if name in self.ids:
            self.host.put("/etc/inittab", f"{self.host.get('/etc/inittab')}{self.texts[name]}\n")
            self.host.run(["telinit", "q"])
            self.host.wait_for(lambda: self._pid(name))
        else:
            self.host.service(name, "start")

    def stop(self, name: str) -> None:
        self.host.service(name, "stop")

    def kill(self, name: str, signal: str) -> None:
        if name in self.ids:
            self.host.run(["kill", f"-{signal}", self._pid(name)])
        else:
            self.host.run(f"kill -{signal} $(cat /run/{name}.pid)")

    def _pid(self, name: str) -> str:
        """Return the pid of what init keeps running, "" if there is none."""
        for kind, pid, _, mark in RECORD.iter_unpack(self.host.get("/run/utmp", binary=True)):
            if (kind, mark.rstrip(b"\0").decode()) == (5, self.ids[name]):
                return str(pid)
        return ""

    def unit(self, name: str) -> str:
        return self.ids.get(name, name)

    def pids(self, status: UnitStatus) -> list[int]:
        return _pids(self.host, status)

    def lose(self) -> None:
        self.host.run(["mv", "/etc/init.d", "/etc/init.d.away"])

    def regain(self) -> None:
        self.host.run(["mv", "/etc/init.d.away", "/etc/init.d"])

    def hang(self) -> None:
        """There is nothing that could."""

    def unhang(self) -> None:
        """See hang."""


class _Named(Remote):
    """A name of the contract's tests may be too long for an id of inittab."""

    ids: dict[str, str]

    async def find(self, name: str) -> UnitStatus:
        return await super().find(self.ids.get(name, name))


@asynccontextmanager
async def inside(
    host: Any,
    name: str,
    module: str,
    made: str,
    ids: dict[str, str] | None = None,
    python: Sequence[str] = PYTHON,
) -> AsyncIterator[Remote]:
    """Run an adapter inside a host; `made` is the expression that makes it."""
    program = (
        "import asyncio\n"
        "from pathlib import Path\n"
        "from tests.contract import remote\n"
        f"from steadyd.inits.{module} import *\n"
        f"from steadyd.inits import {module}\n"
        f"async def main(): await remote._serve({module}.{made})\n"
        "asyncio.run(main())\n"
    )
    pipe = subprocess.PIPE
    command = [*python, "-c", program]
    with host.popen(command, env=ENV, stdin=pipe, stdout=pipe, bufsize=0) as process:
        remote = _Named(process.stdin, process.stdout, name)
        remote.ids = {} if ids is None else ids
        try:
            yield remote
        finally:
            await _ended(remote, process)


async def _ended(remote: Remote, process: Any) -> None:
    async with asyncio.timeout(10):
        await remote.close()
        process.stdin.close()
        if remote._reader is not None:
            await remote._reader
        await asyncio.to_thread(process.wait)
