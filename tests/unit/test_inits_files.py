"""What adapters read and run: pid files, commands, scripts, state folders; all of it hostile."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from steadyd.inits import pidfile, sysvinit
from steadyd.inits.commands import MOST_TEXT, run
from steadyd.inits.openrc import Openrc
from steadyd.inits.pidfile import BadPidFile, NoPidFile, ProcessGone, process, read, send
from steadyd.inits.sysvinit import Sysvinit
from steadyd.model.rule import Verb
from steadyd.model.service import ProcessId, ServiceState, UnitStatus
from steadyd.ports import InitUnreachable, NotSupported, UnitGone, UnitNotFound, VerbFailed
from tests.contract.rigs import following

Sleeper = subprocess.Popen[bytes]


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    with subprocess.Popen(["/bin/sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.fixture
def file(tmp_path: Path, sleeper: Sleeper) -> Path:
    """Return a good pid file."""
    path = tmp_path / "web.pid"
    path.write_text(f"{sleeper.pid}\n")
    path.chmod(0o644)
    return path


def script(root: Path, name: str, text: str) -> Path:
    """Install an init script below a root of the test's own."""
    path = root / "etc/init.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


# pid files


def test_a_good_pid_file_names_its_process(file: Path, sleeper: Sleeper) -> None:
    found = read(str(file))
    assert (found.pid, found.parent) == (sleeper.pid, os.getpid())
    assert abs(found.since - time.time()) < 5
    assert read(str(file)) == found


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "no pid"),
        ("-1", "no pid"),
        ("0", "no pid"),
        ("1", "no pid"),
        ("12 34", "no pid"),
        ("0x10", "no pid"),
        ("²", "no pid"),
        ("4194305", "no pid"),
        ("9" * 50, "no pid"),
        ("\x1b[2J", "no pid"),
        (f"{os.getpid()}", "steadyd itself"),
        ("7\n" * 500_000, "64 bytes"),
    ],
)
def test_what_holds_no_pid_is_refused(file: Path, content: str, why: str) -> None:
    file.write_text(content)
    with pytest.raises(BadPidFile, match=why) as caught:
        read(str(file))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_link_a_fifo_a_folder_and_a_file_for_all_are_refused(file: Path) -> None:
    link, fifo = file.with_name("link"), file.with_name("fifo")
    link.symlink_to(file)
    os.mkfifo(fifo)
    file.chmod(0o646)
    refused = {
        link: "it is a link",
        fifo: "no plain file",
        file.parent: "no plain file",
        file: "646",
    }
    for path, why in refused.items():
        with pytest.raises(BadPidFile, match=why):
            read(str(path))
    for path in (file.with_name("none"), file / "below"):
        with pytest.raises(NoPidFile):
            read(str(path))
    with pytest.raises(BadPidFile):
        read("/a\0b")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives a file away")
def test_the_pid_file_of_somebody_else_is_refused(file: Path) -> None:
    os.chown(file, 65_534, -1)
    with pytest.raises(BadPidFile, match="uid 65534"):
        read(str(file))


def test_a_dead_process_is_gone_also_before_it_is_reaped(file: Path, sleeper: Sleeper) -> None:
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    for _ in range(2):
        with pytest.raises(ProcessGone, match=str(sleeper.pid)) as caught:
            read(str(file))
        assert caught.value.pid == sleeper.pid
        sleeper.wait()


def test_a_process_that_is_younger_than_the_file_is_another_s(file: Path, sleeper: Sleeper) -> None:
    found = read(str(file))
    os.utime(file, (0, found.since - pidfile.SLACK - 1))
    with pytest.raises(ProcessGone, match="another's"):
        read(str(file))
    with pytest.raises(ProcessGone):
        read(str(file), ProcessId(found.pid, found.started - 1))
    assert read(str(file), found.itself) == found  # the clock was set meanwhile
    os.utime(file, (0, found.since - pidfile.SLACK + 1.5))
    assert read(str(file)) == found


def test_a_signal_goes_to_the_very_process_only(sleeper: Sleeper) -> None:
    found = process(sleeper.pid)
    assert found is not None
    with pytest.raises(ProcessLookupError):
        send(ProcessId(found.pid, found.started + 1), signal.SIGKILL)
    assert sleeper.poll() is None
    send(found.itself, signal.SIGTERM)
    assert sleeper.wait() == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        send(found.itself, signal.SIGTERM)


# commands


async def test_a_command_inherits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTART_SESSION", "unix:abstract=/x")
    monkeypatch.setenv("LD_PRELOAD_X", "x")
    code, text = await run(["/usr/bin/env"], deadline=10)
    assert code == 0
    assert sorted(word.partition("=")[0] for word in text.split()) == ["LC_ALL", "PATH"]
    program = (
        "import os,sys; print(os.getsid(0) == os.getpid(), sys.stdin.read() == '', os.getcwd())"
    )
    assert (await run([sys.executable, "-c", program], deadline=10)).text == "True True /"


async def test_of_much_output_the_end_is_kept_and_printable() -> None:
    big = "head -c 1000000 /dev/zero; head -c 8000 /dev/zero | tr '\\0' x; "
    big += "printf '\\033[0m\\nend\\377'"
    code, text = await run(["/bin/sh", "-c", f"{big}; exit 3"], deadline=20)
    assert code == 3
    assert len(text) <= MOST_TEXT
    assert text.endswith("xx [0m end\ufffd")
    assert text.isprintable()


async def test_at_the_deadline_the_whole_group_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(TimeoutError):
        await run(["/bin/sh", "-c", f"sleep 60 & echo $! $$ > {pids}; wait"], deadline=0.5)
    async with asyncio.timeout(10):
        for pid in map(int, pids.read_text().split()):
            while process(pid) is not None:
                await asyncio.sleep(0.01)


async def test_a_daemon_that_keeps_the_output_open_holds_nobody_up(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    outcome = await run(["/bin/sh", "-c", f"sleep 60 & echo $! > {pid}; echo started"], deadline=10)
    assert outcome == (0, "started")
    os.kill(int(pid.read_text()), signal.SIGKILL)  # it was let live


async def test_what_cannot_be_started_says_so() -> None:
    with pytest.raises(FileNotFoundError):
        await run(["/no/such/program"], deadline=1)
    with pytest.raises(ValueError, match="absolute"):
        await run(["sh", "-c", "true"], deadline=1)
    assert (await run(["/bin/sh", "-c", "kill -9 $$"], deadline=10)).code == -signal.SIGKILL
    open_fds = len(os.listdir("/proc/self/fd"))
    await run(["/bin/true"], deadline=10)
    assert len(os.listdir("/proc/self/fd")) == open_fds


# scripts


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "/etc/passwd", "-x", "--help", "a\0b", "ü", "x y\n", "y" * 5000]
)
@pytest.mark.parametrize("make", [Sysvinit, Openrc])
def test_a_hostile_name_is_no_unit(tmp_path: Path, make: type[Openrc], name: str) -> None:
    script(tmp_path, "--help", "exit 0")
    script(tmp_path, "-x", "exit 0")
    (tmp_path / "run/openrc/started").mkdir(parents=True)
    with pytest.raises(UnitNotFound) as caught:
        make(tmp_path).read(name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("make", [Sysvinit, Openrc])
def test_what_is_no_script_of_root_is_no_unit(tmp_path: Path, make: type[Openrc]) -> None:
    (tmp_path / "run/openrc/started").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.write_text("#!/bin/sh\n")
    outside.chmod(0o755)
    script(tmp_path, "plain", "").chmod(0o644)
    folder = tmp_path / "etc/init.d"
    (folder / "link").symlink_to(outside)
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo", 0o755)
    names = ["plain", "link", "folder", "fifo"]
    if os.geteuid() == 0:
        os.chown(script(tmp_path, "foreign", ""), 65_534, -1)
        names.append("foreign")
    why = "no plain file|executed|to root|leads out"
    for name in names:
        with pytest.raises(UnitNotFound, match=why):
            make(tmp_path).read(name)


@pytest.mark.parametrize(
    ("text", "at", "state"),
    [
        ("# pidfile: /srv/a/web.pid", "srv/a/web.pid", "active"),
        ("PIDFILE=/srv/web.pid # here", "srv/web.pid", "active"),
        ("  pidfile='/srv/web.pid'", "srv/web.pid", "active"),
        ("true", "run/web.pid", "active"),
        ("true", "run/web/web.pid", "active"),
        ("PIDFILE=/srv/none.pid", "run/web.pid", "inactive"),
        ("PIDFILE=/srv/$NAME.pid", "run/web.pid", "active"),
        ("PIDFILE=/srv/../srv/web.pid", "srv/web.pid", "unknown"),
        ("true", "srv/web.pid", "unknown"),
    ],
)
def test_where_the_pid_file_is(
    tmp_path: Path, sleeper: Sleeper, text: str, at: str, state: str
) -> None:
    script(tmp_path, "web", text)
    (tmp_path / at).parent.mkdir(parents=True)
    (tmp_path / at).write_text(f"{sleeper.pid}")
    status = Sysvinit(tmp_path).read("web")
    assert status.state == state
    assert status.main_pid == (sleeper.pid if state == "active" else 0)
    assert status.stopped is (state == "inactive")


def test_while_its_script_is_at_work_a_service_is_neither_stopped_nor_crashed(
    tmp_path: Path, file: Path, sleeper: Sleeper
) -> None:
    work = script(tmp_path, "web", f"# pidfile: /{file.name}\necho; read line")
    init = Sysvinit(tmp_path)
    sleeper.kill()
    sleeper.wait()
    pipe = subprocess.PIPE
    with subprocess.Popen(["/bin/sh", work, "stop"], stdin=pipe, stdout=pipe) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        for change in (lambda: None, lambda: file.write_text(""), file.unlink):
            change()
            assert init.read("web").state is ServiceState.DEACTIVATING
        busy.kill()
    assert init.read("web").stopped


@pytest.mark.parametrize(
    ("text", "can"),
    [
        ("reload) x", True),
        ("restart|reload) x", True),
        ("reload|force-reload) x", True),
        ("restart|force-reload) x", False),
        ("# reload) x", False),
        ("echo usage: start|stop", False),
    ],
)
def test_what_a_script_says_of_reload(tmp_path: Path, text: str, can: bool) -> None:
    script(tmp_path, "web", text)
    assert Sysvinit(tmp_path).read("web").can_reload is can


@pytest.mark.parametrize(
    ("text", "state", "why"),
    [
        ("exit 0", "active", "running"),
        ("exit 1", "failed", "ended"),
        ("exit 2", "inactive", "lock"),
        ("exit 3", "inactive", "stopped"),
        ("exit 4", "unknown", "4"),
        ("exit 111", "unknown", "111"),
        ("kill -9 $$", "unknown", "-9"),
        ("echo Usage: web start; exit 3", "unknown", "no status"),
        ("sleep 60", "unknown", "within"),
        ("head -c 1000000 /dev/zero; exit 0", "active", "running"),
    ],
)
async def test_without_a_pid_file_the_script_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, state: str, why: str
) -> None:
    monkeypatch.setattr(sysvinit, "ASK_SECONDS", 0.5 if "sleep" in text else 20)
    script(tmp_path, "web", f"test $1 = status || exit 77\n{text}")
    status = await Sysvinit(tmp_path).find("web")
    assert status.state == state
    assert why in status.reason
    assert "no pid file" in status.reason


async def test_what_a_script_says_is_asked_again_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysvinit, "ASK_SECONDS", 0.2)
    script(tmp_path, "web", f"case $1 in status) test -e {tmp_path}/up || exit 3;; esac")
    script(tmp_path, "slow", "case $1 in status) sleep 60;; esac")
    init = Sysvinit(tmp_path)
    async with following(init, "web", "slow") as follower:
        await follower.until(lambda r: isinstance(r, UnitStatus) and r.stopped and r.unit == "web")
        (tmp_path / "up").touch()
        _, news = await follower.until(lambda r: isinstance(r, UnitStatus) and r.state == "active")
        assert isinstance(news, UnitStatus)
        assert "0.2 s" in news.reason
        (tmp_path / "etc/init.d/web").unlink()
        await follower.until(lambda r: isinstance(r, UnitGone) and r.unit == "web")
        slow = [r for _, r in follower.reports if isinstance(r, UnitStatus) and r.unit == "slow"]
        assert {status.state for status in slow} == {ServiceState.UNKNOWN}


async def test_a_verb_of_a_script_that_is_asked(tmp_path: Path) -> None:
    up = tmp_path / "up"
    text = f"case $1 in status) test -e {up} || exit 3;; restart) touch {up}.$$; exit 0;; esac"
    script(tmp_path, "web", text)
    init = Sysvinit(tmp_path)
    with pytest.raises(VerbFailed, match="does not undo"):
        await init.perform(Verb.RESTART, "web", deadline=10)
    assert not list(tmp_path.glob("up.*"))
    up.touch()
    init = Sysvinit(tmp_path)
    await init.perform(Verb.RESTART, "web", deadline=10)
    assert len(list(tmp_path.glob("up.*"))) == 1
    script(tmp_path, "web", text.replace("exit 0", f"rm {up}"))
    with pytest.raises(VerbFailed, match="inactive afterwards"):
        await init.perform(Verb.RESTART, "web", deadline=10)
    with pytest.raises(NotSupported) as caught:
        await init.perform(Verb.RELOAD, "web", deadline=10)
    assert "reload_signal" in caught.value.mend


# the state folders of OpenRC


@pytest.fixture
def openrc(tmp_path: Path) -> Path:
    """Return the state folder of a service `web` that is called started."""
    script(tmp_path, "web", "")
    state = tmp_path / "run/openrc"
    (state / "started").mkdir(parents=True)
    (state / "started/web").symlink_to("/no/such/script")
    os.utime(state / "started/web", (0, time.time() - 60), follow_symlinks=False)
    (state / "options/web").mkdir(parents=True)
    return state


def test_started_is_believed_where_no_process_is_named(openrc: Path, tmp_path: Path) -> None:
    status = Openrc(tmp_path).read("web")
    assert (status.state, status.main_pid) == (ServiceState.ACTIVE, 0)
    (openrc / "failed").mkdir()
    (openrc / "failed/web").symlink_to("x")
    assert Openrc(tmp_path).read("web").state is ServiceState.FAILED


def test_a_daemon_that_is_gone_is_not_started(
    openrc: Path, tmp_path: Path, sleeper: Sleeper
) -> None:
    (openrc / "options/web/pidfile").write_text("/run/web.pid\n")
    (tmp_path / "run/web.pid").write_text(f"{sleeper.pid}")
    init = Openrc(tmp_path)
    assert init.read("web").main_pid == sleeper.pid
    sleeper.kill()
    sleeper.wait()
    status = init.read("web")
    assert (status.state, status.main_pid) == (ServiceState.FAILED, 0)
    assert status.reason.startswith(f"crashed: its process {sleeper.pid}")
    (tmp_path / "run/web.pid").unlink()
    assert init.read("web").reason == "crashed: its pid file is gone"
    os.utime(openrc / "started/web", follow_symlinks=False)  # it has just been started
    assert init.read("web").state is ServiceState.ACTIVATING


def test_links_that_lead_out_of_the_state_folder_are_not_followed(
    openrc: Path, tmp_path: Path, sleeper: Sleeper
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "pidfile").write_text("/run/web.pid")
    (tmp_path / "run/web.pid").write_text(f"{sleeper.pid}")
    (openrc / "options/web/pidfile").symlink_to(outside / "pidfile")
    assert Openrc(tmp_path).read("web").state is ServiceState.UNKNOWN
    (openrc / "options/web/pidfile").unlink()
    (openrc / "options/web").rmdir()
    (openrc / "options/web").symlink_to(outside)
    status = Openrc(tmp_path).read("web")
    assert (status.state, status.main_pid) == (ServiceState.UNKNOWN, 0)
    (openrc / "started").rename(openrc / "away")
    (openrc / "started").symlink_to(openrc / "away")
    with pytest.raises(InitUnreachable, match="no folder"):
        Openrc(tmp_path).read("web")


@pytest.mark.parametrize("path", ["web.pid", "/run/../run/web.pid", "/run/\x1bweb", "x" * 5000])
def test_a_value_that_is_no_path(openrc: Path, tmp_path: Path, path: str) -> None:
    (openrc / "options/web/pidfile").write_text(path)
    status = Openrc(tmp_path).read("web")
    assert status.state in (ServiceState.UNKNOWN, ServiceState.FAILED)
    assert status.reason.isprintable()
    assert len(status.reason) < 300


@pytest.mark.parametrize("child", ["{}", "", "1", "-1", "²", "9" * 4000])
def test_only_a_child_of_supervise_daemon_is_one(
    openrc: Path, tmp_path: Path, sleeper: Sleeper, child: str
) -> None:
    (openrc / "options/web/child_pid").write_text(child.format(sleeper.pid))
    (openrc / "options/web/pidfile").write_text("/run/web.pid")
    status = Openrc(tmp_path).read("web")
    assert (status.state, status.main_pid) == (ServiceState.FAILED, 0)
    assert "supervise-daemon is gone" in status.reason


def test_a_lock_file_that_nobody_holds_is_left_over(openrc: Path, tmp_path: Path) -> None:
    (openrc / "started/web").unlink()
    (openrc / "exclusive").mkdir()
    (openrc / "exclusive/web").touch()
    assert Openrc(tmp_path).read("web").stopped
