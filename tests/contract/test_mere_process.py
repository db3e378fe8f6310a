"""Services that no init system keeps, by pid file and by command line: real processes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steadyd.inits.process import Process
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import InitReport, NotSupported, UnitNotFound, VerbFailed
from tests.contract.rigs import following

PROGRAM = (
    "import signal, sys\nsignal.signal(signal.SIGHUP, lambda *_: None)\n"
    "print(flush=True)\nwhile True: signal.pause()"
)
Popen = subprocess.Popen[bytes]


class Workers:
    """Processes with a text in their command line; all ended at the end."""

    def __init__(self) -> None:
        self.started: list[Popen] = []

    def start(self, text: str) -> Popen:
        argv = [sys.executable, "-ISc", PROGRAM, text]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        self.started.append(process)
        assert process.stdout is not None
        with process.stdout as ready:
            ready.readline()
        return process

    def kill(self, process: Popen) -> None:
        process.kill()
        process.wait()


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    for process in made.started:
        if process.poll() is None:
            made.kill(process)


def is_(state: ServiceState, pid: int | None = None) -> Callable[[InitReport], bool]:
    def test(report: InitReport) -> bool:
        if not isinstance(report, UnitStatus) or report.state is not state:
            return False
        return pid is None or report.main_pid == pid

    return test


async def test_by_its_pid_file(workers: Workers, tmp_path: Path) -> None:
    file, unit = tmp_path / "w.pid", f"pidfile:{tmp_path}/w.pid"
    init = Process()
    assert (await init.find(unit)).state is ServiceState.FAILED
    first = workers.start("x")
    file.write_text(f"{first.pid}\n")
    status = await init.find(unit)
    assert (status.state, status.main_pid) == (ServiceState.ACTIVE, first.pid)
    await init.perform(Verb.RELOAD, unit, signal="HUP", deadline=5)
    with pytest.raises(NotSupported):
        await init.perform(Verb.RELOAD, unit, deadline=5)
    with pytest.raises(NotSupported):
        await init.perform(Verb.RESTART, unit, deadline=5)
    async with following(init, unit) as follower:
        await follower.until(is_(ServiceState.ACTIVE, first.pid))
        workers.kill(first)
        await follower.until(is_(ServiceState.FAILED))
        second = workers.start("x")
        file.write_text(f"{second.pid}\n")
        await follower.until(is_(ServiceState.ACTIVE, second.pid))


async def test_by_its_command_line(workers: Workers, tmp_path: Path) -> None:
    text = f"bin/worker of {tmp_path}"
    unit = f"match:{text}"
    init = Process()
    absent = await init.find(unit)
    assert absent.state is ServiceState.FAILED
    assert "no process has" in absent.reason
    first = workers.start(text)
    init = Process()
    younger = workers.start(text)
    assert (await init.find(unit)).main_pid == first.pid
    with pytest.raises(VerbFailed, match="USR1 ended"):
        await init.perform(Verb.RELOAD, unit, signal="USR1", deadline=5)
    first.wait()
    async with following(init, unit) as follower:
        await follower.until(is_(ServiceState.ACTIVE, younger.pid))
        workers.kill(younger)
        await follower.until(is_(ServiceState.FAILED))
        third = workers.start(text)
        await follower.until(is_(ServiceState.ACTIVE, third.pid))


@pytest.mark.parametrize("unit", ["", "x", "pidfile:", "pidfile:x/y", "match:", "pid\0", "../x"])
async def test_what_names_no_process(unit: str) -> None:
    with pytest.raises(UnitNotFound):
        await Process().find(unit)


@pytest.mark.parametrize("content", ["", "x", "1", str(os.getpid()), "99999999", "-1", "7" * 100])
async def test_a_pid_file_that_says_nothing_is_unknown_with_the_reason(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "w.pid").write_text(content)
    status = await Process().find(f"pidfile:{tmp_path}/w.pid")
    assert status.state is ServiceState.UNKNOWN
    assert status.reason
    assert not status.main_pid


async def test_a_pid_file_of_another_life_or_another_user_is_not_believed(
    workers: Workers, tmp_path: Path
) -> None:
    process = workers.start("x")
    file = tmp_path / "w.pid"
    file.write_text(str(process.pid))
    os.utime(file, (1e9, 1e9))
    assert "another's" in (await Process().find(f"pidfile:{file}")).reason
    file.unlink()
    file.write_text(str(process.pid))
    file.chmod(0o666)
    assert "written by others" in (await Process().find(f"pidfile:{file}")).reason
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    assert "link" in (await Process().find(f"pidfile:{file}")).reason
    file.unlink()
    os.mkfifo(file)
    assert "plain file" in (await Process().find(f"pidfile:{file}")).reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as somebody else")
async def test_a_service_may_write_its_own_pid_file_and_name_nobody_else(
    workers: Workers, tmp_path: Path
) -> None:
    nobody = 65534
    file = tmp_path / "w.pid"
    mine = subprocess.Popen(["/bin/sleep", "999"], user=nobody)
    workers.started.append(mine)
    others = workers.start("x")
    file.write_text(str(mine.pid))
    os.chown(file, nobody, nobody)
    assert (await Process().find(f"pidfile:{file}")).main_pid == mine.pid
    file.write_text(str(others.pid))
    status = await Process().find(f"pidfile:{file}")
    assert (status.state, status.main_pid) == (ServiceState.UNKNOWN, 0)
    assert f"belongs to uid {nobody}" in status.reason
