"""HAProxy: `show info` and `show stat` of its stats socket (its management guide, 9.1 and 9.3)."""

import csv
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.client import connected
from steadyd.probes.daemons.told import ProbeFailed, count, line, number, ratio

DEFAULTS: Final = Where(hostname="localhost", socket="/run/haproxy/admin.sock")

_MOST: Final = 4 * 1024 * 1024  # a server has a line of about 500 bytes
_STAT: Final = "# pxname,"
_NONE: Final = "the server does not report it"

_INFO: Final = {
    "CurrConns": "connections_current",
    "Maxconn": "connections_limit",
    "CumConns": "connections",
    "CumReq": "requests",
    "Idle_pct": "idle",
    "Uptime_sec": "uptime",
}
# of the lines FRONTEND: what clients see
_FRONTENDS: Final = {
    "current_sessions": "scur",
    "sessions": "stot",
    "bytes_in": "bin",
    "bytes_out": "bout",
    "request_errors": "ereq",
    "denied_requests": "dreq",
    "responses_4xx": "hrsp_4xx",
    "responses_5xx": "hrsp_5xx",
}
# of the lines BACKEND: what became of it
_BACKENDS: Final = {
    "queue_current": "qcur",
    "connection_errors": "econ",
    "response_errors": "eresp",
    "retries": "wretr",
    "redispatches": "wredis",
}

_Row = Mapping[str, str]


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return numbers of the process and sums over its frontends, backends and servers."""
    if not where.socket and not where.port:
        raise ProbeFailed("no port of a stats socket is given; give the check a `socket`")
    async with connected(where, _MOST) as stream:
        await stream.send(b"show info;show stat\n")
        text = (await stream.rest()).decode("utf-8", "replace")
    info, header, stat = text.partition(_STAT)
    if not header:
        raise ProbeFailed(f"it answers {line(info[:40])!r}; is this a stats socket of level user?")
    rows = [row for row in csv.DictReader((header[2:] + stat).splitlines()) if row.get("svname")]
    return _of_process(info) | _of_proxies(rows)


def _of_process(info: str) -> dict[str, float | str]:
    lines = (text.partition(": ") for text in info.splitlines())
    fields = {name: number(text.strip()) for name, _, text in lines}
    found = {ours: count(fields.get(theirs)) for theirs, ours in _INFO.items()}
    found["connections_ratio"] = ratio(found["connections_current"], found["connections_limit"])
    return found


def _of_proxies(rows: Iterable[_Row]) -> dict[str, float | str]:
    kinds: dict[str, list[_Row]] = {"FRONTEND": [], "BACKEND": [], "server": []}
    for row in rows:
        kinds[row["svname"] if row["svname"] in kinds else "server"].append(row)
    fronts, backs, servers = kinds["FRONTEND"], kinds["BACKEND"], kinds["server"]
    found: dict[str, float | str] = {
        **{name: _sum(fronts, field) for name, field in _FRONTENDS.items()},
        **{name: _sum(backs, field) for name, field in _BACKENDS.items()},
        "backends_up": _count(backs, lambda status: status == "UP"),
        "backends_down": _count(backs, lambda status: status == "DOWN"),
        "servers_up": _count(servers, lambda status: status.startswith("UP")),
        "servers_down": _count(servers, lambda status: status.startswith("DOWN")),
        "servers_maintenance": _count(servers, lambda status: status.startswith("MAINT")),
    }
    full = [ratio(_of(row, "scur"), _of(row, "slim")) for row in fronts]
    numeric = [one for one in full if not isinstance(one, str)]
    found["session_limit_ratio"] = max(numeric) if numeric else "no frontend has a limit"
    return found


def _sum(rows: Iterable[_Row], field: str) -> float | str:
    numeric = [one for row in rows if not isinstance(one := _of(row, field), str)]
    return sum(numeric) if numeric else _NONE


def _of(row: _Row, field: str) -> float | str:
    found = number(row.get(field) or "")
    return _NONE if found is None else found


def _count(rows: Iterable[_Row], test: Callable[[str], bool]) -> float:
    return float(sum(test(row.get("status") or "") for row in rows))
