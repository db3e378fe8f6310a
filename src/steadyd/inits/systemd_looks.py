"""First looks at units of systemd, many at a time.

When it is first asked for all properties of a unit, systemd works out UnitFileState and
UnitFilePreset, which takes 2.4 ms on a host with 200 units. Of a service that plainly runs, what
is needed stands elsewhere: ListUnitsByNames has the state of many, and the Service interface the
process.
"""

import asyncio
from collections.abc import Sequence

from steadyd.inits.link import Call, Link, LinkLost, Refused
from steadyd.inits.systemd_manager import MANAGER, PROPERTIES, SERVICE, properties
from steadyd.inits.systemd_status import ROOT_PATH, Properties, unit_path

AT_ONCE = 100  # units in one list
_NEEDED = ("MainPID", "ControlGroup", "NRestarts", "Result", "Type", "ExecReload")
_RUNNING = ("loaded", "active", "running")


class Looks:
    """Answers all who ask in one turn of the loop with one list."""

    def __init__(self) -> None:
        self._asked: dict[str, asyncio.Future[bool]] = {}
        self._task: asyncio.Task[None] | None = None

    async def at(self, link: Link, unit: str) -> Properties:
        """Return what `systemd_status.status` needs of a unit. Raises Refused, LinkLost."""
        runs = self._asked.get(unit)
        if runs is None:
            runs = self._asked[unit] = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._list(link))
        plain = await asyncio.shield(runs)
        if plain and (found := await _running(link, unit)):
            return found
        return await properties(link, unit_path(unit))

    async def _list(self, link: Link) -> None:
        await asyncio.sleep(0)  # whoever asks in this turn is served with us
        asked, self._asked, self._task = self._asked, {}, None
        units = list(asked)
        plain: set[str] = set()
        try:
            for first in range(0, len(units), AT_ONCE):
                plain |= await _plain(link, units[first : first + AT_ONCE])
        except (Refused, LinkLost):  # systemd before 230, or gone: told by what is asked next
            plain = set()
        finally:
            for unit, runs in asked.items():
                if not runs.done():
                    runs.set_result(unit in plain)


async def _plain(link: Link, units: Sequence[str]) -> set[str]:
    """Return the services that run under this very name, with no job queued."""
    (rows,) = await link.call(ROOT_PATH, MANAGER, "ListUnitsByNames", "as", (units,))
    return {
        row[0]
        for row in rows
        if row[0].endswith(".service") and tuple(row[2:5]) == _RUNNING and not row[7]
    }


async def _running(link: Link, unit: str) -> Properties | None:
    """Return the properties of a service that runs, None if it does not after all."""
    path, interface = unit_path(unit), f"{SERVICE}.Unit"
    (own,), (invocation,), (since,) = await link.questions(
        Call(path, PROPERTIES, "GetAll", "s", (f"{SERVICE}.Service",)),
        Call(path, PROPERTIES, "Get", "ss", (interface, "InvocationID")),
        Call(path, PROPERTIES, "Get", "ss", (interface, "StateChangeTimestamp")),
    )
    found = {name: own[name].value for name in _NEEDED if name in own}
    if not found.get("MainPID") or found.get("Result") != "success":
        return None
    by_signal = found.get("Type") == "notify-reload"
    return {
        **found,
        "Id": unit,
        "LoadState": "loaded",
        "ActiveState": "active",
        "SubState": "running",
        "InvocationID": invocation.value,
        "StateChangeTimestamp": since.value,
        # as service_can_reload() has it
        "CanReload": bool(found.get("ExecReload")) or by_signal,
    }
