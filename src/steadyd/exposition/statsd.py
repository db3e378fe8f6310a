"""Readings to a statsd server, one packet for each (inspeqtor.md, section 7).

`HOST.THING.FAMILY.NAME:VALUE|g`, or `|c` for what was gained since the last tick. Names are
cleaned: a dot separates, and nothing else may. What has no value is left out.
"""

import asyncio
import logging
import re
import socket
from collections.abc import Callable, Iterable, Mapping

from steadyd.model.metric import MetricId, Reading

log = logging.getLogger(__name__)

_RESOLVE_SECONDS = 5.0
_AGAIN_SECONDS = 60.0  # between two tries to find the server
_STRANGE = re.compile(r"[^A-Za-z0-9_-]+")

Readings = Iterable[tuple[str, Mapping[MetricId, Reading]]]


class Statsd:
    """Sends to `HOST:PORT`; never waits, and says once when it cannot."""

    def __init__(
        self, address: str, hostname: str, is_counter: Callable[[str, MetricId], bool]
    ) -> None:
        """Raises ValueError: the address is none."""
        host, colon, port = address.rpartition(":")
        if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"statsd: `{address}` is no HOST:PORT")
        self._place, self._prefix = (host.strip("[]"), int(port)), _clean(hostname)
        self._is_counter = is_counter
        self._socket: socket.socket | None = None
        self._tried_at = -_AGAIN_SECONDS
        self._silent = False

    async def send(self, readings: Readings) -> None:
        """Send the readings of one tick."""
        if self._socket is None and not await self._open():
            return
        for service, some in readings:
            for metric, reading in some.items():
                if reading.value is not None:
                    self._packet(self._line(service, metric, reading.value))

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _line(self, service: str, metric: MetricId, value: float) -> bytes:
        names = (service, metric.family, *([metric.name] if metric.name else []))
        path = ".".join((self._prefix, *map(_clean, names)))
        kind = "c" if self._is_counter(service, metric) else "g"
        return f"{path}:{value:.2f}|{kind}\n".encode()

    def _packet(self, line: bytes) -> None:
        if self._socket is None:
            return
        try:
            self._socket.send(line)
        except OSError as error:  # nobody listens, or the buffer is full: the next one may do
            self._say(str(error.strerror))
        else:
            self._silent = False

    async def _open(self) -> bool:
        loop = asyncio.get_running_loop()
        if loop.time() - self._tried_at < _AGAIN_SECONDS:
            return False
        self._tried_at = loop.time()
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                found = await loop.getaddrinfo(*self._place, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            self._socket = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
            self._socket.connect(address)
        except (OSError, TimeoutError) as error:
            self._say(str(error) or "its name is not found in time")
            self.close()
            return False
        return True

    def _say(self, why: str) -> None:
        if not self._silent:
            self._silent = True
            log.warning("statsd at %s:%d: %s", *self._place, why)


def _clean(name: str) -> str:
    return _STRANGE.sub("_", name).strip("_") or "root"
