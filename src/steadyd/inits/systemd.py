"""systemd, over D-Bus (org.freedesktop.systemd1(5)).

One connection: Subscribe, one match rule, and a re-read of a watched unit after its signals,
which coalesce. Besides these only a slow reconcile, and a ping against a hung bus.
"""

import asyncio
import os
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Self

from dbus_fast import Message

from steadyd.inits.link import Address, Link, LinkLost, Refused
from steadyd.inits.signals import signal_number
from steadyd.inits.systemd_looks import Looks
from steadyd.inits.systemd_manager import (
    MANAGER,
    MATCH,
    SERVICE,
    Jobs,
    about,
    is_unknown,
    kill_main,
    ping,
    properties,
    refusal,
    states,
    units_like,
)
from steadyd.inits.systemd_status import (
    NAME,
    ROOT_PATH,
    job_failure,
    own_unit,
    remembered,
    shortfall,
    state_of,
    status,
    unit_glob,
    unit_name,
    unit_path,
    why_gone,
)
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import (
    InitLost,
    InitReached,
    InitReport,
    InitUnreachable,
    NotSupported,
    SystemRunning,
    UnitGone,
    UnitNotFound,
    VerbFailed,
)

RECONCILE_SECONDS = 60.0
PING_SECONDS = 8.0  # with a call's 5 s: a hang is told within 13 s
SETTLE_SECONDS = 0.2  # how long what was just started or signalled must live
_BACKOFF = (0.05, 5.0)
_READERS = 16

# acting on one of these takes the host, the bus or the logins away from under everybody
_NEVER = frozenset(
    ("init.scope", "dbus.service", "dbus.socket", "dbus-broker.service", "systemd-logind.service")
)


def default_addresses(root: Path = Path("/")) -> tuple[Address, ...]:
    """Return where systemd is asked: on the system bus, else (as root) on its private socket."""
    known = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    bus = Address(known or f"unix:path={root / 'run/dbus/system_bus_socket'}")
    private = Address(f"unix:path={root / 'run/systemd/private'}", peer=True)
    return (bus, private) if os.geteuid() == 0 else (bus,)


class Systemd:
    """The adapter of systemd as PID 1; implements `ports.InitSystem`.

    `own` is the unit that steadyd runs in, on which it never acts. All on one event loop;
    `find` and `perform` work with and without `run`.
    """

    name = NAME

    def __init__(self, addresses: Sequence[Address] = (), own: str | None = None) -> None:
        self._addresses = tuple(addresses) or default_addresses()
        self._own = _own_unit() if own is None else own
        self._link: Link | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        self._wake = asyncio.Event()
        self._watched: dict[str, str] = {}  # object path -> unit
        self._dirty: set[str] = set()
        self._told: dict[str, UnitStatus | UnitGone] = {}
        self._rows: dict[str, tuple[str, str, int]] = {}
        self._up: bool | None = None
        self._running: bool | None = None
        self._jobs, self._looks = Jobs(), Looks()

    @classmethod
    def detect(cls, root: Path = Path("/")) -> Self | None:
        """Return an adapter if systemd is the running PID 1 (sd_booted(3)), else None."""
        return cls(default_addresses(root)) if (root / "run/systemd/system").is_dir() else None

    async def find(self, name: str) -> UnitStatus:
        """Find the unit of a service's name. Raises UnitNotFound, InitUnreachable."""
        try:
            unit = unit_name(name)
        except ValueError as error:
            raise UnitNotFound(NAME, ascii(name)[:80], "find", str(error)) from None
        try:
            link = await self._reach()
            found = await self._looks.at(link, unit)
        except Refused as refused:
            raise UnitNotFound(NAME, unit, "find", str(refused)) from None
        except LinkLost as lost:
            raise InitUnreachable(NAME, unit, "find", str(lost)) from None
        if why := why_gone(found):
            raise UnitNotFound(NAME, unit, "find", why)
        return status(found)

    async def units(self, glob: str) -> Collection[str]:
        """Return the units, loaded or only on disk, that a glob stands for."""
        try:
            pattern = unit_glob(glob)
        except ValueError:
            return ()
        try:
            found = await units_like(await self._reach(), pattern)
        except (LinkLost, Refused) as error:
            raise InitUnreachable(NAME, ascii(glob)[:80], "list", str(error)) from None
        return found - _NEVER - {self._own}

    async def watch(self, units: Collection[str]) -> None:
        """Replace the set of watched units, given by canonical id."""
        wanted = {unit_path(unit): unit for unit in units}
        self._dirty |= {unit for path, unit in wanted.items() if path not in self._watched}
        self._watched = wanted
        kept = set(wanted.values())
        self._told = {unit: told for unit, told in self._told.items() if unit in kept}
        self._wake.set()

    async def run(self, report: Callable[[InitReport], None]) -> None:
        """Follow systemd until cancelled or closed; see `ports.InitSystem.run`."""
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

        `restart` is TryRestartUnit, and RestartUnit for a unit that failed. A job that is late is
        left to systemd, not canceled.
        """
        try:
            async with asyncio.timeout(deadline):
                with self._jobs.kept():
                    await self._perform(await self._reach(), verb, unit, signal)
        except TimeoutError:
            why = f"not done within {deadline:g} s; systemd goes on with it"
            raise VerbFailed(NAME, unit, verb, why) from None
        except LinkLost as lost:
            raise InitUnreachable(NAME, unit, verb, str(lost)) from None
        except Refused as refused:
            raise refusal(unit, verb, refused) from None

    async def denied(self, unit: str, verbs: Collection[Verb]) -> Mapping[Verb, str]:
        """Return none: polkit tells its verdict on a unit to root alone, which needs none."""
        return {}

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
                    self._link = await self._open(address)
                except LinkLost as lost:
                    reasons.append(str(lost))
                else:
                    return self._link
            raise LinkLost("; ".join(reasons))

    async def _open(self, address: Address) -> Link:
        link = await Link.open(address, SERVICE, self._on_signal, self._on_end)
        try:
            await link.match(MATCH)
            await link.call(ROOT_PATH, MANAGER, "Subscribe")
        except Refused as refused:
            await link.close()
            raise LinkLost(str(refused)) from None
        except BaseException:
            await link.close()
            raise
        return link

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def _on_end(self) -> None:
        self._wake.set()
        self._jobs.lost("the connection ended before the job did")

    def _on_signal(self, message: Message) -> None:
        match message.member, message.body:
            case "PropertiesChanged", [interface, *_] if interface == f"{SERVICE}.Unit":
                if unit := self._watched.get(message.path or ""):
                    self._mark((unit,))
            case "JobNew", [_, _, unit]:
                self._mark((unit,))
            case "JobRemoved", [_, job, unit, result]:
                self._jobs.ended(job, result)
                self._mark((unit,))
            case "Reloading", [False]:
                self._mark(self._watched.values())
            case "UnitFilesChanged", _:
                self._mark(self._gone())
            case _:
                pass

    def _mark(self, units: Collection[str]) -> None:
        self._dirty.update(unit for unit in units if unit_path(unit) in self._watched)
        if self._dirty:
            self._wake.set()

    def _gone(self) -> list[str]:
        return [unit for unit, told in self._told.items() if isinstance(told, UnitGone)]

    # following

    async def _greet(self, link: Link, report: Callable[[InitReport], None]) -> None:
        await ping(link)
        if not self._up:
            self._up, self._running = True, None
            report(InitReached(NAME, await about(link, "Version")))
        await self._look_at_system(link, report)
        self._dirty = set(self._watched.values())

    async def _lose(self, report: Callable[[InitReport], None], reason: str) -> None:
        await self._drop()
        self._told.clear()  # after the gap everything is told anew
        self._rows.clear()
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
                await self._reconcile(link)
                await self._look_at_system(link, report)
                reconcile_at = now() + RECONCILE_SECONDS
            elif self._dirty:
                await self._refresh(link, report)
                ping_at = now() + PING_SECONDS
            elif now() >= ping_at:
                await ping(link)
                await self._look_at_system(link, report)
                ping_at = now() + PING_SECONDS
            else:
                await self._rest(min(ping_at, reconcile_at) - now())

    async def _look_at_system(self, link: Link, report: Callable[[InitReport], None]) -> None:
        """Tell whether the system is `running`; no signal tells of it."""
        state = await about(link, "SystemState")
        running = state == "running" if state else None
        if running is not None and running is not self._running:
            self._running = running
            report(SystemRunning(NAME, running))

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
        for unit, news in zip(
            batch, await asyncio.gather(*(self._read(link, unit) for unit in batch)), strict=True
        ):
            if unit_path(unit) in self._watched and self._told.get(unit) != news:
                self._told[unit] = news
                report(news)

    async def _read(self, link: Link, unit: str) -> UnitStatus | UnitGone:
        path = unit_path(unit)
        first = unit not in self._told
        try:
            found = await (self._looks.at(link, unit) if first else properties(link, path))
        except Refused as refused:
            if not is_unknown(refused):
                raise
            return UnitGone(NAME, unit, str(refused))
        why = why_gone(found)
        if why:
            return UnitGone(NAME, unit, why)
        return remembered(status(found, unit), self._told.get(unit))

    async def _reconcile(self, link: Link) -> None:
        """Mark what differs from what was told: the net below the signals."""
        known = {unit: told for unit, told in self._told.items() if isinstance(told, UnitStatus)}
        self._mark(self._gone())
        try:
            rows = await states(link, list(known))
        except Refused:  # systemd before 230 has no ListUnitsByNames
            self._mark(self._watched.values())
            return
        for unit, row in rows.items():
            told = known.get(unit)
            if told and (self._rows.get(unit, row) != row or told.state is not state_of(row[0])):
                self._mark((unit,))
        self._rows = rows

    # verbs

    async def _perform(self, link: Link, verb: Verb, unit: str, signal: str) -> None:
        before = await self._subject(link, verb, unit)
        by_signal = verb is Verb.SIGNAL or (verb is Verb.RELOAD and not before.can_reload)
        if by_signal:
            await kill_main(link, unit, _signal_number(unit, verb, signal))
        else:
            await self._run_job(link, verb, unit, _method(verb, before))
        if verb is Verb.SIGNAL:
            return
        if by_signal or verb in (Verb.START, Verb.RESTART):
            await asyncio.sleep(SETTLE_SECONDS)
        after = status(await properties(link, unit_path(unit)))
        if wrong := shortfall(verb, before, after):
            raise VerbFailed(NAME, unit, verb, wrong)

    async def _subject(self, link: Link, verb: Verb, unit: str) -> UnitStatus:
        """Return the unit as it is before a verb; raise what forbids to act on it at all."""
        found = await properties(link, unit_path(unit))
        if why := why_gone(found):
            raise UnitNotFound(NAME, unit, verb, why)
        subject = status(found)
        if subject.unit in _NEVER or subject.unit == self._own:
            raise NotSupported(
                NAME, unit, verb, "steadyd never acts on itself, the init or the bus"
            )
        return subject

    async def _run_job(self, link: Link, verb: Verb, unit: str, method: str) -> None:
        result = await self._jobs.run(link, method, unit)
        if result != "done":
            found = await properties(link, unit_path(unit))
            mend = f"systemctl reset-failed {unit}" if _limit_hit(found.get("Result")) else ""
            raise VerbFailed(NAME, unit, verb, job_failure(result, verb, found), mend)


def _method(verb: Verb, before: UnitStatus) -> str:
    if verb is not Verb.RESTART:
        return f"{verb.capitalize()}Unit"
    if before.stopped:
        why = "it is stopped, and a restart does not undo a stop"
        raise VerbFailed(NAME, before.unit, verb, why)
    rests = before.state in (ServiceState.FAILED, ServiceState.INACTIVE)
    return "RestartUnit" if rests else "TryRestartUnit"


def _signal_number(unit: str, verb: Verb, signal: str) -> int:
    if not signal:
        mend = "give the unit an ExecReload=, or the check `with reload_signal HUP`"
        raise NotSupported(NAME, unit, verb, "it has no ExecReload=", mend)
    return int(signal_number(NAME, unit, verb, signal))


def _limit_hit(result: object) -> bool:
    return result == "start-limit-hit"


def _own_unit() -> str:
    """Return the unit we run in. Not by GetUnitByPID(0): from another pid namespace, where the
    bus gives our pid as 0, that call crashes systemd 252.
    """
    try:
        return own_unit(Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
