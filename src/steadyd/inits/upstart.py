"""Upstart, over D-Bus: its private socket as root, else the system bus.

Every signal comes unasked on the private socket, and by one match rule on the bus. A signal
marks the units of its job, which are then read again: pids are in no signal. Why a job failed,
and how often it respawned, is in signals alone: of what happened while nobody listened only
`stop/waiting` is left, which reads as stopped.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Self

from dbus_fast import Message

from steadyd.inits import upstart_sudo
from steadyd.inits.link import Address, Link, LinkLost, Refused
from steadyd.inits.processes import started as started_at
from steadyd.inits.upstart_calls import (
    MATCH,
    has_gone,
    instances_of,
    jobs_of,
    ping,
    read_instance,
    refusal,
    running,
    start_wall_clock,
)
from steadyd.inits.upstart_status import (
    NAME,
    SERVICE,
    Course,
    Instance,
    instance_path,
    job_of,
    job_path,
    ordered,
    split,
    status,
    unit_of,
)
from steadyd.inits.upstart_verbs import Verbs
from steadyd.model.rule import Verb
from steadyd.model.service import UnitStatus, matches
from steadyd.ports import (
    InitError,
    InitLost,
    InitReached,
    InitReport,
    InitUnreachable,
    UnitGone,
    UnitNotFound,
    VerbFailed,
)

RECONCILE_SECONDS = 60.0
PING_SECONDS = 8.0  # with a call's 5 s: a hang is told within 13 s
_OF_INSTANCE = ("GoalChanged", "StateChanged", "Failed")
_BACKOFF = (0.02, 5.0)  # a re-exec takes 10 to 20 ms
_READERS = 16
_JOBS_MAX, _INSTANCES_MAX = 4096, 1024  # of which a course is kept


def default_addresses(root: Path = Path("/")) -> tuple[Address, ...]:
    """Return where Upstart is asked: as root on its private socket, else on the system bus."""
    known = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    bus = Address(known or f"unix:path={root / 'run/dbus/system_bus_socket'}")
    private = Address("unix:abstract=/com/ubuntu/upstart", peer=True)
    return (private, bus) if os.geteuid() == 0 else (bus,)


class Upstart:
    """The adapter of Upstart as PID 1; implements `ports.InitSystem`.

    `own` is the job that steadyd runs as, on which it never acts. All on one event loop; `find`
    and `perform` work with and without `run`.
    """

    name = NAME

    def __init__(self, addresses: Sequence[Address] = (), own: str | None = None) -> None:
        self._addresses = tuple(addresses) or default_addresses()
        self._verbs = Verbs(self._read, os.environ.get("UPSTART_JOB", "") if own is None else own)
        self._link: Link | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        self._wake = asyncio.Event()
        self._watched: dict[str, set[str]] = {}  # path of a job -> units
        self._dirty: set[str] = set()
        self._told: dict[str, UnitStatus | UnitGone] = {}
        self._courses: dict[str, dict[str, Course]] = {}  # path of a job -> path of an instance
        self._up: bool | None = None

    @classmethod
    def detect(cls, root: Path = Path("/")) -> Self | None:
        """Return an adapter if Upstart is the running PID 1, else None."""
        return cls(default_addresses(root)) if running(root) else None

    async def find(self, name: str) -> UnitStatus:
        """Find the job, or the instance, of a service's name. Raises UnitNotFound, …"""
        try:
            split(name)
        except ValueError as error:
            raise UnitNotFound(NAME, ascii(name)[:80], "find", str(error)) from None
        try:
            found = await self._read(await self._reach(), name)
        except Refused as refused:
            raise UnitNotFound(NAME, name, "find", str(refused).strip()) from None
        except LinkLost as lost:
            raise InitUnreachable(NAME, name, "find", str(lost)) from None
        if isinstance(found, UnitGone):
            raise UnitNotFound(NAME, name, "find", found.reason)
        return found[0]

    async def units(self, glob: str) -> Collection[str]:
        """Return the jobs that a glob stands for, or with `(` in it the instances."""
        try:
            link = await self._reach()
            jobs = await jobs_of(link)
            if "(" not in glob:
                return {job for job in jobs if matches(glob, job) and self._verbs.may_act_on(job)}
            jobs = [job for job in jobs if matches(glob.partition(" (")[0], job)]
            paths = await asyncio.gather(*(instances_of(link, job_path(job)) for job in jobs))
        except (LinkLost, Refused) as error:
            raise InitUnreachable(NAME, ascii(glob)[:80], "list", str(error)) from None
        named = {unit_of(path) for some in paths for path in some}
        return {unit for unit in named if unit and matches(glob, unit)}

    async def watch(self, units: Collection[str]) -> None:
        """Replace the set of watched units, given by canonical name."""
        known = {unit for watched in self._watched.values() for unit in watched}
        self._watched = {}
        for unit in units:
            self._watched.setdefault(_job_path(unit), set()).add(unit)
        self._dirty |= {*units} - known
        self._told = {unit: told for unit, told in self._told.items() if unit in {*units}}
        self._wake.set()

    async def run(self, report: Callable[[InitReport], None]) -> None:
        """Follow Upstart until cancelled or closed; see `ports.InitSystem.run`."""
        shortest, longest = _BACKOFF
        pause = shortest
        try:
            while not self._closed:
                try:
                    link = await self._reach()
                    await self._greet(link, report)
                    pause = shortest
                    await self._follow(link, report)
                except (LinkLost, Refused) as error:
                    await self._lose(report, str(error))
                    await self._rest(pause * random.uniform(0.5, 1.0))  # noqa: S311 jitter
                    pause = min(longest, pause * 2)
        finally:
            await self._drop()

    async def perform(self, verb: Verb, unit: str, *, signal: str = "", deadline: float) -> None:
        """Carry a verb out within `deadline` seconds; see `ports.InitSystem.perform`.

        A service over several instances is done when all of them are. What is late is left to
        Upstart.
        """
        try:
            async with asyncio.timeout(deadline):
                link = await self._reach()
                await self._perform(link, verb, unit, signal, deadline)
        except TimeoutError:
            why = f"not done within {deadline:g} s; Upstart goes on with it"
            raise VerbFailed(NAME, unit, verb, why) from None
        except LinkLost as lost:
            raise InitUnreachable(NAME, unit, verb, str(lost)) from None
        except Refused as refused:
            raise refusal(unit, verb, refused) from None

    async def _perform(
        self, link: Link, verb: Verb, unit: str, signal: str, deadline: float
    ) -> None:
        match verb:
            case Verb.RELOAD:
                await self._verbs.reload(link, unit, signal)
            case Verb.RESTART:
                await self._verbs.restart(link, unit, deadline)
            case Verb.START:
                await self._verbs.start(link, unit)
            case Verb.STOP:
                await self._verbs.stop(link, unit)
            case Verb.SIGNAL:
                await self._verbs.signal(link, unit, verb, signal)

    async def denied(self, unit: str, verbs: Collection[Verb]) -> Mapping[Verb, str]:
        """Ask sudo for its verdict, where we are not root."""
        if os.geteuid() == 0:
            return {}
        found = {}
        for verb in verbs:
            try:
                for command in upstart_sudo.COMMANDS[verb]:
                    await upstart_sudo.check(command, split(unit)[0])
            except InitError as error:
                found[verb] = f"{error.why}; {error.mend}".rstrip("; ")
        return found

    async def close(self) -> None:
        """Let go of the connection; `run` ends."""
        self._closed = True
        self._wake.set()
        await self._drop()

    # the connection

    async def _reach(self) -> Link:
        """Return the live connection, made if need be. Raises LinkLost."""
        async with self._connecting:
            if self._link is not None and not self._link.lost:
                return self._link
            reasons = []
            for address in self._addresses:
                if self._closed:
                    raise LinkLost("closed")
                try:
                    link = await Link.open(address, SERVICE, self._on_signal, self._wake.set)
                    await self._match(link)
                except LinkLost as lost:
                    reasons.append(str(lost))
                else:
                    self._link = link
                    return link
            raise LinkLost("; ".join(reasons))

    async def _match(self, link: Link) -> None:
        try:
            await link.match(MATCH)
        except Refused as refused:
            await link.close()
            raise LinkLost(str(refused)) from None
        except BaseException:
            await link.close()
            raise

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    # signals

    def _on_signal(self, message: Message) -> None:
        path, body = message.path or "", message.body
        if message.member in _OF_INSTANCE and not job_of(path):
            return
        match message.member, body:
            case "GoalChanged", [str(goal)]:
                self._course(path).goal(goal)
            case "StateChanged", [str(state)]:
                self._course(path).state(state)
            case "Failed", [int(code)]:
                self._course(path).fail(code)
            case "EventEmitted", ["stopping" | "stopped", [*pairs]]:
                path = self._on_end_of_job([str(pair) for pair in pairs])
            case (("JobAdded" | "JobRemoved" | "InstanceAdded" | "InstanceRemoved"), [str(path)]):
                pass
            case _:
                return
        units = self._watched.get(job_of(path))
        if units:
            self._dirty |= units
            self._wake.set()

    def _on_end_of_job(self, pairs: list[str]) -> str:
        words = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        path = instance_path(words.get("JOB", ""), words.get("INSTANCE", ""))
        # after its next start the end of the last run is no news
        if self._courses.get(job_of(path), {}).get(path, Course()).failed:
            self._course(path).end(words)
        return path

    def _course(self, path: str) -> Course:
        """Return the course of an instance, which changes now."""
        job = job_of(path)
        courses = self._courses.pop(job, {})
        self._courses[job] = courses  # the latest last, so that the oldest can go
        if len(self._courses) > _JOBS_MAX:
            oldest = next((key for key in self._courses if key not in self._watched), job)
            del self._courses[oldest]
        if path not in courses and len(courses) >= _INSTANCES_MAX:
            del courses[next(iter(courses))]
        course = courses.setdefault(path, Course())
        course.since = time.time()
        return course

    def _found_running(self, instance: Instance) -> None:
        """Make sure that its next crash is told from a start that somebody asked for."""
        known = self._courses.get(job_of(instance.path), {}).get(instance.path)
        if known is not None:
            known.found_running()
            return
        course = self._course(instance.path)
        course.asked, course.runs = False, 1
        course.since = start_wall_clock(started_at(instance.main_pid))

    # following

    async def _greet(self, link: Link, report: Callable[[InitReport], None]) -> None:
        await ping(link)
        if not self._up:
            self._up = True
            report(InitReached(NAME))
        self._mark_all()

    def _mark_all(self) -> None:
        self._dirty = {unit for units in self._watched.values() for unit in units}

    async def _lose(self, report: Callable[[InitReport], None], reason: str) -> None:
        await self._drop()
        self._told.clear()  # after the gap everything is told anew
        for courses in self._courses.values():
            for course in courses.values():
                course.unsure = True
        if self._up is not False and not self._closed:
            self._up = False
            report(InitLost(NAME, reason))

    async def _follow(self, link: Link, report: Callable[[InitReport], None]) -> None:
        now = asyncio.get_running_loop().time
        ping_at, reconcile_at = now() + PING_SECONDS, now() + RECONCILE_SECONDS
        while not self._closed:
            if link.lost:
                raise LinkLost(link.lost)
            if now() >= reconcile_at:
                self._mark_all()
                reconcile_at = now() + RECONCILE_SECONDS
            elif self._dirty:
                await self._refresh(link, report)
                ping_at = now() + PING_SECONDS
            elif now() >= ping_at:
                await ping(link)
                ping_at = now() + PING_SECONDS
            else:
                await self._rest(min(ping_at, reconcile_at) - now())

    async def _rest(self, seconds: float) -> None:
        """Wait until there is something to do, at most so long."""
        self._wake.clear()
        if self._closed:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _refresh(self, link: Link, report: Callable[[InitReport], None]) -> None:
        batch = [self._dirty.pop() for _ in range(min(_READERS, len(self._dirty)))]
        news = await asyncio.gather(*(self._read(link, unit) for unit in batch))
        for unit, found in zip(batch, news, strict=True):
            told = found if isinstance(found, UnitGone) else found[0]
            watched = unit in self._watched.get(_job_path(unit), ())
            if watched and self._told.get(unit) != told:
                self._told[unit] = told
                report(told)

    async def _read(self, link: Link, unit: str) -> tuple[UnitStatus, list[Instance]] | UnitGone:
        """Return a unit's status and its instances. Raises Refused, LinkLost."""
        try:
            job, named = split(unit)
        except ValueError as error:
            return UnitGone(NAME, unit, str(error))
        path = job_path(job)
        try:
            paths = await instances_of(link, path)
        except Refused as refused:
            if not has_gone(refused):
                raise
            self._courses.pop(path, None)
            return UnitGone(NAME, unit, f"Unknown job: {job}")
        if named is not None:
            paths = [each for each in paths if each == instance_path(job, named)]
        read = await asyncio.gather(*(read_instance(link, each) for each in paths))
        found = ordered(instance for instance in read if instance is not None)
        for instance in found:
            if (instance.goal, instance.state) == ("start", "running"):
                self._found_running(instance)
        courses = self._courses.get(path, {})
        if named is not None:
            only = instance_path(job, named)
            courses = {only: courses[only]} if only in courses else {}
        started = {each.main_pid: started_at(each.main_pid) for each in found if each.main_pid}
        return status(unit, found, courses, started), found


def _job_path(unit: str) -> str:
    """Return the path of a unit's job, "" for what cannot be a unit."""
    try:
        return job_path(split(unit)[0])
    except ValueError:
        return ""
