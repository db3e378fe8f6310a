"""Go programs: `memstats` of the expvar page (pkg.go.dev/expvar, pkg.go.dev/runtime#MemStats)."""

from typing import Final

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.client import document
from steadyd.probes.daemons.told import ProbeFailed, count

DEFAULTS: Final = Where(hostname="localhost", port=8080, endpoint="/debug/vars")

_MOST: Final = 1024 * 1024  # the program's own variables stand beside


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return the numbers of `memstats`."""
    stats = (await document(where, _MOST)).get("memstats")
    if not isinstance(stats, dict):
        raise ProbeFailed("its page has no `memstats`; does the program import expvar?")
    numeric = {name for name in stats if isinstance(stats[name], (int, float))}
    return {name: count(stats[name]) for name in numeric | (names & stats.keys())}
