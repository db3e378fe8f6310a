"""Upstart's commands through sudo, for a steadyd that does not run as root.

The system bus lets others than root read, not act. `steadyd grants sudoers` allows exactly
the commands that its rules need, such as `/sbin/reload NAME`; sudoers(5) compares arguments word
by word.
"""

import asyncio
import contextlib

from steadyd.inits.upstart_status import NAME
from steadyd.model.rule import Verb
from steadyd.ports import InitError, NotPermitted, NotSupported, UnitNotFound, VerbFailed

SUDO = "/usr/bin/sudo"
# What a verb needs. A restart does not start a job that failed, nor end one with a pre-stop stanza.
COMMANDS: dict[Verb, tuple[str, ...]] = {
    Verb.RELOAD: ("reload",),
    Verb.RESTART: ("restart", "start", "stop"),
    Verb.START: ("start",),
    Verb.STOP: ("stop",),
    Verb.SIGNAL: (),  # no command of Upstart's sends one
}
MEND = "steadyd grants sudoers > /etc/sudoers.d/steadyd"
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}  # no UPSTART_SESSION
_TEXT_MAX = 4096


async def check(command: str, job: str) -> None:
    """Have sudo say that it would run `/sbin/COMMAND JOB`. Raises InitError."""
    await run(command, job, "-l")


async def run(command: str, job: str, *options: str) -> None:
    """Run `/sbin/COMMAND JOB` as root; the caller sets the deadline.

    A command that is late is left to Upstart: it belongs to root and cannot be ended from here.
    Raises InitError.
    """
    if job.startswith("-") or "=" in job:
        why = "its name reads as an option of the command"
        raise NotSupported(NAME, job, command, why, "run steadyd as root")
    argv = (SUDO, "-n", *options, f"/sbin/{command}", job)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=_ENVIRONMENT,
            cwd="/",
        )
    except OSError as error:
        why = f"only root may, and {SUDO} does not run: {error.strerror}"
        raise NotPermitted(NAME, job, command, why, MEND) from error
    try:
        text = await _first(process.stderr)
        code = await process.wait()
    except BaseException:
        with contextlib.suppress(OSError):
            process.kill()
        process._transport.close()  # type: ignore[attr-defined]  # else it warns at the loop's end
        raise
    if code:
        silent = "sudo: not allowed" if options else f"exit code {code}"
        raise refusal(command, job, text or silent)


def refusal(command: str, job: str, text: str) -> InitError:
    """Return the error of our own kind for what the command, or sudo, said on stderr."""
    said = text.strip().removeprefix(f"{command}: ")
    if text.startswith("sudo:"):
        why = f"sudo -n /sbin/{command} {job}: {said}"
        return NotPermitted(NAME, job, command, why, MEND)
    if said.startswith("Unknown job"):
        return UnitNotFound(NAME, job, command, said)
    if said.startswith("Unknown instance"):
        return VerbFailed(NAME, job, command, "it is stopped")
    return VerbFailed(NAME, job, command, said)


async def _first(stream: asyncio.StreamReader | None) -> str:
    """Read to the end, and keep the beginning."""
    kept = b""
    while stream is not None and (piece := await stream.read(_TEXT_MAX)):
        kept = (kept + piece)[:_TEXT_MAX]
    return "".join(c if c.isprintable() else " " for c in kept.decode("utf-8", "replace")).strip()
