"""The SQLite file: made once, recognised, never half written."""

from __future__ import annotations

import sqlite3
import threading
import typing as t
from contextlib import closing

import pytest

from target_cooladata.sandbox import database

if t.TYPE_CHECKING:
    from pathlib import Path


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("select count(*) from calls").fetchone()[0])


def test_many_may_make_the_same_database_at_once(tmp_path: Path) -> None:
    together, made = threading.Barrier(8), []

    def make() -> None:
        together.wait()
        with closing(database.create(tmp_path / "new" / "sandbox.db")) as connection:
            made.append(count(connection))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [0] * 8


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with closing(database.create(tmp_path / "sandbox.db")) as connection:
        insert = "insert into calls (id, received_at_ms, events) values (1, 0, 0)"
        with pytest.raises(sqlite3.IntegrityError), database.transaction(connection):
            list(map(connection.execute, [insert] * 2))
        assert (count(connection), connection.in_transaction) == (0, False)


def test_what_is_written_is_seen_from_outside_when_it_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.db"
    with closing(database.create(path)) as connection, closing(database.open_existing(path)) as other:
        with database.transaction(connection):
            connection.execute("insert into calls (received_at_ms, events) values (0, 0)")
            assert count(other) == 0
        assert count(other) == 1


def test_a_name_with_a_meaning_of_its_own_in_sqlite_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(database.create(tmp_path.relative_to(tmp_path) / ":memory:")) as connection:
        assert count(connection) == 0
    assert (tmp_path / ":memory:").stat().st_size > 0


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(database.DatabaseError, match="cannot be opened: Is a directory"):
        database.create(tmp_path)
    with pytest.raises(database.DatabaseError, match="cannot be opened: "):
        database.open_existing(tmp_path)
