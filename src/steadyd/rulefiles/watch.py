"""Tell when rule files may have changed: inotify by watchdog, with a slow re-scan as the net.

Watches each folder and its parent, never single files: editors rename over them, and a folder
may be replaced as a whole. What changed is not told; the reader compares contents.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from steadyd.rulefiles.reading import JOBS, SERVICES

log = logging.getLogger(__name__)

SETTLE: Final = 0.3  # seconds without an event after which the files are read
LONGEST: Final = 2.0  # seconds after the first event at which they are read anyway
RESCAN: Final = 60.0
POLL: Final = 2.0  # on file systems without events

# Not `opened` and `closed_no_write`, which our own reading causes.
EVENTS: Final[list[type[FileSystemEvent]]] = [
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    FileCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
    DirCreatedEvent,
]
# A poll knows nothing of closing.
POLLED: Final = [*EVENTS, FileModifiedEvent]
# File systems on which a change from elsewhere makes no event (mount(8) names).
WITHOUT_EVENTS: Final = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse", "afs", "ceph", "glusterfs")


class RuleWatch:
    """Watches folders until cancelled."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = tuple(os.path.abspath(folder) for folder in folders)
        self._event = asyncio.Event()

    async def run(self, changed: Callable[[], object]) -> None:
        """Call `changed` after each burst of changes, and every RESCAN seconds."""
        loop = asyncio.get_running_loop()

        def tell() -> None:
            if not self._event.is_set():
                loop.call_soon_threadsafe(self._event.set)

        overflow = _Overflow(tell)
        inotify = logging.getLogger("watchdog.observers.inotify_c")
        inotify.addHandler(overflow)
        watching = _Watching(_Handler(tell))
        try:
            watching.follow(self._places())
            while True:
                await self._burst()
                watching.follow(self._places())  # first, so that nothing is missed in between
                changed()
        finally:
            inotify.removeHandler(overflow)
            await asyncio.to_thread(watching.stop)

    def _places(self) -> set[str]:
        """Return the folders to watch: each one, those below that count, targets and parents."""
        places: set[str] = set()
        for folder in self._folders:
            for named in (folder, *(os.path.join(folder, below) for below in (SERVICES, JOBS))):
                for path in (named, os.path.realpath(named)):
                    places.update((path, _parent(path)))
        return {place for place in places if os.path.isdir(place)}

    async def _burst(self) -> None:
        """Wait for a change and until it has settled, or until it is time for a re-scan."""
        try:
            async with asyncio.timeout(RESCAN):
                await self._event.wait()
        except TimeoutError:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST):
                while True:
                    self._event.clear()
                    try:
                        async with asyncio.timeout(SETTLE):
                            await self._event.wait()
                    except TimeoutError:
                        break
        self._event.clear()


class _Watching:
    """The observers of the folders that exist now."""

    def __init__(self, handler: FileSystemEventHandler) -> None:
        self._handler = handler
        self._inodes: dict[str, tuple[int, int]] = {}
        self._watches: dict[str, tuple[Any, Any]] = {}
        self._inotify: Any = None
        self._polling: Any = None
        self._troubles: set[str] = set()

    def follow(self, places: set[str]) -> None:
        """Watch exactly these folders; one that was replaced is watched anew."""
        inodes = {place: inode for place in places if (inode := _inode(place))}
        alive = self._alive()
        for place, inode in list(self._inodes.items()):
            if inodes.get(place) != inode or self._watches[place][1] not in alive:
                observer, watch = self._watches.pop(place)
                observer.unschedule(watch)
                del self._inodes[place]
        for place in inodes.keys() - self._inodes.keys():
            try:
                observer = self._observer(place)
                events = EVENTS if observer is self._inotify else POLLED
                watch = observer.schedule(self._handler, place, event_filter=events)
            except OSError as error:  # gone again, or no watch is left
                self._tell_once(f"cannot watch {place}: {error.strerror}")
            else:
                self._watches[place] = (observer, watch)
                self._inodes[place] = inodes[place]

    def _alive(self) -> set[Any]:
        """Return the watches that still tell: one ends with its folder, whose inode may return."""
        observers = [each for each in (self._inotify, self._polling) if each is not None]
        return {e.watch for each in observers for e in each.emitters if e.is_alive()}

    def _tell_once(self, text: str) -> None:
        if text not in self._troubles:
            self._troubles.add(text)
            log.warning("%s; rule files are read again every %g s", text, RESCAN)

    def stop(self) -> None:
        """End the observers' threads."""
        for observer in (self._inotify, self._polling):
            if observer is not None:
                observer.stop()
                observer.join()

    def _observer(self, place: str) -> Any:
        if _file_system(place) in WITHOUT_EVENTS:
            from watchdog.observers.polling import PollingObserver  # noqa: PLC0415 - rarely needed

            self._polling = self._polling or _started(PollingObserver(timeout=POLL))
            return self._polling
        self._inotify = self._inotify or _started(Observer())
        return self._inotify


class _Handler(FileSystemEventHandler):
    """Passes on that something happened, from the observer's thread."""

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell = tell

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._tell()


class _Overflow(logging.Handler):
    """An overflow of inotify's queue is only logged: it means a re-scan."""

    def __init__(self, tell: Callable[[], object]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._tell()


def _started(observer: Any) -> Any:
    observer.start()
    return observer


def _parent(path: str) -> str:
    """Return the nearest folder above that exists, where a missing one will appear."""
    above = os.path.dirname(path)
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    return above


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _file_system(path: str) -> str:
    """Return the type of the file system that a folder lies on, by the longest mount point."""
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind.partition(".")[0]
