"""The sandbox's database: calls and events as received with their verdicts, and the learned schema, in one SQLite file.

In: batches of events with their verdicts. Out: `Summary`, pages of stored events, the learned schema. Refuses
(`StoreError`, in words) a path that cannot be opened or that holds something else.

The file is readable by its owner alone, as it holds events. It is in WAL mode, so that it can be read, by other processes too,
while it is written; a committed call survives the death of the process, and, up to the last seconds, of the machine.
"""

from __future__ import annotations

import os
import sqlite3
import typing as t
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec

from target_cooladata.sandbox.schema import EventName, Learned, Property, Schema, Spelling

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from target_cooladata.sandbox.ingest import ReceivedEvent
    from target_cooladata.sandbox.validity import Status, Verdict

_APPLICATION_ID = 0x434F4F4C  # "COOL": tells our files from other SQLite files
_VERSION = 1
_BUSY_SECONDS = 30
_ROWS_PER_INSERT = 100

_TABLES = """
create table calls (
    id integer primary key,
    received_at_ms integer not null,
    events integer not null
) strict;
create table events (
    id integer primary key,
    call_id integer not null references calls (id),
    status text not null check (status in ('valid', 'invalid', 'pending')),
    event_name text,
    event_time_ms integer,
    settles_at_ms integer,
    reason text,
    comment text,
    content integer not null,
    event text not null
) strict;
create index events_by_status on events (status, reason, event_name);
create index events_by_content on events (content);
create index pending_events on events (settles_at_ms) where status = 'pending';
create table event_names (
    name text primary key,
    spelling text not null,
    first_seen_ms integer not null
) strict;
create table properties (
    name text primary key,
    type text not null,
    scope text not null,
    first_seen_ms integer not null
) strict;
create table spellings (
    key text primary key,
    name text not null references properties (name)
) strict;
"""


class StoreError(Exception):
    """The database cannot be used; `str()` says which and why."""


class Summary(msgspec.Struct, frozen=True):
    """What the database holds.

    Attributes:
        calls: track calls that were stored.
        events: stored events; `valid`, `invalid` and `pending` add up to it.
        valid: events queries see.
        invalid: events set apart.
        pending: events with names that are still being learned.
        distinct: events counted once however often stored, by content.
        by_event_name: stored events of any status that have a name, by the name as the project first saw it spelled.
        invalid_reasons: invalid events by the first of their problems.
    """

    calls: int
    events: int
    valid: int
    invalid: int
    pending: int
    distinct: int
    by_event_name: dict[str, int]
    invalid_reasons: dict[str, int]


class StoredEvent(msgspec.Struct, frozen=True):
    """One event as received, with its verdict and when it came (RFC 3339, UTC)."""

    event: msgspec.Raw
    status: Status
    comment: str | None
    received_at: str


class JudgedCall(msgspec.Struct, frozen=True):
    """The events of one call with their verdicts, in the order sent."""

    received_at_ms: int
    events: list[tuple[ReceivedEvent, Verdict]]


class Store:
    """One connection to a database. Use each instance from one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Wrap a connection made by `create` or `open_existing`."""
        self.connection = connection

    @classmethod
    def create(cls, path: Path) -> Store:
        """Open a database, making it, and the folders it is in, if need be.

        Raises:
            StoreError: it cannot be opened, or is something else.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            msg = f"the database {path} cannot be opened: {error.strerror}"
            raise StoreError(msg) from error
        with _in_words(path):
            connection = _connect(path)
            try:
                store = cls(connection)
                store._prepare(path)
            except BaseException:
                connection.close()
                raise
            return store

    @classmethod
    def open_existing(cls, path: Path) -> Store:
        """Open a database for reading.

        Raises:
            StoreError: there is none, it cannot be opened, or is something else.
        """
        if not path.exists():
            msg = f"there is no database {path}; cooladata-sandbox serve --db {path} makes one"
            raise StoreError(msg)
        with _in_words(path):
            connection = _connect(path)
            try:
                _check_identity(connection, path)
            except BaseException:
                connection.close()
                raise
            return cls(connection)

    def close(self) -> None:
        """Close the connection; the last one to close folds the write-ahead log into the file."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done inside, or nothing of it if that raises."""
        self.connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self.connection.execute("rollback")
            raise
        self.connection.execute("commit")

    def add(self, call: JudgedCall) -> None:
        """Store one call; to be called inside a transaction."""
        cursor = self.connection.execute(
            "insert into calls (received_at_ms, events) values (?, ?)",
            (call.received_at_ms, len(call.events)),
        )
        for start in range(0, len(call.events), _ROWS_PER_INSERT):
            self._add_events(t.cast("int", cursor.lastrowid), call.events[start : start + _ROWS_PER_INSERT])

    def _add_events(self, call_id: int, events: Sequence[tuple[ReceivedEvent, Verdict]]) -> None:
        """Insert some rows by one statement: the interpreter is left once for all of them, not once for each."""
        values: list[t.Any] = []
        for received, verdict in events:
            problems = verdict.problems
            values += (
                call_id,
                verdict.status,
                verdict.event_name,
                verdict.event_time_ms,
                verdict.settles_at_ms,
                problems[0].reason if problems else None,
                "; ".join(p.comment for p in problems) if problems else None,
                received.content,
                received.text,
            )
        self.connection.execute(_INSERT + ", ".join([_ROW] * len(events)), values)

    def save_schema(self, schema: Schema) -> None:
        """Keep what the schema learned since it was last saved; to be called inside a transaction."""
        for entry in schema.unsaved:
            fields = msgspec.structs.astuple(entry)
            marks = ", ".join("?" * len(fields))
            self.connection.execute(f"insert into {_TABLE_OF[type(entry)]} values ({marks})", fields)  # noqa: S608
        schema.unsaved.clear()

    def load_schema(self) -> Schema:
        """Read the learned schema."""
        return Schema(
            t.cast("Learned", entry_type(*row))
            for entry_type, table in _TABLE_OF.items()
            for row in self.connection.execute(f"select * from {table}")  # noqa: S608 - our own names
        )

    def data_version(self) -> int:
        """Return a number that changes when another process has committed to the database."""
        return int(self.connection.execute("pragma data_version").fetchone()[0])

    def settle(self, now_ms: int) -> None:
        """Make the pending events valid whose names have been learned by now."""
        due = "status = 'pending' and settles_at_ms <= ?"
        if self.connection.execute(f"select 1 from events where {due} limit 1", (now_ms,)).fetchone():  # noqa: S608
            self.connection.execute(f"update events set status = 'valid' where {due}", (now_ms,))  # noqa: S608

    def summary(self) -> Summary:
        """Count what the database holds, as of one moment."""
        self.connection.execute("begin")
        try:
            by_status = self._counts("status")
            return Summary(
                calls=self._count("calls"),
                events=self._count("events"),
                valid=by_status.get("valid", 0),
                invalid=by_status.get("invalid", 0),
                pending=by_status.get("pending", 0),
                distinct=self._count("(select distinct content from events)"),
                by_event_name=self._counts("event_name"),
                invalid_reasons=self._counts("reason"),
            )
        finally:
            self.connection.execute("rollback")

    def events(self, status: Status | None, limit: int, offset: int) -> list[StoredEvent]:
        """Return stored events in the order they came, at most `limit` of them after the first `offset`."""
        rows = self.connection.execute(
            "select event, status, comment, received_at_ms from events join calls on calls.id = call_id"
            " where ?1 is null or status = ?1 order by events.id limit ?2 offset ?3",
            (status, limit, offset),
        )
        return [StoredEvent(msgspec.Raw(e.encode()), s, c, _rfc3339(ms)) for e, s, c, ms in rows]

    def _count(self, table: str) -> int:
        return int(self.connection.execute(f"select count(*) from {table}").fetchone()[0])  # noqa: S608

    def _counts(self, column: str) -> dict[str, int]:
        return dict(
            self.connection.execute(
                f"select {column}, count(*) from events where {column} is not null"  # noqa: S608 - our own names
                f" group by {column} order by {column}"
            )
        )

    def _prepare(self, path: Path) -> None:
        if self.connection.execute("pragma schema_version").fetchone()[0] == 0:
            self.connection.execute("pragma journal_mode = wal")
            with self.transaction():
                for statement in filter(str.strip, _TABLES.split(";")):
                    self.connection.execute(statement)
                self.connection.execute(f"pragma application_id = {_APPLICATION_ID}")
                self.connection.execute(f"pragma user_version = {_VERSION}")
        _check_identity(self.connection, path)
        path.chmod(0o600)


_COLUMNS = "call_id, status, event_name, event_time_ms, settles_at_ms, reason, comment, content, event"
_INSERT = f"insert into events ({_COLUMNS}) values "  # noqa: S608 - our own names
_ROW = f"({', '.join('?' * len(_COLUMNS.split(',')))})"
_TABLE_OF: dict[type, str] = {EventName: "event_names", Property: "properties", Spelling: "spellings"}


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    # NORMAL: no fsync at each commit. Enough against the death of the process, which is what is promised.
    connection.execute("pragma synchronous = normal")
    connection.execute("pragma foreign_keys = off")
    return connection


def _check_identity(connection: sqlite3.Connection, path: Path) -> None:
    application_id = connection.execute("pragma application_id").fetchone()[0]
    version = connection.execute("pragma user_version").fetchone()[0]
    if application_id != _APPLICATION_ID:
        msg = f"{path} is not a sandbox database; name another with --db"
        raise StoreError(msg)
    if version != _VERSION:
        msg = f"{path} was made by another version of the sandbox ({version}, not {_VERSION}); name another with --db"
        raise StoreError(msg)


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        msg = f"the database {path} cannot be opened: {error}"
        raise StoreError(msg) from error


def _rfc3339(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
