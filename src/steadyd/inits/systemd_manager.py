"""The calls to systemd's manager that the adapter makes, and what their errors mean."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from steadyd.inits.link import Call, Link, LinkLost, Refused
from steadyd.inits.systemd_status import NAME, ROOT_PATH, Properties
from steadyd.model.rule import Verb
from steadyd.ports import InitError, NotPermitted, NotSupported, UnitNotFound, VerbFailed

SERVICE = "org.freedesktop.systemd1"
MANAGER = f"{SERVICE}.Manager"
MATCH = f"type='signal',sender='{SERVICE}',path_namespace='{ROOT_PATH}'"

PROPERTIES = "org.freedesktop.DBus.Properties"
GRANT = "steadyd grants polkit > /etc/polkit-1/rules.d/50-steadyd.rules"
_VERB_SECONDS = 25.0  # a verb's call may wait for polkit to start
_NO_SUCH = frozenset(
    (
        f"{SERVICE}.NoSuchUnit",
        f"{SERVICE}.UnitMasked",
        f"{SERVICE}.LoadFailed",
        f"{SERVICE}.BadUnitSetting",
        "org.freedesktop.DBus.Error.InvalidArgs",
        "org.freedesktop.DBus.Error.UnknownObject",
    )
)
_NO_RIGHT = frozenset(
    f"org.freedesktop.DBus.Error.{word}"
    for word in ("AccessDenied", "AuthFailed", "InteractiveAuthorizationRequired")
)
_NO_VERB = frozenset((f"{SERVICE}.JobTypeNotApplicable", f"{SERVICE}.OnlyByDependency"))


class Jobs:
    """The results of jobs, kept from before the call that queues one: none can be missed."""

    def __init__(self) -> None:
        self._ends: dict[str, asyncio.Future[str]] = {}
        self._askers = 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the results of jobs that end inside."""
        self._askers += 1
        try:
            yield
        finally:
            self._askers -= 1
            if not self._askers:
                self._ends.clear()

    def ended(self, path: str, result: str) -> None:
        """Take note that the job of an object path was removed (JobRemoved)."""
        if self._askers and not (end := self._end(path)).done():
            end.set_result(result)

    def lost(self, why: str) -> None:
        """Take note that no more results will come over this connection."""
        for end in self._ends.values():
            if not end.done():
                end.set_exception(LinkLost(why))

    async def run(self, link: Link, method: str, unit: str) -> str:
        """Queue a job and return its result once it ended. Raises Refused, LinkLost."""
        body = (unit, "replace")
        (path,) = await link.call(ROOT_PATH, MANAGER, method, "ss", body, _VERB_SECONDS)
        return await self._end(path)

    def _end(self, path: str) -> asyncio.Future[str]:
        if path not in self._ends:
            self._ends[path] = asyncio.get_running_loop().create_future()
        return self._ends[path]


async def properties(link: Link, path: str) -> Properties:
    """Return the properties of all interfaces of a unit, read in one moment.

    Loads the unit where systemd had it unloaded; an alias answers as what it stands for. Raises
    Refused, LinkLost.
    """
    ((found,),) = await link.questions(Call(path, PROPERTIES, "GetAll", "s", ("",)))
    return {key: variant.value for key, variant in found.items()}


async def kill_main(link: Link, unit: str, number: int) -> None:
    """Send a signal to the main process of a unit. Raises Refused, LinkLost."""
    body = (unit, "main", number)
    await link.call(ROOT_PATH, MANAGER, "KillUnit", "ssi", body, _VERB_SECONDS)


async def ping(link: Link) -> None:
    """Have systemd itself answer, not only the bus. Raises LinkLost, Refused."""
    await link.call(ROOT_PATH, "org.freedesktop.DBus.Peer", "Ping")


async def about(link: Link, what: str) -> str:
    """Return what systemd says of itself: `Version`, `SystemState`; "" where it has no such word.

    Raises LinkLost.
    """
    try:
        (found,) = await link.call(ROOT_PATH, PROPERTIES, "Get", "ss", (MANAGER, what))
    except Refused:
        return ""
    return str(found.value)


async def states(link: Link, units: list[str]) -> dict[str, tuple[str, str, int]]:
    """Return (active state, sub state, job or 0) of units, cheaply. Raises Refused, LinkLost."""
    (rows,) = await link.call(ROOT_PATH, MANAGER, "ListUnitsByNames", "as", (units,))
    return {row[0]: (row[3], row[4], row[7]) for row in rows}


async def units_like(link: Link, glob: str) -> set[str]:
    """Return the ids of units that match a pattern (glob(7)), those on disk too.

    Raises Refused, LinkLost.
    """
    body: tuple[list[str], list[str]] = ([], [glob])
    (loaded,) = await link.call(ROOT_PATH, MANAGER, "ListUnitsByPatterns", "asas", body)
    (files,) = await link.call(ROOT_PATH, MANAGER, "ListUnitFilesByPatterns", "asas", body)
    on_disk = {path.rpartition("/")[2] for path, state in files if state not in ("alias", "masked")}
    templates = {unit for unit in on_disk if "@." in unit}
    return {row[0] for row in loaded if row[2] == "loaded"} | (on_disk - templates)


def is_unknown(refused: Refused) -> bool:
    """Tell whether an error says that there is no such unit."""
    return refused.name in _NO_SUCH


def refusal(unit: str, verb: Verb, refused: Refused) -> InitError:
    """Return the error of our own kind for systemd's answer to a verb."""
    if refused.name in _NO_RIGHT:
        return NotPermitted(NAME, unit, verb, str(refused), mend=GRANT)
    if refused.name in _NO_VERB:
        return NotSupported(NAME, unit, verb, str(refused))
    kind = UnitNotFound if is_unknown(refused) else VerbFailed
    return kind(NAME, unit, verb, str(refused))
