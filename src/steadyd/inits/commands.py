"""Commands of init systems: how one is run, and what a verb is that is one."""

import asyncio
import contextlib
import os
import signal as signals
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from steadyd.inits.pidfile import PidFileInit
from steadyd.inits.signals import signal_number
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import InitUnreachable, NotPermitted, NotSupported, VerbFailed

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
}
MOST_TEXT = 4096  # bytes of output that are kept: the last
KILLED_SECONDS = 1.0  # for what was killed to be gone
_QUOTED = 200  # characters of output in a message


class Outcome(NamedTuple):
    """How a command ended: its exit code (minus the signal that ended it), its last output."""

    code: int
    text: str


async def run(argv: Sequence[str], *, deadline: float) -> Outcome:
    """Run a command, `argv[0]` an absolute path, to its end or for `deadline` seconds.

    Its end is that of its own process: a daemon that it leaves behind may hold its output open
    for ever. Raises TimeoutError: it and all of its process group were killed; OSError: it could
    not be started.
    """
    if not os.path.isabs(argv[0]):
        raise ValueError(f"{argv[0]!r} is no absolute path")
    out, into = os.pipe2(os.O_CLOEXEC)
    tail = _Tail(out)
    try:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=into,
                stderr=into,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(into)
        try:
            async with asyncio.timeout(deadline):
                code = await process.wait()
        except BaseException:
            await _kill(process)
            raise
        tail.more()
    finally:
        tail.close()
    return Outcome(code, tail.text())


class _Tail:
    """The end of what comes out of a pipe; who writes is never held up by us."""

    def __init__(self, fd: int) -> None:
        self._fd, self._data = fd, b""
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self.more)

    def more(self) -> None:
        try:
            data = os.read(self._fd, 65_536)  # what a pipe holds, pipe(7)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._fd)
        self._data = (self._data + data)[-MOST_TEXT:]

    def text(self) -> str:
        """Return it printable, on one line."""
        text = self._data.decode("utf-8", "replace")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signals.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILLED_SECONDS):
            await process.wait()


class CommandInit(PidFileInit):
    """An init system whose verbs are commands, and whose services are named by pid files."""

    @abstractmethod
    def command(self, verb: str, unit: str) -> list[str]:
        """Return the command of a verb. Raises InitUnreachable: there is none."""

    def no_right(self, unit: str) -> str:
        """Tell by the user: the commands are root's."""
        return f"only root may command {self.name}; run steadyd as root" if os.geteuid() else ""

    def restarting(self, before: UnitStatus) -> Sequence[str]:
        """Return the words that, one after the other, restart a unit."""
        return ("restart",)

    async def perform(self, verb: Verb, unit: str, *, signal: str = "", deadline: float) -> None:
        """Run the command of a verb, and look whether it did what it says."""
        before = await self.find(unit)
        try:
            async with asyncio.timeout(deadline):
                await self._perform(verb, before, signal, deadline)
        except TimeoutError:
            why = f"not done within {deadline:g} s"
            mend = "run its script by hand and see where it waits"
            raise VerbFailed(self.name, unit, verb, why, mend) from None

    async def _perform(self, verb: Verb, before: UnitStatus, signal: str, deadline: float) -> None:
        match verb:
            case Verb.RELOAD:
                await self.reload(before, signal, deadline)
            case Verb.RESTART:
                if before.stopped:
                    why = "it is stopped, and a restart does not undo a stop"
                    raise VerbFailed(self.name, before.unit, verb, why)
                await self.restart(before, deadline)
            case Verb.START if before.state is not ServiceState.ACTIVE:
                await self.start(before, deadline)
            case Verb.STOP if not before.stopped:
                await self.stop(before, deadline)
            case Verb.SIGNAL:
                number = signal_number(self.name, before.unit, verb, signal)
                await self.signalled(verb, before, number)
            case Verb.START | Verb.STOP:
                return  # it is so already

    async def reload(self, before: UnitStatus, signal: str, deadline: float) -> None:
        """Reload a unit by its own command, or by a signal where one is given."""
        unit = before.unit
        if signal:
            await self.reload_by(before, signal)
            return
        if not before.can_reload:
            mend = "name the signal to send: with reload_signal HUP"
            raise NotSupported(self.name, unit, Verb.RELOAD, "its script has no reload", mend)
        if before.state is not ServiceState.ACTIVE:
            why = f"it does not run: {before.reason}"
            raise VerbFailed(self.name, unit, Verb.RELOAD, why)
        await self.tell(Verb.RELOAD, "reload", unit, deadline)
        if before.main_pid:
            await self.settled(Verb.RELOAD, unit, before.main_pid)

    async def restart(self, before: UnitStatus, deadline: float) -> None:
        """Restart a unit, and wait until it is another process that lives."""
        await self._started_by(Verb.RESTART, self.restarting(before), before, deadline)

    async def start(self, before: UnitStatus, deadline: float) -> None:
        """Start a unit, and wait until it lives."""
        words = [word for word in self.restarting(before) if word != "restart"] or ["start"]
        await self._started_by(Verb.START, words, before, deadline)

    async def stop(self, before: UnitStatus, deadline: float) -> None:
        """Stop a unit, and wait until its process is gone."""
        await self.tell(Verb.STOP, "stop", before.unit, deadline)
        await self.until(before.unit, lambda now: not now.main_pid and not now.acting)

    async def _started_by(
        self, verb: Verb, words: Sequence[str], before: UnitStatus, deadline: float
    ) -> None:
        unit, dead = before.unit, self._named.get(before.unit)
        for word in words:
            await self.tell(verb, word, unit, deadline)

        def done(now: UnitStatus) -> bool:
            if now.state is ServiceState.FAILED:
                return self._named.get(unit) != dead
            return now.state is ServiceState.ACTIVE and now.invocation != before.invocation

        after = await self.until(unit, done)
        if after.state is ServiceState.FAILED:
            raise VerbFailed(self.name, unit, verb, after.reason)
        await self.settled(verb, unit, after.main_pid)

    async def tell(self, verb: Verb, word: str, unit: str, deadline: float) -> None:
        """Run one command. Raises InitError: it could not be run, or says that it failed."""
        if os.geteuid():  # a script that half of its right lacks does half of its work
            why = f"only root may command {self.name}"
            raise NotPermitted(self.name, unit, verb, why, "run steadyd as root")
        argv = self.command(word, unit)
        shown = " ".join(argv)
        try:
            code, text = await run(argv, deadline=deadline)
        except TimeoutError:
            raise
        except PermissionError as error:
            why = f"{shown}: {error.strerror}"
            raise NotPermitted(self.name, unit, verb, why, "run steadyd as root") from None
        except OSError as error:
            raise InitUnreachable(self.name, unit, verb, f"{shown}: {error.strerror}") from None
        if code:
            said = f": {text[-_QUOTED:]}" if text else ""
            ended = f"exited with {code}" if code > 0 else f"was ended by signal {-code}"
            raise VerbFailed(self.name, unit, verb, f"{shown} {ended}{said}")
