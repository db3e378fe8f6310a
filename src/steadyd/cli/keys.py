"""Single keys from the terminal, for screens that live."""

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator

Key = Callable[[float], str]


@contextlib.contextmanager
def keys() -> Iterator[Key]:
    """Yield a function that waits for a key for some seconds and returns it, "" for none."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def key(seconds: float) -> str:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.read(1) if ready else ""

    try:
        tty.setcbreak(terminal)
        yield key
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def lively() -> bool:
    """Tell whether there is a terminal that can show a screen and take keys."""
    there = sys.stdin.isatty() and sys.stdout.isatty()
    return there and os.environ.get("TERM", "dumb") != "dumb"
