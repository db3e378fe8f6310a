"""What adapters cost, each beside 200 units in a host of their own: idle, at the first look, and
from the kernel's knowledge of a death to the report of it.

`python tests/bench/inits.py [NAME…]` prints a table; exit 1 where a limit is broken. A part of it
runs inside the host (`inside`), where the adapter opens pids and folders.
"""

import asyncio
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from steadyd.inits.openrc import Openrc  # noqa: E402 - the path is set above
from steadyd.inits.sysvinit import Sysvinit  # noqa: E402
from steadyd.inits.upstart import Upstart  # noqa: E402
from steadyd.model.service import UnitStatus  # noqa: E402
from steadyd.ports import InitReport, InitSystem  # noqa: E402
from tests.contract import remote, rig_openrc, rig_sysvinit, rigs  # noqa: E402
from tests.hosts.inithost import (  # noqa: E402
    HostError,
    OpenrcHost,
    RunitHost,
    S6Host,
    SupervisordHost,
    SystemdHost,
    SysvHost,
)
from tests.hosts.upstart.host import UpstartHost  # noqa: E402

UNITS = 200
SECONDS = 10.0
LOOK_UNITS, LOOK_MS = 500, 200.0  # the first look at so many units may take so long
DEATHS, LATENCY_MS = 100, 50.0
RUN = "#!/bin/sh\nexec sleep infinity\n"
PLACES = {
    "systemd": "unix:path=/run/systemd/private",
    "runit": RunitHost.scan,
    "s6": S6Host.scan,
    "supervisord": f"unix://{rigs.SupervisordRig.socket}",
}
IDLE_MS = {"supervisord": 100.0}  # polled; the others are watched
OTHER_IDLE_MS = 5.0
ADAPTERS: dict[str, Callable[[], InitSystem]] = {
    "upstart": Upstart,
    "sysvinit": Sysvinit,
    "openrc": Openrc,
}


def names(count: int = UNITS) -> list[str]:
    return [f"svc-{number:03}" for number in range(count)]


def _systemd() -> Any:
    host = SystemdHost(timeout=60)
    unit = "[Service]\nExecStart=/bin/sleep infinity\n"
    for name in names():
        host.put(f"/etc/systemd/system/{name}.service", unit)
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "start", *names()], timeout=60)
    return host


def _supervisord() -> Any:
    text = "".join(f"[program:{name}]\ncommand=/bin/sleep infinity\n" for name in names())
    host = SupervisordHost(supervisord=rigs.SUPERVISORD["supervisord"], programs=text, timeout=60)
    host.wait_for(lambda: len(host.rpc().supervisor.getAllProcessInfo()) == UNITS, 60)
    return host


def _upstart() -> Any:
    host = UpstartHost()
    for name in names():
        host.put(f"/etc/init/{name}.conf", "exec sleep infinity\n")
    return _started(host, "initctl reload-configuration; for n in {}; do start $n; done")


def _sysvinit() -> Any:
    host = SysvHost()
    for name in names():
        host.put(f"/srv/{name}.sh", RUN, 0o755)
        host.put(f"/etc/init.d/{name}", rig_sysvinit.SCRIPT.format(name=name, reload=""), 0o755)
    return _started(host, "for n in {}; do /etc/init.d/$n start; done")


def _openrc() -> Any:
    host = OpenrcHost()
    rig = rig_openrc.OpenrcRig(host)
    for name in names():
        rig.install(rigs.Service(name))
    return _started(host, "for n in {}; do rc-service $n start; done")


def _started(host: Any, command: str) -> Any:
    host.run(["sh", "-c", f"({command.format(' '.join(names()))}) >/dev/null 2>&1"], timeout=120)
    return host


HOSTS: dict[str, Callable[[], Any]] = {
    "systemd": _systemd,
    "runit": lambda: RunitHost(services=dict.fromkeys(names(), RUN), timeout=60),
    "s6": lambda: S6Host(services=dict.fromkeys(names(), RUN), timeout=60),
    "supervisord": _supervisord,
    "upstart": _upstart,
    "sysvinit": _sysvinit,
    "openrc": _openrc,
}


def made(name: str) -> InitSystem:
    """Return the adapter; runs inside the host."""
    return ADAPTERS[name]() if name in ADAPTERS else remote._made(name, PLACES[name])


async def inside(name: str) -> dict[str, float]:
    """Measure one adapter, in milliseconds; runs inside the host."""
    told: dict[str, UnitStatus] = {}
    all_told, ends = asyncio.Event(), dict[str, asyncio.Future[float]]()

    def report(news: InitReport) -> None:
        if not isinstance(news, UnitStatus):
            return
        before = told.get(news.unit)
        told[news.unit] = news
        if len(told) == UNITS:
            all_told.set()
        end = ends.get(news.unit)
        if end and before and before.main_pid != news.main_pid and not end.done():
            end.set_result(time.perf_counter())

    async def death(unit: str) -> float:
        """Kill a unit; return the time from the kernel's telling of it to the report."""
        loop = asyncio.get_running_loop()

        def note() -> None:
            loop.remove_reader(fd)
            known.set_result(time.perf_counter())

        end: asyncio.Future[float] = loop.create_future()
        known: asyncio.Future[float] = loop.create_future()
        ends[unit], fd = end, os.pidfd_open(told[unit].main_pid)
        loop.add_reader(fd, note)
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        async with asyncio.timeout(10):
            at = await known
            os.close(fd)
            return max(0.0, (await end - at) * 1e3)

    await asyncio.sleep(3)  # the init has just started them all
    first = made(name)
    started = time.perf_counter()
    found_units = await asyncio.gather(*map(first.find, names()))  # as watch.py looks names up
    units = [status.unit for status in found_units]
    found = (time.perf_counter() - started) * 1e3
    await first.close()
    init = made(name)
    await init.watch(units)
    started = time.perf_counter()
    task = asyncio.create_task(init.run(report))
    async with asyncio.timeout(60):
        await all_told.wait()
    followed = (time.perf_counter() - started) * 1e3
    await asyncio.sleep(2)  # what a start leaves to be done is no idling
    cpu = time.process_time()
    await asyncio.sleep(SECONDS)
    idle = (time.process_time() - cpu) * 1e3
    late = sorted([await death(unit) for unit in units[:DEATHS]])
    await init.close()
    await task
    p50, p99 = statistics.median(late), late[round(0.99 * (len(late) - 1))]
    return {"find": found, "follow": followed, "idle": idle, "p50": p50, "p99": p99}


def measure(name: str) -> dict[str, float]:
    with HOSTS[name]() as host:
        command = [sys.executable, str(Path(__file__).resolve()), "--inside", name]
        done = host.run(command, env=rigs.ENV, timeout=120)
        return dict(json.loads(done.stdout.splitlines()[-1]))


def main(chosen: list[str]) -> int:
    good = True
    print(f"{UNITS} units; first look scaled to {LOOK_UNITS}")
    for name in chosen or list(HOSTS):
        try:
            found = measure(name)
        except (HostError, OSError) as error:
            print(f"BROKEN {name:<12} {error}")
            good = False
            continue
        rows = [
            ("idle CPU, ms per 10 s", found["idle"], IDLE_MS.get(name, OTHER_IDLE_MS)),
            ("find of all, ms", found["find"] * LOOK_UNITS / UNITS, LOOK_MS),
            ("until all are followed, ms", found["follow"] * LOOK_UNITS / UNITS, LOOK_MS),
            ("death to report, p50, ms", found["p50"], LATENCY_MS),
            (f"death to report, p99 of {DEATHS}", found["p99"], LATENCY_MS),
        ]
        for what, value, limit in rows:
            good = good and value <= limit
            mark = "ok    " if value <= limit else "BROKEN"
            print(f"{mark} {name:<12} {what:<28} {value:8.1f}  <= {limit:g}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(asyncio.run(inside(sys.argv[2]))))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
