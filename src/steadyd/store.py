"""The only owner of state.db: schema, migrations, one writer thread.

SQLite in WAL mode with synchronous=FULL. What is durable is written as a `Batch` in one
transaction; a batch that cannot be written (disk full) stays queued in memory and is written
with the next one, so that the daemon goes on watching and acting meanwhile.

A file that is corrupt or of a newer version is moved aside, never deleted. `flock` on the folder
keeps a second instance out. Design: design.md, section 10.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from steadyd.model.fact import Course, Memory, Past, RuleState, Step, UnitMemory
from steadyd.model.incident import Action, Incident, Line
from steadyd.model.job import JobState
from steadyd.model.notification import Parcel, ParcelState
from steadyd.model.silence import Silence
from steadyd.ports import HistoryUnreadable

VERSION = 2
DAY = 86_400.0
KEEP_INCIDENTS = 30 * DAY
KEEP_VERBS = 7 * DAY  # as far as budgets look back
KEEP_DEAD = 90 * DAY
KEEP_SETTLED = DAY
MAX_PAGES = 65_536  # of 4 KiB: 256 MiB in all
CACHE_KIB = 512  # of pages in memory: everything that decides is in the engine
KEEP_PIECES = 50_000  # of history: 13 MB with 20 points each
BACKLOG = 50_000  # statements kept in memory while the disk refuses them
ROTTEN = ("disk I/O", "no such table", "no such column", "exists")  # words of OperationalError
CHECK_BELOW = 16 * 2**20  # bytes; a larger file is not checked page by page at start

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE rule_states (key TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID;
CREATE TABLE units (key TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID;
CREATE TABLE last_good (path TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID;
CREATE TABLE incidents (id TEXT PRIMARY KEY, service TEXT, opened_at REAL, closed_at REAL,
                        data BLOB, course BLOB);
CREATE INDEX incidents_by_service ON incidents (service, opened_at);
CREATE INDEX incidents_by_time ON incidents (opened_at);
CREATE TABLE actions (id TEXT PRIMARY KEY, incident TEXT, asked_at REAL, finished_at REAL,
                      ran INTEGER, data BLOB);
CREATE INDEX actions_by_incident ON actions (incident);
CREATE INDEX actions_by_time ON actions (asked_at);
CREATE TABLE lines (incident TEXT, at REAL, data BLOB);
CREATE INDEX lines_by_incident ON lines (incident);
CREATE TABLE parcels (id TEXT PRIMARY KEY, state TEXT, posted_at REAL, data BLOB);
CREATE INDEX parcels_by_state ON parcels (state);
CREATE TABLE history (until REAL, data BLOB);
"""
MIGRATIONS = {1: "CREATE TABLE history (until REAL, data BLOB);"}  # from this version to the next

_KEPT = ("silences", "alive")
Statement = tuple[str, tuple[object, ...]]
T = TypeVar("T")


class StoreError(Exception):
    """The state folder cannot be used; str() is ready to print."""


class Batch(Struct):
    """Statements for one transaction, made from the nouns."""

    statements: list[Statement] = field(default_factory=list)

    def step(self, step: Step) -> None:
        """Add what the engine decided."""
        self._keyed("rule_states", step.states)
        self._keyed("units", step.units)
        for key, job in step.jobs.items():
            self.keep(key, job)
        if step.silences is not None:
            self.keep("silences", step.silences)
        for incident in step.incidents.values():
            self._add(
                "INSERT INTO incidents VALUES (?, ?, ?, ?, ?, NULL) ON CONFLICT (id) DO UPDATE"
                " SET closed_at = excluded.closed_at, data = excluded.data",
                incident.id,
                incident.service,
                incident.opened_at,
                incident.closed_at,
                _encode(incident),
            )
        for key, course in step.courses.items():
            self._add("UPDATE incidents SET course = ? WHERE id = ?", _encode(course), key)
        for action in step.actions.values():
            self._add(
                "INSERT INTO actions VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET finished_at = excluded.finished_at, ran = excluded.ran,"
                " data = excluded.data",
                action.id,
                action.incident,
                action.asked_at,
                action.finished_at,
                action.ran,
                _encode(action),
            )
        self.lines(step.lines)

    def keep(self, key: str, value: object | None) -> None:
        """Keep a small value under a key, None: forget it."""
        if value is None:
            self._add("DELETE FROM meta WHERE key = ?", key)
        else:
            self._add("REPLACE INTO meta VALUES (?, ?)", key, _encode(value))

    def past(self, pieces: Iterable[Past]) -> None:
        """Add pieces of history; the oldest go where there are too many."""
        for piece in pieces:
            self._add("INSERT INTO history VALUES (?, ?)", piece.until, _encode(piece))
        self._add(
            "DELETE FROM history WHERE rowid <= (SELECT max(rowid) - ? FROM history)", KEEP_PIECES
        )

    def lines(self, lines: Iterable[Line]) -> None:
        """Add lines of stories."""
        for line in lines:
            self._add("INSERT INTO lines VALUES (?, ?, ?)", line.incident, line.at, _encode(line))

    def parcels(self, parcels: Iterable[Parcel]) -> None:
        """Add parcels, or replace them by what became of them."""
        for parcel in parcels:
            self._add(
                "INSERT INTO parcels VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET state = excluded.state, data = excluded.data",
                parcel.id,
                parcel.state,
                parcel.posted_at,
                _encode(parcel),
            )

    def _keyed(self, table: str, rows: Mapping[str, object | None]) -> None:
        for key, value in rows.items():
            if value is None:
                self._add(f"DELETE FROM {table} WHERE key = ?", key)  # noqa: S608 - our own names
            else:
                self._add(f"REPLACE INTO {table} VALUES (?, ?)", key, _encode(value))  # noqa: S608

    def _add(self, sql: str, *values: object) -> None:
        self.statements.append((sql, values))


class Store:
    """state.db. Everything but the constructor may be called from any thread or the loop."""

    def __init__(self, folder: Path, *, machine_id: str, boot_id: str) -> None:
        """Open or make the state. Raises StoreError."""
        self.folder, self.trouble, self.moved_aside = folder, "", ""
        self._backlog: list[Statement] = []
        self._lock = threading.Lock()
        self._flock = _lock_folder(folder)
        try:
            self._same_boot = False
            self._open(folder / "state.db")
            self._same_boot = self._meta("boot_id", boot_id.encode()) == boot_id.encode()
            self._belongs_here(machine_id)
            self.key = self._meta("key", secrets.token_bytes(32))
            self._db.execute("REPLACE INTO meta VALUES ('boot_id', ?)", (boot_id.encode(),))
            self._retain()
            self._db.commit()
        except sqlite3.Error as error:
            os.close(self._flock)
            raise StoreError(f"cannot use {folder / 'state.db'}: {error}") from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    # -- at start

    def memory(self) -> Memory:
        """Return what is remembered from before."""
        with self._lock:
            states = self._rows("SELECT key, data FROM rule_states")
            units = self._rows("SELECT key, data FROM units")
            incidents = self._rows("SELECT data, course FROM incidents WHERE closed_at IS NULL")
            opened = [_decode(data, Incident) for data, _ in incidents]
            actions = self._rows(
                "SELECT a.data FROM actions a JOIN incidents i ON i.id = a.incident"
                " WHERE i.closed_at IS NULL OR a.finished_at IS NULL ORDER BY a.asked_at"
            )
            recent = self._rows(
                "SELECT data FROM actions WHERE ran AND asked_at > ? ORDER BY asked_at",
                time.time() - KEEP_VERBS,
            )
            jobs = self._rows("SELECT key, value FROM meta WHERE key LIKE 'job %'")
            kept = dict(self._rows("SELECT key, value FROM meta WHERE key IN (?, ?)", *_KEPT))
            sql = "SELECT data FROM history WHERE until > ? ORDER BY rowid"
            past = self._rows(sql, time.time())
        return Memory(
            {key: _decode(data, RuleState) for key, data in states},
            {i.id: i for i in opened},
            {
                i.id: _decode(course, Course) if course else Course()
                for i, (_, course) in zip(opened, incidents, strict=True)
            },
            {a.id: a for (data,) in actions for a in [_decode(data, Action)]},
            {key: _decode(data, UnitMemory) for key, data in units},
            tuple(_decode(data, Action) for (data,) in recent),
            self._same_boot,
            {key: _decode(data, JobState) for key, data in jobs},
            _decode(kept.get("silences", b"[]"), tuple[Silence, ...]),
            _decode(kept.get("alive", b"0"), float),
            tuple(_decode(data, Past) for (data,) in past),
        )

    def parcels(self) -> list[Parcel]:
        """Return the parcels that are not settled, and the dead ones, oldest first."""
        with self._lock:
            rows = self._rows(
                "SELECT data FROM parcels WHERE state IN (?, ?, ?) ORDER BY posted_at, rowid",
                ParcelState.NEW,
                ParcelState.SENDING,
                ParcelState.DEAD,
            )
        return [_decode(data, Parcel) for (data,) in rows]

    # -- writing

    async def write(self, batch: Batch) -> bool:
        """Commit a batch; False if it is only queued because the disk refuses (see `trouble`)."""
        if not batch.statements and not self._backlog:
            return True
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._write, batch.statements)

    def _write(self, statements: Sequence[Statement]) -> bool:
        with self._lock:
            self._backlog.extend(statements)
            del self._backlog[:-BACKLOG]
            try:
                with self._db:
                    for sql, values in self._backlog:
                        self._db.execute(sql, values)
            except sqlite3.Error as error:
                self.trouble = f"cannot write {self.folder / 'state.db'}: {error}"
                return False
            self._backlog.clear()
            self.trouble = ""
            return True

    # -- LastGood (rulefiles.folder)

    def get(self, path: str) -> str | None:
        """Return the last good text of a rule file."""
        rows = self._kept("SELECT text FROM last_good WHERE path = ?", path)
        return str(rows[0][0]) if rows else None

    def paths(self) -> list[str]:
        """Return the rule files of which a text is kept."""
        return [str(path) for (path,) in self._kept("SELECT path FROM last_good")]

    def put(self, path: str, text: str) -> None:
        """Remember a good text of a rule file."""
        self._write([("REPLACE INTO last_good VALUES (?, ?)", (path, text))])

    def forget(self, path: str) -> None:
        """Forget a rule file that is gone."""
        self._write([("DELETE FROM last_good WHERE path = ?", (path,))])

    # -- history

    async def incidents(
        self, limit: int, service: str | None = None
    ) -> list[tuple[Incident, list[Action]]]:
        """Return incidents with their actions, newest first; of one service if it is named."""
        return await self._read(lambda: self._incidents(limit, service))

    async def actions(self, limit: int) -> list[Action]:
        """Return actions, newest first."""
        sql = "SELECT data FROM actions ORDER BY asked_at DESC LIMIT ?"
        return await self._read(lambda: [_decode(d, Action) for (d,) in self._rows(sql, limit)])

    async def lines(self, incident: str) -> list[Line]:
        """Return the story of an incident, oldest line first."""
        sql = "SELECT data FROM lines WHERE incident = ? ORDER BY at, rowid"
        return await self._read(lambda: [_decode(d, Line) for (d,) in self._rows(sql, incident)])

    async def retain(self) -> None:
        """Drop what is older than it is kept."""

        def work() -> None:
            with self._db:
                self._retain()

        with contextlib.suppress(HistoryUnreadable):  # `trouble` says so
            await self._read(work)

    def close(self) -> None:
        """Write what is queued and let the folder go."""
        self._thread.shutdown(wait=True)
        self._write([])
        self._db.close()
        os.close(self._flock)

    # -- inside

    def _kept(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return rows, none where they cannot be read: what is in memory goes on without them."""
        try:
            with self._lock:
                return self._rows(sql, *values)
        except sqlite3.Error as error:
            self.trouble = f"cannot read {self.folder / 'state.db'}: {error}"
            return []

    async def _read(self, work: Callable[[], T]) -> T:
        def locked() -> T:
            try:
                with self._lock:
                    return work()
            except (sqlite3.Error, msgspec.MsgspecError) as error:
                self.trouble = f"cannot read {self.folder / 'state.db'}: {error}"
                raise HistoryUnreadable(self.trouble) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, locked)

    def _incidents(self, limit: int, service: str | None) -> list[tuple[Incident, list[Action]]]:
        where = "WHERE service = ? " if service is not None else ""
        named: tuple[object, ...] = (service,) if service is not None else ()
        sql = f"SELECT data FROM incidents {where}ORDER BY opened_at DESC, rowid DESC LIMIT ?"  # noqa: S608
        found = [_decode(data, Incident) for (data,) in self._rows(sql, *named, limit)]
        of = "SELECT data FROM actions WHERE incident = ? ORDER BY asked_at, rowid"
        return [(i, [_decode(d, Action) for (d,) in self._rows(of, i.id)]) for i in found]

    def _open(self, path: Path) -> None:
        for _ in range(2):
            self._db = _connect(path)
            why = _unusable(self._db, path, self._read_all)
            if not why:
                return
            self._db.close()
            self.moved_aside = _move_aside(path, why)
        raise StoreError(f"cannot make a usable {path}")

    def _read_all(self) -> None:
        """Read what a start needs. Raises sqlite3.Error or msgspec.MsgspecError."""
        self.memory()
        self.parcels()

    def _belongs_here(self, machine_id: str) -> None:
        """A cloned host has another machine id: the original's incidents are not ours."""
        if self._meta("machine_id", machine_id.encode()) == machine_id.encode():
            return
        of_host = ("incidents", "actions", "lines", "parcels", "rule_states", "units", "history")
        for table in of_host:
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
        self._db.execute("DELETE FROM meta WHERE key LIKE 'job %' OR key IN (?, ?)", _KEPT)
        self._db.execute("REPLACE INTO meta VALUES ('machine_id', ?)", (machine_id.encode(),))

    def _meta(self, key: str, default: bytes) -> bytes:
        self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, default))
        return bytes(self._rows("SELECT value FROM meta WHERE key = ?", key)[0][0])

    def _retain(self) -> None:
        now = time.time()
        old = "SELECT id FROM incidents WHERE closed_at < ?"
        for table, column in (("lines", "incident"), ("actions", "incident"), ("incidents", "id")):
            self._db.execute(
                f"DELETE FROM {table} WHERE {column} IN ({old})",  # noqa: S608 - our own names
                (now - KEEP_INCIDENTS,),
            )
        self._db.execute("DELETE FROM history WHERE until < ?", (now,))
        for states, keep in (("'delivered', 'folded'", KEEP_SETTLED), ("'dead'", KEEP_DEAD)):
            self._db.execute(
                f"DELETE FROM parcels WHERE state IN ({states}) AND posted_at < ?",  # noqa: S608
                (now - keep,),
            )

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self._db.execute(sql, values).fetchall()


def _connect(path: Path) -> sqlite3.Connection:
    before = os.umask(0o077)
    try:
        return sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    finally:
        os.umask(before)


def _unusable(db: sqlite3.Connection, path: Path, read_all: Callable[[], None]) -> str:
    """Prepare the database; return why it has to be moved aside, "" if it is good."""
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            return f"newer-{version}"
        if version < 0:
            return "corrupt"
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA max_page_count = {MAX_PAGES}")
        db.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
        if version and path.stat().st_size < CHECK_BELOW and _rotten(db):
            return "corrupt"
        _bring_up_to_date(db, path, version)
        read_all()
    except sqlite3.OperationalError as error:
        if any(word in str(error) for word in ROTTEN):
            return "corrupt"
        raise
    except (sqlite3.DatabaseError, msgspec.MsgspecError, TypeError):
        return "corrupt"
    return ""


def _bring_up_to_date(db: sqlite3.Connection, path: Path, version: int) -> None:
    if version == 0:
        db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")
    elif version < VERSION:
        _copy(db, path.with_name(f"{path.name}.v{version}"))
        for older in range(version, VERSION):
            steps = f"{MIGRATIONS[older]} PRAGMA user_version = {older + 1};"
            db.executescript(f"BEGIN; {steps} COMMIT")


def _copy(db: sqlite3.Connection, path: Path) -> None:
    """Keep a copy of the database before it is changed to another version."""
    path.unlink(missing_ok=True)
    with contextlib.closing(_connect(path)) as copy:
        db.backup(copy)


def _rotten(db: sqlite3.Connection) -> bool:
    return bool(db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok")


def _move_aside(path: Path, why: str) -> str:
    aside = path.with_name(f"{path.name}.{why}-{time.strftime('%Y%m%dT%H%M%S')}")
    path.replace(aside)
    for suffix in ("-wal", "-shm"):
        extra = path.with_name(path.name + suffix)
        if extra.exists():
            extra.replace(aside.with_name(aside.name + suffix))
    return f"{path} was {why.split('-')[0]}; it is kept as {aside.name} and a new one was made"


def _lock_folder(folder: Path) -> int:
    """Take the folder for this process; return the descriptor that holds it. Raises StoreError."""
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot use the state folder {folder}: {error.strerror};"
            " name another one with --state or make it writable"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        other = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "?"
        os.close(fd)
        raise StoreError(
            f"another steadyd (pid {other}) uses the state folder {folder};"
            " stop it or name another folder with --state"
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value)


def _decode(data: bytes, kind: type[T]) -> T:
    return msgspec.json.decode(data, type=kind)
