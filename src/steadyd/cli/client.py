"""Asking the running daemon over its control socket (HTTP/1.1)."""

import argparse
import http.client
import json
import os
import socket
import struct
import sys
import time
from contextlib import closing
from typing import Any

from msgspec import Struct

from steadyd.cli import fail
from steadyd.cli.terminal import clean
from steadyd.settings import SettingsError, load, user_paths

UNREACHABLE = 3  # contract.md, section 3
SYSTEM = "/run/steadyd/control.sock"
_UCRED = struct.Struct("iII")  # unix(7)
MOST = 64 << 20  # bytes of an answer


class Unreachable(Exception):
    """The daemon cannot be reached; str() says where it was looked for, and the mend."""


class Answer(Struct, frozen=True):
    """What the daemon answered; `data` is a JSON object."""

    status: int
    data: dict[str, Any]

    @property
    def error(self) -> str:
        """Return the error that it names, "" for none."""
        return str(self.data.get("error", ""))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add `--control` and `--json`."""
    parser.add_argument("--control", metavar="SOCKET", help="the daemon's control socket")
    parser.add_argument("--json", action="store_true", help="print JSON")


def ask(
    args: argparse.Namespace,
    path: str,
    method: str = "GET",
    deadline: float = 30.0,
    body: Any = None,
) -> Answer:
    """Send one request; `deadline` is in seconds, for all of it. Raises Unreachable."""
    socket_path = args.control or place()
    try:
        return _ask(socket_path, path, method, time.monotonic() + deadline, body)
    except FileNotFoundError as error:
        raise Unreachable(_told(socket_path, "there is no such socket; is it running?")) from error
    except PermissionError as error:
        mend = "no right; it takes root or the group steadyd-admin"
        raise Unreachable(_told(socket_path, mend)) from error
    except TimeoutError as error:
        raise Unreachable(_told(socket_path, f"no answer in {deadline:g} s")) from error
    except ConnectionRefusedError as error:
        raise Unreachable(_told(socket_path, "nobody listens there; is it running?")) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = clean(error) or type(error).__name__
        raise Unreachable(_told(socket_path, why)) from error


def unreachable(error: Unreachable) -> int:
    """Print why the daemon could not be asked and return the exit code."""
    return fail(str(error), UNREACHABLE)


def print_json(data: Any) -> None:
    """Print an answer for scripts: ASCII only, so that no terminal is steered by it."""
    json.dump(data, sys.stdout, ensure_ascii=True, indent=2)
    print()


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str, until: float) -> None:
        super().__init__("localhost", timeout=_left(until))
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def daemon_of(args: argparse.Namespace) -> tuple[int, int]:
    """Return pid and user id of the daemon at the other end of the control socket.

    Raises OSError.
    """
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(args.control or place())
        data = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(data)
    return pid, uid


def _ask(place: str, path: str, method: str, until: float, sent: Any) -> Answer:
    with closing(_Unix(place, until)) as connection:
        text = None if sent is None else json.dumps(sent)
        connection.request(method, path, text, headers={"Connection": "close"})
        channel, body = connection.sock, bytearray()
        response = connection.getresponse()
        while piece := response.read1(65_536):
            body += piece
            if len(body) > MOST:
                raise ValueError("the answer is too large to be one of ours")
            if not response.isclosed():
                channel.settimeout(_left(until))
        data = json.loads(body)
        if not isinstance(data, dict):
            raise ValueError("what answers there is no steadyd")
        return Answer(response.status, data)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def place() -> str:
    """Return where the daemon listens: the user's own one, else that of the host."""
    try:
        own = load(None).control
    except SettingsError:  # the daemon's business; where it listens by default is known
        own = user_paths()[1]
    return SYSTEM if os.path.exists(SYSTEM) and not os.path.exists(own) else own


def _told(place: str, why: str) -> str:
    return f"cannot reach the daemon at {place}: {why}; another place: --control SOCKET"
