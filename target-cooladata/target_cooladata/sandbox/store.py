"""What a sandbox keeps: calls and events as received with their verdicts, and the schema learned from them.

In: judged calls. Out: `Summary`, pages of stored events, the learned schema. Refuses nothing of its own; what the
database refuses (a full disk) comes out as `sqlite3.Error`.
"""

from __future__ import annotations

import typing as t
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import msgspec

from target_cooladata.sandbox import database
from target_cooladata.sandbox.schema import EventName, Learned, Property, Schema, Spelling

if t.TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from target_cooladata.sandbox.ingest import ReceivedEvent
    from target_cooladata.sandbox.verdict import Status, Verdict

# As many as a call has: 40,000 events/s, where 100 rows make 37,000. SQLite takes 32,766 values at once.
_ROWS_PER_INSERT = 300

# Our own words are all that is ever put into the SQL of this module by formatting.
_COLUMNS = "call_id, status, event_name, user_id, event_time_ms, settles_at_ms, reason, comment, content, text"
_INSERT = f"insert into events ({_COLUMNS}) values "  # noqa: S608 - our own words
_ROW = f"({', '.join('?' * len(_COLUMNS.split(',')))})"
_TABLE_OF: dict[type, str] = {EventName: "event_names", Property: "properties", Spelling: "spellings"}


class Summary(msgspec.Struct, frozen=True):
    """What the database holds.

    Attributes:
        calls: track calls that were stored.
        events: stored events; `valid`, `invalid` and `pending` add up to it.
        valid: events that queries see.
        invalid: events set apart.
        pending: events with a name that is still being learned.
        distinct: events counted once however often they were stored, by content.
        by_event_name: stored events of any status that have a name, by the name as the project first saw it.
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
    """A database in use, by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use a connection made by `database.create` or `database.open_existing`."""
        self.connection = connection

    def close(self) -> None:
        """Close the connection; the last one to close folds the write-ahead log into the file."""
        self.connection.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Commit what is done inside, or nothing of it if that raises."""
        return database.transaction(self.connection)

    def add(self, call: JudgedCall) -> None:
        """Store one call; to be called inside a transaction."""
        cursor = self.connection.execute(
            "insert into calls (received_at_ms, events) values (?, ?)",
            (call.received_at_ms, len(call.events)),
        )
        for start in range(0, len(call.events), _ROWS_PER_INSERT):
            self._add_events(cursor.lastrowid, call.events[start : start + _ROWS_PER_INSERT])

    def save_schema(self, schema: Schema) -> None:
        """Keep what the schema learned since it was last saved; to be called inside a transaction."""
        for entry in schema.unsaved:
            fields = msgspec.structs.astuple(entry)
            marks = ", ".join("?" * len(fields))
            insert = f"insert into {_TABLE_OF[type(entry)]} values ({marks})"  # noqa: S608 - our own words
            self.connection.execute(insert, fields)
        schema.unsaved.clear()

    def load_schema(self) -> Schema:
        """Read the learned schema."""
        return Schema(
            t.cast("Learned", entry_type(*row))
            for entry_type, table in _TABLE_OF.items()
            for row in self.connection.execute(f"select * from {table}")  # noqa: S608 - our own words
        )

    def data_version(self) -> int:
        """Return a number that changes when another connection has committed to the database."""
        return int(self.connection.execute("pragma data_version").fetchone()[0])

    def settle(self, now_ms: int) -> None:
        """Make those pending events valid whose names have been learned by now (ms since 1970 UTC)."""
        due = "where status = 'pending' and settles_at_ms <= ?"
        if self.connection.execute(f"select 1 from events {due} limit 1", (now_ms,)).fetchone():  # noqa: S608 - our own words
            self.connection.execute(f"update events set status = 'valid' {due}", (now_ms,))  # noqa: S608 - our own words

    def summary(self) -> Summary:
        """Count what the database holds, all as of one moment."""
        with self._one_moment():
            by_status = self._counts("status")
            return Summary(
                calls=self._count("calls"),
                events=sum(by_status.values()),
                valid=by_status.get("valid", 0),
                invalid=by_status.get("invalid", 0),
                pending=by_status.get("pending", 0),
                distinct=self._count("(select distinct content from events)"),
                by_event_name=self._counts("event_name"),
                invalid_reasons=self._counts("reason"),
            )

    def events(self, status: Status | None, limit: int, offset: int) -> list[StoredEvent]:
        """Return stored events in the order they came, at most `limit` of them after the first `offset`."""
        select = "select text, status, comment, received_at_ms from events join calls on calls.id = call_id"
        where, wanted = ("where status = ?", [status]) if status else ("", [])
        rows = self.connection.execute(
            f"{select} {where} order by events.id limit ? offset ?", (*wanted, limit, offset)
        )
        return [StoredEvent(msgspec.Raw(e.encode()), s, c, _rfc3339(ms)) for e, s, c, ms in rows]

    def _add_events(self, call_id: int | None, events: Sequence[tuple[ReceivedEvent, Verdict]]) -> None:
        """Insert rows by one statement: the interpreter's lock is let go of once, not once for each row."""
        values: list[t.Any] = []
        for received, verdict in events:
            problems = verdict.problems
            values += (
                call_id,
                verdict.status,
                verdict.event_name,
                verdict.user_id,
                verdict.event_time_ms,
                verdict.settles_at_ms,
                problems[0].reason if problems else None,
                "; ".join(p.comment for p in problems) if problems else None,
                received.content,
                received.text,
            )
        self.connection.execute(_INSERT + ", ".join([_ROW] * len(events)), values)

    @contextmanager
    def _one_moment(self) -> Iterator[None]:
        self.connection.execute("begin")
        try:
            yield
        finally:
            self.connection.execute("rollback")

    def _count(self, table: str) -> int:
        return int(self.connection.execute(f"select count(*) from {table}").fetchone()[0])  # noqa: S608 - our own words

    def _counts(self, column: str) -> dict[str, int]:
        groups = f"where {column} is not null group by {column} order by {column}"
        return dict(self.connection.execute(f"select {column}, count(*) from events {groups}"))  # noqa: S608 - our own words


_Result = t.TypeVar("_Result")


def ask(path: Path, now_ms: int, question: t.Callable[[Store], _Result]) -> _Result:
    """Open the database at `path`, put one question to it, and close it again.

    Args:
        path: the database; a server may be writing it.
        now_ms: the clock, milliseconds since 1970 UTC, which settles what was pending.
        question: gets the open store.

    Returns:
        What `question` returned.

    Raises:
        DatabaseError: the database is missing, cannot be opened, or is something else.
    """
    with closing(Store(database.open_existing(path))) as store:
        store.settle(now_ms)
        return question(store)


def _rfc3339(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
