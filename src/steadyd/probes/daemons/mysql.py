"""MySQL and MariaDB: `SHOW GLOBAL STATUS`, and how far a replica is behind."""

import os
from collections.abc import Mapping
from typing import Any, Final

import pymysql
from msgspec.structs import replace
from pymysql.connections import Connection
from pymysql.cursors import DictCursor

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.blocking import (
    SILENCE,
    LimitedSocket,
    LimitedTLS,
    converse,
    is_local,
)
from steadyd.probes.daemons.told import ProbeFailed, line, numbers, value, why

DEFAULTS: Final = Where(hostname="localhost", port=3306, socket="/tmp/mysql.sock", username="root")  # noqa: S108 (its own default)

BEHIND: Final = "Seconds_Behind_Master"
BROKEN: Final = 999999.0  # seconds; Inspeqtor's word for a replica that does not replicate

_SYNTAX: Final = 1064
_NO_RIGHT: Final = frozenset({1142, 1227})
_MENDS: Final = {
    1044: "grant the user this database, or take `database` out of the check",
    1045: "correct `username` and `password` of the check",
    1049: "correct `database` of the check",
    1698: "such a user logs in by its own Unix account only: make another, with a password",
}


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return the status variables that are numbers, and `Seconds_Behind_Master`.

    The socket is used only where that file is, as Inspeqtor does.
    """
    there = _there(where)
    behind = not names or BEHIND in names
    try:
        return await converse(there, lambda connection: _talk(there, connection, names, behind))
    except OSError as error:
        if there == where:
            raise
        place = f"{there.hostname}:{there.port}"
        raise ProbeFailed(f"there is no such socket; at {place}: {why(error)}") from None


def _there(where: Where) -> Where:
    return where if os.path.exists(where.socket) else replace(where, socket="")


def _talk(where: Where, connection: LimitedSocket, names: frozenset[str], behind: bool) -> Values:
    found: dict[str, float | str] = {}
    try:
        with _connected(where, connection) as server:
            if names != {BEHIND}:
                rows = _rows(server, "SHOW GLOBAL STATUS")
                pairs = [tuple(map(str, row.values()))[:2] for row in rows]
                found = numbers([(name, text) for name, text in pairs], names)
            if behind:
                found[BEHIND] = _behind(server)
    except pymysql.MySQLError as error:
        raise ProbeFailed(_told(error)) from None
    return found


def _connected(where: Where, connection: LimitedSocket) -> "Connection[DictCursor]":
    """Log in; over the network with TLS where the server has it."""
    server: Any = Connection(
        host=where.hostname,
        port=where.port,
        user=where.username,
        password=where.password.encode("utf-8", "surrogateescape"),  # a str would be latin1
        database=where.database or None,
        cursorclass=DictCursor,
        read_timeout=SILENCE,
        write_timeout=SILENCE,
        ssl_disabled=is_local(where),
        auth_plugin_map={"mysql_clear_password": _Refuses, "dialog": _Refuses},
        defer_connect=True,
    )
    if where.socket:
        server._secure = True  # as it does itself with a socket: nobody listens in
    if not is_local(where):
        server.ctx.sslsocket_class = LimitedTLS
    server.connect(connection)
    connected: Connection[DictCursor] = server
    return connected


class _Refuses:
    """Stands for what would send the password as it is to whoever asks."""

    def __init__(self, connection: object) -> None:
        del connection

    def authenticate(self, packet: object) -> None:
        raise ProbeFailed("it wants the password in clear; use another authentication plugin")


def _rows(server: "Connection[DictCursor]", sql: str) -> tuple[dict[str, Any], ...]:
    with server.cursor() as cursor:
        cursor.execute(sql)
        return tuple(cursor.fetchall())


def _behind(server: "Connection[DictCursor]") -> float | str:
    """Return the seconds of the worst channel; BROKEN where one does not replicate."""
    try:
        try:
            rows = _rows(server, "SHOW REPLICA STATUS")
        except pymysql.MySQLError as error:  # MySQL before 8.0.22, MariaDB before 10.5.1
            if _code(error) != _SYNTAX:
                raise
            rows = _rows(server, "SHOW SLAVE STATUS")
    except pymysql.MySQLError as error:
        if _code(error) not in _NO_RIGHT:
            raise
        return "no right to see replication; GRANT REPLICATION CLIENT (MariaDB: REPLICA MONITOR)"
    if not rows:
        return "no replication is set up on this server"
    found = [_seconds(row) for row in rows]
    reasons = [one for one in found if isinstance(one, str)]
    return reasons[0] if reasons else max(one for one in found if not isinstance(one, str))


def _seconds(row: Mapping[str, Any]) -> float | str:
    for name in ("Seconds_Behind_Source", BEHIND):
        if name in row:
            return BROKEN if row[name] is None else value(str(row[name]))
    return "the server does not say how far it is behind"


def _code(error: pymysql.MySQLError) -> object:
    return error.args[0] if error.args else None


def _told(error: pymysql.MySQLError) -> str:
    said = line(str(error.args[-1] if error.args else error))
    mend = _MENDS.get(_code(error), "")  # type: ignore[call-overload]
    return f"it says: {said}; {mend}" if mend else f"it says: {said}"
