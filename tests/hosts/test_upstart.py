"""What is Upstart's own; what every init must do is in tests/contract."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from dbus_fast import Message, MessageType

from steadyd.inits.link import Address
from steadyd.inits.upstart import Upstart
from steadyd.inits.upstart_status import Course, Instance, status
from steadyd.inits.upstart_sudo import refusal
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
from tests.contract.rig_upstart import UpstartRig
from tests.contract.rigs import ENV, following
from tests.hosts.inithost import HostError
from tests.hosts.upstart.host import UpstartHost
from tests.hosts.upstart.replay import RECORDED

pytestmark = pytest.mark.host

WORKER = 'instance $N\nrespawn\nusage "N=<number>"\nexec sleep infinity\n'
STUBBORN = "#!/bin/sh\ntrap : HUP\nwhile :; do sleep 0.05; done\n"
DBUS = (RECORDED / "jobs/dbus.conf").read_text("utf-8")


@pytest.fixture(scope="module")
def host() -> Iterator[Any]:
    try:
        host = UpstartHost({"dbus.conf": DBUS}, files={"/srv/stubborn": (STUBBORN, 0o755)})
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with host:
        host.wait_for(lambda: os.path.exists(host.path("/run/dbus/system_bus_socket")))
        yield host


@pytest.fixture
def rig(host: Any) -> UpstartRig:
    return UpstartRig(host)


@pytest.fixture
async def init(rig: UpstartRig) -> AsyncIterator[InitSystem]:
    async with rig.adapter() as adapter:
        yield adapter


async def eventually(init: InitSystem, name: str, test: Callable[[UnitStatus], bool]) -> UnitStatus:
    async with asyncio.timeout(10):
        while not test(status := await init.find(name)):
            await asyncio.sleep(0.01)
    return status


def another_than(pid: int) -> Callable[[UnitStatus], bool]:
    return lambda status: status.main_pid != pid


def respawned(times: int) -> Callable[[InitReport], bool]:
    return lambda r: isinstance(r, UnitStatus) and r.respawns == times and is_up(r)


def is_up(status: UnitStatus) -> bool:
    return status.state is ServiceState.ACTIVE


# instances


async def test_a_job_with_instances_is_one_service_and_each_instance_one_too(
    rig: UpstartRig, init: InitSystem
) -> None:
    rig.job("worker", WORKER)
    assert (await init.find("worker")).stopped
    for number in ("10", "9", "a b/c.d-e_f"):
        rig.host.run(["start", "worker", f"N={number}"])
    nine, ten = await init.find("worker (9)"), await init.find("worker (10)")
    odd, all_of_it = await init.find("worker (a b/c.d-e_f)"), await init.find("worker")
    assert is_up(nine)
    assert nine.others == ()
    assert len({nine.main_pid, ten.main_pid, odd.main_pid}) == 3
    assert all_of_it.main_pid == nine.main_pid
    assert all_of_it.others == (ten.main_pid, odd.main_pid)
    await init.perform(Verb.RESTART, "worker (9)", deadline=10)
    assert (await init.find("worker (9)")).main_pid != nine.main_pid
    assert (await init.find("worker (10)")).main_pid == ten.main_pid
    before = await init.find("worker")
    await init.perform(Verb.RESTART, "worker", deadline=10)
    after = await init.find("worker")
    pids = {before.main_pid, *before.others} & {after.main_pid, *after.others}
    assert (is_up(after), len(after.others), pids) == (True, 2, set())


async def test_one_instance_over_its_limit_makes_the_service_failed_until_it_starts(
    rig: UpstartRig, init: InitSystem
) -> None:
    rig.job("pool", WORKER + "respawn limit 1 30\n")
    rig.host.run("start pool N=1; start pool N=2")
    for _ in range(2):
        before = await init.find("pool (1)")
        rig.host.run(["kill", "-KILL", str(before.main_pid)])
        await eventually(init, "pool (1)", another_than(before.main_pid))
    service = await eventually(init, "pool", lambda s: s.state is ServiceState.FAILED)
    assert "respawning too fast" in service.reason
    assert service.main_pid == (await init.find("pool (2)")).main_pid
    with pytest.raises(VerbFailed) as caught:
        await init.perform(Verb.RESTART, "pool (1)", deadline=10)
    assert "start pool" in caught.value.mend
    rig.host.run(["start", "pool", "N=1"])
    assert is_up(await init.find("pool"))


# how it ends


async def test_each_respawn_counts_and_the_limit_is_a_failure(
    rig: UpstartRig, init: InitSystem
) -> None:
    rig.job("limited", "respawn\nrespawn limit 2 30\nexec sleep infinity\n")
    rig.start("limited")
    async with following(init, "limited") as follower:
        for count in range(1, 3):
            rig.kill("limited", "KILL")
            await follower.until(respawned(count))
        rig.kill("limited", "KILL")
        _, told = await follower.until(
            lambda r: isinstance(r, UnitStatus) and r.state is ServiceState.FAILED
        )
        assert isinstance(told, UnitStatus)
        assert (told.result, told.stopped) == ("respawn-limit", False)
        seen = len(follower.reports)
        await init.perform(Verb.RESTART, "limited", deadline=10)
        await follower.until(lambda r: isinstance(r, UnitStatus) and is_up(r), seen)


async def test_the_first_crash_of_what_ran_before_us_counts_and_a_restart_does_not(
    rig: UpstartRig,
) -> None:
    rig.job("older", "respawn\nexec sleep infinity\n")
    rig.start("older")
    async with rig.adapter() as init, following(init, "older") as follower:
        await follower.until(respawned(0))
        rig.kill("older", "KILL")
        await follower.until(respawned(1))
        before = await init.find("older")
        rig.host.run(["restart", "older"])
        after = await eventually(init, "older", another_than(before.main_pid))
        assert after.respawns == 1
        seen = len(follower.reports)
        rig.lose()
        await follower.until(lambda r: isinstance(r, InitReached), seen)
        await follower.until(respawned(1), seen)
        rig.kill("older", "KILL")
        await follower.until(respawned(2))
    rig.stop("older")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pre-start exec sh -c 'exit 4'\nexec sleep 9\n", "pre-start exited with status 4"),
        ("exec /no/such/program\n", "main process could not be started"),
        ("exec sh -c 'kill -SEGV $$'\n", "killed by SIGSEGV"),
        ("task\nexec sh -c 'exit 3'\n", "exited with status 3"),
    ],
)
async def test_why_a_start_failed_is_told(
    rig: UpstartRig, init: InitSystem, text: str, reason: str
) -> None:
    name = f"why{abs(hash(text)):x}"
    rig.job(name, text)
    rig.start(name)
    told = await eventually(init, name, lambda s: s.state is ServiceState.FAILED)
    assert reason in told.reason


async def test_who_comes_later_cannot_know_why(rig: UpstartRig) -> None:
    rig.job("early", "exec sh -c 'exit 3'\n")
    rig.start("early")
    deadline = time.monotonic() + 10
    while "stop/waiting" not in rig.host.out(["status", "early"]):
        assert time.monotonic() < deadline
    async with rig.adapter() as late:
        status = await late.find("early")
    assert (status.state, status.stopped) == (ServiceState.INACTIVE, True)


async def test_a_wrong_expect_is_under_way_and_its_restart_ends_at_the_deadline(
    rig: UpstartRig, init: InitSystem
) -> None:
    rig.job("wrong", "expect daemon\nexec sleep infinity\n")
    rig.host.run(["start", "--no-wait", "wrong"])
    status = await init.find("wrong")
    assert (status.state, status.reason) == (ServiceState.ACTIVATING, "start/spawned")
    with pytest.raises(VerbFailed, match=r"0\.5 s"):
        await init.perform(Verb.RESTART, "wrong", deadline=0.5)
    rig.kill("wrong", "KILL")


async def test_a_job_without_a_process_is_up_and_restarts_but_has_no_reload(
    rig: UpstartRig, init: InitSystem
) -> None:
    rig.job("abstract", 'description "nothing"\n')
    rig.start("abstract")
    before = await init.find("abstract")
    assert (is_up(before), before.main_pid) == (True, 0)
    await init.perform(Verb.RESTART, "abstract", deadline=10)
    after = await init.find("abstract")
    assert is_up(after)
    assert after.invocation != before.invocation
    with pytest.raises(VerbFailed, match="without a process"):
        await init.perform(Verb.RELOAD, "abstract", deadline=10)


# verbs


async def test_a_restart_past_a_pre_stop_stops_and_starts_with_what_it_was_started_with(
    rig: UpstartRig, init: InitSystem
) -> None:
    rig.job("keeper", "instance $N\npre-stop exec true\nexec /srv/stubborn\n")
    rig.host.run(["start", "keeper", "N=1", "COLOUR=red"])
    before = await init.find("keeper")
    rig.host.run(["restart", "keeper", "N=1", "COLOUR=red"])
    assert (await init.find("keeper")).main_pid == before.main_pid  # Upstart's own does not
    await init.perform(Verb.RESTART, "keeper", deadline=10)
    after = await init.find("keeper (1)")
    assert is_up(after)
    assert after.main_pid != before.main_pid
    assert b"COLOUR=red" in rig.host.get(f"/proc/{after.main_pid}/environ", binary=True)


async def test_what_a_late_restart_stopped_is_started_all_the_same(
    rig: UpstartRig, init: InitSystem
) -> None:
    slow = "#!/bin/sh\ntrap 'exec sleep 1' TERM\nwhile :; do sleep 0.05; done\n"
    rig.host.put("/srv/slow", slow, 0o755)
    rig.job("late", "pre-stop exec true\nexec /srv/slow\n")
    rig.start("late")
    before = await init.find("late")
    with pytest.raises(VerbFailed, match=r"0\.5 s"):
        await init.perform(Verb.RESTART, "late", deadline=0.5)
    after = await eventually(init, "late", lambda s: is_up(s) and s.main_pid != before.main_pid)
    assert after.others == ()


async def test_a_reload_that_ends_the_process_did_not_work(
    rig: UpstartRig, init: InitSystem
) -> None:
    rig.job("fragile", "respawn\nexec sleep infinity\n")
    rig.start("fragile")
    before = await init.find("fragile")
    with pytest.raises(VerbFailed, match=f"ended its process {before.main_pid}"):
        await init.perform(Verb.RELOAD, "fragile", deadline=10)


async def test_what_carries_us_is_never_touched(rig: UpstartRig, init: InitSystem) -> None:
    before = await init.find("dbus")
    for verb in Verb:
        with pytest.raises(NotSupported, match="never acts"):
            await init.perform(verb, "dbus", signal="HUP", deadline=10)
    assert (await init.find("dbus")).main_pid == before.main_pid


@pytest.mark.parametrize("state", ["security-spawning", "pre-stopping", "whatever"])
def test_states_of_a_later_upstart_are_under_way(state: str) -> None:
    starts, stops = (
        status("puma", [Instance("/x", "", goal, state, 7)], {}, {}) for goal in ("start", "stop")
    )
    assert (starts.state, stops.state) == (ServiceState.ACTIVATING, ServiceState.DEACTIVATING)
    assert starts.acting
    assert stops.acting


def test_a_start_that_may_have_been_asked_for_unheard_is_no_respawn() -> None:
    course = Course(asked=False, runs=1, unsure=True)
    course.state("running")
    assert course.respawns == 0
    course.state("running")
    assert course.respawns == 1


# job files


async def test_the_end_of_a_changed_job_is_seen_without_InstanceRemoved(
    rig: UpstartRig, init: InitSystem
) -> None:
    rig.job("edited", "exec sleep infinity\n")
    rig.start("edited")
    async with following(init, "edited") as follower:
        await follower.until(lambda r: isinstance(r, UnitStatus) and is_up(r))
        rig.host.put("/etc/init/edited.conf", "exec sleep 1000\n")
        rig.stop("edited")
        await follower.until(lambda r: isinstance(r, UnitStatus) and r.stopped)
        rig.start("edited")
        seen = len(follower.reports)
        rig.host.run("rm /etc/init/edited.conf; stop edited", check=False)
        await follower.until(lambda r: isinstance(r, UnitGone), seen)
        rig.job("edited", "exec sleep infinity\n")
        await follower.until(lambda r: isinstance(r, UnitStatus) and r.stopped, seen)
        seen = len(follower.reports)
        rig.host.run("rm /etc/init/edited.conf")
        await follower.until(lambda r: isinstance(r, UnitGone), seen)
        with pytest.raises(UnitNotFound):
            await init.find("edited")


# the init itself


@pytest.mark.parametrize("place", ["private", "bus"])
async def test_a_re_exec_is_lived_through(rig: UpstartRig, place: str) -> None:
    rig.job("steady", "respawn\nexec sleep infinity\n")
    rig.start("steady")
    async with rig.adapter(place) as init, following(init, "steady") as follower:
        await follower.until(lambda r: isinstance(r, UnitStatus) and is_up(r))
        before = await init.find("steady")
        seen = len(follower.reports)
        rig.lose()
        await follower.until(lambda r: isinstance(r, InitLost), seen)
        await follower.until(lambda r: isinstance(r, InitReached), seen)
        await follower.until(lambda r: isinstance(r, UnitStatus) and is_up(r), seen)
        assert (await init.find("steady")).invocation == before.invocation
        rig.kill("steady", "KILL")
        await follower.until(
            lambda r: isinstance(r, UnitStatus) and is_up(r) and r.main_pid != before.main_pid
        )
    rig.stop("steady")


async def test_a_thousand_jobs_that_flap_at_once_lose_no_crash(host: Any) -> None:
    """Signals in, as fast as they can come: what is kept is one mark and one count for each."""
    init = Upstart([Address("unix:abstract=/nobody", peer=True)], own="")
    await init.watch([f"job{n}" for n in range(1000)])
    states = ("stopping", "killed", "post-stop", "starting", "running")
    for _ in range(20):
        for n in range(1000):
            for state in states:
                init._on_signal(
                    Message(
                        message_type=MessageType.SIGNAL,
                        path=f"/com/ubuntu/Upstart/jobs/job{n}/_",
                        interface="com.ubuntu.Upstart0_6.Instance",
                        member="StateChanged",
                        signature="s",
                        body=[state],
                    )
                )
    counts = {c.respawns for job in init._courses.values() for c in job.values()}
    assert counts == {19}  # the first run is the first that was seen
    assert len(init._dirty) == len(init._courses) == 1000
    await init.close()


# without the rights of root


UNPRIVILEGED = ("setpriv", "--reuid=1001", "--regid=1001", "--clear-groups")


@asynccontextmanager
async def as_deploy(rig: UpstartRig) -> AsyncIterator[InitSystem]:
    # the interpreter of the test may lie in a folder that is closed to others
    python = [*UNPRIVILEGED, "/usr/bin/python3"]
    if rig.host.run([*python, "-c", "import dbus_fast"], env=ENV, check=False).returncode:
        pytest.skip("no interpreter that another user may run")
    async with rig.adapter("bus", UNPRIVILEGED, "/usr/bin/python3") as init:
        yield init


async def test_without_the_right_and_without_sudo_the_grant_is_named(rig: UpstartRig) -> None:
    rig.job("guarded", "exec /srv/stubborn\n")
    rig.job("resting", "exec /srv/stubborn\n")
    rig.start("guarded")
    async with as_deploy(rig) as init:
        before = await init.find("guarded")
        assert is_up(before)
        for verb, job in (
            *((verb, "guarded") for verb in (Verb.RELOAD, Verb.RESTART, Verb.STOP)),
            (Verb.START, "resting"),
        ):
            with pytest.raises(NotPermitted) as caught:
                await init.perform(verb, job, deadline=10)
            assert caught.value.mend == "steadyd grants sudoers > /etc/sudoers.d/steadyd"
        with pytest.raises(NotPermitted) as caught:
            await init.perform(Verb.SIGNAL, "guarded", signal="USR1", deadline=10)
        assert "root" in caught.value.mend
        denied = await init.denied("guarded", (Verb.RELOAD, Verb.RESTART, Verb.SIGNAL))
        assert set(denied) == {Verb.RELOAD, Verb.RESTART}
        assert "steadyd grants sudoers" in denied[Verb.RELOAD]
        assert (await init.find("guarded")).main_pid == before.main_pid


async def test_with_sudo_exactly_the_granted_commands_work() -> None:
    grant = "deploy ALL = (root) NOPASSWD: /sbin/restart granted, /sbin/reload granted\n"
    job = "exec /srv/stubborn\n"
    try:
        host = UpstartHost(
            {"dbus.conf": DBUS, "granted.conf": job, "plain.conf": job},
            sudo=True,
            files={"/srv/stubborn": (STUBBORN, 0o755), "/etc/sudoers.d/steadyd": (grant, 0o440)},
        )
    except (HostError, OSError, subprocess.SubprocessError) as error:
        pytest.skip(str(error))
    with host:
        rig = UpstartRig(host)
        for name in ("granted", "plain"):
            rig.start(name)
        async with as_deploy(rig) as init:
            before = await init.find("granted")
            await init.perform(Verb.RELOAD, "granted", deadline=10)
            assert (await init.find("granted")).main_pid == before.main_pid
            await init.perform(Verb.RESTART, "granted", deadline=10)
            assert (await init.find("granted")).main_pid != before.main_pid
            with pytest.raises(NotPermitted, match="password"):
                await init.perform(Verb.RESTART, "plain", deadline=10)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("sudo: a password is required", NotPermitted),
        ("restart: Unknown job: puma", UnitNotFound),
        ("restart: Unknown instance: ", VerbFailed),
        ("restart: Job failed to start", VerbFailed),
        ("", VerbFailed),
    ],
)
def test_what_sudo_and_the_command_say_is_understood(text: str, kind: type[Exception]) -> None:
    assert type(refusal("restart", "puma", text)) is kind


async def test_leftovers_of_upstart_do_not_make_it_the_init(tmp_path: Any) -> None:
    (tmp_path / "etc/init").mkdir(parents=True)
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/comm").write_text("init\n")
    assert Upstart.detect(tmp_path) is None  # nobody listens on its socket here


def test_upstart_is_detected_where_it_runs(rig: UpstartRig) -> None:
    code = "from steadyd.inits.upstart import Upstart; print(Upstart.detect())"
    assert "Upstart object" in rig.host.out([sys.executable, "-c", code], env=ENV)
