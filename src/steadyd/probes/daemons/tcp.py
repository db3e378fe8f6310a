"""Any server: how long it takes to be connected."""

import time
from typing import Final

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.client import connected
from steadyd.probes.daemons.told import ProbeFailed

DEFAULTS: Final = Where(hostname="localhost")


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return the seconds until it was connected, the look-up of the name included."""
    if not where.port and not where.socket:
        raise ProbeFailed("no port is given; give the check a `port` (or a `socket`)")
    start = time.monotonic()
    async with connected(where):
        return {"seconds": time.monotonic() - start}
