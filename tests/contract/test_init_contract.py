"""What every adapter of an init system must do, on the real thing."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import (
    InitLost,
    InitReached,
    InitReport,
    InitSystem,
    NotPermitted,
    NotSupported,
    UnitGone,
    UnitNotFound,
    VerbFailed,
)
from tests.contract.rig_openrc import OpenrcRig
from tests.contract.rig_sysvinit import SysvinitRig
from tests.contract.rig_upstart import UpstartRig, make_upstart_host
from tests.contract.rigs import (
    ENV,
    SUPERVISORD,
    Follower,
    Rig,
    RunitRig,
    S6Rig,
    Service,
    SupervisordRig,
    SystemdRig,
    following,
)
from tests.hosts.inithost import (
    HostError,
    OpenrcHost,
    RunitHost,
    S6Host,
    SupervisordHost,
    SystemdHost,
    SysvHost,
)

pytestmark = pytest.mark.host

RIGS: dict[str, tuple[str, Callable[[Any], Rig]]] = {
    "systemd-bus": ("systemd_host", SystemdRig),
    "systemd-private": ("systemd_host", lambda host: SystemdRig(host, private=True)),
    "upstart": ("upstart_host", UpstartRig),
    "sysvinit": ("sysvinit_host", SysvinitRig),
    "openrc": ("openrc_host", OpenrcRig),
    "supervisord": ("supervisord_host", SupervisordRig),
    "runit": ("runit_host", RunitRig),
    "s6": ("s6_host", S6Rig),
}
# a reload of a service's own, with a result of its own
RELOADING = pytest.mark.parametrize(
    "rig", ["systemd-bus", "systemd-private", "sysvinit", "openrc"], indirect=True
)
# no file of these tells how a process ended
TELLING = pytest.mark.parametrize(
    "rig",
    [name for name in RIGS if name not in ("runit", "sysvinit", "openrc")],
    indirect=True,
)
# runsv starts again whatever ends, once a second, for ever
GIVING_UP = pytest.mark.parametrize(
    "rig", [name for name in RIGS if name != "runit"], indirect=True
)


@pytest.fixture(scope="module")
def systemd_host() -> Iterator[Any]:
    try:
        host = SystemdHost()
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with host:
        # as many starts as tests like: the start limit has a test of its own
        host.put(
            "/etc/systemd/system.conf.d/zz-starts.conf", "[Manager]\nDefaultStartLimitBurst=99\n"
        )
        host.run(["systemctl", "daemon-reexec"])
        yield host


@pytest.fixture(scope="module")
def supervisord_host() -> Iterator[Any]:
    yield from hosted(lambda: SupervisordHost(**SUPERVISORD))


@pytest.fixture(scope="module")
def runit_host() -> Iterator[Any]:
    yield from hosted(RunitHost)


@pytest.fixture(scope="module")
def s6_host() -> Iterator[Any]:
    yield from hosted(S6Host)


@pytest.fixture(scope="module")
def sysvinit_host() -> Iterator[Any]:
    yield from hosted(SysvHost)


@pytest.fixture(scope="module")
def openrc_host() -> Iterator[Any]:
    yield from hosted(OpenrcHost)


@pytest.fixture(scope="module")
def upstart_host() -> Iterator[Any]:
    yield from hosted(make_upstart_host)


def hosted(make: Callable[[], Any]) -> Iterator[Any]:
    """Yield a booted host; skip where it cannot be had."""
    try:
        host = make()
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with host:
        yield host


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest) -> Rig:
    host, make = RIGS[request.param]
    return make(request.getfixturevalue(host))


@pytest.fixture
async def init(rig: Rig) -> AsyncIterator[InitSystem]:
    async with rig.adapter() as adapter:
        yield adapter


@pytest.fixture
def new(rig: Rig, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Install a service with a name of this test's own."""
    made: list[str] = []

    def install(start: bool = True, **how: Any) -> str:
        kind = "p" if getattr(rig, "private", False) else rig.name[:2]
        name = f"{kind}{len(made)}-{abs(hash(request.node.name)):x}"
        made.append(name)
        rig.install(Service(name, **how))
        if start:
            rig.start(name)
        return name

    return install


async def eventually(init: InitSystem, name: str, test: Callable[[UnitStatus], bool]) -> UnitStatus:
    async with asyncio.timeout(10):
        while not test(status := await init.find(name)):
            await asyncio.sleep(0.01)
    return status


def of(unit: str, test: Callable[[UnitStatus], bool]) -> Callable[[InitReport], bool]:
    return lambda report: isinstance(report, UnitStatus) and report.unit == unit and test(report)


def is_up(status: UnitStatus) -> bool:
    return status.state is ServiceState.ACTIVE and not status.acting


def is_another_run_than(before: UnitStatus) -> Callable[[UnitStatus], bool]:
    return lambda status: is_up(status) and status.invocation != before.invocation


async def first_up(follower: Follower, unit: str) -> UnitStatus:
    _, status = await follower.until(of(unit, is_up))
    assert isinstance(status, UnitStatus)
    return status


# finding


async def test_a_running_service_is_found_with_its_main_process(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name = new()
    status = await init.find(name)
    assert (status.init, status.unit, status.state) == (rig.name, rig.unit(name), "active")
    assert status.main_pid in rig.pids(status)
    assert status.can_reload is not bool(rig.reload_signal)
    assert abs(status.since - time.time()) < 60


@pytest.mark.parametrize(
    "name",
    [
        *("", "ghost", "../../etc/passwd", "a/b", "*", "?", "x y", "x\0y", "x\ny", "ü", "\udc80"),
        *("-x", "--help", "$(id)", "@", "x@", "%n", "[x]", "a;b", "a" * 300, "x" * 5000),
    ],
)
async def test_no_name_is_more_than_a_name(init: InitSystem, name: str) -> None:
    with pytest.raises(UnitNotFound) as caught:
        await init.find(name)
    assert caught.value.why
    assert str(caught.value).isprintable()


async def test_a_glob_stands_for_all_units_of_that_name_running_or_not(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    up, down = new(), new(start=False)
    kind, _, common = up.partition("-")
    units = {rig.unit(up), rig.unit(down)}
    assert set(await init.units(f"*-{common}")) == units
    assert set(await init.units(f"{kind[:-1]}[0-9]-{common}")) == units
    assert set(await init.units(up)) == {rig.unit(up)}
    for nothing in ("", "ghost*", "../*", f"{up}?", common, "-*", "[", "x\0*", "\udc80*"):
        assert not await init.units(nothing), nothing
    assert not await init.units("*dbus*")


# states


async def test_a_stopped_service_is_stopped_and_says_so(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name = new()
    rig.stop(name)
    status = await init.find(name)
    assert (status.state, status.stopped, status.main_pid) == ("inactive", True, 0)
    assert status.reason


@TELLING
async def test_a_service_that_exits_with_an_error_failed_with_its_status(
    init: InitSystem, new: Callable[..., str]
) -> None:
    name = new(command="exit 3")
    status = await eventually(init, name, lambda s: s.state is ServiceState.FAILED)
    assert not status.stopped
    assert "3" in status.reason


@GIVING_UP
async def test_a_killed_service_failed_by_that_signal(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name = new()
    rig.kill(name, "KILL")
    status = await eventually(init, name, lambda s: s.state is ServiceState.FAILED)
    assert ("SIGKILL" if rig.signals else "killed") in status.reason


async def test_a_service_that_the_init_starts_again_is_another_run(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name = new(respawn=True)
    before = await init.find(name)
    rig.kill(name, "KILL")
    after = await eventually(init, name, lambda s: is_up(s) and s.main_pid != before.main_pid)
    assert after.invocation != before.invocation


async def test_a_crash_and_the_respawn_are_told_and_counted(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name, unit = (name := new(respawn=True)), rig.unit(name)
    async with following(init, unit) as follower:
        before = await first_up(follower, unit)
        for count in (1, 2):
            seen = len(follower.reports)
            rig.kill(name, "KILL")
            _, after = await follower.until(of(unit, is_another_run_than(before)), seen)
            assert isinstance(after, UnitStatus)
            assert after.respawns == before.respawns + 1, count
            before = after
        seen = len(follower.reports)
        await init.perform(Verb.RESTART, unit, deadline=10)
        _, after = await follower.until(of(unit, is_another_run_than(before)), seen)
        assert isinstance(after, UnitStatus)
        assert after.respawns <= before.respawns  # systemd begins to count anew


@pytest.mark.parametrize(
    ("command", "count", "left"),
    [
        pytest.param("sleep inf & sleep inf & wait", 3, 0, id="workers"),
        pytest.param("(setsid sh -c 'sleep inf & exit' &); exec sleep inf", 2, 1, id="double fork"),
        pytest.param("sh -c 'sleep inf; :'; :", 3, 0, id="shells around it"),
    ],
)
async def test_every_process_of_a_service_is_found(
    init: InitSystem, rig: Rig, new: Callable[..., str], command: str, count: int, left: int
) -> None:
    """`left` counts the processes that left the tree of the main one."""
    count -= 0 if rig.groups else left
    name = new(command=command)
    status = await init.find(name)
    async with asyncio.timeout(10):
        while len(pids := rig.pids(status)) != count:
            await asyncio.sleep(0.01)
    assert pids[0] == status.main_pid


# events


async def test_up_down_crash_and_another_pid_are_told(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name, unit = (name := new()), rig.unit(name)
    async with following(init, unit) as follower:
        first = await first_up(follower, unit)
        rig.stop(name)
        await follower.until(of(unit, lambda s: s.stopped))
        seen = len(follower.reports)
        rig.start(name)
        _, second = await follower.until(of(unit, is_up), seen)
        assert isinstance(second, UnitStatus)
        assert second.main_pid not in (0, first.main_pid)
        seen = len(follower.reports)
        rig.kill(name, "SEGV")
        _, crash = await follower.until(of(unit, lambda s: s.state is ServiceState.FAILED), seen)
        assert isinstance(crash, UnitStatus)
        assert crash.reason
        assert "SIGSEGV" in crash.reason or not rig.signals
        reports = [type(report) for _, report in follower.reports]
        assert reports.count(InitReached) == 1
        assert InitLost not in reports


async def test_what_is_not_there_yet_is_gone_and_picked_up_when_it_appears(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    later = new(start=False)
    missing, unit = rig.unit("later-" + later), rig.unit(later)
    async with following(init, missing, unit) as follower:
        await follower.until(lambda report: isinstance(report, UnitGone) and report.unit == missing)
        await follower.until(of(unit, lambda s: s.state is ServiceState.INACTIVE))
        rig.install(Service("later-" + later))
        rig.start("later-" + later)
        await first_up(follower, missing)


async def test_a_unit_that_is_watched_later_is_told_at_once(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    first, second = rig.unit(new()), rig.unit(new())
    async with following(init, first) as follower:
        await first_up(follower, first)
        await init.watch([second])
        await first_up(follower, second)
        assert not [r for _, r in follower.reports if of(second, lambda _: True)(r)][1:]


# verbs


async def test_a_reload_keeps_the_process_and_a_restart_makes_another(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name, unit = (name := new(command="trap : HUP; while :; do sleep 1; done")), rig.unit(name)
    first = await init.find(name)
    await asyncio.sleep(0.1)  # the shell sets its trap
    await init.perform(Verb.RELOAD, unit, signal=rig.reload_signal, deadline=10)
    assert (await init.find(name)).main_pid == first.main_pid
    await init.perform(Verb.RESTART, unit, deadline=20)
    second = await init.find(name)
    assert is_up(second)
    assert second.main_pid != first.main_pid
    assert second.invocation != first.invocation


@GIVING_UP
async def test_a_restart_starts_what_failed(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name = new()
    rig.kill(name, "KILL")
    await eventually(init, name, lambda s: s.state is ServiceState.FAILED)
    await init.perform(Verb.RESTART, rig.unit(name), deadline=10)
    assert is_up(await init.find(name))


async def test_a_restart_does_not_undo_a_stop(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name = new()
    rig.stop(name)
    with pytest.raises(VerbFailed, match="stop"):
        await init.perform(Verb.RESTART, rig.unit(name), deadline=10)
    assert (await init.find(name)).stopped


@pytest.mark.parametrize("respawn", [False, True], ids=["", "respawned"])
async def test_a_stop_ends_it_and_a_start_starts_it_and_both_may_be_asked_twice(
    init: InitSystem, rig: Rig, new: Callable[..., str], respawn: bool
) -> None:
    name, unit = (name := new(respawn=respawn)), rig.unit(name)
    before = await init.find(name)
    if rig.keeps_running and respawn:
        with pytest.raises(NotSupported) as caught:
            await init.perform(Verb.STOP, unit, deadline=10)
        assert caught.value.mend
        return
    async with following(init, unit) as follower:
        await first_up(follower, unit)
        for _ in range(2):
            await init.perform(Verb.STOP, unit, deadline=10)
            assert not (await init.find(name)).main_pid
        _, told = await follower.until(of(unit, lambda s: s.stopped))
        assert isinstance(told, UnitStatus)
        assert told.reason
        seen = len(follower.reports)
        await init.perform(Verb.START, unit, deadline=10)
        _, after = await follower.until(of(unit, is_up), seen)
        assert isinstance(after, UnitStatus)
        assert after.invocation != before.invocation
        assert after.respawns <= told.respawns
        await init.perform(Verb.START, unit, deadline=10)
        assert (await init.find(name)).invocation == after.invocation


@TELLING
async def test_a_start_after_which_it_does_not_run_says_why(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name = new(start=False, command="exit 7")
    with pytest.raises(VerbFailed, match=r"7|stay up"):
        await init.perform(Verb.START, rig.unit(name), deadline=10)


async def test_a_signal_reaches_the_main_process_whatever_comes_of_it(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name, unit = (name := new()), rig.unit(name)
    with pytest.raises(NotSupported, match="signal"):
        await init.perform(Verb.SIGNAL, unit, signal="NONSENSE", deadline=10)
    async with following(init, unit) as follower:
        await first_up(follower, unit)
        seen = len(follower.reports)
        await init.perform(Verb.SIGNAL, unit, signal="KILL", deadline=10)
        await follower.until(of(unit, lambda s: not s.main_pid), seen)


async def test_a_signal_reloads_where_the_init_cannot(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    command = "trap 'touch /tmp/$$.reloaded' USR1; while :; do sleep 0.01; done"
    name, unit = (name := new(command=command, reload="")), rig.unit(name)
    if not rig.always_reloads:
        with pytest.raises(NotSupported) as caught:
            await init.perform(Verb.RELOAD, unit, deadline=10)
        assert caught.value.mend
    with pytest.raises(NotSupported):
        await init.perform(Verb.RELOAD, unit, signal="KILL", deadline=10)
    before = await init.find(name)
    await asyncio.sleep(0.1)  # the shell sets its trap
    await init.perform(Verb.RELOAD, unit, signal="USR1", deadline=10)
    assert (await init.find(name)).main_pid == before.main_pid


async def test_a_verb_that_kills_the_service_did_not_work(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name = new(reload="")
    with pytest.raises(VerbFailed, match="SIGUSR1"):
        await init.perform(Verb.RELOAD, rig.unit(name), signal="SIGUSR1", deadline=10)


@RELOADING
async def test_a_reload_that_fails_says_so(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name = new(reload="fail")
    with pytest.raises(VerbFailed) as caught:
        await init.perform(Verb.RELOAD, rig.unit(name), deadline=10)
    assert "exit" in caught.value.why


@TELLING
async def test_a_restart_after_which_it_does_not_run_says_why(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name = new(command="test -e /tmp/$0.ran && exit 7; mkdir -p /tmp/$0.ran; exec sleep inf")
    await eventually(init, name, is_up)
    with pytest.raises(VerbFailed, match="7"):
        await init.perform(Verb.RESTART, rig.unit(name), deadline=10)


@RELOADING
async def test_a_verb_that_hangs_ends_at_its_deadline(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name = new(reload="hang")
    started = time.monotonic()
    with pytest.raises(VerbFailed, match=r"0\.5 s"):
        await init.perform(Verb.RELOAD, rig.unit(name), deadline=0.5)
    assert time.monotonic() - started < 2
    assert (await init.find(name)).main_pid
    rig.kill(name, "KILL")


async def test_no_verb_on_what_does_not_exist(init: InitSystem, rig: Rig) -> None:
    with pytest.raises(UnitNotFound):
        await init.perform(Verb.RESTART, rig.unit("ghost"), deadline=10)


# what runit, s6, systemd and Upstart refuse is tested beside their own ways to allow it
@pytest.mark.parametrize("rig", ["sysvinit", "openrc", "supervisord"], indirect=True)
async def test_without_rights_a_verb_changes_nothing_and_says_how_to_get_them(
    rig: Any, new: Callable[..., str]
) -> None:
    # the interpreter of the test may lie in a folder that is closed to others
    python = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "/usr/bin/python3"]
    if rig.host.run([*python, "-c", "import msgspec"], env=ENV, check=False).returncode:
        pytest.skip("no interpreter that another user may run")
    name, unit = (name := new()), rig.unit(name)
    async with rig.adapter() as init:
        before = await init.find(name)
    async with rig.adapter(python=python) as init:
        for verb in (Verb.RELOAD, Verb.RESTART, Verb.STOP, Verb.SIGNAL):
            with pytest.raises(NotPermitted) as caught:
                await init.perform(verb, unit, signal="HUP", deadline=10)
            assert caught.value.mend or caught.value.why
        if rig.name != "supervisord":  # there who may ask may command
            denied = await init.denied(unit, (Verb.RESTART,))
            assert "root" in denied[Verb.RESTART]
    async with rig.adapter() as init:
        assert await init.find(name) == before


# the init itself


async def test_an_init_that_is_lost_is_reached_again_without_a_false_down(
    init: InitSystem, rig: Rig, new: Callable[..., str]
) -> None:
    name, unit = (name := new()), rig.unit(name)
    async with following(init, unit) as follower:
        before = await first_up(follower, unit)
        seen = len(follower.reports)
        await asyncio.to_thread(rig.lose)
        await follower.until(lambda report: isinstance(report, InitLost), seen)
        await asyncio.to_thread(rig.regain)
        await follower.until(lambda report: isinstance(report, InitReached), seen)
        _, after = await follower.until(of(unit, is_up), seen)
        assert isinstance(after, UnitStatus)
        assert after.invocation == before.invocation
        told = [r.state for _, r in follower.reports if isinstance(r, UnitStatus)]
        assert set(told) == {ServiceState.ACTIVE}
        rig.kill(name, "KILL")
        await follower.until(of(unit, lambda s: s.state is ServiceState.FAILED), seen)
