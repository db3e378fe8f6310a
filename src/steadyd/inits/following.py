"""What init systems that keep their state in files have in common: watch, read, compare, tell."""

import asyncio
import errno
import logging
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping

from steadyd.inits.exits import Exits
from steadyd.inits.inotify import Folders
from steadyd.model.rule import Verb
from steadyd.model.service import UnitStatus, matches
from steadyd.ports import (
    InitError,
    InitLost,
    InitReached,
    InitReport,
    InitUnreachable,
    UnitGone,
    UnitNotFound,
    VerbFailed,
)

log = logging.getLogger(__name__)

RECONCILE_SECONDS = 60.0  # the slow look below all events
POLL_SECONDS = 1.0  # for what cannot be watched, and while the init is away
SETTLE_SECONDS = 0.2  # that what was just started or signalled must live
_GLANCE = 0.25  # seconds between two looks while a verb is under way, if no event comes
_AT_ONCE = 100  # units read before others get their turn
LONGEST_NAME = 255


class FileInit(ABC):
    """The part of `ports.InitSystem` that does not depend on the format of the files.

    Everything is on one event loop. `find` and `perform` work with and without `run`.
    """

    name: str

    def __init__(self) -> None:
        self._watched: frozenset[str] = frozenset()
        self._dirty: set[str] = set()
        self._told: dict[str, UnitStatus | UnitGone] = {}
        self._places: dict[str, tuple[str, ...]] = {}  # unit -> folders
        self._units: dict[str, set[str]] = {}  # folder -> units
        self._by_pid: dict[int, str] = {}
        self._folders: Folders | None = None
        self._exits = Exits(self._on_exit)
        self._blind = False
        self._up: bool | None = None
        self._wake = asyncio.Event()
        self._closed = False

    @abstractmethod
    def trouble(self) -> str:
        """Return why the init system cannot be asked now, "" if it can."""

    @abstractmethod
    def read(self, unit: str) -> UnitStatus:
        """Return the state of a unit, from its files. Raises InitError."""

    @abstractmethod
    def places(self, unit: str) -> Iterable[str]:
        """Return the folders in which something changes when the state of the unit does."""

    def home(self) -> Iterable[str]:
        """Return the folders that are gone when the init system is."""
        return ()

    def names(self) -> Iterable[str]:
        """Return all names that may be those of services. Raises OSError."""
        return ()

    def concerns(self, unit: str, name: str) -> bool:
        """Tell whether a change of this name in one of its places may concern a unit."""
        return True

    def observe(self, before: UnitStatus | UnitGone | None, now: UnitStatus) -> UnitStatus:
        """Return `now` with what only the one who saw `before` can know of it."""
        return now

    # ports.InitSystem

    async def find(self, name: str) -> UnitStatus:
        """Find a service by its name. Raises InitError."""
        return self.read(name)

    async def units(self, glob: str) -> Collection[str]:
        """Return the services that a glob stands for."""
        if why := self.trouble():
            raise InitUnreachable(self.name, ascii(glob)[:80], "list", why)
        try:
            return {name for name in self.names() if matches(glob, name) and self.is_unit(name)}
        except OSError as error:
            why = str(error.strerror)
            raise InitUnreachable(self.name, ascii(glob)[:80], "list", why) from None

    def is_unit(self, name: str) -> bool:
        """Tell whether a name is that of a service."""
        try:
            self.read(name)
        except InitError:
            return False
        return True

    async def denied(self, unit: str, verbs: Collection[Verb]) -> Mapping[Verb, str]:
        """Return those verbs for which the right is known to lack."""
        why = self.no_right(unit)
        return dict.fromkeys(verbs, why) if why else {}

    def no_right(self, unit: str) -> str:
        """Return why we may not command a unit, and the mend; "" if we may."""
        return ""

    async def watch(self, units: Collection[str]) -> None:
        """Replace the set of watched units."""
        self._watched = frozenset(units)
        self._dirty = (self._dirty & self._watched) | (self._watched - self._told.keys())
        self._told = {unit: told for unit, told in self._told.items() if unit in self._watched}
        for unit in self._places.keys() - self._watched:
            self._place(unit, ())
        self._wake.set()

    async def run(self, report: Callable[[InitReport], None]) -> None:
        """Follow the files until closed or cancelled."""
        try:
            self._folders = Folders(self._on_change)
        except OSError as error:
            self._see_less(str(error.strerror))
        try:
            while not self._closed:
                if why := self.trouble():
                    self._lose(report, why)
                    await self._rest(POLL_SECONDS)
                    continue
                if not self._up:
                    self._up = True
                    report(InitReached(self.name))
                    self._dirty = set(self._watched)
                await self._refresh(report)
                await self._rest(POLL_SECONDS if self._blind else RECONCILE_SECONDS)
        finally:
            self._exits.close()
            if self._folders is not None:
                self._folders.close()

    async def close(self) -> None:
        """End `run`."""
        self._closed = True
        self._wake.set()

    # following

    def _on_change(self, folder: str, name: str) -> None:
        if not folder:
            self._dirty |= self._watched
        for unit in self._units.get(folder, ()):
            if not name or self.concerns(unit, name):
                self._dirty.add(unit)
        if self._dirty or folder in self.home():
            self._wake.set()

    def _on_exit(self, pid: int) -> None:
        self._dirty |= {self._by_pid[pid]} & self._watched
        self._wake.set()

    def _lose(self, report: Callable[[InitReport], None], reason: str) -> None:
        self._told.clear()  # after the gap everything is told anew
        if self._up is not False:
            self._up = False
            report(InitLost(self.name, reason))

    async def _rest(self, seconds: float) -> None:
        if self._dirty and self._up:
            await asyncio.sleep(0)
            return
        self._wake.clear()
        if self._closed:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            self._dirty |= self._watched

    async def _refresh(self, report: Callable[[InitReport], None]) -> None:
        for _ in range(min(_AT_ONCE, len(self._dirty))):
            unit = self._dirty.pop()
            self._place(unit, self.places(unit))  # before the look: what comes after it is told
            news, told = self._look(unit), self._told.get(unit)
            if isinstance(news, UnitStatus):
                news = self.observe(told, news)
            if unit in self._watched and told != news:
                self._told[unit] = news
                report(news)
        self._by_pid = {
            pid: unit
            for unit, told in self._told.items()
            if isinstance(told, UnitStatus)
            for pid in (told.main_pid, *told.others)
            if pid
        }
        self._exits.keep(self._by_pid)

    def _look(self, unit: str) -> UnitStatus | UnitGone:
        try:
            return self.read(unit)
        except InitError as error:
            return UnitGone(self.name, unit, error.why)

    def _place(self, unit: str, places: Iterable[str]) -> None:
        folders, home = tuple(places), tuple(self.home())
        left = [folder for folder in self._places.pop(unit, ()) if folder not in folders]
        for folder in left:
            self._units[folder].discard(unit)
            if not self._units[folder]:
                del self._units[folder]
                if self._folders is not None and folder not in home:
                    self._folders.drop(folder)
        if folders:
            self._places[unit] = folders
        for folder in folders:
            self._units.setdefault(folder, set()).add(unit)
        if self._folders is not None:
            try:
                for folder in (*home, *folders):
                    self._folders.add(folder)
            except OSError as error:
                self._see_less(str(error.strerror))

    def _see_less(self, why: str) -> None:
        if self._blind:
            return
        self._blind = True
        log.warning(
            "%s: not all folders can be watched (%s); they are read every %g s; "
            "raise fs.inotify.max_user_instances and max_user_watches",
            self.name,
            why,
            POLL_SECONDS,
        )

    # verbs

    async def until(self, unit: str, test: Callable[[UnitStatus], bool]) -> UnitStatus:
        """Wait until a unit is as wanted; the caller sets the deadline. Raises InitError."""
        moved = asyncio.Event()
        folders: Folders | None = None
        try:
            try:
                folders = Folders(lambda *_: moved.set())
                for folder in self.places(unit):
                    folders.add(folder)
            except OSError:
                pass  # then by glances alone
            while not test(status := self.read(unit)):
                moved.clear()
                try:
                    async with asyncio.timeout(_GLANCE):
                        await moved.wait()
                except TimeoutError:
                    continue
            return status
        finally:
            if folders is not None:
                folders.close()

    async def settled(self, verb: Verb, unit: str, pid: int) -> None:
        """Raise VerbFailed unless this process of a unit still runs after a moment."""
        await asyncio.sleep(SETTLE_SECONDS)
        after = self.read(unit)
        if after.main_pid != pid:
            why = f"its process {pid} ended at once; it is {after.state} afterwards"
            raise VerbFailed(self.name, unit, verb, f"{why}: {after.reason}".rstrip(": "))


def plain_name(init: str, name: str) -> str:
    """Return a name that can be that of a file. Raises UnitNotFound."""
    if not name or name.startswith(".") or "/" in name or len(name) > LONGEST_NAME:
        raise UnitNotFound(init, ascii(name[:40]), "find", "this cannot be a service's name")
    if not name.isprintable() or not name.isascii():
        raise UnitNotFound(init, ascii(name[:40]), "find", "this cannot be a service's name")
    return name


def read_state(path: str, most: int) -> bytes:
    """Return a small state file: a plain file of root's or ours, not a link. Raises OSError."""
    fd = _open(path, os.O_RDONLY)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(0, "it is no plain file")
        if facts.st_uid not in (0, os.geteuid()):
            raise OSError(0, f"it belongs to uid {facts.st_uid}, not to root")
        return os.read(fd, most)
    finally:
        os.close(fd)


def write_command(path: str, command: bytes) -> None:
    """Write to a control fifo of root's or ours, not a link. Raises OSError; ENXIO: nobody reads.

    With an empty command it is only tried.
    """
    fd = _open(path, os.O_WRONLY)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISFIFO(facts.st_mode) or facts.st_uid not in (0, os.geteuid()):
            raise OSError(0, "it is no fifo of root's")
        if command:
            os.write(fd, command)
    except BlockingIOError:
        raise OSError(errno.EAGAIN, "it is full") from None
    finally:
        os.close(fd)


def _open(path: str, how: int) -> int:
    try:
        return os.open(path, how | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link") from None
        raise
