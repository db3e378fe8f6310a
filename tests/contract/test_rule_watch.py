"""Real edits of rule files, by the ways that people and tools edit: each is told, once, soon."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles import watch
from steadyd.rulefiles.folder import RuleFiles
from steadyd.rulefiles.watch import RuleWatch

DEADLINE = 10.0
SOURCE = Path(__file__).parents[2] / "src"
OLD = "check service app\n  if memory:rss > 900m then alert\n"
NEW = OLD.replace("900m", "800m")

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become others")


class Heard:
    """What the watch told so far, with the text of a file at that moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._texts: asyncio.Queue[str] = asyncio.Queue()

    def __call__(self) -> None:
        with contextlib.suppress(OSError):
            self._texts.put_nowait(self.path.read_text())
            return
        self._texts.put_nowait("")

    async def once(self) -> str:
        """Return the text at the next call."""
        return await asyncio.wait_for(self._texts.get(), DEADLINE)

    async def until(self, text: str) -> None:
        """Wait for the call at which the file had this text."""
        async with asyncio.timeout(DEADLINE):
            while await self._texts.get() != text:
                pass

    async def quiet(self) -> None:
        """Fail if it is told again within a time in which it would be."""
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self._texts.get(), 3 * watch.SETTLE)


@contextlib.asynccontextmanager
async def watching(folder: Path, name: str = "app.inq") -> AsyncIterator[Heard]:
    heard = Heard(folder / name)
    task = asyncio.create_task(RuleWatch([str(folder)]).run(heard))
    await asyncio.sleep(0)  # it runs to its first wait: from now on it watches
    try:
        yield heard
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "app.inq").write_text(OLD)
    return folder


def run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, timeout=30, capture_output=True)


# -- every way to edit


def vim(path: Path) -> None:
    run("vim.tiny", "-es", "-u", "NONE", "-c", "%s/900m/800m/", "-c", "wq", path)


def vim_in_place(path: Path) -> None:
    run(
        "vim.tiny",
        "-es",
        "-u",
        "NONE",
        "-c",
        "set bkc=yes bk",
        "-c",
        "%s/900m/800m/",
        "-c",
        "wq",
        path,
    )


def sed(path: Path) -> None:
    run("sed", "-i", "s/900m/800m/", path)


def rename_over(path: Path) -> None:
    beside = path.with_name(".new")
    beside.write_text(NEW)
    beside.rename(path)


def moved_in_from_elsewhere(path: Path) -> None:
    beside = path.parent.parent / "elsewhere"
    beside.write_text(NEW)
    beside.rename(path)


def linked_in(path: Path) -> None:
    beside = path.parent.parent / "elsewhere"
    beside.write_text(NEW)
    path.unlink()
    path.hardlink_to(beside)


def truncated_and_written(path: Path) -> None:
    with open(path, "w") as file:
        for char in NEW:
            file.write(char)
            file.flush()


def written_again_and_again(path: Path) -> None:
    for end in range(len(NEW) + 1):
        path.write_text(NEW[:end])


def copied_with_its_times(path: Path) -> None:
    before = path.stat()
    path.write_text(NEW)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def folder_swapped(path: Path) -> None:
    new = path.parent.with_name("rules.new")
    new.mkdir()
    (new / path.name).write_text(NEW)
    path.parent.rename(path.parent.with_name("rules.old"))
    new.rename(path.parent)


def folder_made_anew(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()  # most often the same inode
    path.write_text(NEW)


EDITS = [
    vim,
    vim_in_place,
    sed,
    rename_over,
    moved_in_from_elsewhere,
    linked_in,
    truncated_and_written,
    written_again_and_again,
    copied_with_its_times,
    folder_swapped,
    folder_made_anew,
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
async def test_an_edit_is_told_once_when_it_is_done(
    rules: Path, edit: Callable[[Path], None]
) -> None:
    async with watching(rules) as heard:
        await asyncio.to_thread(edit, rules / "app.inq")

        assert await heard.once() == NEW
        if edit is not moved_in_from_elsewhere:  # half of a move is held back for its other half
            await heard.quiet()


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
async def test_after_an_edit_the_next_one_is_told_too(
    rules: Path, edit: Callable[[Path], None]
) -> None:
    async with watching(rules) as heard:
        await asyncio.to_thread(edit, rules / "app.inq")
        await heard.until(NEW)

        (rules / "app.inq").write_text(OLD)

        await heard.until(OLD)


async def test_a_deleted_and_a_new_file_are_told(rules: Path) -> None:
    async with watching(rules) as heard:
        (rules / "app.inq").unlink()
        assert await heard.once() == ""

        (rules / "app.inq").write_text(NEW)
        assert await heard.once() == NEW


async def test_a_git_checkout_is_told(rules: Path) -> None:
    def git(*words: str) -> None:
        run("git", "-C", rules, "-c", "user.name=a", "-c", "user.email=a@b", *words)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "old")
    git("branch", "old")
    (rules / "app.inq").write_text(NEW)
    git("commit", "-qam", "new")
    async with watching(rules) as heard:
        await asyncio.to_thread(git, "checkout", "-q", "old")
        await heard.until(OLD)

        await asyncio.to_thread(git, "checkout", "-q", "-")
        await heard.until(NEW)


# -- links


def swap(link: Path, target: str) -> None:
    """Point a link elsewhere in one step, as `ln -sfn` and Kubernetes do."""
    new = link.with_name("..new")
    new.symlink_to(target)
    new.rename(link)


async def test_a_folder_swapped_as_a_config_map_is_told_each_time(tmp_path: Path) -> None:
    for version, text in (("..v1", OLD), ("..v2", NEW)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "app.inq").write_text(text)
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "app.inq").symlink_to("..data/app.inq")
    async with watching(tmp_path) as heard:
        for version, text in (("..v2", NEW), ("..v1", OLD), ("..v2", NEW)):
            swap(tmp_path / "..data", version)
            assert await heard.once() == text


@pytest.mark.parametrize("below", ["", "rules"])
async def test_a_link_to_the_folder_or_on_its_way_is_followed_when_it_moves(
    tmp_path: Path, below: str
) -> None:
    for version, text in (("v1", OLD), ("v2", NEW)):
        (tmp_path / version / below).mkdir(parents=True)
        (tmp_path / version / below / "app.inq").write_text(text)
    (tmp_path / "current").symlink_to("v1")
    async with watching(tmp_path / "current" / below) as heard:
        swap(tmp_path / "current", "v2")
        assert await heard.once() == NEW

        (tmp_path / "v2" / below / "app.inq").write_text(OLD)
        assert await heard.once() == OLD


# -- folders that come later


@pytest.mark.parametrize("deep", ["late", "quite/late/here"])
async def test_a_folder_that_is_missing_at_first_is_seen_when_it_comes(
    tmp_path: Path, deep: str
) -> None:
    folder = tmp_path / deep
    async with watching(folder) as heard:
        folder.mkdir(parents=True)
        await heard.once()
        (folder / "app.inq").write_text(NEW)
        await heard.until(NEW)

        (folder / "app.inq").write_text(OLD)
        await heard.until(OLD)


@pytest.mark.parametrize("below", ["services.d", "jobs.d"])
async def test_a_folder_below_is_watched_also_where_it_comes_later_or_is_a_link(
    rules: Path, tmp_path: Path, below: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    async with watching(rules, f"{below}/app.inq") as heard:
        (rules / below).symlink_to(tmp_path / "elsewhere")
        await heard.once()

        (tmp_path / "elsewhere" / "app.inq").write_text(NEW)
        assert await heard.once() == NEW


# -- bursts


async def test_what_goes_on_and_on_is_told_after_a_while(
    rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LONGEST", 0.8)
    done = threading.Event()

    def write() -> None:
        # replaced in one step: whoever reads it at any moment reads it whole
        while not done.wait(watch.SETTLE / 10):
            (rules / "new").write_text(NEW)
            (rules / "new").rename(rules / "app.inq")

    async with watching(rules) as heard:
        writer = asyncio.create_task(asyncio.to_thread(write))
        try:
            assert await heard.once() == NEW
            assert await heard.once() == NEW
        finally:
            done.set()
            await writer


async def test_our_own_reading_tells_nothing(rules: Path) -> None:
    files = RuleFiles([str(rules)], CATALOGUE)
    async with watching(rules) as heard:
        (rules / "app.inq").write_text(NEW)
        await heard.once()
        for _ in range(3):
            await asyncio.to_thread(files.read, None)

        await heard.quiet()


WATCHER = """
import asyncio, logging, sys
from steadyd.rulefiles import watch
logging.basicConfig(stream=sys.stdout, format="log %(message)s")
watch.RESCAN = float(sys.argv[2])
async def main():
    told = lambda: print("told", flush=True)
    task = asyncio.create_task(watch.RuleWatch([sys.argv[1]]).run(told))
    await asyncio.sleep(0)
    print("ready", flush=True)
    await task
"""


@contextlib.asynccontextmanager
async def watcher(
    folder: Path, rescan: float, before: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a watch in a process of its own; it prints a line each time."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WATCHER + before + "\nasyncio.run(main())", str(folder), str(rescan),
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def lines_until(process: asyncio.subprocess.Process, wanted: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(60):
        while not any(wanted in line for line in lines):
            line = (await process.stdout.readline()).decode()
            assert line, lines
            lines.append(line.strip())
    return lines


async def test_when_the_kernel_drops_events_the_files_are_read_again(rules: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    async with watcher(rules, rescan=600) as process:
        await lines_until(process, "ready")
        process.send_signal(signal.SIGSTOP)
        for _ in range(limit // 2 + 1000):  # created and deleted, two different events each
            (rules / "x").touch()
            (rules / "x").unlink()
        process.send_signal(signal.SIGCONT)

        lines = await lines_until(process, "told")

        assert "log Inotify queue overflowed; filesystem events were lost" in lines


async def test_the_line_about_an_overflow_alone_leads_to_a_new_reading(rules: Path) -> None:
    async with watching(rules) as heard:
        log = logging.getLogger("watchdog.observers.inotify_c")
        log.warning("Inotify queue overflowed; filesystem events were lost")

        assert await heard.once() == OLD
    assert not log.handlers


EXHAUSTED = """
import ctypes, os
os.setgid(54321)
os.setuid(54321)
while ctypes.CDLL(None).inotify_init() >= 0:
    pass
"""


@root
async def test_without_a_watch_left_the_files_are_read_now_and_then_and_that_is_told() -> None:
    async with watcher(Path("/usr"), 0.2, before=EXHAUSTED) as process:
        lines = [line for _ in range(3) for line in await lines_until(process, "told")]

    warnings = [line for line in lines if line.startswith("log")]
    assert len(warnings) == len(set(warnings))
    assert any("cannot watch /usr: " in line and "every 0.2 s" in line for line in warnings)


async def test_on_a_file_system_without_events_the_folder_is_looked_at_often(
    rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "WITHOUT_EVENTS", (watch._file_system(str(rules)),))
    monkeypatch.setattr(watch, "POLL", 0.1)
    async with watching(rules) as heard:
        (rules / "b.inq").write_text(NEW)
        await heard.once()

        (rules / "app.inq").write_text(NEW)
        await heard.until(NEW)


async def test_the_files_are_read_again_now_and_then_without_any_event(
    rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "RESCAN", 0.1)
    async with watching(rules) as heard:
        assert [await heard.once(), await heard.once()] == [OLD, OLD]


async def test_when_it_ends_its_threads_and_descriptors_end(rules: Path) -> None:
    async with watching(rules) as heard:  # loads what stays loaded
        (rules / "app.inq").write_text(NEW)
        await heard.once()
    threads, files = set(threading.enumerate()), os.listdir("/proc/self/fd")

    async with watching(rules) as heard:
        assert len(threading.enumerate()) > len(threads)
        await asyncio.to_thread(folder_swapped, rules / "app.inq")
        await heard.once()

    alive = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}
    assert alive <= threads
    assert len(os.listdir("/proc/self/fd")) == len(files)
