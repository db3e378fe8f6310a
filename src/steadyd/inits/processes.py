"""Which processes run here, as far as adapters of init systems have to know."""

import os

_MOST = 16_384


def running(comm: str) -> list[int]:
    """Return the pids of processes of this name (comm, 15 characters at most), lowest first."""
    wanted = comm.encode()[:15] + b"\n"
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if _text(pid, "comm") == wanted]


def arguments(pid: int) -> list[str]:
    """Return the arguments of a process; none if it is gone or a thread of the kernel."""
    words = _text(pid, "cmdline").split(b"\0")
    return [os.fsdecode(word) for word in words[:-1]]


def _text(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
            return file.read(_MOST) or b""
    except OSError:
        return b""
