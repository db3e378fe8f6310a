"""Changes in folders, as the kernel tells them (inotify(7)), on the event loop."""

import asyncio
import ctypes
import errno
import os
import struct
from collections.abc import Callable

# inotify(7)
_MODIFY, _CLOSE_WRITE = 0x2, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _IGNORED = 0x400, 0x800, 0x8000
_ONLYDIR, _EXCL_UNLINK = 0x0100_0000, 0x0400_0000
_MASK = (
    (_MODIFY | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE)
    | (_DELETE_SELF | _MOVE_SELF)
    | (_ONLYDIR | _EXCL_UNLINK)
)
_EVENT = struct.Struct("iIII")
_BUFFER = 65_536


class Folders:
    """Watches folders until `close`; `changed` gets the folder and the name in it.

    Both are empty when events were lost: anything may have changed. The name is empty for the
    folder itself.
    """

    def __init__(self, changed: Callable[[str, str], None]) -> None:
        """Raises OSError where the kernel gives us no inotify (too many users of it, say)."""
        self._changed = changed
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = _checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._by_wd: dict[int, str] = {}
        self._by_path: dict[str, int] = {}
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def add(self, path: str) -> None:
        """Watch one more folder, if it is there. Raises OSError: the kernel gives no more watches.

        What is watched by this name already is looked up again: a link may lead elsewhere now.
        """
        try:
            wd = _checked(self._libc.inotify_add_watch(self._fd, os.fsencode(path), _MASK))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM):
                raise
            return
        if self._by_path.get(path) == wd:
            return
        self.drop(path)
        if (other := self._by_wd.get(wd)) is not None:  # the same folder by another name
            self._by_path.pop(other, None)
        self._by_wd[wd], self._by_path[path] = path, wd

    def drop(self, path: str) -> None:
        """Watch a folder no longer, if it was."""
        if (wd := self._by_path.pop(path, None)) is not None:
            self._by_wd.pop(wd, None)
            self._libc.inotify_rm_watch(self._fd, wd)

    def close(self) -> None:
        """Let go of everything."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _BUFFER)
        except OSError:
            return
        at = 0
        while at < len(data):
            wd, mask, _, size = _EVENT.unpack_from(data, at)
            name = os.fsdecode(data[at + _EVENT.size : at + _EVENT.size + size].rstrip(b"\0"))
            at += _EVENT.size + size
            path = self._by_wd.get(wd, "")
            if not path and wd >= 0:
                continue
            if mask & (_IGNORED | _MOVE_SELF | _DELETE_SELF):
                self.drop(path)  # its name may stand for another folder soon
            self._changed(path, name)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
