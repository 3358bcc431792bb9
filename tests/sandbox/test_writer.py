"""The thread that judges and stores."""

from __future__ import annotations

import json
import sqlite3
import threading
import typing as t
from contextlib import closing

import pytest

from target_cooladata.sandbox import database
from target_cooladata.sandbox.ingest import BodyRules, ReceivedEvent, read_events
from target_cooladata.sandbox.store import Store, Summary, ask
from target_cooladata.sandbox.validity import Rules
from target_cooladata.sandbox.writer import Writer
from tests.sandbox.examples import TIME_MS, event

if t.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sandbox.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with closing(Writer(path, Rules())) as writer:
        yield writer


def received(*values: t.Any) -> list[ReceivedEvent]:
    return [ReceivedEvent(json.dumps(value), value, i) for i, value in enumerate(values)]


def summary(path: Path) -> Summary:
    return ask(path, TIME_MS, Store.summary)


def test_a_call_is_in_the_database_when_its_future_is_done(writer: Writer, path: Path) -> None:
    for calls in range(1, 20):
        writer.submit(received(event(), event()), TIME_MS).result(10)
        assert summary(path).calls == calls


def test_closing_stores_what_was_submitted(path: Path) -> None:
    writer = Writer(path, Rules())
    futures = [writer.submit(received(event()), TIME_MS) for _ in range(500)]
    writer.close()
    assert all(future.done() for future in futures)
    assert summary(path).events == 500


def test_calls_that_wait_together_are_all_stored_in_their_order(writer: Writer, path: Path) -> None:
    with closing(database.open_existing(path)) as other, database.transaction(other):
        futures = [writer.submit(received(event(n=n)), TIME_MS) for n in range(200)]
        assert not any(future.done() for future in futures)
    for future in futures:
        future.result(40)
    with closing(database.open_existing(path)) as other:
        stored = [json.loads(row[0])["n"] for row in other.execute("select text from events order by id")]
    assert stored == list(range(200))


def test_a_call_given_up_while_it_waits_does_not_stop_the_others(writer: Writer, path: Path) -> None:
    with closing(database.open_existing(path)) as other, database.transaction(other):
        futures = [writer.submit(received(event()), TIME_MS) for _ in range(100)]
        given_up = sum(future.cancel() for future in futures[1::2])
    for future in futures[::2]:
        future.result(40)
    writer.submit(received(event()), TIME_MS).result(40)
    assert summary(path).calls == 101 - given_up


def test_a_failed_commit_fails_its_calls_and_is_forgotten(writer: Writer, path: Path) -> None:
    with closing(database.open_existing(path)) as other:
        other.execute(
            "create trigger t before insert on events when new.user_id = 'no' begin select raise(abort, 'no'); end"
        )
    failing = writer.submit(received(event(user_id="no", p=1)), TIME_MS)
    with pytest.raises(sqlite3.IntegrityError):
        failing.result(10)
    writer.submit(received(event(p="text")), TIME_MS).result(10)
    assert (summary(path).calls, summary(path).valid) == (1, 1)


def test_many_threads_may_submit(writer: Writer, path: Path) -> None:
    (one,) = read_events(b'{"events":[{}]}', "", BodyRules())

    def submit() -> None:
        for _ in range(50):
            writer.submit([one], TIME_MS).result(40)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (summary(path).calls, summary(path).distinct) == (400, 1)
