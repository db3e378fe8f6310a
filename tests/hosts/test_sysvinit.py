"""What is sysvinit's own; what every init must do is in tests/contract."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import InitReport, NotSupported, UnitGone, UnitNotFound, VerbFailed
from tests.contract.rig_sysvinit import SysvinitRig
from tests.contract.rigs import ENV, Service, following
from tests.hosts.inithost import Host, HostError, OpenrcHost, SysvHost

pytestmark = pytest.mark.host
DETECT = (
    "from steadyd.inits.openrc import Openrc; from steadyd.inits.sysvinit import Sysvinit; "
    "print(*(init.name for init in (Openrc.detect(), Sysvinit.detect()) if init))"
)
INITTAB = (
    "tty:2:respawn:/bin/sleep infinity\n"
    "off:5:respawn:/bin/sleep infinity\n"
    "no:2:off:/bin/sleep infinity\n"
    "no2:2:once:/bin/true\n"
)


@pytest.fixture(scope="module")
def host() -> Iterator[Any]:
    try:
        host = SysvHost(inittab=INITTAB)
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with host:
        yield host


@pytest.fixture
def rig(host: Any) -> SysvinitRig:
    return SysvinitRig(host)


@pytest.mark.parametrize(
    ("make", "name"), [(SysvHost, "sysvinit"), (OpenrcHost, "openrc"), (Host, "")]
)
def test_the_init_that_runs_is_detected(make: Any, name: str) -> None:
    try:
        host = make()
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with host:
        assert host.out([sys.executable, "-c", DETECT], env=ENV) == name


async def test_upstart_beside_the_scripts_is_no_sysvinit(host: Any) -> None:
    listen = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.bind('\\0/com/ubuntu/upstart'); "
        "s.listen(); "
    )
    assert host.out([sys.executable, "-c", listen + DETECT], env=ENV) == ""


async def test_a_respawn_line_is_followed_restarted_and_gone(rig: SysvinitRig) -> None:
    def up(report: InitReport) -> bool:
        return isinstance(report, UnitStatus) and report.state is ServiceState.ACTIVE

    async with rig.adapter() as init, following(init, "tty") as follower:
        _, first = await follower.until(up)
        assert isinstance(first, UnitStatus)
        assert (first.type, first.can_reload, first.respawns) == ("respawn", False, 0)
        seen = len(follower.reports)
        rig.host.run(["kill", "-KILL", first.main_pid])
        _, again = await follower.until(lambda r: up(r) and r != first, seen)
        assert isinstance(again, UnitStatus)
        assert again.main_pid != first.main_pid
        assert again.respawns == 1
        seen = len(follower.reports)
        await init.perform(Verb.RESTART, "tty", deadline=10)
        _, ours = await follower.until(lambda r: up(r) and r != again, seen)
        assert isinstance(ours, UnitStatus)
        assert ours.main_pid != again.main_pid
        assert ours.respawns == 1  # a restart that we asked for is none
        with pytest.raises(NotSupported) as caught:
            await init.perform(Verb.RELOAD, "tty", deadline=10)
        assert "reload_signal" in caught.value.mend
        with pytest.raises(VerbFailed, match="SIGUSR1"):
            await init.perform(Verb.RELOAD, "tty", signal="USR1", deadline=10)
        seen = len(follower.reports)
        table = rig.host.get("/etc/inittab")
        rig.host.put("/etc/inittab", table.replace("tty:2", "new:2"))
        await follower.until(lambda report: isinstance(report, UnitGone), seen)
        rig.host.put("/etc/inittab", table)


async def test_a_line_of_another_runlevel_is_stopped(rig: SysvinitRig) -> None:
    async with rig.adapter() as init:
        status = await init.find("off")
        assert (status.state, status.stopped) == (ServiceState.INACTIVE, True)
        assert "runlevel 2" in status.reason
        with pytest.raises(VerbFailed, match="does not undo"):
            await init.perform(Verb.RESTART, "off", deadline=10)
        for name in ("no", "no2", "id", "si"):
            with pytest.raises(UnitNotFound):
                await init.find(name)


async def test_a_record_of_another_s_process_is_not_believed(rig: SysvinitRig) -> None:
    async with rig.adapter() as init:
        before = await init.find("tty")
        data = rig.host.get("/run/utmp", binary=True)
        at = data.index(b"tty\0")
        command = ["sh", "-c", "echo $$; exec sleep 1000"]
        with rig.host.popen(command, stdout=subprocess.PIPE, text=True) as foreign:
            try:
                pid = int(foreign.stdout.readline())
                forged = data[: at - 36] + pid.to_bytes(4, sys.byteorder) + data[at - 32 :]
                rig.host.put("/run/utmp", forged)
                status = await init.find("tty")
            finally:
                rig.host.put("/run/utmp", data)
                foreign.kill()
        assert (status.state, status.main_pid) == (ServiceState.ACTIVATING, 0)
        assert (await init.find("tty")).main_pid == before.main_pid


async def test_a_restart_that_hangs_ends_at_its_deadline_with_all_it_started(
    rig: SysvinitRig,
) -> None:
    rig.install(Service("slow"))
    rig.start("slow")
    text = rig.host.get("/etc/init.d/slow")
    rig.host.put("/etc/init.d/slow", text.replace("stop; start", "sleep 777"), 0o755)
    async with rig.adapter() as init:
        before = await init.find("slow")
        with pytest.raises(VerbFailed, match=r"0\.5 s"):
            await init.perform(Verb.RESTART, "slow", deadline=0.5)
        assert await init.find("slow") == before
    rig.host.wait_for(lambda: rig.host.run(["pgrep", "-f", "sleep 777"], check=False).returncode)


async def test_a_stop_or_a_restart_by_hand_is_no_crash(rig: SysvinitRig) -> None:
    def at(state: str) -> Callable[[InitReport], bool]:
        return lambda report: isinstance(report, UnitStatus) and report.state == state

    rig.install(Service("by-hand"))
    rig.start("by-hand")
    async with rig.adapter() as init, following(init, "by-hand") as follower:
        await follower.until(at("active"))
        for _ in range(5):
            seen = len(follower.reports)
            await asyncio.to_thread(rig.host.service, "by-hand", "restart")
            await follower.until(at("active"), seen)
        told = {r.state for _, r in follower.reports if isinstance(r, UnitStatus)}
        assert told <= {ServiceState.ACTIVE, ServiceState.DEACTIVATING}
        seen = len(follower.reports)
        rig.stop("by-hand")
        await follower.until(at("inactive"), seen)
        assert not [report for _, report in follower.reports if at("failed")(report)]
