"""Read the folders of rule files: each file judged alone, a bad one keeps its own last good text.

A file's path is resolved first, so that folders swapped by a symlink work; then every folder on
the way and the file itself are opened without following links, and judged by what was opened.
Blocking: call `RuleFiles.read` in a thread.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from steadyd.model.rule import CheckParams, RuleSet
from steadyd.model.snapshot import FileView
from steadyd.rulefiles import params, tree
from steadyd.rulefiles.compile import Compiled, Known, MetricCatalogue, compile_file
from steadyd.rulefiles.diagnostics import Diagnostic, Level, Report, printable
from steadyd.rulefiles.lexer import Places
from steadyd.rulefiles.merge import merge
from steadyd.rulefiles.parser import parse

SUFFIX: Final = ".inq"
LARGEST: Final = 2**20  # bytes of one file
MOST: Final = 10_000  # files of one folder
BOM: Final = "\ufeff"
LATER: Final = ("inspeqtor.conf", "jobs.d")  # of an Inspeqtor folder, not read yet


class Refused(Exception):
    """A file is not read; str() says why."""


class LastGood(Protocol):
    """Where the last good text of each file is kept across restarts."""

    def get(self, path: str) -> str | None:
        """Return the last good text of a file."""

    def put(self, path: str, text: str) -> None:
        """Remember the last good text of a file."""

    def forget(self, path: str) -> None:
        """Forget a file."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One file: what is in force of it, and what is wrong with its present text.

    `compiled` is None where nothing of it was ever good. `text` is the present text, for carets.
    """

    path: str
    text: str
    compiled: Compiled | None
    diagnostics: tuple[Diagnostic, ...]
    present: bool  # whether the present text is the one in force

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """Return the errors among the diagnostics."""
        return tuple(d for d in self.diagnostics if d.is_error)


@dataclass(frozen=True, slots=True)
class World:
    """All rules in force, the files they came from, and every error as a line of text."""

    rules: RuleSet
    files: tuple[Judged, ...]
    errors: tuple[str, ...]

    @property
    def views(self) -> tuple[FileView, ...]:
        """Return the files as they are shown."""
        return tuple(
            FileView(f.path, not f.errors, one_line(f.path, f.errors[0]) if f.errors else None)
            for f in self.files
        )


class RuleFiles:
    """The rule files of some folders. Remembers what it read, and what was good of it."""

    def __init__(
        self,
        folders: Sequence[str],
        catalogue: MetricCatalogue,
        last_good: LastGood | None = None,
        defaults: CheckParams | None = None,
    ) -> None:
        self.views: tuple[FileView, ...] = ()
        self._folders, self._catalogue = tuple(folders), catalogue
        self._defaults = defaults or CheckParams()
        self._last_good = last_good
        self._good: dict[str, str] = {}
        self._parsed: dict[str, tuple[bytes, tree.File]] = {}
        self._compiled: dict[str, tuple[bytes, frozenset[str] | None, Compiled]] = {}

    def read(self, routes: Collection[str] | None) -> World:
        """Read all files now; `routes` None: they are not known, so that any is good."""
        names = None if routes is None else frozenset(routes)
        known = Known(self._catalogue, names, self._defaults)
        paths, troubles = find(self._folders)
        files = [self._judge(path, known, names) for path in paths]
        self._drop(set(paths))
        merged = merge(f.compiled for f in files if f.compiled is not None)
        files = [
            replace(f, diagnostics=(*f.diagnostics, *merged.diagnostics.get(f.path, ())))
            for f in files
        ]
        errors = [one_line(f.path, error) for f in files for error in f.errors]
        world = World(merged.rules, (*files, *troubles), (*troubles_text(troubles), *errors))
        self.views = world.views
        return world

    def _judge(self, path: str, known: Known, routes: frozenset[str] | None) -> Judged:
        try:
            text, _ = read_text(path)
        except Refused as refused:
            diagnostic = Diagnostic(Level.ERROR, 1, 1, str(refused))
            return self._fall_back(path, "", (diagnostic,), known, routes)
        file = self._parse(path, text)
        if file.bad:
            return self._fall_back(path, text, file.diagnostics, known, routes)
        compiled = self._compile(path, text, known, routes)
        if self._good.get(path) != text:
            self._good[path] = text
            if self._last_good is not None:
                self._last_good.put(path, text)
        found = (*file.diagnostics, *compiled.diagnostics)
        return Judged(path, text, compiled, found, present=True)

    def _fall_back(
        self,
        path: str,
        text: str,
        diagnostics: tuple[Diagnostic, ...],
        known: Known,
        routes: frozenset[str] | None,
    ) -> Judged:
        """Keep the last good text of a file in force."""
        if path not in self._good and self._last_good is not None:
            kept = self._last_good.get(path)
            if kept is not None and not parse(kept).bad:
                self._good[path] = kept
        good = self._good.get(path)
        compiled = None if good is None else self._compile(path, good, known, routes)
        return Judged(path, text, compiled, diagnostics, present=False)

    def _parse(self, path: str, text: str) -> tree.File:
        digest = _digest(text)
        cached = self._parsed.get(path)
        if cached is None or cached[0] != digest:
            cached = self._parsed[path] = (digest, parse(text))
        return cached[1]

    def _compile(
        self, path: str, text: str, known: Known, routes: frozenset[str] | None
    ) -> Compiled:
        digest = _digest(text)
        cached = self._compiled.get(path)
        if cached is None or cached[:2] != (digest, routes):
            compiled = compile_file(path, self._parse(path, text), known)
            cached = self._compiled[path] = (digest, routes, compiled)
        return cached[2]

    def _drop(self, paths: set[str]) -> None:
        for path in [path for path in self._good if path not in paths]:
            del self._good[path]
            if self._last_good is not None:
                self._last_good.forget(path)
        for cache in (self._parsed, self._compiled):
            for path in [path for path in cache if path not in paths]:
                del cache[path]


def find(folders: Sequence[str]) -> tuple[list[str], list[Judged]]:
    """Return the rule files of folders in the order they count, and the folders with trouble."""
    paths: list[str] = []
    troubles: list[Judged] = []
    for folder in folders:
        try:
            found = _list(folder)
        except OSError as error:
            why = f"the folder cannot be read: {error.strerror}; it is read when it can be"
            troubles.append(_trouble(folder, Level.ERROR, why))
            continue
        if len(found) > MOST:
            why = f"more than {MOST} rule files: the rest is not read"
            troubles.append(_trouble(folder, Level.ERROR, why))
        paths += [path for path in found[:MOST] if path not in paths]
        for name in LATER:
            if (Path(folder) / name).exists():
                later = str(Path(folder) / name)
                troubles.append(_trouble(later, Level.WARNING, "is not read by this version"))
    return paths, troubles


def read_text(path: str, *, strict: bool = True) -> tuple[str, list[str]]:
    """Return the text of a file without its byte-order mark, and warnings.

    With `strict`, a file or a folder on its way that somebody else could write is refused; else
    that is a warning. Raises Refused.
    """
    warnings: list[str] = []
    try:
        real = os.path.realpath(path, strict=True)
        with contextlib.ExitStack() as stack:
            fd = _open(real, strict, warnings, stack)
            data = os.read(fd, LARGEST + 1)
            while len(data) <= LARGEST and (more := os.read(fd, LARGEST + 1 - len(data))):
                data += more
    except OSError as error:
        raise Refused(f"the file cannot be read: {error.strerror}") from error
    if len(data) > LARGEST:
        raise Refused("the file is larger than 1 MiB")
    try:
        return data.decode("utf-8").removeprefix(BOM), warnings
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Refused(f"the file is not UTF-8 (line {line}); save it as UTF-8") from error


def defaults_of(values: Mapping[str, str]) -> CheckParams:
    """Return what `[defaults]` of the configuration means. Raises ValueError."""
    report = Report(Places(""))
    given = [tree.Param(key, str(value), 0, 0) for key, value in values.items()]
    meaning = params.read(given, CheckParams(), report)
    for diagnostic in report.done():
        mend = f"; {diagnostic.help}" if diagnostic.help else ""
        raise ValueError(diagnostic.message + mend)
    return replace(meaning, given=())


def one_line(path: str, diagnostic: Diagnostic) -> str:
    """Return a diagnostic as one line with its mend."""
    mend = f"; {diagnostic.help}" if diagnostic.help else ""
    return diagnostic.at(path) + mend


def troubles_text(troubles: Sequence[Judged]) -> list[str]:
    """Return the errors among the troubles of folders as lines."""
    return [one_line(t.path, error) for t in troubles for error in t.errors]


def _list(folder: str) -> list[str]:
    top = Path(folder)
    found = list(_rule_files(top))
    services = top / "services.d"
    if services.is_dir():  # an Inspeqtor folder
        found += _rule_files(services)
    return found


def _rule_files(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.name.endswith(SUFFIX))
    for name in names:
        if not name.startswith((".", "#")):
            yield str(folder / name)


def _open(real: str, strict: bool, warnings: list[str], stack: contextlib.ExitStack) -> int:
    """Open a resolved path step by step; return the descriptor of the regular file."""
    here = "/"
    fd = os.open(here, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    *folders, name = [part for part in real.split("/") if part] or [""]
    for part in folders:
        _trust(os.fstat(fd), here, strict, warnings)
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(part, flags, dir_fd=fd)
        stack.callback(os.close, fd)
        here = os.path.join(here, part)
    _trust(os.fstat(fd), here, strict, warnings)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=fd)
    stack.callback(os.close, fd)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise Refused("this is no regular file")
    _trust(status, real, strict, warnings)
    return fd


def _trust(status: os.stat_result, path: str, strict: bool, warnings: list[str]) -> None:
    """Refuse, or warn of, what somebody else than root and we could write."""
    shown, mode = printable(path), status.st_mode
    sticky = stat.S_ISDIR(mode) and mode & stat.S_ISVTX
    why = ""
    if status.st_uid not in (0, os.geteuid()):
        why = f"{shown} belongs to another user; chown root {shown}"
    elif mode & stat.S_IWOTH and not sticky:
        why = f"{shown} may be written by everybody; chmod o-w {shown}"
    elif mode & stat.S_IWGRP and not sticky and status.st_gid not in _our_groups():
        why = f"{shown} may be written by a group that is not ours; chmod g-w {shown}"
    if not why:
        return
    if strict:
        raise Refused(why)
    warnings.append(why)


def _our_groups() -> set[int]:
    return {os.getegid(), *os.getgroups()}


def _trouble(path: str, level: Level, why: str) -> Judged:
    return Judged(path, "", None, (Diagnostic(level, 1, 1, why),), present=False)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
