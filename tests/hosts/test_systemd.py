"""What is systemd's own, on the real one; what every init must do is in tests/contract."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from dbus_fast import Message
from dbus_fast.aio import MessageBus

from steadyd.inits import detect, systemd, systemd_manager
from steadyd.inits.link import Address
from steadyd.inits.systemd import Systemd
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import (
    InitLost,
    InitReached,
    InitUnreachable,
    NotPermitted,
    NotSupported,
    SystemRunning,
    UnitNotFound,
    VerbFailed,
)
from tests.contract.rigs import ENV, Follower, Service, SystemdRig, following, served
from tests.hosts.inithost import HostError, SystemdHost

pytestmark = pytest.mark.host

POLKIT = """\
polkit.addRule(function(action, subject) {
  if (action.id == "org.freedesktop.systemd1.manage-units" && subject.user == "nobody"
      && action.lookup("unit") == "granted.service"
      && ["restart", "try-restart"].indexOf(action.lookup("verb")) >= 0)
    return polkit.Result.YES;
});
"""
SPOOF_PATH = "/org/freedesktop/systemd1"


@pytest.fixture(scope="module")
def host() -> Iterator[Any]:
    try:
        host = SystemdHost(files={"/etc/polkit-1/rules.d/50-steadyd.rules": POLKIT})
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with host:
        yield host


@pytest.fixture
def rig(host: Any) -> SystemdRig:
    return SystemdRig(host)


@pytest.fixture
async def init(host: Any) -> AsyncIterator[Systemd]:
    init = Systemd([Address(host.bus_address)], own="own.service")
    yield init
    await init.close()


async def up(follower: Follower, unit: str, since: int = 0) -> UnitStatus:
    _, report = await follower.until(
        lambda r: isinstance(r, UnitStatus) and r.unit == unit and r.state == "active", since
    )
    assert isinstance(report, UnitStatus)
    return report


async def settled(init: Systemd, name: str, state: ServiceState) -> UnitStatus:
    async with asyncio.timeout(10):
        while (status := await init.find(name)).state is not state or status.acting:
            await asyncio.sleep(0.01)
    return status


async def test_aliases_lead_to_the_canonical_unit(rig: SystemdRig, init: Systemd) -> None:
    rig.install(Service("mariadb"))
    rig.host.run("ln -sf mariadb.service /etc/systemd/system/mysql.service")
    rig.host.run("systemctl daemon-reload && systemctl start mysql")
    found = await init.find("mysql")
    assert (found.unit, found.state) == ("mariadb.service", "active")


async def test_a_masked_and_a_broken_unit_are_not_found_with_the_reason(
    rig: SystemdRig, init: Systemd
) -> None:
    rig.host.run("ln -sf /dev/null /etc/systemd/system/masked.service")
    rig.host.unit_file("broken.service", "[Service]\nType=simple\n")
    with pytest.raises(UnitNotFound, match="masked"):
        await init.find("masked")
    with pytest.raises(UnitNotFound, match=r"broken\.service"):
        await init.find("broken")


async def test_a_service_whose_file_was_deleted_is_still_the_one_that_runs(
    rig: SystemdRig, init: Systemd
) -> None:
    rig.install(Service("orphan"))
    rig.start("orphan")
    rig.host.run("rm /etc/systemd/system/orphan.service; systemctl daemon-reload")
    assert (await init.find("orphan")).state == "active"
    rig.stop("orphan")
    with pytest.raises(UnitNotFound):
        await init.find("orphan")


async def test_units_at_rest_by_design_are_told_apart_from_stopped_ones(
    rig: SystemdRig, init: Systemd
) -> None:
    rig.host.unit_file("once.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n", start=True)
    rig.host.unit_file("byt.timer", "[Timer]\nOnActiveSec=1h\n")
    rig.host.unit_file("byt.service", "[Service]\nExecStart=/bin/true\n")
    rig.host.run("systemctl start byt.timer")
    rig.host.unit_file("bad.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n")
    rig.start("bad")
    plain = await init.find("systemd-initctl")
    once, byt, bad = [await init.find(name) for name in ("once", "byt", "bad")]
    assert (once.state, once.by_design, once.type) == ("inactive", True, "oneshot")
    assert (byt.state, byt.by_design) == ("inactive", True)
    assert (bad.state, bad.by_design, bad.stopped) == ("failed", False, False)
    assert plain.by_design  # by its socket
    assert (await init.find("byt.timer")).state == "active"


async def test_the_start_limit_by_crashes_and_by_restarts_is_named(
    rig: SystemdRig, init: Systemd
) -> None:
    rig.install(Service("crashes", command="exit 3", respawn=True))
    rig.start("crashes")
    status = await settled(init, "crashes", ServiceState.FAILED)
    assert "exited with status 3" in status.reason
    assert "Restart=always" in status.reason
    assert "start limit" in status.reason
    rig.install(Service("often"))
    rig.start("often")

    async def restart_often() -> None:
        for _ in range(9):
            await init.perform(Verb.RESTART, "often.service", deadline=10)

    with pytest.raises(VerbFailed, match="start limit hit") as caught:
        await restart_often()
    assert caught.value.mend == "systemctl reset-failed often.service"
    assert "start limit hit" in (await init.find("often")).reason


async def test_a_service_that_waits_to_be_started_again_says_so(
    rig: SystemdRig, init: Systemd
) -> None:
    text = "[Service]\nExecStart=/bin/sleep inf\nRestart=on-failure\nRestartSec=60\n"
    rig.host.unit_file("waits.service", text, start=True)
    rig.kill("waits", "KILL")
    async with asyncio.timeout(10):
        while not (status := await init.find("waits")).respawning:
            await asyncio.sleep(0.01)
    assert status.acting
    assert not status.stopped
    assert status.state == "activating"
    assert "SIGKILL" in status.reason


@pytest.mark.parametrize("unit", ["init.scope", "dbus.service", "dbus.socket", "own.service"])
async def test_what_carries_us_is_never_touched(rig: SystemdRig, init: Systemd, unit: str) -> None:
    rig.install(Service("own"))
    rig.start("own")
    before = rig.host.show(unit, "InvocationID")
    for verb in Verb:
        with pytest.raises(NotSupported, match="never acts"):
            await init.perform(verb, unit, signal="HUP", deadline=10)
    assert rig.host.show(unit, "InvocationID") == before


async def test_without_the_right_the_grant_is_named_and_with_it_the_verb_works(
    rig: SystemdRig,
) -> None:
    rig.install(Service("granted"))
    rig.start("granted")
    unprivileged = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    # the interpreter of the test may lie in a folder that is closed to others
    python = [*unprivileged, "/usr/bin/python3"]
    if rig.host.run([*python, "-c", "import dbus_fast"], env=ENV, check=False).returncode:
        pytest.skip("no interpreter that another user may run")
    place = "unix:path=/run/dbus/system_bus_socket"
    async with served(rig.host, "systemd", place, python) as init:
        before = await init.find("granted")
        await init.perform(Verb.RESTART, "granted.service", deadline=20)
        assert (await init.find("granted")).main_pid != before.main_pid
        with pytest.raises(NotPermitted) as caught:
            await init.perform(Verb.RELOAD, "granted.service", deadline=20)
        assert "steadyd grants polkit" in caught.value.mend
        rig.install(Service("plain", reload=""))
        rig.start("plain")
        with pytest.raises(NotPermitted):
            await init.perform(Verb.RESTART, "plain.service", deadline=20)
        with pytest.raises(NotPermitted):
            await init.perform(Verb.RELOAD, "plain.service", signal="HUP", deadline=20)


async def test_its_version_and_how_the_whole_system_is_are_told(
    rig: SystemdRig, init: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "PING_SECONDS", 0.1)
    rig.install(Service("steady"))
    rig.host.unit_file("broken.service", "[Service]\nExecStart=/bin/false\n")
    rig.host.run("systemctl daemon-reload; systemctl reset-failed")
    version = rig.host.out(["systemctl", "--version"]).split()[1]
    async with following(init, "steady.service") as follower:
        _, reached = await follower.until(lambda r: isinstance(r, InitReached))
        assert isinstance(reached, InitReached)
        assert reached.version.startswith(version)
        await follower.until(lambda r: r == SystemRunning("systemd", True))
        seen = len(follower.reports)
        rig.host.run("systemctl start broken", check=False)
        await follower.until(lambda r: r == SystemRunning("systemd", False), seen)
        rig.host.run("systemctl reset-failed")
        await follower.until(lambda r: r == SystemRunning("systemd", True), seen)


async def test_what_ended_by_itself_was_started_all_the_same(
    rig: SystemdRig, init: Systemd
) -> None:
    """systemd forgets a unit that rests and that nothing names, and when it was started."""
    rig.install(Service("brief", command="read line < /srv/go"))
    rig.host.run("mkfifo /srv/go")
    async with following(init, "brief.service") as follower:
        rig.start("brief")
        await up(follower, "brief.service")
        seen = len(follower.reports)
        rig.host.run("echo > /srv/go")
        _, rests = await follower.until(
            lambda r: isinstance(r, UnitStatus) and r.state == "inactive", seen
        )
        assert isinstance(rests, UnitStatus)
        assert rests.reason == "stopped"


async def test_a_bus_that_starts_anew_is_no_down(rig: SystemdRig, init: Systemd) -> None:
    rig.install(Service("steady"))
    rig.start("steady")
    async with following(init, "steady.service") as follower:
        before = await up(follower, "steady.service")
        seen = len(follower.reports)
        await asyncio.to_thread(rig.host.run, ["systemctl", "restart", "dbus"])
        await follower.until(lambda r: isinstance(r, InitLost), seen)
        after = await up(follower, "steady.service", seen)
        assert after == before
        assert {r.state for _, r in follower.reports if isinstance(r, UnitStatus)} == {"active"}
        assert [type(r) for _, r in follower.reports].count(InitReached) == 2


async def test_a_bus_that_hangs_is_noticed_and_is_no_down(
    rig: SystemdRig, init: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "PING_SECONDS", 0.3)
    monkeypatch.setattr("steadyd.inits.link.CALL_SECONDS", 0.7)
    monkeypatch.setattr("steadyd.inits.link.Link.call.__defaults__", ("", (), 0.7))
    rig.install(Service("steady"))
    rig.start("steady")
    async with following(init, "steady.service") as follower:
        await up(follower, "steady.service")
        seen = len(follower.reports)
        rig.hang()
        try:
            _, lost = await follower.until(lambda r: isinstance(r, InitLost), seen, 5)
            assert "no answer" in str(lost)
            with pytest.raises(InitUnreachable):
                await init.find("steady")
        finally:
            rig.unhang()
        await follower.until(lambda r: isinstance(r, InitReached), seen, 20)
        await up(follower, "steady.service", seen)
        assert {r.state for _, r in follower.reports if isinstance(r, UnitStatus)} == {"active"}


async def test_no_other_user_of_the_bus_can_make_us_believe_a_signal(
    rig: SystemdRig, init: Systemd
) -> None:
    rig.install(Service("web", reload="hang"))
    rig.start("web")
    await init.find("web")
    link = init._link
    assert link is not None
    liar = await MessageBus(rig.host.bus_address).connect()

    async def lie(job: str) -> None:
        signal = Message.new_signal(
            SPOOF_PATH,
            "org.freedesktop.systemd1.Manager",
            "JobRemoved",
            "uoss",
            [1, job, "web.service", "done"],
        )
        signal.destination = link._bus.unique_name
        await liar.send(signal)
        # the bus answers the liar after it passed the signal on, and us after that
        await liar.call(
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="GetId",
            )
        )
        await systemd_manager.ping(link)

    reload = asyncio.create_task(init.perform(Verb.RELOAD, "web.service", deadline=2))
    async with asyncio.timeout(5):
        while not init._jobs._ends:
            await asyncio.sleep(0.01)
    for job in list(init._jobs._ends):
        await lie(job)
    with pytest.raises(VerbFailed, match="not done within"):
        await reload
    liar.disconnect()
    await liar.wait_for_disconnect()  # type: ignore[no-untyped-call]
    rig.kill("web", "KILL")


async def test_units_that_are_watched_but_stopped_are_not_read_in_circles(
    rig: SystemdRig, init: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading an unloaded unit loads it, and its neighbours, and systemd drops them again."""
    reads = 0
    true_properties = systemd_manager.properties

    async def counted(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        return await true_properties(*args)

    monkeypatch.setattr(systemd, "properties", counted)
    names = [f"ring{i}" for i in range(6)]
    for i, name in enumerate(names):
        near = f"After=ring{(i + 1) % 6}.service\nWants=ring{(i + 2) % 6}.service\n"
        rig.host.put(
            f"/etc/systemd/system/{name}.service",
            f"[Unit]\n{near}[Service]\nExecStart=/bin/sleep inf\n",
        )
    rig.host.run(["systemctl", "daemon-reload"])
    async with following(init, *(f"{name}.service" for name in names)) as follower:
        async with asyncio.timeout(10):
            while len(follower.reports) < 7:
                await asyncio.sleep(0.01)
        await asyncio.sleep(1)  # the time in which nothing may happen
        assert reads <= 3 * len(names)


async def test_a_crash_is_told_soon(rig: SystemdRig, init: Systemd) -> None:
    rig.install(Service("fast"))
    took = []
    async with following(init, "fast.service") as follower:
        for _ in range(5):
            seen = len(follower.reports)
            rig.host.run("systemctl reset-failed fast; systemctl start fast", check=False)
            status = await up(follower, "fast.service", max(0, seen - 1))
            pid = rig.host.outer_pid(status.main_pid)
            seen = len(follower.reports)
            killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            at, _ = await follower.until(
                lambda r: isinstance(r, UnitStatus) and r.state == "failed", seen
            )
            took.append(at - killed)
    assert sorted(took)[2] < 0.05


def test_only_the_running_init_is_detected(tmp_path: Any) -> None:
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    assert detect(root=tmp_path) == ()
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert [init.name for init in detect(root=tmp_path)] == ["systemd"]
