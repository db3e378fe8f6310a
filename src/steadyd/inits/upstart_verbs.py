"""The verbs: what is asked of Upstart, and whether it came about."""

import asyncio
import os
import signal as signals
from collections.abc import Awaitable, Callable
from pathlib import Path

from steadyd.inits import upstart_sudo
from steadyd.inits.link import Link, Refused
from steadyd.inits.signals import signal_number
from steadyd.inits.upstart_calls import denied, has_gone, read_instance
from steadyd.inits.upstart_status import INSTANCE, JOB, NAME, Instance, job_of, job_path, split
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import NotPermitted, NotSupported, UnitGone, UnitNotFound, VerbFailed

SETTLE_SECONDS = 0.2  # how long what was just started or signalled must live
_SECONDS = 3600.0  # a call's own deadline: the verb's, around it, is shorter
# acting on one of these takes the bus or the logins away from under everybody
_NEVER = frozenset(("dbus", "systemd-logind"))
_ENVIRON_MAX = 65536
_NOT_OURS = ("PATH=", "TERM=", "UPSTART_")

Read = Callable[[Link, str], Awaitable[tuple[UnitStatus, list[Instance]] | UnitGone]]


class Verbs:
    """Carries verbs out; `read` asks for the state, `own` is the job that steadyd runs as."""

    def __init__(self, read: Read, own: str) -> None:
        self._read, self._own = read, own
        self._going: set[asyncio.Task[None]] = set()

    def may_act_on(self, job: str) -> bool:
        """Tell whether a job is neither our own nor what everybody needs."""
        return job not in _NEVER and job != self._own

    async def signal(self, link: Link, unit: str, verb: Verb, name: str) -> UnitStatus:
        """Send a signal to the main process of all instances. Raises InitError, …"""
        number = signal_number(NAME, unit, verb, name)
        before, instances = await self._subject(link, verb, unit)
        for instance in _with_process(unit, verb, instances):
            await _send(link, unit, verb, instance, number)
        return before

    async def reload(self, link: Link, unit: str, signal: str) -> None:
        """Reload all instances of a unit, by `signal` if it is given. Raises InitError, …"""
        if signal:
            before = await self.signal(link, unit, Verb.RELOAD, signal)
        else:
            before, instances = await self._subject(link, Verb.RELOAD, unit)
            for instance in _with_process(unit, Verb.RELOAD, instances):
                await self._ask(link, unit, instance, "Reload", "")
        await asyncio.sleep(SETTLE_SECONDS)
        after, _ = await self._now(link, Verb.RELOAD, unit)
        ended = {before.main_pid, *before.others} - {after.main_pid, *after.others}
        if ended:
            by = f"SIG{signal.upper().removeprefix('SIG')}" if signal else "the reload signal"
            text = f"{by} ended its process {min(ended)}; it is {after.state} afterwards"
            raise VerbFailed(NAME, unit, Verb.RELOAD, text)

    async def restart(self, link: Link, unit: str, deadline: float) -> None:
        """Restart all instances of a unit that runs, start one that failed. Raises InitError, …"""
        before, instances = await self._subject(link, Verb.RESTART, unit)
        live = [instance for instance in instances if instance.goal == "start"]
        if before.state is ServiceState.FAILED and not live:
            await self._start(link, unit, Verb.RESTART)
        elif not live:
            why = "it is stopped, and a restart does not undo a stop"
            raise VerbFailed(NAME, unit, Verb.RESTART, why)
        for instance in live:
            await self._again(link, unit, instance)
        await asyncio.sleep(SETTLE_SECONDS)
        after, _ = await self._now(link, Verb.RESTART, unit)
        wrong = _shortfall(before, after)
        if wrong:
            raise VerbFailed(NAME, unit, Verb.RESTART, wrong)

    async def start(self, link: Link, unit: str) -> None:
        """Start a unit of which nothing runs. Raises InitError, …"""
        _, instances = await self._subject(link, Verb.START, unit)
        if any(instance.goal == "start" for instance in instances):
            return
        await self._start(link, unit, Verb.START)
        await asyncio.sleep(SETTLE_SECONDS)
        after, _ = await self._now(link, Verb.START, unit)
        starting = after.state is ServiceState.ACTIVATING and not after.respawning
        if after.state is not ServiceState.ACTIVE and not starting:
            why = f"it is {after.state} afterwards: {after.reason}"
            raise VerbFailed(NAME, unit, Verb.START, why.rstrip(": "))

    async def stop(self, link: Link, unit: str) -> None:
        """Stop all instances of a unit. Raises InitError, …"""
        _, instances = await self._subject(link, Verb.STOP, unit)
        for instance in instances:
            if instance.goal == "start":
                await self._ask(link, unit, instance, "Stop", "b", True)
        after, _ = await self._now(link, Verb.STOP, unit)
        if after.main_pid or after.others:
            raise VerbFailed(NAME, unit, Verb.STOP, f"it is {after.state} afterwards")

    async def _subject(
        self, link: Link, verb: Verb, unit: str
    ) -> tuple[UnitStatus, list[Instance]]:
        found = await self._now(link, verb, unit)
        if not self.may_act_on(split(unit)[0]):
            why = "steadyd never acts on itself, the init or the bus"
            raise NotSupported(NAME, unit, verb, why)
        return found

    async def _now(self, link: Link, verb: Verb, unit: str) -> tuple[UnitStatus, list[Instance]]:
        found = await self._read(link, unit)
        if isinstance(found, UnitGone):
            raise UnitNotFound(NAME, unit, verb, found.reason)
        return found

    async def _again(self, link: Link, unit: str, instance: Instance) -> None:
        """Restart an instance. One with a pre-stop stanza keeps its process: stop and start it."""
        environ = await _environ(link, instance)
        try:
            await self._ask(link, unit, instance, "Restart", "b", True)
        except Refused as refused:
            if not refused.name.endswith(".JobFailed"):
                raise
            return  # why is in the state
        if not instance.main_pid:
            return
        now = await read_instance(link, instance.path)
        if now is None or now.main_pid != instance.main_pid or now.state != "running":
            return
        if instance.name and environ is None:
            why = "its pre-stop keeps the process, and how to start the instance is not known"
            raise VerbFailed(NAME, unit, Verb.RESTART, why, f"stop and start {unit} by hand")
        if os.geteuid():
            await upstart_sudo.check("start", split(unit)[0])
        # what was stopped is started, also when the stop is later than the deadline
        going = asyncio.create_task(self._stop_and_start(link, unit, instance, environ or []))
        self._going.add(going)
        going.add_done_callback(self._gone)
        await asyncio.shield(going)

    async def _stop_and_start(
        self, link: Link, unit: str, instance: Instance, environ: list[str]
    ) -> None:
        await self._ask(link, unit, instance, "Stop", "b", True)
        await self._start(link, unit, Verb.RESTART, environ)

    def _gone(self, going: asyncio.Task[None]) -> None:
        self._going.discard(going)
        if not going.cancelled():
            going.exception()  # whoever still waits has it too

    async def _start(
        self, link: Link, unit: str, verb: Verb, environ: list[str] | None = None
    ) -> None:
        job, named = split(unit)
        if named and environ is None:
            why = f"Upstart does not tell what instance {named!a} is started with"
            raise VerbFailed(NAME, unit, verb, why, f"start {job} KEY=VALUE")
        try:
            await link.call(job_path(job), JOB, "Start", "asb", (environ or [], True), _SECONDS)
        except Refused as refused:
            if refused.name.endswith((".JobFailed", ".AlreadyStarted")):
                return  # the state tells
            if refused.name.endswith(".InvalidArgs"):
                why = str(refused).strip()
                raise VerbFailed(NAME, unit, verb, why, f"start {job} KEY=VALUE") from None
            if not denied(refused):
                raise
            await upstart_sudo.run("start", job)

    async def _ask(
        self, link: Link, unit: str, instance: Instance, method: str, kind: str, *body: bool
    ) -> None:
        """Call a method of an instance, and where the bus denies that, the command by sudo."""
        try:
            await link.call(instance.path, INSTANCE, method, kind, body, _SECONDS)
        except Refused as refused:
            if has_gone(refused):
                why = "it ended meanwhile"
                raise VerbFailed(NAME, unit, method.lower(), why) from None
            if not denied(refused):
                raise
            if instance.name:
                why = "only root may act on an instance: sudo is granted for jobs"
                mend = "run steadyd as root"
                raise NotPermitted(NAME, unit, method.lower(), why, mend) from None
            await upstart_sudo.run(method.lower(), split(unit)[0])


async def _environ(link: Link, instance: Instance) -> list[str] | None:
    """Return what an instance was started with, None if it cannot be known.

    Upstart tells it nowhere; the environment of the main process has it, beside what the job's
    own stanzas set. It counts if Upstart finds the instance by it.
    """
    try:
        kept = _environment(instance.main_pid)
        (path,) = await link.call(job_of(instance.path), JOB, "GetInstance", "as", (kept,))
    except (OSError, UnicodeDecodeError, Refused):
        return None
    return kept if path == instance.path else None


def _environment(pid: int) -> list[str]:
    """Return the KEY=VALUE pairs that a process began with. Raises OSError, UnicodeDecodeError."""
    with Path(f"/proc/{pid}/environ").open("rb") as file:
        pairs = file.read(_ENVIRON_MAX).split(b"\0")
    found = [pair.decode() for pair in pairs if b"=" in pair[1:]]
    return [pair for pair in found if not pair.startswith(_NOT_OURS)]


def _with_process(unit: str, verb: Verb, instances: list[Instance]) -> list[Instance]:
    """Return the instances that have a process. Raises VerbFailed: none has."""
    mains = [instance for instance in instances if instance.main_pid]
    if not mains:
        why = "it runs without a process" if instances else "it is not running"
        raise VerbFailed(NAME, unit, verb, why)
    return mains


async def _send(
    link: Link, unit: str, verb: Verb, instance: Instance, number: signals.Signals
) -> None:
    """Send a signal to the main process, and to no other that has its number by now."""
    try:
        fd = os.pidfd_open(instance.main_pid)
    except OSError as error:
        why = f"its process {instance.main_pid}: {error.strerror}"
        raise VerbFailed(NAME, unit, verb, why) from None
    try:
        now = await read_instance(link, instance.path)
        if now is None or now.main_pid != instance.main_pid:
            raise VerbFailed(NAME, unit, verb, "its process ended meanwhile")
        signals.pidfd_send_signal(fd, number)
    except PermissionError as error:
        why, mend = f"process {instance.main_pid}: {error.strerror}", "run steadyd as root"
        raise NotPermitted(NAME, unit, verb, why, mend) from None
    except OSError as error:
        why = f"its process {instance.main_pid}: {error.strerror}"
        raise VerbFailed(NAME, unit, verb, why) from None
    finally:
        os.close(fd)


def _shortfall(before: UnitStatus, after: UnitStatus) -> str:
    """Return what is wrong after a restart that Upstart called done, "" if it had its effect."""
    kept = {before.main_pid, *before.others} & {after.main_pid, *after.others} - {0}
    if kept:
        return f"Upstart says that it is done, but process {min(kept)} is still the same"
    again = after.respawns > before.respawns
    if after.state is ServiceState.ACTIVE and not again:
        return ""
    if after.state is ServiceState.ACTIVATING and not after.respawning:
        return ""
    if again and after.state is ServiceState.ACTIVE:
        return "it crashed after its start, and Upstart started it again"
    return f"it is {after.state} afterwards" + (f": {after.reason}" if after.reason else "")
