"""The SQLite file of a sandbox: where it is made, opened and recognised.

In: a path. Out: a connection. Refuses (`DatabaseError`, in words) a path that cannot be opened and a file that is
something else, which is left as it was.

The file is readable by its owner alone, as it holds events. It is in WAL mode, so that it can be read, by other
processes too, while it is written. What was committed survives the death of the process at any moment; the last
seconds may be lost if the machine loses power.
"""

from __future__ import annotations

import os
import sqlite3
import typing as t
from contextlib import contextmanager

if t.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_APPLICATION_ID = 0x434F4F4C  # "COOL": tells our files from other SQLite files
_VERSION = 1
_BUSY_SECONDS = 30
_WRITER_CACHE_KIB = 65_536  # the index of contents grows all over: a million events take 36 s with this, 52 s without

# `content` is the hash that tells repeats; `text` is the event byte for byte as received.
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
    user_id text,
    event_time_ms integer,
    settles_at_ms integer,
    reason text,
    comment text,
    content integer not null,
    text text not null
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


class DatabaseError(Exception):
    """The database cannot be used; `str()` says which and why."""


def create(path: Path) -> sqlite3.Connection:
    """Open a sandbox's database, making it, and the folders it is in, if need be.

    Raises:
        DatabaseError: it cannot be opened, or is something else.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        msg = f"the database {path} cannot be opened: {error.strerror}"
        raise DatabaseError(msg) from error
    with _connected(path) as connection:
        if not connection.execute("pragma schema_version").fetchone()[0]:
            connection.execute("pragma journal_mode = wal")
            _make_tables(connection)
        _check_identity(connection, path)
        connection.execute(f"pragma cache_size = -{_WRITER_CACHE_KIB}")
        path.chmod(0o600)
        return connection


def open_existing(path: Path) -> sqlite3.Connection:
    """Open a sandbox's database that is there.

    Raises:
        DatabaseError: there is none, it cannot be opened, or is something else.
    """
    if not path.exists():
        msg = f"there is no database {path}; cooladata-sandbox serve --db {path} makes one"
        raise DatabaseError(msg)
    with _connected(path) as connection:
        _check_identity(connection, path)
        return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done inside, or nothing of it if that raises."""
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    finally:
        if connection.in_transaction:  # SQLite may have rolled back by itself: the disk is full
            connection.execute("rollback")


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Connect; if what is done inside raises, close the connection and say why in words."""
    try:
        # absolute: SQLite gives ":memory:" and "" meanings of their own
        connection = sqlite3.connect(
            path.absolute(), timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise _in_words(path, error) from error
    try:
        # No fsync at each commit. The system keeps what was written if only the process dies.
        connection.execute("pragma synchronous = normal")
        yield connection
    except sqlite3.Error as error:
        connection.close()
        raise _in_words(path, error) from error
    except BaseException:
        connection.close()
        raise


def _make_tables(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        if connection.execute("pragma schema_version").fetchone()[0]:
            return  # another process was faster
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        connection.execute(f"pragma application_id = {_APPLICATION_ID}")
        connection.execute(f"pragma user_version = {_VERSION}")


def _check_identity(connection: sqlite3.Connection, path: Path) -> None:
    application_id = connection.execute("pragma application_id").fetchone()[0]
    version = connection.execute("pragma user_version").fetchone()[0]
    if application_id != _APPLICATION_ID:
        msg = f"{path} is not a sandbox database; name another with --db"
        raise DatabaseError(msg)
    if version != _VERSION:
        msg = f"{path} is of another version of the sandbox ({version}, not {_VERSION}); name another with --db"
        raise DatabaseError(msg)


def _in_words(path: Path, error: sqlite3.Error) -> DatabaseError:
    return DatabaseError(f"the database {path} cannot be opened: {error}")
