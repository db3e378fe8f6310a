"""A command on a terminal of its own, and what it draws there."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from tests.e2e.local import until

ENTRY = "import sys; from steadyd.__main__ import main; sys.exit(main())"


class Terminal:
    """`drawn` is all that it wrote, steering sequences included."""

    def __init__(self, child: int, fd: int) -> None:
        self._child, self._fd = child, fd
        self.drawn = b""
        self.code: int | None = None

    def shows(self, *texts: str) -> bool:
        """Tell whether it drew all of these by now."""
        ready, _, _ = select.select([self._fd], [], [], 0.1)
        with suppress(OSError):  # Linux says EIO at the end
            self.drawn += os.read(self._fd, 65_536) if ready else b""
        return all(text.encode() in self.drawn for text in texts)

    def wait_for(self, *texts: str, seconds: float = 30) -> None:
        until(lambda: self.shows(*texts), seconds, f"{texts} in {self.drawn[-2000:]!r}")

    def press(self, key: str) -> None:
        self.drawn = b""
        os.write(self._fd, key.encode())

    def end(self, seconds: float = 20) -> int:
        """Wait until it ended by itself; return its exit code."""
        until(self._ended, seconds, f"its end; {self.drawn[-2000:]!r}")
        assert self.code is not None
        return self.code

    def _ended(self) -> bool:
        self.shows()
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if pid:
            self.code = os.waitstatus_to_exitcode(status)
        return bool(pid)

    def close(self) -> None:
        if self.code is None:
            os.kill(self._child, signal.SIGTERM)
            os.waitpid(self._child, 0)
        os.close(self._fd)


@contextmanager
def terminal(
    *arguments: str, width: int = 80, height: int = 24, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Run steadyd with these arguments on a terminal of that size."""
    child, fd = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        os.environ.update({"TERM": "xterm-256color", **(environment or {})})
        os.execv(sys.executable, [sys.executable, "-c", ENTRY, *arguments])
    made = Terminal(child, fd)
    try:
        yield made
    finally:
        made.close()
