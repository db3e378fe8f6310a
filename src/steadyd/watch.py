"""Which unit a service's name stands for, and what the init systems say of it, as facts.

Asks every init system of the host for every service (contract.md, section 1): the one that runs
as PID 1 wins, then the one that has the unit running. An error in one never ends the search in
the others.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from steadyd.inits.processes import running
from steadyd.model.fact import Bound, Fact, Unbound, UnitSeen, UnitUnknown
from steadyd.model.rule import CheckParams
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.model.snapshot import InitView
from steadyd.ports import (
    InitError,
    InitLost,
    InitReached,
    InitReport,
    InitSystem,
    InitUnreachable,
    SystemRunning,
    UnitGone,
    UnitNotFound,
)
from steadyd.rulefiles.globs import MOST, Member

log = logging.getLogger(__name__)

PROCESS, SELF = "process", "self"  # the adapter of what no init system keeps, and our unit there
# names of this daemon where no init system runs a unit of that name; the first one is from the
# ancestor's files, whose own unit may still be there, at rest
OURSELVES = ("inspeqtor", "steadyd")
# what installs packages, and restarts services on the way
INSTALLERS = (
    *("dpkg", "apt-get", "unattended-upgr", "needrestart"),
    *("rpm", "dnf", "yum", "zypper", "pacman", "apk"),
)
INSTALLERS_SECONDS = 0.2  # for which one look at the processes is good
LINGER_SECONDS = 330.0  # a unit gone from a glob: longer than an incident stays open on it
DETECT_SECONDS = 30.0  # between two looks for init systems, while a service has no unit


class Finding(Struct, frozen=True):
    """The unit that a name stands for, or why there is none and who could not be asked."""

    status: UnitStatus | None
    reason: str = ""
    unreachable: frozenset[str] = frozenset()


async def find_unit(inits: Sequence[InitSystem], name: str, params: CheckParams) -> Finding:
    """Ask `inits`, first the one that runs as PID 1, what a service's name stands for."""
    only = PROCESS if params.process else params.init
    ours = not (only or params.unit) and name in OURSELVES
    asked = [i for i in inits if i.name == only or (not only and (ours or i.name != PROCESS))]
    if not asked:
        which = f"init {only}" if only else "no init system that steadyd knows"
        return Finding(None, f"{which} was{' not' if only else ''} found on this host")
    found, reasons, unreachable = [], [], set()
    for init in asked:
        try:
            unit = SELF if ours and init.name == PROCESS else params.process or params.unit or name
            found.append(await init.find(unit))
        except UnitNotFound as error:
            reasons.append(f"{init.name}: {error.why}")
        except InitError as error:
            reasons.append(f"{init.name}: {error.why}")
            unreachable.add(init.name)
    if not found:
        return Finding(None, "; ".join(reasons), frozenset(unreachable))
    first = inits[0].name
    # our own process stands behind a unit that runs, and before one at rest
    best = min(
        found,
        key=lambda s: (
            ours and s.state is not ServiceState.ACTIVE,
            s.init != first,
            s.state is not ServiceState.ACTIVE,
        ),
    )
    return Finding(best)


async def members_of(
    inits: Sequence[InitSystem], glob: str, params: CheckParams, known: Collection[Member] = ()
) -> frozenset[Member]:
    """Return the units that a glob stands for; of an init that cannot be asked the `known` ones."""
    found: set[Member] = set()
    for init in inits:
        if init.name == PROCESS or (params.init and init.name != params.init):
            continue
        try:
            found |= {Member(init.name, unit) for unit in await init.units(params.unit or glob)}
        except InitError:
            found |= {member for member in known if member.init == init.name}
    return frozenset(found)


class Watch:
    """The init systems of this host, first the one that runs as PID 1."""

    def __init__(
        self,
        detect: Callable[[bool], Sequence[InitSystem]],
        tell: Callable[[Fact], None],
        regroup: Callable[[], None] = lambda: None,
    ) -> None:
        """`tell` takes each fact as it arrives; `detect` returns the init systems that run now.

        Its argument is whether some service is a mere process. `regroup` is called when `members`
        of a glob have changed. Raises what `detect` does.
        """
        self.members: dict[str, frozenset[Member]] = {}
        self.refused: dict[str, str] = {}  # globs of too many units, and how many
        self._globs: dict[str, CheckParams] = {}
        self._gone: dict[tuple[str, Member], float] = {}
        self._regroup = regroup
        self.inits: dict[str, InitSystem] = {}
        self._detect, self._tell = detect, tell
        self._views: dict[str, InitView] = {}
        self._add(detect(False))
        self._detected_at = time.monotonic()
        self._lost: set[str] = set()
        self._services: dict[str, CheckParams] = {}
        self._units: dict[str, tuple[str, str]] = {}
        self._reasons: dict[str, str] = {}
        self._look = asyncio.Event()
        self._looked = asyncio.Event()
        self._runs: dict[tuple[str, str], str] = {}
        self._installers = (float("-inf"), False)

    @property
    def views(self) -> tuple[InitView, ...]:
        """Return which init systems can be reached."""
        return tuple(self._views.values())

    @property
    def missing(self) -> bool:
        """Tell whether some service has no unit yet."""
        return len(self._units) < len(self._services)

    def globs(self, globs: Mapping[str, CheckParams]) -> None:
        """Replace the globs whose members are looked for."""
        self._globs = dict(globs)
        self.members = {glob: found for glob, found in self.members.items() if glob in globs}
        self.refused = {glob: why for glob, why in self.refused.items() if glob in globs}
        self._gone = {key: at for key, at in self._gone.items() if key[0] in globs}

    async def list_members(self) -> None:
        """Ask which units the globs stand for now."""
        changed = False
        for glob, params in list(self._globs.items()):
            known = self.members.get(glob, frozenset())
            found = await members_of(list(self.inits.values()), glob, params, known)
            found = self._lingering(glob, known, found)
            if len(found) > MOST:
                if glob not in self.refused:
                    log.error(
                        "%s stands for %d units, more than %d: none of them is watched; "
                        "write a narrower one",
                        glob,
                        len(found),
                        MOST,
                    )
                self.refused[glob] = f"{glob} stands for {len(found)} units, more than {MOST}"
                found = frozenset()
            else:
                self.refused.pop(glob, None)
            changed = changed or found != known
            if glob in self._globs:
                self.members[glob] = found
        if changed:
            self._regroup()

    def _lingering(
        self, glob: str, known: frozenset[Member], found: frozenset[Member]
    ) -> frozenset[Member]:
        """Keep units that are gone for a while: what is open on them is withdrawn meanwhile."""
        now = time.monotonic()
        for member in found:
            self._gone.pop((glob, member), None)
        kept = {
            member
            for member in known - found
            if now - self._gone.setdefault((glob, member), now) < LINGER_SECONDS
        }
        for member in known - found - kept:
            del self._gone[glob, member]
        return found | kept

    def services(self, services: Mapping[str, CheckParams]) -> None:
        """Replace the watched services; all names are looked up again soon."""
        self._services = dict(services)
        self._units = {name: unit for name, unit in self._units.items() if name in services}
        self._reasons = {name: why for name, why in self._reasons.items() if name in services}
        bound = set(self._units.values())
        self._runs = {unit: run for unit, run in self._runs.items() if unit in bound}
        self.look_again()

    def look_again(self) -> None:
        """Look all names up again soon."""
        self._looked.clear()
        self._look.set()

    async def settled(self) -> None:
        """Wait until every name was looked up."""
        await self._looked.wait()

    async def run(self) -> None:
        """Follow all init systems until cancelled."""
        async with asyncio.TaskGroup() as group:
            for init in self.inits.values():
                group.create_task(init.run(self._report), name=f"follow {init.name}")
            group.create_task(self._look_up_all(group), name="look names up")

    def _add(self, inits: Sequence[InitSystem]) -> list[InitSystem]:
        """Take in those init systems that are not known yet; return them."""
        new = [init for init in inits if init.name not in self.inits]
        self.inits |= {init.name: init for init in new}
        self._views |= {init.name: InitView(init.name, False, "not reached yet") for init in new}
        return new

    def _detect_again(self, group: asyncio.TaskGroup) -> None:
        """Look for init systems that were started after us, if a service may be theirs."""
        mere = any(p.process or name in OURSELVES for name, p in self._services.items())
        soon = time.monotonic() - self._detected_at < DETECT_SECONDS
        if (not (self.missing or self._globs) or soon) and (not mere or PROCESS in self.inits):
            return
        self._detected_at = time.monotonic()
        try:
            found = self._detect(mere)
        except ValueError as error:  # the one that may be asked does not run now
            log.debug("%s", error)
            return
        for init in self._add(found):
            log.debug("%s is asked from now on", init.name)
            group.create_task(init.run(self._report), name=f"follow {init.name}")

    def _report(self, report: InitReport) -> None:
        match report:
            case InitReached():
                if report.init in self._lost:
                    self._lost.discard(report.init)
                    log.info("%s answers again", report.init)
                self._views[report.init] = InitView(report.init, True, version=report.version)
                self.look_again()
            case SystemRunning():
                view = self._views.get(report.init, InitView(report.init, True))
                self._views[report.init] = replace(view, running=report.running)
            case InitLost():
                if report.init not in self._lost:
                    self._lost.add(report.init)
                    log.warning(
                        "%s cannot be reached: %s; its services are unknown meanwhile",
                        report.init,
                        report.reason,
                    )
                self._views[report.init] = InitView(report.init, False, report.reason)
                self._tell(UnitUnknown(report.init, "", report.reason))
            case UnitGone():
                self._tell(UnitUnknown(report.init, report.unit, report.reason))
            case UnitStatus():
                self._tell(UnitSeen(report, self._packaging(report)))

    def _packaging(self, status: UnitStatus) -> bool:
        """Tell whether packages are being installed while a unit was started again."""
        key = (status.init, status.unit)
        before = self._runs.get(key)
        if status.invocation:
            self._runs[key] = status.invocation
        if not before or not status.invocation or before == status.invocation:
            return False
        at, found = self._installers
        if time.monotonic() - at > INSTALLERS_SECONDS:  # 1,000 units may start again at once
            found = any(running(*INSTALLERS).values())
            self._installers = (time.monotonic(), found)
        return found

    async def _look_up_all(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._look.wait()
            self._look.clear()
            self._detect_again(group)
            if self._globs:
                await self.list_members()
            async with asyncio.TaskGroup() as lookers:
                for name, params in list(self._services.items()):
                    lookers.create_task(self._look_up(name, params))
            for init in self.inits.values():
                units = {unit for owner, unit in self._units.values() if owner == init.name}
                with contextlib.suppress(InitUnreachable):  # it reports itself lost
                    await init.watch(units)
            if not self._look.is_set():
                self._looked.set()

    async def _look_up(self, name: str, params: CheckParams) -> None:
        finding = await find_unit(list(self.inits.values()), name, params)
        if name not in self._services:
            return
        best = finding.status
        if best is None:
            self._not_found(name, finding)
            return
        unit = (best.init, best.unit)
        if self._units.get(name) != unit:
            self._units[name] = unit
            self._reasons.pop(name, None)
            self._tell(Bound(name, *unit))
            self._tell(UnitSeen(best))

    def _not_found(self, name: str, finding: Finding) -> None:
        bound = self._units.get(name)
        if bound is not None and bound[0] in finding.unreachable:
            return  # its init cannot be asked now: that is not the same as not knowing it
        self._units.pop(name, None)
        if self._reasons.get(name) != finding.reason:
            self._reasons[name] = finding.reason
            self._tell(Unbound(name, finding.reason))
