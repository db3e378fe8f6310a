"""Any HTTP endpoint: its status, how long it takes, and how long its certificate is good.

Where the certificate is not good, status and seconds have that reason and `tls_days` its number.
"""

import ssl
import time
from typing import Final

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.certificate import not_after
from steadyd.probes.daemons.client import Target, ask, connected, target
from steadyd.probes.daemons.told import ProbeFailed, why

DEFAULTS: Final = Where(hostname="localhost", port=80, endpoint="/")

_DAY: Final = 86400.0


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return `status`, `seconds` (until the page was read, or its first 256 KiB), `tls_days`."""
    to = target(where)
    found: dict[str, float | str] = {"tls_days": "the endpoint has no TLS"}
    if to.tls and (not names or "tls_days" in names):
        found["tls_days"] = await _days(to)
    if names == {"tls_days"}:
        return found
    start = time.monotonic()
    try:
        answer = await ask(to, cut=True)
    except ssl.SSLCertVerificationError as error:
        return found | dict.fromkeys(("status", "seconds"), why(error))
    return found | {"status": float(answer.status), "seconds": time.monotonic() - start}


async def _days(to: Target) -> float:
    """Return the days until the certificate ends, negative when it did; it may be anyone's."""
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    async with connected(to.where, tls=anyone) as stream:
        tls = stream.writer.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True)
    if not certificate:
        raise ProbeFailed("it speaks TLS without a certificate")
    return (not_after(certificate) - time.time()) / _DAY
