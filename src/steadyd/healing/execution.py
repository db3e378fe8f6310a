"""`exec`: a program of the operator's, run without a shell, for a bounded time.

Only who could be root anyway may decide what runs: the program and every folder on its way belong
to root or to us, and nobody else can write them.
"""

import asyncio
import contextlib
import os
import shlex
import signal
import stat
from collections.abc import Mapping

DEADLINE = 30.0  # seconds
MOST_TEXT = 400  # characters of its output that are told
_MOST_READ = 65_536
_GONE_SECONDS = 1.0
_CLEAN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class NotRun(Exception):
    """The program was not run at all; str() is why, with the mend."""


async def execute(command: str, variables: Mapping[str, str], deadline: float = DEADLINE) -> str:
    """Run a program and return what went wrong, "" if it exited with 0. Raises NotRun.

    `variables` are all that it gets to know beside a clean environment.
    """
    argv = shlex.split(command)
    why = await asyncio.to_thread(unsafe, argv[0])
    if why:
        raise NotRun(why)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**_CLEAN, **variables},
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise NotRun(f"{argv[0]} cannot be run: {error.strerror}") from None
    try:
        async with asyncio.timeout(deadline):
            text = await _output(process)
            code = await process.wait()
    except TimeoutError:
        return f"{argv[0]} was not done within {deadline:g} s, and was killed"
    finally:
        await _end(process)
    if code == 0:
        return ""
    ended = f"exited with {code}" if code > 0 else f"was ended by signal {-code}"
    return f"{argv[0]} {ended}" + (f": {text}" if text else "")


def unsafe(program: str) -> str:
    """Return why a program may not be run, "" if it may."""
    if not os.path.isabs(program):
        return f"{program} is no absolute path"
    try:
        real = os.path.realpath(program, strict=True)
        facts = os.stat(real)
        if not stat.S_ISREG(facts.st_mode) or not os.access(real, os.X_OK):
            return f"{real} is no program that we may run"
        for path in (real, *_parents(real)):
            if why := _writable(path, os.lstat(path)):
                return why
    except OSError as error:
        return f"{program}: {error.strerror}"
    return ""


def _parents(path: str) -> list[str]:
    found = []
    while path != "/":
        path = os.path.dirname(path)
        found.append(path)
    return found


def _writable(path: str, facts: os.stat_result) -> str:
    sticky = stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX
    if facts.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to uid {facts.st_uid}: chown root {path}"
    if facts.st_mode & 0o022 and not sticky:
        return f"{path} may be written by others: chmod go-w {path}"
    return ""


async def _output(process: asyncio.subprocess.Process) -> str:
    """Read to the end, keep the last of it, printable and on one line."""
    kept = b""
    while process.stdout is not None and (piece := await process.stdout.read(_MOST_READ)):
        kept = (kept + piece)[-_MOST_READ:]
    text = "".join(c if c.isprintable() else " " for c in kept.decode("utf-8", "replace"))
    return " ".join(text.split())[-MOST_TEXT:]


async def _end(process: asyncio.subprocess.Process) -> None:
    """Make sure that nothing of its group is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GONE_SECONDS):
            await process.wait()
