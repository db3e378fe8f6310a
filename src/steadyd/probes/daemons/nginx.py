"""nginx: the page of stub_status (nginx.org, ngx_http_stub_status_module)."""

import re
from typing import Final

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.client import page
from steadyd.probes.daemons.told import ProbeFailed, shown

DEFAULTS: Final = Where(hostname="localhost", port=80, endpoint="/status")

_NAMES: Final = (
    *("Active_connections", "accepts", "handled", "requests"),
    *("Reading", "Writing", "Waiting"),
)
_PAGE: Final = re.compile(
    rb"""\s*Active\ connections:\s*([0-9]+)
    \s*server\ accepts\ handled\ requests\s+([0-9]+)\s+([0-9]+)\s+([0-9]+)
    \s*Reading:\s*([0-9]+)\s*Writing:\s*([0-9]+)\s*Waiting:\s*([0-9]+)\s*""",
    re.VERBOSE,
)


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return the seven numbers of the page."""
    found = _PAGE.fullmatch(await page(where))
    if found is None:
        raise ProbeFailed(
            f"{shown(where.endpoint)} is no status page of nginx;"
            " put `stub_status;` into its location"
        )
    return dict(zip(_NAMES, map(float, found.groups()), strict=True))
