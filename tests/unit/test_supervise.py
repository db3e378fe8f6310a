"""runit and s6 read from files that may be broken, hostile or changing; no host, real fifos."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from steadyd.inits.runit import Runit
from steadyd.inits.s6 import S6
from steadyd.inits.supervise import MOST_PID, ONCE, TAI, Supervise
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import (
    InitError,
    InitReport,
    InitUnreachable,
    UnitGone,
    UnitNotFound,
    VerbFailed,
)
from tests.contract.rigs import following

Kind = type[Supervise]
KINDS = pytest.mark.parametrize("kind", [Runit, S6])
NOBODY = 65_534
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives files away")
WHEN = 1_700_000_000


def status(
    kind: Kind,
    pid: int = 0,
    *,
    up: bool = True,
    term: bool = False,
    finish: bool = False,
    ended: int = 0,
    paused: bool = False,
    when: int = WHEN,
) -> bytes:
    """Return a status file. `ended` is a wait status; runit keeps none, s6 no TERM."""
    stamp = (when + TAI).to_bytes(8) + bytes(4)
    if kind is Runit:
        state = 2 if finish else 1 if pid else 0
        want = b"u" if up else b"d"
        return stamp + pid.to_bytes(4, "little") + bytes([paused]) + want + bytes([term, state])
    flags = paused | finish << 1 | up << 2
    return stamp + stamp + pid.to_bytes(8) + ended.to_bytes(2) + bytes([flags])


def put(service: Path, data: bytes) -> None:
    """Replace a status as runsv and s6-supervise do."""
    new = service / "supervise/status.new"
    new.write_bytes(data)
    new.rename(service / "supervise/status")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a service "web" that somebody keeps, in a scan folder."""
    folder = tmp_path / "scan/web"
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        keep(folder, stack)
        yield folder


def keep(service: Path, stack: contextlib.ExitStack) -> None:
    """Make a supervise folder, and read its fifos."""
    (service / "supervise").mkdir()
    for name in ("ok", "control"):
        path = service / "supervise" / name
        os.mkfifo(path, 0o600)
        stack.callback(os.close, os.open(path, os.O_RDWR | os.O_NONBLOCK))


def adapter(kind: Kind, service: Path) -> Supervise:
    return kind(str(service.parent))


def refused(kind: Kind, service: Path, error: type[InitError], why: str) -> InitError:
    """Return the error of a look at a service, which is told at once and is fit to print."""
    started = time.monotonic()
    with pytest.raises(error, match=why) as caught:
        adapter(kind, service).read("web")
    assert time.monotonic() - started < 0.5
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    return caught.value


# what a status says


@KINDS
@given(data=st.binary(max_size=64) | st.binary(min_size=20, max_size=20) | st.binary(min_size=35))
def test_any_bytes_are_a_status_or_a_value_error(kind: Kind, data: bytes) -> None:
    found = None
    with contextlib.suppress(ValueError):
        found = kind.status_of("web", data)
    if found is not None:
        assert found.main_pid == 0 or 1 < found.main_pid <= MOST_PID
        assert found.since >= 0
        assert found.reason.isprintable() or not found.reason


@KINDS
@given(
    pid=st.integers(2, MOST_PID),
    up=st.booleans(),
    term=st.booleans(),
    finish=st.booleans(),
    ended=st.integers(0, 0xFFFF),
)
def test_every_state_is_one(
    kind: Kind, pid: int, up: bool, term: bool, finish: bool, ended: int
) -> None:
    data = status(kind, pid, up=up, term=term, finish=finish, ended=ended)
    found = kind.status_of("web", data)
    assert found.main_pid == (0 if finish else pid)
    assert bool(found.invocation) == bool(found.main_pid)
    assert found.respawning == (finish and up)
    assert (found.type == ONCE) == (not finish and not up)
    assert found.since == WHEN


def test_what_real_ones_wrote() -> None:
    stamp = bytes.fromhex("40000000655a1b2a")
    up = stamp + bytes.fromhex("0b8f1c24 d2040000 00 75 00 01".replace(" ", ""))
    found = Runit.status_of("web", up)
    assert (found.state, found.main_pid, found.since) == (ServiceState.ACTIVE, 1234, 1700404000)
    down = stamp + bytes.fromhex("0b8f1c24 00000000 00 64 00 00".replace(" ", ""))
    assert Runit.status_of("web", down).stopped
    up = stamp + bytes(4) + stamp + bytes(4) + (1234).to_bytes(8) + bytes.fromhex("0000 0c")
    found = S6.status_of("web", up)
    assert (found.state, found.main_pid, found.since) == (ServiceState.ACTIVE, 1234, 1700404000)
    grouped = up[:32] + (1234).to_bytes(8) + up[32:]  # since 2.12
    assert S6.status_of("web", grouped) == found


@pytest.mark.parametrize(
    ("ended", "reason", "result"),
    [
        (0, "stopped", "success"),
        (signal.SIGTERM, "stopped", "stop"),
        (signal.SIGKILL, "killed by SIGKILL", "signal"),
        (signal.SIGRTMIN + 1, "killed by signal 35", "signal"),
        (126, "killed by signal 126", "signal"),
        (3 << 8, "exited with status 3", "exit-code"),
    ],
)
def test_how_a_run_of_s6_ended(ended: int, reason: str, result: str) -> None:
    found = S6.status_of("web", status(S6, up=False, ended=ended))
    assert (found.reason, found.result) == (reason, result)
    assert found.state is (ServiceState.INACTIVE if found.stopped else ServiceState.FAILED)


@KINDS
@pytest.mark.parametrize("pid", [1, MOST_PID + 1, 2**32 - 1])
def test_a_pid_that_is_no_service_s(kind: Kind, pid: int, service: Path) -> None:
    put(service, status(kind, pid))
    refused(kind, service, InitUnreachable, "nonsense")


@KINDS
def test_no_pid_is_no_process_and_our_own_is_one(kind: Kind, service: Path) -> None:
    put(service, status(kind, 0))
    assert not adapter(kind, service).read("web").main_pid
    put(service, status(kind, os.getpid()))  # steadyd may be a service of this init itself
    assert adapter(kind, service).read("web").main_pid == os.getpid()


# what is in the place of a status


@KINDS
@pytest.mark.parametrize("size", [0, 1, 19, 34, 64, 1_000_000])
def test_a_status_of_another_size(kind: Kind, size: int, service: Path) -> None:
    put(service, bytes(size))
    refused(kind, service, InitUnreachable, "bytes")


@KINDS
def test_what_is_no_plain_file_is_no_status(kind: Kind, service: Path) -> None:
    path, other = service / "supervise/status", service / "status"
    refused(kind, service, UnitNotFound, "No such file")
    other.write_bytes(status(kind, 7))
    path.symlink_to(other)
    refused(kind, service, UnitNotFound, "it is a link")
    path.unlink()
    os.mkfifo(path)
    refused(kind, service, UnitNotFound, "no plain file")
    path.unlink()
    path.mkdir()
    refused(kind, service, UnitNotFound, "no plain file")


@root
@KINDS
def test_what_belongs_to_somebody_else_is_not_believed(kind: Kind, service: Path) -> None:
    put(service, status(kind, 7))
    os.chown(service / "supervise/status", NOBODY, -1)
    refused(kind, service, UnitNotFound, "uid 65534")
    put(service, status(kind, 7))
    os.chown(service / "supervise" / kind.listening, NOBODY, -1)
    refused(kind, service, UnitNotFound, "no fifo of root's")


@KINDS
def test_supervise_may_be_kept_elsewhere(kind: Kind, service: Path, tmp_path: Path) -> None:
    supervise, elsewhere = service / "supervise", tmp_path / "elsewhere"
    put(service, status(kind, 7))
    supervise.rename(elsewhere)
    refused(kind, service, UnitNotFound, "No such file")
    supervise.symlink_to(elsewhere)  # as Debian and Void do it
    assert adapter(kind, service).read("web").main_pid == 7
    supervise.unlink()
    supervise.symlink_to("/etc")
    refused(kind, service, UnitNotFound, "No such file")
    supervise.unlink()
    supervise.write_text("")
    refused(kind, service, UnitNotFound, "Not a directory")


@root
@KINDS
def test_a_link_of_somebody_else_leads_nowhere(kind: Kind, service: Path, tmp_path: Path) -> None:
    put(service, status(kind, 7))
    (service / "supervise").rename(tmp_path / "elsewhere")
    (service / "supervise").symlink_to(tmp_path / "elsewhere")
    os.chown(service / "supervise", NOBODY, -1, follow_symlinks=False)
    refused(kind, service, UnitNotFound, "link of uid 65534")


@KINDS
def test_a_keeper_that_ended_keeps_nothing(kind: Kind, service: Path) -> None:
    put(service, status(kind, 7))
    path = service / "supervise" / kind.listening
    path.unlink()
    os.mkfifo(path)
    refused(kind, service, UnitNotFound, f"{kind.keeper} has ended")
    path.unlink()
    path.write_text("")
    refused(kind, service, UnitNotFound, "no fifo")
    path.unlink()
    path.symlink_to("control" if kind is Runit else "ok")
    refused(kind, service, UnitNotFound, "it is a link")


@KINDS
@pytest.mark.parametrize(
    "name", ["", ".", "..", "../web", "/etc", "a/b", "a\0b", "a\nb", "é", "\ud800", "w" * 5000]
)
async def test_odd_names_are_of_no_unit(kind: Kind, name: str, service: Path) -> None:
    init = adapter(kind, service)
    with pytest.raises(UnitNotFound) as caught:
        await init.find(name)
    assert len(str(caught.value)) < 500
    with pytest.raises(UnitNotFound):
        await init.perform(Verb.RESTART, name, deadline=1)
    put(service, status(kind, 7))
    async with following(init, name, "web") as follower:  # it goes on for the others
        await follower.until(lambda r: isinstance(r, UnitGone) and r.unit == name)
        await follower.until(lambda r: isinstance(r, UnitStatus) and r.unit == "web")


@KINDS
def test_a_status_is_read_whole_while_it_is_replaced(kind: Kind, service: Path) -> None:
    init, over = adapter(kind, service), threading.Event()
    put(service, status(kind, 1000))

    def write() -> None:
        for pid in range(1000, 11_000):
            put(service, status(kind, pid, when=WHEN + pid))
        over.set()

    thread, seen = threading.Thread(target=write), set[int]()
    thread.start()
    try:
        while not over.is_set():
            found = init.read("web")
            seen.add(found.main_pid)
            assert found.since in (WHEN, WHEN + found.main_pid)
    finally:
        thread.join()
    assert init.read("web").main_pid == 10_999
    assert len(seen) > 10


# verbs


async def restart(init: Supervise) -> InitError:
    """Return what a restart fails with; at once, with a mend."""
    started = time.monotonic()
    with pytest.raises((InitUnreachable, VerbFailed)) as caught:
        await init.perform(Verb.RESTART, "web", deadline=30)
    assert time.monotonic() - started < 1
    assert caught.value.mend
    return caught.value


async def test_a_control_that_is_none(service: Path) -> None:
    put(service, status(Runit, 7))
    init, path = adapter(Runit, service), service / "supervise/control"
    path.unlink()
    assert "No such file" in str(await restart(init))
    path.write_text("kept")
    assert "no fifo" in str(await restart(init))
    assert path.read_text() == "kept"
    path.unlink()
    path.symlink_to("ok")
    assert "it is a link" in str(await restart(init))
    path.unlink()
    os.mkfifo(path)
    assert "no runsv reads it" in str(await restart(init))
    with open(os.open(path, os.O_RDWR | os.O_NONBLOCK), "wb", buffering=0) as fifo:
        while fifo.write(bytes(4096)):
            pass
        assert "full" in str(await restart(init))


@root
async def test_a_control_of_somebody_else(service: Path) -> None:
    put(service, status(Runit, 7))
    os.chown(service / "supervise/control", NOBODY, -1)
    assert "no fifo of root's" in str(await restart(adapter(Runit, service)))


@KINDS
async def test_a_restart_that_nobody_carries_out_ends_at_its_deadline(
    kind: Kind, service: Path
) -> None:
    put(service, status(kind, 7))
    with pytest.raises(VerbFailed, match=r"0\.2 s") as caught:
        await adapter(kind, service).perform(Verb.RESTART, "web", deadline=0.2)
    assert kind.force in caught.value.mend


# what happened by itself, and what was asked for


def told(kind: Kind, *seen: bytes | None) -> list[UnitStatus | UnitGone]:
    """Return what is told of a unit whose statuses were seen in this order; None: it was gone."""
    init, news = kind("/nowhere"), list[UnitStatus | UnitGone]()
    for data in seen:
        before = news[-1] if news else None
        if data is None:
            news.append(UnitGone(kind.name, "web", "gone"))
            continue
        now = kind.status_of("web", data)
        if isinstance(before, UnitStatus):
            now = replace(now, respawns=before.respawns)
        news.append(init.observe(before, now))
    return news


def last(kind: Kind, *seen: bytes | None) -> tuple[ServiceState, int]:
    """Return the state and the respawns in the end."""
    news = told(kind, *seen)[-1]
    assert isinstance(news, UnitStatus)
    return news.state, news.respawns


ACTIVE, INACTIVE, FAILED = ServiceState.ACTIVE, ServiceState.INACTIVE, ServiceState.FAILED
KILLED, EXITED = int(signal.SIGKILL), 3 << 8


@KINDS
def test_a_run_after_one_that_ended_by_itself_is_a_respawn(kind: Kind) -> None:
    first, down, second = status(kind, 7), status(kind, ended=KILLED), status(kind, 8)
    finish, third = status(kind, 9, finish=True, ended=KILLED), status(kind, 9, when=WHEN + 2)
    assert last(kind, first) == (ACTIVE, 0)
    assert last(kind, first, first) == (ACTIVE, 0)
    assert last(kind, first, down, second) == (ACTIVE, 1)
    assert last(kind, first, second) == (ACTIVE, 1)  # what was between was not seen
    assert last(kind, first, finish, down, second, finish, third) == (ACTIVE, 2)
    assert last(kind, first, status(kind, 7, when=WHEN + 1)) == (ACTIVE, 1)  # the pid came again


@KINDS
def test_a_start_by_hand_is_no_respawn(kind: Kind) -> None:
    down, up, again = status(kind, up=False), status(kind, 7), status(kind, 8)
    failed = status(kind, up=False, ended=EXITED)
    assert last(kind, down, up) == (ACTIVE, 0)
    assert last(kind, failed, up) == (ACTIVE, 0)
    assert last(kind, up, down, again) == (ACTIVE, 0)
    assert last(kind, down, status(kind), up) == (ACTIVE, 0)  # up is wanted, and not yet done
    assert last(kind, down, status(kind, 7, up=False)) == (ACTIVE, 0)
    assert last(kind, status(kind), up) == (ACTIVE, 0)  # its keeper has only just begun
    assert last(kind, None, status(kind), up) == (ACTIVE, 0)
    assert last(kind, up, None, status(kind), up) == (ACTIVE, 0)
    assert last(kind, status(kind), up, again) == (ACTIVE, 1)


@KINDS
def test_the_first_crash_counts_however_a_unit_came_to_be_seen(kind: Kind) -> None:
    down, up, again = status(kind, up=False), status(kind, 7), status(kind, 8)
    assert last(kind, up, again) == (ACTIVE, 1)
    assert last(kind, down, up, again) == (ACTIVE, 1)
    assert last(kind, down, None, up, again) == (ACTIVE, 1)
    assert last(kind, up, down, None, up, again) == (ACTIVE, 1)
    assert last(kind, None, up, again) == (ACTIVE, 1)


@KINDS
def test_a_stop_by_hand_is_no_failure_whatever_the_exit(kind: Kind) -> None:
    up, ending = status(kind, 7), status(kind, 7, up=False, term=True)
    finish = status(kind, 9, up=False, finish=True, ended=EXITED)
    for ended in (0, int(signal.SIGTERM), KILLED, EXITED):
        down = status(kind, up=False, ended=ended)
        assert last(kind, up, ending, down) == (INACTIVE, 0)
        assert last(kind, up, ending, finish, down) == (INACTIVE, 0)
        assert last(kind, up, down) == (INACTIVE, 0)
        assert last(kind, up, ending, down, up, status(kind, 8)) == (ACTIVE, 1)


@KINDS
def test_a_run_that_was_to_be_the_only_one_and_ended_is_a_failure(kind: Kind) -> None:
    down, once = status(kind, up=False), status(kind, 7, up=False)
    dead, finish = status(kind, up=False, ended=EXITED), status(kind, 9, up=False, finish=True)
    assert last(kind, once, dead) == (FAILED, 0)
    assert last(kind, down, once, dead) == (FAILED, 0)
    assert last(kind, down, once, finish, dead) == (FAILED, 0)
    assert last(kind, down, once, dead, dead) == (FAILED, 0)
    assert last(kind, down, once, dead, status(kind, 8, up=False)) == (ACTIVE, 0)


def test_a_permanent_failure_of_s6() -> None:
    """A finish script that exits with 125: s6-supervise wants no further run."""
    up, finish = status(S6, 7), status(S6, 9, finish=True, ended=EXITED)
    failed = status(S6, up=False, ended=EXITED)
    assert last(S6, up, finish, failed) == (FAILED, 0)
    assert last(S6, up, finish, failed, failed) == (FAILED, 0)
    assert last(S6, status(S6), finish, failed) == (FAILED, 0)
    assert last(S6, up, finish, failed, status(S6, 8), status(S6, 9)) == (ACTIVE, 1)


# following


@KINDS
async def test_a_crash_a_removal_and_a_return_are_told(kind: Kind, service: Path) -> None:
    put(service, status(kind, 1000))
    async with following(adapter(kind, service), "web") as follower:
        _, first = await follower.until(up_with(0))
        put(service, status(kind, 1001))
        _, second = await follower.until(up_with(1))
        away = service.parent.parent / "away"
        service.rename(away)
        await follower.until(lambda report: isinstance(report, UnitGone))
        seen = len(follower.reports)
        put(away, status(kind, 1002))
        away.rename(service)
        await follower.until(up_with(0), seen)
        put(service, status(kind, 1003))
        await follower.until(up_with(1), seen)
        assert isinstance(first, UnitStatus)
        assert isinstance(second, UnitStatus)


@KINDS
async def test_a_service_that_is_linked_to_another_folder_is_followed_there(
    kind: Kind, service: Path, tmp_path: Path
) -> None:
    put(service, status(kind, 1000))
    service.rename(tmp_path / "one")
    service.symlink_to(tmp_path / "one")
    with contextlib.ExitStack() as stack:
        (tmp_path / "two").mkdir()
        keep(tmp_path / "two", stack)
        put(tmp_path / "two", status(kind, 2000))
        async with following(adapter(kind, service), "web") as follower:
            await follower.until(up_with(0))
            (tmp_path / "new").symlink_to(tmp_path / "two")
            (tmp_path / "new").rename(service)
            await follower.until(lambda r: isinstance(r, UnitStatus) and r.main_pid == 2000)
            put(tmp_path / "two", status(kind, 2001))
            await follower.until(lambda r: isinstance(r, UnitStatus) and r.main_pid == 2001)


async def test_a_restart_that_was_refused_hides_no_crash(service: Path) -> None:
    put(service, status(Runit, 1000))
    init = adapter(Runit, service)
    async with following(init, "web") as follower:
        await follower.until(up_with(0))
        (service / "supervise/control").unlink()
        await restart(init)
        put(service, status(Runit, 1001))
        await follower.until(up_with(1))


@pytest.mark.parametrize(("letters", "state"), [(b"d", INACTIVE), (b"", FAILED)])
async def test_a_command_is_heard_though_the_process_ended_before_the_look(
    letters: bytes, state: ServiceState, service: Path
) -> None:
    put(service, status(Runit, 1000, up=False))
    async with following(adapter(Runit, service), "web") as follower:
        await follower.until(up_with(0))
        if letters:
            (service / "supervise/control").write_bytes(letters)
        put(service, status(Runit, 1000, up=False, term=True))
        put(service, status(Runit, up=False))  # both before the adapter's turn
        _, ended = await follower.until(lambda r: isinstance(r, UnitStatus) and not r.main_pid)
        assert isinstance(ended, UnitStatus)
        assert ended.state is state


def up_with(respawns: int) -> Callable[[InitReport], bool]:
    return lambda r: isinstance(r, UnitStatus) and r.state is ACTIVE and r.respawns == respawns


# which scan folder is meant


@KINDS
def test_a_usual_folder_is_one_where_something_is_kept(kind: Kind, tmp_path: Path) -> None:
    scan = tmp_path / kind.folders[1]
    (scan / "web/supervise").mkdir(parents=True)
    assert usual(kind, tmp_path) is None
    put(scan / "web", b"nonsense")
    assert usual(kind, tmp_path) is None
    put(scan / "web", status(S6 if kind is Runit else Runit, 7))
    assert usual(kind, tmp_path) is None
    put(scan / "web", status(kind, 7))
    found = usual(kind, tmp_path)
    assert found is not None
    assert list(found.home()) == [str(scan)]


def usual(kind: Kind, folder: Path) -> Supervise | None:
    """Detect without the processes of this machine."""
    return scanned_by("no-such-scanner", kind).detect(folder)


def scanned_by(name: str, kind: Kind) -> Kind:
    """Return an adapter whose scanner has this name."""
    return type("Other", (kind,), {"scanner": name})


@root
@KINDS
def test_a_process_of_a_user_names_no_scan_folder(kind: Kind, tmp_path: Path) -> None:
    name = f"fake-{os.getpid()}"
    command = ["/bin/sh", "-c", f"printf {name} > /proc/self/comm; echo; read end", "/tmp"]
    for user, believed in ((NOBODY, False), (0, True)):
        with subprocess.Popen(
            command, user=user, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            assert (scanned_by(name, kind).detect(tmp_path) is not None) is believed
            process.communicate(b"\n")
