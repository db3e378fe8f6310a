"""What is runit's and s6's own; what every init must do is in tests/contract."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import InitLost, InitReport, NotPermitted, UnitGone, UnitNotFound
from tests.contract.rigs import ENV, REMOTE, RunitRig, S6Rig, Service, following, served
from tests.hosts.inithost import HostError, RunitHost, S6Host

pytestmark = pytest.mark.host

RUN = ("#!/bin/sh\nexec sleep infinity\n", 0o755)
MANY = 1000
LATEST_S = 0.5
MOST_GROWTH_KB = 20 * 1024


@pytest.fixture(
    scope="module", params=[(RunitHost, RunitRig), (S6Host, S6Rig)], ids=["runit", "s6"]
)
def rig(request: pytest.FixtureRequest) -> Iterator[Any]:
    make, rig = request.param
    try:
        host = make()
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with host:
        yield rig(host)


def scan_with(host: Any, scan: str, *names: str) -> str:
    """Install services that nobody starts yet, in a scan folder of their own."""
    for name in names:
        host.put(f"{scan}/{name}/run", *RUN)
    return scan


@contextmanager
def scanner(rig: Any, scan: str) -> Iterator[Callable[[], None]]:
    """Run another runsvdir or s6-svscan; yield what kills it, at the end too; services stay."""
    most = str(MANY + 100)  # services that s6-svscan takes, 500 if it is not told
    program = ["runsvdir"] if rig.name == "runit" else ["s6-svscan", "-c", most]
    quiet = subprocess.DEVNULL
    process = rig.host.popen([*program, scan], stdout=quiet, stderr=quiet)

    def kill() -> None:
        process.kill()
        process.wait(10)

    with process:
        try:
            yield kill
        finally:
            kill()


def up_with(unit: str, respawns: int) -> Callable[[InitReport], bool]:
    return lambda r: (
        isinstance(r, UnitStatus)
        and (r.unit, r.state, r.respawns) == (unit, ServiceState.ACTIVE, respawns)
    )


def gone(unit: str) -> Callable[[InitReport], bool]:
    return lambda report: isinstance(report, UnitGone) and report.unit == unit


def adapter_pid(host: Any, place: str) -> int:
    """Return the machine's pid of the adapter that serves a place inside a host."""
    space = os.readlink(f"/proc/{host.leader_pid}/ns/pid")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                words = file.read().split("\0")
            here = os.readlink(f"/proc/{pid}/ns/pid") == space
            if here and words[1:2] == [REMOTE] and place in words:
                return int(pid)
        except OSError:
            continue
    raise AssertionError(f"nobody serves {place}")


def memory(pid: int) -> int:
    """Return what a process has resident, in kB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


def test_the_scanner_that_runs_names_the_folder(rig: Any) -> None:
    code = (
        "from steadyd.inits.runit import Runit\n"
        "from steadyd.inits.s6 import S6\n"
        "print([[each.name, *each.home()] for each in (Runit.detect(), S6.detect()) if each])\n"
    )
    found = rig.host.out([sys.executable, "-c", code], env=ENV)
    assert found == str([[rig.name, type(rig.host).scan]])


async def test_a_death_is_told_at_once(rig: Any) -> None:
    names, latencies = [f"quick{number}" for number in range(5)], []
    for name in names:
        rig.install(Service(name, respawn=True))
        rig.start(name)
    async with rig.adapter() as init, following(init, *names) as follower:
        for name in names:
            _, news = await follower.until(up_with(name, 0))
            assert isinstance(news, UnitStatus)
            died, seen = asyncio.Event(), len(follower.reports)
            fd = os.pidfd_open(rig.host.outer_pid(news.main_pid))
            asyncio.get_running_loop().add_reader(fd, died.set)
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            await died.wait()
            at = time.monotonic()
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)
            told, _ = await follower.until(of(name), seen)
            latencies.append(told - at)
            await follower.until(up_with(name, 1), seen)
    print(f"{rig.name}: death to report, ms:", [f"{each * 1e3:.1f}" for each in latencies])
    assert max(latencies) < LATEST_S


def of(unit: str) -> Callable[[InitReport], bool]:
    return lambda report: isinstance(report, UnitStatus) and report.unit == unit


async def test_of_many_units_that_flap_no_crash_is_lost(rig: Any) -> None:
    names = [f"flap{number:03}" for number in range(MANY)]
    scan = scan_with(rig.host, "/srv/flap", *names)
    pids: dict[str, int] = {}

    def all_up(respawns: int) -> Callable[[InitReport], bool]:
        done = set[str]()

        def test(report: InitReport) -> bool:
            if isinstance(report, UnitStatus) and report.main_pid and report.respawns >= respawns:
                done.add(report.unit)
                pids[report.unit] = report.main_pid
            return len(done) == MANY

        return test

    with scanner(rig, scan):
        async with served(rig.host, rig.name, scan) as init, following(init, *names) as follower:
            await follower.until(all_up(0), seconds=60)
            before = memory(adapter_pid(rig.host, scan))
            for wave in (1, 2, 3):
                seen = len(follower.reports)
                assert min(pids.values()) > 1
                rig.host.run(["kill", "-KILL", *pids.values()])
                await follower.until(all_up(wave), seen, seconds=60)
            counts = {r.unit: r.respawns for _, r in follower.reports if isinstance(r, UnitStatus)}
            grown = memory(adapter_pid(rig.host, scan)) - before
            print(f"{rig.name}: {len(follower.reports)} reports, memory grew by {grown} kB")
            assert counts == dict.fromkeys(names, 3)
            assert grown < MOST_GROWTH_KB


async def test_a_scanner_that_is_killed_and_comes_back_is_no_event(rig: Any) -> None:
    scan = scan_with(rig.host, "/srv/again", "early")
    with scanner(rig, scan) as kill:
        async with (
            served(rig.host, rig.name, scan) as init,
            following(init, "early", "late") as follower,
        ):
            await follower.until(up_with("early", 0))
            await follower.until(gone("late"))
            seen = len(follower.reports)
            kill()
            main = (await init.find("early")).main_pid
            rig.host.run(["kill", "-KILL", main])  # it is kept all the same
            await follower.until(up_with("early", 1), seen)
            scan_with(rig.host, scan, "late")
            with scanner(rig, scan):
                await follower.until(up_with("late", 0), seen)
                main = (await init.find("early")).main_pid
                rig.host.run(["kill", "-KILL", main])
                await follower.until(up_with("early", 2), seen)
            news = [report for _, report in follower.reports[seen:]]
            assert not [each for each in news if isinstance(each, InitLost) or gone("early")(each)]


async def test_a_service_that_is_removed_is_gone_at_once(rig: Any) -> None:
    rig.install(Service("removed", respawn=True))
    rig.start("removed")
    async with rig.adapter() as init, following(init, "removed") as follower:
        await follower.until(up_with("removed", 0))
        rig.host.run(["rm", "-rf", f"{rig.scan}/removed"])
        await follower.until(gone("removed"))
        with pytest.raises(UnitNotFound):
            await init.find("removed")


async def test_without_the_right_to_read_the_mend_is_told(rig: Any) -> None:
    scan = scan_with(rig.host, "/srv/closed", "web")
    # the interpreter of the test may lie in a folder that is closed to others
    python = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "/usr/bin/python3"]
    if rig.host.run([*python, "-c", "import msgspec"], env=ENV, check=False).returncode:
        pytest.skip("no interpreter that another user may run")
    with scanner(rig, scan):
        rig.host.wait_for(
            lambda: os.path.exists(rig.host.path(f"{scan}/web/supervise/status")), what="web"
        )
        async with served(rig.host, rig.name, scan, python) as init:
            for closed in (f"{scan}/web/supervise", scan):
                rig.host.run(["chmod", "700", closed])
                with pytest.raises(NotPermitted, match="Permission denied") as caught:
                    await init.find("web")
                assert "run steadyd as root" in caught.value.mend
                with pytest.raises(NotPermitted):
                    await init.perform(Verb.RESTART, "web", deadline=5)
            async with following(init, "web") as follower:
                _, news = await follower.until(gone("web"))
                assert isinstance(news, UnitGone)
                assert "Permission denied" in news.reason
