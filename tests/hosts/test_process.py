"""A service that is only a process: found by pid file or command line, its end told at once."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steadyd.inits.process import Process
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import InitReached, InitReport, NotSupported, UnitNotFound, VerbFailed
from tests.contract.rigs import following

# two processes with the same command line; HUP is ignored; a line is said when both are there
PAIR = (
    "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    "os.fork() and print(os.getpid(), flush=True); signal.pause()"
)
Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """Return what only the command lines of this test have."""
    return f"worker-of-{tmp_path}"


@pytest.fixture
def start(mark: str) -> Iterator[Start]:
    """Start the pair of processes; at the end all of them are killed."""
    started: list[subprocess.Popen[str]] = []

    def pair() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", PAIR, mark]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == f"{process.pid}\n"
        return process

    yield pair
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def of(state: str, pid: int | None = None) -> Callable[[InitReport], bool]:
    return lambda report: (
        isinstance(report, UnitStatus) and report.state == state and pid in (None, report.main_pid)
    )


async def test_the_daemon_itself_is_watched_and_never_acted_upon() -> None:
    adapter = Process()
    assert (await adapter.find("self")).main_pid == os.getpid()
    for verb in Verb:
        with pytest.raises(NotSupported, match="does not act upon itself"):
            await adapter.perform(verb, "self", signal="USR1", deadline=1.0)
    await adapter.close()


async def test_a_pid_file_is_followed_and_the_end_of_its_process(
    tmp_path: Path, start: Start
) -> None:
    file = tmp_path / "web.pid"
    init, unit = Process(), f"pidfile:{file}"
    status = await init.find(unit)
    assert (status.state, status.stopped) == (ServiceState.FAILED, False)
    assert str(file) in status.reason
    async with following(init, unit) as follower:
        await follower.until(of("failed"))
        process = start()
        seen = len(follower.reports)
        file.write_text(f"{process.pid}\n")
        await follower.until(of("active", process.pid), seen)
        seen = len(follower.reports)
        process.kill()
        _, news = await follower.until(of("failed"), seen, 5)
        assert isinstance(news, UnitStatus)
        assert f"its process {process.pid} ended or was killed" in news.reason
        seen = len(follower.reports)
        file.write_text("1")
        _, news = await follower.until(of("unknown"), seen)
        assert isinstance(news, UnitStatus)
        assert "no pid" in news.reason


async def test_the_oldest_match_is_found_and_its_end_is_told(mark: str, start: Start) -> None:
    init, unit = Process(), f"match:{mark}"
    bystander = start()
    process = start()
    async with following(init, unit) as follower:
        _, first = await follower.until(of("active", bystander.pid))
        assert await init.find(unit) == first
        seen = len(follower.reports)
        os.killpg(bystander.pid, signal.SIGKILL)
        _, gone = await follower.until(of("failed"), seen, 5)
        assert isinstance(gone, UnitStatus)
        assert f"its process {bystander.pid} ended" in gone.reason
        _, second = await follower.until(of("active", process.pid), seen)
        assert isinstance(first, UnitStatus)
        assert isinstance(second, UnitStatus)
        assert second.invocation != first.invocation


async def test_a_match_that_comes_later_is_found(mark: str, start: Start) -> None:
    init, unit = Process(), f"match:{mark}"
    async with following(init, unit) as follower:
        await follower.until(of("failed"))
        process = start()
        await follower.until(of("active", process.pid))


async def test_a_match_that_is_watched_later_is_found(mark: str, start: Start) -> None:
    init, process = Process(), start()
    async with following(init) as follower:
        await follower.until(lambda report: isinstance(report, InitReached))
        await init.watch([f"match:{mark}"])
        await follower.until(of("active", process.pid))


async def test_steadyd_itself_is_no_match() -> None:
    own = " ".join(Path("/proc/self/cmdline").read_text().split("\0")[:-1])
    status = await Process().find(f"match:{own}")
    assert status.main_pid != os.getpid()


async def test_a_signal_is_the_only_verb(mark: str, start: Start) -> None:
    init, unit, process = Process(), f"match:{mark}", start()
    await init.perform(Verb.RELOAD, unit, signal="HUP", deadline=10)
    assert (await init.find(unit)).main_pid == process.pid
    for verb, name, mend in (
        (Verb.RESTART, "", "init"),
        (Verb.RELOAD, "", "reload_signal"),
        (Verb.RELOAD, "KILL", ""),
    ):
        with pytest.raises(NotSupported) as caught:
            await init.perform(verb, unit, signal=name, deadline=10)
        assert mend in caught.value.mend
    with pytest.raises(VerbFailed, match="SIGUSR1 ended its process"):
        await init.perform(Verb.RELOAD, unit, signal="USR1", deadline=10)
    assert await asyncio.to_thread(process.wait) == -signal.SIGUSR1


@pytest.mark.parametrize("unit", ["", "web", "match:", "pidfile:", "pidfile:run/x", "\x1b" * 300])
async def test_what_names_no_process_is_no_unit(unit: str) -> None:
    with pytest.raises(UnitNotFound) as caught:
        await Process().find(unit)
    assert str(caught.value).isprintable()
