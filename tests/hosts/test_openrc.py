"""What is OpenRC's own; what every init must do is in tests/contract."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import InitReport, UnitNotFound, VerbFailed
from tests.contract.rig_openrc import OpenrcRig
from tests.contract.rigs import Service, following
from tests.hosts.inithost import HostError, OpenrcHost

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def host() -> Iterator[Any]:
    try:
        host = OpenrcHost()
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with host:
        yield host


@pytest.fixture
def rig(host: Any) -> OpenrcRig:
    return OpenrcRig(host)


def at(state: str) -> Callable[[InitReport], bool]:
    return lambda report: isinstance(report, UnitStatus) and report.state == state


async def test_supervise_daemon_starts_again_until_it_gives_up(rig: OpenrcRig) -> None:
    script = "#!/sbin/openrc-run\nsupervisor=supervise-daemon\ncommand=/bin/sleep\n"
    script += "command_args=infinity\npidfile=/run/$RC_SVCNAME.pid\n"
    script += "respawn_delay=1\nrespawn_max=1\n"
    rig.host.put("/etc/init.d/kept", script, 0o755)
    rig.start("kept")
    async with rig.adapter() as init, following(init, "kept") as follower:
        _, first = await follower.until(at("active"))
        assert isinstance(first, UnitStatus)
        assert rig.host.out(["ps", "-o", "comm=", str(first.main_pid)]) == "sleep"
        rig.kill("kept", "KILL")
        seen = len(follower.reports)
        _, dead = await follower.until(at("activating"), seen)
        assert isinstance(dead, UnitStatus)
        assert (dead.respawning, dead.main_pid) == (True, 0)
        _, again = await follower.until(at("active"), seen)
        assert isinstance(again, UnitStatus)
        assert again.respawns == first.respawns + 1
        assert again.main_pid != first.main_pid
        seen = len(follower.reports)
        rig.kill("kept", "KILL")
        await follower.until(at("failed"), seen)
        await init.perform(Verb.RESTART, "kept", deadline=20)
        status = await init.find("kept")
        assert (status.state, status.respawns) == (ServiceState.ACTIVE, 0)


async def test_a_supervise_daemon_that_is_killed_leaves_a_crashed_service(rig: OpenrcRig) -> None:
    rig.install(Service("orphan", respawn=True))
    rig.start("orphan")
    async with rig.adapter() as init, following(init, "orphan") as follower:
        await follower.until(at("active"))
        seen = len(follower.reports)
        rig.host.run("kill -KILL $(cat /run/orphan.pid)")
        rig.kill("orphan", "KILL")
        _, news = await follower.until(at("failed"), seen)
        assert isinstance(news, UnitStatus)
        assert "supervise-daemon is gone" in news.reason


@pytest.mark.parametrize("respawn", [False, True])
async def test_a_restart_by_hand_is_no_stop(rig: OpenrcRig, respawn: bool) -> None:
    name = f"by-hand-{respawn}"
    rig.install(Service(name, respawn=respawn))
    rig.start(name)
    async with rig.adapter() as init, following(init, name) as follower:
        for _ in range(5):
            seen = len(follower.reports)
            await follower.until(at("active"), max(0, seen - 1))
            await asyncio.to_thread(rig.host.service, name, "restart")
            await follower.until(at("active"), seen)
        told = [report for _, report in follower.reports if isinstance(report, UnitStatus)]
        assert not [status for status in told if status.stopped]
        assert {status.respawns for status in told} == {0}
        seen = len(follower.reports)
        rig.stop(name)
        await follower.until(lambda r: isinstance(r, UnitStatus) and r.stopped, seen)


async def test_a_start_that_fails_says_what_the_script_said(rig: OpenrcRig) -> None:
    script = "#!/sbin/openrc-run\nstart() { eerror 'no disk'; return 1; }\n"
    rig.host.put("/etc/init.d/broken", script.replace("eerror 'no disk'; return 1", ":"), 0o755)
    rig.start("broken")
    async with rig.adapter() as init:
        assert (await init.find("broken")).state is ServiceState.ACTIVE
        rig.host.put("/etc/init.d/broken", script, 0o755)
        with pytest.raises(VerbFailed, match=r"exited with 1.*no disk"):
            await init.perform(Verb.RESTART, "broken", deadline=20)
        assert (await init.find("broken")).state is not ServiceState.ACTIVE


async def test_a_service_without_a_process_is_another_run_after_a_restart(rig: OpenrcRig) -> None:
    rig.host.put("/etc/init.d/once", "#!/sbin/openrc-run\nstart() { :; }\n", 0o755)
    rig.start("once")
    async with rig.adapter() as init:
        before = await init.find("once")
        await init.perform(Verb.RESTART, "once", deadline=20)
        after = await init.find("once")
        assert (after.state, after.main_pid) == (ServiceState.ACTIVE, 0)
        assert after.invocation != before.invocation


async def test_a_script_may_be_a_link_to_another(rig: OpenrcRig) -> None:
    rig.install(Service("net.lo"))
    rig.host.run(["ln", "-s", "net.lo", "/etc/init.d/net.eth0"])
    rig.host.run(["ln", "-s", "/bin/sh", "/etc/init.d/shell"])
    rig.start("net.eth0")
    async with rig.adapter() as init:
        status = await init.find("net.eth0")
        assert (status.state, status.can_reload) == (ServiceState.ACTIVE, True)
        assert (await init.find("net.lo")).stopped
        with pytest.raises(UnitNotFound, match="leads out"):
            await init.find("shell")
