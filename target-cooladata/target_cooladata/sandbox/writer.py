"""The one thread that judges and stores: calls in, futures out that are done when the call is committed.

Calls that wait together are committed together, so that many small calls cost one commit. A call is never split
between two. Refuses nothing; if a commit fails, every call in it fails and what it taught is forgotten.
"""

from __future__ import annotations

import queue
import threading
import typing as t
from concurrent.futures import Future

import msgspec

from target_cooladata.sandbox import database
from target_cooladata.sandbox.schema import Schema
from target_cooladata.sandbox.store import JudgedCall, Store
from target_cooladata.sandbox.validity import Judge, Rules

if t.TYPE_CHECKING:
    from pathlib import Path

    from target_cooladata.sandbox.ingest import ReceivedEvent

_MAX_CALLS_PER_COMMIT = 64


class _Waiting(msgspec.Struct):
    events: list[ReceivedEvent]
    received_at_ms: int
    done: Future[None]


class Writer:
    """Owns the writing connection to a database from `start` to `close`."""

    def __init__(self, path: Path, rules: Rules) -> None:
        """Open the database (see `database.create` for what that raises) and start the thread."""
        self._store = Store(database.create(path))
        self._judge = Judge(Schema(), rules)
        self._schema_version: int | None = None
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sandbox-writer", daemon=True)
        self._thread.start()

    def submit(self, events: list[ReceivedEvent], received_at_ms: int) -> Future[None]:
        """Have one call judged and stored.

        Args:
            events: its events, in the order sent.
            received_at_ms: the server's clock, milliseconds since 1970 UTC.

        Returns:
            A future that is done once the call is committed, or carries the database's error.
        """
        done: Future[None] = Future()
        self._waiting.put(_Waiting(events, received_at_ms, done))
        return done

    def close(self) -> None:
        """Store what was submitted so far, then let go of the database."""
        self._waiting.put(None)
        self._thread.join()
        self._store.close()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            calls, last = self._take_more(first)
            self._commit(calls)
            if last:
                return

    def _take_more(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        calls = [first]
        while len(calls) < _MAX_CALLS_PER_COMMIT:
            try:
                waiting = self._waiting.get_nowait()
            except queue.Empty:
                break
            if waiting is None:
                return calls, True
            calls.append(waiting)
        return calls, False

    def _commit(self, waiting: list[_Waiting]) -> None:
        # From here on a call cannot be given up any more, as the server does when it is told to stop.
        calls = [call for call in waiting if call.done.set_running_or_notify_cancel()]
        try:
            with self._store.transaction():
                self._refresh_schema()
                for call in calls:
                    self._store.add(self._judged(call))
                self._store.save_schema(self._judge.schema)
        except Exception as error:  # noqa: BLE001 - whatever it was, the callers must hear of it
            self._schema_version = None
            for call in calls:
                call.done.set_exception(error)
        else:
            for call in calls:
                call.done.set_result(None)

    def _judged(self, call: _Waiting) -> JudgedCall:
        judge, now_ms = self._judge.judge, call.received_at_ms
        return JudgedCall(now_ms, [(event, judge(event, now_ms)) for event in call.events])

    def _refresh_schema(self) -> None:
        """Read the schema again if another process wrote, or our own last commit failed."""
        version = self._store.data_version()
        if version != self._schema_version:
            self._judge.schema = self._store.load_schema()
            self._schema_version = version
