"""What a server says of itself, asked of the server: one module for each kind.

A module has `DEFAULTS`, the place where its kind is usually found, and `read`. It is imported
when the first rule asks for it. What a server answers is hostile until it was judged here.
"""

import asyncio
import importlib
import math
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from msgspec import Struct
from msgspec.structs import asdict

from steadyd.probes.daemons.told import ProbeFailed, hidden, line, shown, why

__all__ = ["FAMILIES", "ProbeFailed", "Where", "read"]

_MODULES: Final = MappingProxyType(
    {
        "redis": "redis",
        "memcached": "memcached",
        "nginx": "nginx",
        "mysql": "mysql",
        "postgresql": "postgresql",
        "memstats": "memstats",
        "haproxy": "haproxy",
        "rabbitmq": "rabbitmq",
        "etcd": "etcd",
        "puma": "puma",
        "sidekiq": "sidekiq",
        "php-fpm": "phpfpm",
        "http": "http",
        "tcp": "tcp",
    }
)
FAMILIES: Final = frozenset(_MODULES)

# Everywhere else a negative number is a server's word for "none yet" (redis: -1).
_SIGNED: Final = frozenset({"tls_days"})

Values = Mapping[str, float | str]


class Where(Struct, frozen=True):
    """How to reach one server; "" and 0 stand for what is usual of its kind.

    `socket` is the path of a unix socket and beats `hostname` and `port`. `password` is the
    secret itself. `endpoint` is a path, or a whole URL for what is asked by HTTP.
    """

    hostname: str = ""
    port: int = 0
    socket: str = ""
    username: str = ""
    password: str = ""
    endpoint: str = ""
    database: str = ""

    def __repr__(self) -> str:
        fields = asdict(self)
        fields["password"] = "***" if self.password else ""
        fields["endpoint"] = shown(self.endpoint)
        return f"Where({', '.join(f'{name}={value!r}' for name, value in fields.items())})"

    def __str__(self) -> str:
        if self.endpoint.startswith(("http://", "https://")):
            return shown(self.endpoint)
        return self.socket or f"{self.hostname}:{self.port}"


class Reader(Protocol):
    """A module of this package."""

    DEFAULTS: Where

    async def read(self, where: Where, names: frozenset[str]) -> Values:
        """Return what the server says, or the reason why not, by name; more than asked is fine.

        `where` is complete. Raises anything: what is no ProbeFailed is made one.
        """


async def read(
    family: str, where: Where, names: frozenset[str], deadline: float = 5.0
) -> Mapping[str, float | str]:
    """Return by metric name the raw number, or (a str) the reason why there is none.

    A name is what follows `family:`; without `names` all that the server offers. Counters are
    as the server counts. `deadline` is in seconds and holds for everything. Raises ProbeFailed.
    """
    place = where
    try:
        if family not in FAMILIES:
            raise ProbeFailed(f"there is no such probe; there are {' '.join(sorted(FAMILIES))}")
        async with asyncio.timeout(deadline):
            reader = await _reader(family)
            place = _complete(where, reader.DEFAULTS)
            found = await reader.read(place, names)
        offered = {name: _judged(name, found[name]) for name in found}
    except TimeoutError:
        reason = f"no answer within {deadline:g} s; is it hung, or is this another server?"
    except Exception as error:  # the answer may be anything, so may be what a parser says of it
        reason = why(error)
    else:
        none = "the server does not report it"
        return {name: offered.get(name, none) for name in names} if names else offered
    text = f"{family} at {line(str(place))}: {reason}"
    raise ProbeFailed(hidden(text, where.username, where.password)) from None


async def _reader(family: str) -> Reader:
    """Return the module of a family; the first import of a client takes a tenth of a second."""
    name = f"{__name__}.{_MODULES[family]}"
    module: Any = sys.modules.get(name) or await asyncio.to_thread(importlib.import_module, name)
    reader: Reader = module
    return reader


def _complete(where: Where, usual: Where) -> Where:
    """Fill what was not given.

    The usual socket is not for who named a host or a port, nor the usual password for a user.
    """
    fields = asdict(usual)
    if where.hostname or where.port:
        fields["socket"] = ""
    if where.username:
        fields["password"] = ""
    return Where(**fields | {name: value for name, value in asdict(where).items() if value})


def _judged(name: str, value: float | str) -> float | str:
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return f"the server says {value}, which is no number"
    if value < 0 and name not in _SIGNED:
        return f"the server says {value:g}: there is none"
    return float(value)
