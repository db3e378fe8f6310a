"""What adapters cost, each beside 200 units in a host of their own: idle, and at the first look.

`python tests/bench/inits.py [NAME…]` prints a table; exit 1 where a limit is broken. A part of it
runs inside the host (`inside`), where the adapter opens pids and folders.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from steadyd.ports import InitReport, InitSystem  # noqa: E402 - the path is set above
from steadyd.watch import AT_ONCE  # noqa: E402
from tests.contract import remote, rigs  # noqa: E402
from tests.hosts.inithost import (  # noqa: E402
    HostError,
    RunitHost,
    S6Host,
    SupervisordHost,
    SystemdHost,
)

UNITS = 200
SECONDS = 10.0
LOOK_UNITS, LOOK_MS = 500, 200.0  # the first look at so many units may take so long
RUN = "#!/bin/sh\nexec sleep infinity\n"
PLACES = {
    "systemd": "unix:path=/run/systemd/private",
    "runit": RunitHost.scan,
    "s6": S6Host.scan,
    "supervisord": f"unix://{rigs.SupervisordRig.socket}",
}
IDLE_MS = {"systemd": 5.0, "runit": 5.0, "s6": 5.0, "supervisord": 100.0}  # the last is polled


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


HOSTS: dict[str, Callable[[], Any]] = {
    "systemd": _systemd,
    "runit": lambda: RunitHost(services=dict.fromkeys(names(), RUN), timeout=60),
    "s6": lambda: S6Host(services=dict.fromkeys(names(), RUN), timeout=60),
    "supervisord": _supervisord,
}


async def inside(name: str) -> dict[str, float]:
    """Measure one adapter, in milliseconds; runs inside the host."""
    told, all_told = set[str](), asyncio.Event()

    def report(news: InitReport) -> None:
        told.add(getattr(news, "unit", ""))
        if len(told - {""}) == UNITS:
            all_told.set()

    await asyncio.sleep(3)  # the init has just started them all
    first = remote._made(name, PLACES[name])
    started = time.perf_counter()
    gate = asyncio.Semaphore(AT_ONCE)

    async def unit(name: str) -> str:
        async with gate:
            return (await first.find(name)).unit

    units = list(await asyncio.gather(*map(unit, names())))  # as watch.py looks names up
    found = (time.perf_counter() - started) * 1e3
    await first.close()
    init: InitSystem = remote._made(name, PLACES[name])
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
    await init.close()
    await task
    return {"find": found, "follow": followed, "idle": idle}


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
            ("idle CPU, ms per 10 s", found["idle"], IDLE_MS[name]),
            ("find of all, ms", found["find"] * LOOK_UNITS / UNITS, LOOK_MS),
            ("until all are followed, ms", found["follow"] * LOOK_UNITS / UNITS, LOOK_MS),
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
