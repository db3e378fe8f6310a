"""Find rule files and read one: who could have written it is judged by what was opened.

A file's path is resolved first, so that folders swapped by a symlink work; then every folder on
the way and the file itself are opened without following links. Blocking.
"""

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from steadyd.rulefiles.diagnostics import Diagnostic, Level, printable

SUFFIX: Final = ".inq"
LARGEST: Final = 2**20  # bytes of one file
MOST: Final = 10_000  # files of one folder
BOM: Final = "\ufeff"
SERVICES: Final = "services.d"
JOBS: Final = "jobs.d"  # its files have words of their own


class Refused(Exception):
    """A file is not read; str() says why."""


class Trouble(NamedTuple):
    """What stands in the way of reading a folder, or one name in it.

    `unread` is set where the files of the folder `path` are not known.
    """

    path: str
    diagnostic: Diagnostic
    unread: bool = False


def find(folders: Sequence[str]) -> tuple[list[str], list[Trouble]]:
    """Return the rule files of folders in the order they count, and what was in the way."""
    paths: dict[str, None] = {}
    troubles: list[Trouble] = []
    for folder in map(str, map(Path, folders)):
        below = [os.path.join(folder, name) for name in (SERVICES, JOBS)]  # an Inspeqtor folder
        for place in (folder, *(place for place in below if os.path.isdir(place))):
            found, odd = _list(place)
            paths |= dict.fromkeys(found)
            troubles += odd
    return list(paths), troubles


def is_of_jobs(path: str) -> bool:
    """Tell whether a file is in a folder `jobs.d`."""
    return os.path.basename(os.path.dirname(os.path.abspath(path))) == JOBS


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


def _list(folder: str) -> tuple[list[str], list[Trouble]]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX))
    except OSError as error:
        why = f"the folder cannot be read: {error.strerror}; it is read when it can be"
        return [], [_trouble(folder, why)._replace(unread=not isinstance(error, FileNotFoundError))]
    found = [os.path.join(folder, name) for name in names if name[0] not in ".#"]
    troubles = []
    if len(found) > MOST:
        why = f"more than {MOST} rule files: the rest is not read"
        troubles.append(_trouble(folder, why))
        del found[MOST:]
    odd = [path for path in found if not path.isprintable()]
    why = "the name of the file is not printable UTF-8: it is not read; rename it"
    troubles += [_trouble(path, why) for path in odd]
    return [path for path in found if path.isprintable()], troubles


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


def _trouble(path: str, why: str, level: Level = Level.ERROR) -> Trouble:
    return Trouble(path, Diagnostic(level, 1, 1, why))
