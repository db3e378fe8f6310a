"""Which processes run here, as far as adapters of init systems have to know."""

import os

# a main process of this name is not the service: signals and measures meet the wrong one
WRAPPERS = frozenset(("sh", "bash", "dash", "ash", "zsh", "logger", "tee", "su", "sudo"))
_MOST = 16_384


def running(*comms: str) -> dict[str, list[int]]:
    """Return the pids of processes of these names (comm, 15 characters at most), lowest first."""
    found: dict[str, list[int]] = {comm: [] for comm in comms}
    wanted = {comm.encode()[:15] + b"\n": comm for comm in comms}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        if comm := wanted.get(_text(pid, "comm")):
            found[comm].append(pid)
    return found


def arguments(pid: int) -> list[str]:
    """Return the arguments of a process; none if it is gone or a thread of the kernel."""
    words = _text(pid, "cmdline").split(b"\0")
    return [os.fsdecode(word) for word in words[:-1]]


def started(pid: int) -> int:
    """Return when a process was started, in clock ticks after boot (proc(5)); 0: it is gone."""
    words = _text(pid, "stat").rpartition(b")")[2].split()
    return int(words[19]) if len(words) > 19 else 0


def name(pid: int) -> str:
    """Return the name of a process (comm), "" if it is gone."""
    return _text(pid, "comm").decode("utf-8", "replace").strip()


def wrapper(main_pid: int) -> str:
    """Return in words that a main process only wraps the service, "" if it does not."""
    program = name(main_pid) if main_pid else ""
    if program not in WRAPPERS:
        return ""
    return f"its main process {main_pid} is `{program}`, not the program itself"


def _text(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
            return file.read(_MOST) or b""
    except OSError:
        return b""
