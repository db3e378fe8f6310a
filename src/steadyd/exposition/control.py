"""The control socket: who may use it is what the kernel says of the other end (unix(7)).

uid 0, our own uid and the group steadyd-admin may act, the group adm may read, nobody else may
anything. The file's mode keeps most others away already: it belongs to steadyd-admin, or where
there is no such group to adm.
"""

import contextlib
import errno
import grp
import logging
import os
import pwd
import socket
import stat
import struct
from pathlib import Path

from msgspec import Struct

from steadyd.exposition.connection import Caller
from steadyd.exposition.listen import BACKLOG, WebConfigError, WebError

log = logging.getLogger(__name__)

ADMINS, READERS = "steadyd-admin", "adm"
LONGEST = 107  # bytes that sockaddr_un takes
_SO_PEERGROUPS = 59  # since Linux 4.13; the socket module has no name for it
_MOST_GROUPS = 256
_UCRED = struct.Struct("iII")


class Peer(Struct, frozen=True):
    """A process at the other end of a unix socket."""

    pid: int
    uid: int
    groups: frozenset[int]


class ControlSocket:
    """The bound socket; `close` takes its file away again."""

    def __init__(self, path: str) -> None:
        """Bind it. Raises WebError."""
        self.path = path
        self._rights = self.rights()
        self.listener = _bind(path, self._group())
        self._file = os.lstat(path).st_ino

    @staticmethod
    def rights() -> "Rights":
        """Return who may do what."""
        return Rights(_gid(ADMINS), _gid(READERS))

    def caller(self, connection: socket.socket) -> Caller:
        """Return who is at the other end, and what they may do. Raises OSError."""
        return self._rights.caller(connection)

    def close(self) -> None:
        """Stop listening and remove the file, if it still is ours."""
        self.listener.close()
        with contextlib.suppress(OSError):
            if os.lstat(self.path).st_ino == self._file:
                os.unlink(self.path)

    def _group(self) -> int | None:
        rights = self._rights
        return rights.readers if rights.admins is None else rights.admins


class Rights(Struct, frozen=True):
    """Who may do what on a socket: the groups that act and that read, None where there is none."""

    admins: int | None
    readers: int | None

    def caller(self, connection: socket.socket) -> Caller:
        """Return who is at the other end, and what they may do. Raises OSError."""
        peer = peer_of(connection)
        acts = peer.uid in (0, os.geteuid()) or self.admins in peer.groups
        reads = acts or self.readers in peer.groups
        who = f"uid {peer.uid} (pid {peer.pid})"
        return Caller(True, who, may_read=reads, may_act=acts, trusted=reads, known=reads)


class JobSocket:
    """A socket at which every local user may tell that a recurring job ran, and nothing else."""

    def __init__(self, path: str) -> None:
        """Bind it. Raises WebError."""
        self.path = path
        self.listener = open_socket(path)
        self._file = os.lstat(path).st_ino

    def caller(self, connection: socket.socket) -> Caller:
        """Return who is at the other end. Raises OSError."""
        peer = peer_of(connection)
        who = f"uid {peer.uid} (pid {peer.pid})"
        return Caller(True, who, may_read=False, may_report=True)

    def close(self) -> None:
        """Stop listening and remove the file, if it still is ours."""
        self.listener.close()
        with contextlib.suppress(OSError):
            if os.lstat(self.path).st_ino == self._file:
                os.unlink(self.path)


def peer_of(connection: socket.socket) -> Peer:
    """Return the process that connected, with its supplementary groups. Raises OSError."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(data)
    return Peer(pid, uid, frozenset((gid, *_groups(connection, uid, gid))))


def _groups(connection: socket.socket, uid: int, gid: int) -> tuple[int, ...]:
    try:
        data = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
        return struct.unpack(f"{len(data) // 4}I", data)
    except OSError:  # an older kernel, or more groups than fit
        try:
            return tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
        except KeyError:
            return ()


def _gid(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def open_socket(path: str) -> socket.socket:
    """Return a listener that every local user may connect to. Raises WebError."""
    return _bind(path, None, 0o111)


def _bind(path: str, group: int | None, mask: int = 0o117) -> socket.socket:
    if len(os.fsencode(path)) > LONGEST:
        raise WebConfigError(f"control socket {path}: the path is longer than {LONGEST} bytes")
    try:
        _make_folder(Path(path).parent)
        _remove_stale(path)
        return _listening(path, group, mask)
    except OSError as error:
        raise WebError(
            f"cannot make the control socket {path}: {error.strerror}; choose another place with "
            "--control"
        ) from error


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True)
        # whoever may use the socket must get to it; under a user's own folder that is the user
        folder.chmod(0o755 if os.geteuid() == 0 else 0o700)


def _remove_stale(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise WebError(f"control socket {path}: something else has this name; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        answer = probe.connect_ex(path)
    if answer == errno.ECONNREFUSED:
        os.unlink(path)
    elif answer not in (0, errno.EAGAIN):
        raise OSError(answer, os.strerror(answer))
    else:
        raise WebError(
            f"another steadyd answers at {path}; stop it, or give this one its own --control"
        )


def _listening(path: str, group: int | None, mask: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        before = os.umask(mask)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        _give(path, group)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _give(path: str, group: int | None) -> None:
    if group is None:
        return
    try:
        os.chown(path, -1, group)
    except PermissionError:
        log.info("%s stays with our own group: we are not in group %s", path, _named(group))


def _named(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
