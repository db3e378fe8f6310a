"""PostgreSQL: the statistics that Inspeqtor reads (postgresql.org/docs, monitoring-stats)."""

import os
import ssl
import struct
from typing import Any, Final

from msgspec.structs import replace
from pg8000.native import (  # type: ignore[import-untyped]
    Connection,
    DatabaseError,
    InterfaceError,
)

from steadyd.probes.daemons import Values, Where
from steadyd.probes.daemons.blocking import LimitedSocket, LimitedTLS, converse, is_local
from steadyd.probes.daemons.told import ProbeFailed, line, ratio

DEFAULTS: Final = Where(hostname="localhost", port=5432, username="postgres")

_DATABASES: Final = frozenset({"numbackends", "rollbacks", "deadlocks", "blk_hit_rate"})
_QUERIES: Final = (
    (
        _DATABASES,
        """SELECT sum(numbackends)::float8, sum(xact_rollback)::float8, sum(deadlocks)::float8,
           sum(blks_hit)::float8, sum(blks_hit + blks_read)::float8 FROM pg_stat_database""",
    ),
    (
        frozenset({"seq_scans"}),
        "SELECT coalesce(sum(seq_scan), 0)::float8 FROM pg_stat_user_tables",
    ),
    (
        frozenset({"total_size"}),
        """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
           AND n.nspname !~ '^pg_(toast|temp)'""",
    ),
)
# The server itself stops what nobody waits for: a size waits for who locked the table. Of this
# transaction only, since behind a pool the next one is somebody else's.
_BEGIN: Final = (
    "START TRANSACTION READ ONLY",
    "SET LOCAL statement_timeout = '5s'",
    "SET LOCAL lock_timeout = '2s'",
)
_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)  # protocol-message-formats, SSLRequest

_MENDS: Final = {
    "28P01": "correct `username` and `password` of the check",
    "28000": "correct `username`, or allow it in pg_hba.conf",
    "3D000": "correct `database` of the check",
    "53300": "raise max_connections, or keep some for superusers",
}


async def read(where: Where, names: frozenset[str]) -> Values:
    """Return what the queries behind `names` say; `socket` is the file, or the folder it is in."""
    there = replace(where, socket=_file(where))
    return await converse(there, lambda connection: _talk(there, connection, names))


def _file(where: Where) -> str:
    if where.socket and os.path.isdir(where.socket):
        return f"{where.socket}/.s.PGSQL.{where.port}"
    return where.socket


def _talk(where: Where, connection: LimitedSocket, names: frozenset[str]) -> Values:
    found: dict[str, float | str] = {}
    try:
        with (
            _over_tls(where, connection) as stream,
            Connection(
                where.username,
                database=where.database or None,
                password=where.password,
                sock=stream,
                ssl_context=False,
                application_name="steadyd",
            ) as server,
        ):
            for sql in _BEGIN:
                server.run(sql)
            for offered, sql in _QUERIES:
                if not names or names & offered:
                    (row,) = server.run(sql)
                    found.update(_named(offered, row))
            server.run("COMMIT")  # an end without it would count as a rollback
    except (DatabaseError, InterfaceError) as error:
        raise ProbeFailed(_told(error, bool(where.password))) from None
    return found


def _named(offered: frozenset[str], row: list[Any]) -> Values:
    if offered != _DATABASES:
        (name,) = offered
        return {name: float(row[0])}
    backends, rollbacks, deadlocks, hit, asked = map(float, row)
    rate = ratio(hit, asked) if asked else "no block was asked for yet"
    return {
        "numbackends": backends,
        "rollbacks": rollbacks,
        "deadlocks": deadlocks,
        "blk_hit_rate": rate,
    }


def _over_tls(where: Where, connection: LimitedSocket) -> LimitedSocket | ssl.SSLSocket:
    """Return the connection over TLS where a server elsewhere has it, as libpq prefers."""
    if is_local(where):
        return connection
    connection.sendall(_SSL_REQUEST)
    if connection.recv(1) != b"S":
        return connection
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = LimitedTLS
    return context.wrap_socket(connection)


def _told(error: Exception, password: bool) -> str:
    said = error.args[0] if error.args else error
    if not isinstance(said, dict):
        text = line(str(said))
        if text == "network error":
            return "it broke the connection off; is this another server?"
        return f"it says: {text}"
    code = str(said.get("C"))
    if code == "28P01" and not password:
        return "it wants a password; give the check a `password`"
    mend = f"; {_MENDS[code]}" if code in _MENDS else ""
    return f"it says: {line(str(said.get('M')))}{mend}"
