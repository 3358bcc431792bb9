"""One run: messages become events, events batches, batches outcomes; every record is counted where it ends.

In: the messages that the reader hands over. Out: calls to the API, STATE on standard output once everything before it
is delivered or kept, rejects, and the report. It ends in one of two ways: `finish`, at the end of the input, and
`abandon`, after anything that stops the run; both leave state where it is true.
"""

from __future__ import annotations

import os
import sys
import time
import typing as t
from collections import Counter
from operator import attrgetter
from pathlib import Path

import msgspec
from singer_sdk.exceptions import RecordsWithoutSchemaException

from target_cooladata import report
from target_cooladata.batches import BODIES, Batcher, Event
from target_cooladata.delivery import Delivery, Policy, Settlement
from target_cooladata.events import EventMaker, Facts
from target_cooladata.exceptions import InputError, Interrupted, Rejected, RejectLimitError, TargetError
from target_cooladata.journal import Journal
from target_cooladata.ledger import Checkpoint
from target_cooladata.rejects import RejectsWriter
from target_cooladata.settings import StreamSettings

if t.TYPE_CHECKING:
    import logging

    from singer_sdk.mapper import PluginMapper

    from target_cooladata.client import Client
    from target_cooladata.reader import Message
    from target_cooladata.settings import Settings

STATE_INTERVAL_SECONDS = 1.0  # Meltano stores each STATE synchronously
ABANDON_SECONDS = 8.0  # for calls under way when a run is stopped

_stream_of = attrgetter("stream")
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Loader:
    """Takes the messages of one run.

    Args:
        settings: the settings.
        connect: gives the client; called once, before the first message.
        disconnect: called once, at either end.
        mapper: the SDK's stream maps, or None where none are configured.
        logger: the target's.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        connect: t.Callable[[], Client],
        disconnect: t.Callable[[], None],
        mapper: PluginMapper | None,
        logger: logging.Logger,
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._disconnect = disconnect
        self._mapper = mapper
        self._logger = logger
        self.tally = report.Tally()
        self._facts = Facts()
        self._rejects = RejectsWriter(settings.rejects_path, self.tally.run_id)
        self._journal = _journal(settings, self.tally.run_id)
        self._position = 0
        self._makers: dict[str, EventMaker] = {}
        self._known: set[str] = set()
        self._batcher = Batcher(
            max_events=settings.batch_size_rows,
            max_bytes=settings.max_batch_bytes,
            max_age=settings.max_batch_age_seconds,
        )
        self._body = BODIES[settings.payload_encoding]
        self._client: Client | None = None
        policy = Policy(
            max_concurrency=settings.max_concurrency,
            max_requests_per_second=settings.max_requests_per_second,
            max_retry_seconds=settings.max_retry_seconds,
            unreadable_200=settings.unreadable_200,
        )
        self._delivery: Delivery[Event] = Delivery(
            lambda events: self._connected().post(self._body(events)),
            policy,
            on_delivered=self._on_delivered,
            on_settled=self._on_settled,
            idle=self._idle,
        )
        self._ticket = 0
        self._now = time.monotonic()
        self._checkpoint: Checkpoint | None = None
        self._has_begun = False
        self._state_written_at = 0.0
        self._ended = False
        self.signum: int | None = None

    # What the reader calls

    def start(self) -> None:
        """Be ready for the first message."""
        self._connected()

    def on_schema(self, message: Message) -> None:
        """Take a SCHEMA: which properties are the key, and what stream maps make of the stream."""
        try:
            schema = msgspec.json.decode(message.schema)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            msg = f"the SCHEMA of stream {message.stream!r} is not readable ({type(error).__name__})"
            raise InputError(msg) from None
        if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
            msg = f"the SCHEMA of stream {message.stream!r} has no `properties`"
            raise InputError(msg)
        self._known.add(message.stream)
        if self._mapper is None:
            self._maker(message.stream).set_key_properties(message.key_properties or ())
            return
        self._mapper.register_raw_stream_schema(message.stream, schema, message.key_properties)
        for stream_map in self._mapper.stream_maps[message.stream]:
            keys = stream_map.transformed_key_properties or ()
            self._maker(stream_map.stream_alias).set_key_properties(keys)

    def on_record(self, message: Message) -> None:
        """Take a RECORD."""
        stream = message.stream
        if stream not in self._known:
            msg = f"a RECORD of stream {stream!r} came before its SCHEMA; check the tap"
            raise RecordsWithoutSchemaException(msg)
        if stream == report.MELTANO_TEST_STREAM:
            tally = self.tally.stream(stream)
            tally.records_read += 1
            tally.records_filtered += 1
        elif self._mapper is None:
            self._load(stream, bytes(message.record), message.time_extracted)
        else:
            self._map(message)

    def on_unreadable_record(self, stream: str, line: bytes, detail: str) -> None:
        """Take a RECORD line that is not JSON to the letter."""
        self.tally.stream(stream).records_read += 1
        self._reject(stream, line, "not_json", f"the message is not JSON: {detail}")

    def on_state(self, message: Message) -> None:
        """Take a STATE; it goes out once everything before it is settled."""
        state = bytes(message.value)
        self._begin(state)
        self._delivery.add_state(Checkpoint(state, self._position))

    def tick(self) -> None:
        """Do what is due: take in outcomes, send an old batch, write a state; leave if a signal came."""
        self._delivery.settle()
        self._idle()
        if self._batcher.is_due(self._now):
            self._send()

    # The two ends

    def finish(self) -> list[str]:
        """Deliver what is left and report.

        Returns:
            Why the run failed nevertheless, one sentence each.
        """
        if len(self._batcher):
            self._send()
        self._delivery.drain()
        self._write_state(final=True)
        self._rejects.close()
        self._ended = True
        if self._journal is not None:
            self._journal.close(finished=True)
        self._disconnect()
        failures = self.tally.over_limit(self._settings.max_reject_percent) + self.tally.barren()
        return self._report(failures)

    def abandon(self) -> None:
        """Stop in order: no further try, the calls under way awaited for a moment, the last true state, the report."""
        if self._ended:
            return
        self._ended = True
        self.tally.undelivered += len(self._batcher)
        try:
            self._delivery.abort(ABANDON_SECONDS)
            self.tally.undelivered += self._delivery.in_flight
            self._write_state(final=True)
            self._rejects.close()
        except TargetError as error:
            self._logger.error("%s", error)  # noqa: TRY400 - a sentence for the user, not a traceback
        if self._journal is not None:
            self._journal.close(finished=False)
        self._disconnect()
        self._report([])

    # Records

    def _map(self, message: Message) -> None:
        """The SDK's own path: stream maps and flattening work on dictionaries."""
        try:
            record = msgspec.json.decode(message.record)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.on_unreadable_record(message.stream, bytes(message.record), str(error))
            return
        assert self._mapper is not None  # noqa: S101 - told apart by the caller
        for stream_map in self._mapper.stream_maps[message.stream]:
            mapped = stream_map.transform(dict(record))
            if mapped is None:
                tally = self.tally.stream(stream_map.stream_alias)
                tally.records_read += 1
                tally.records_filtered += 1
            else:
                self._load(stream_map.stream_alias, _encode(mapped), message.time_extracted)

    def _load(self, stream: str, record: bytes, time_extracted: str | None) -> None:
        self._begin(None)
        position = self._position + 1
        try:
            body = self._maker(stream).make(record, time_extracted)
        except Rejected as verdict:
            self._position = position
            self.tally.stream(stream).records_read += 1
            self._reject(stream, record, verdict.reason, verdict.detail)
            return
        self._position = position
        self.tally.stream(stream).records_read += 1
        if self._journal is not None and self._journal.knows_any and self._journal.knows(position, record):
            self.tally.stream(stream).events_already_delivered += 1
            return
        event = Event(body, stream, record, position)
        if not self._batcher.fits(event):
            self._send()
        if not len(self._batcher):
            self._ticket = self._delivery.issue()
        if self._batcher.add(event, self._now):
            self._send()

    def _maker(self, stream: str) -> EventMaker:
        maker = self._makers.get(stream)
        if maker is None:
            mapping = self._settings.streams.get(stream, StreamSettings())
            maker = self._makers[stream] = EventMaker(stream, mapping, self._settings, self._facts)
        return maker

    def _reject(self, stream: str, record: bytes, reason: str, detail: str, status: int | None = None) -> None:
        self._rejects.write(reason=reason, detail=detail, stream=stream, record=record, status=status)
        self.tally.stream(stream).events_rejected += 1
        self.tally.reject_reasons[reason] += 1
        if self._settings.on_reject == "fail" and not self._ended:
            msg = (
                f"a record of stream {stream!r} was refused ({reason}) and is kept in {self._rejects.location}; the "
                "run stops there because `on_reject` is `fail`"
            )
            raise RejectLimitError(msg)

    def _begin(self, leading: bytes | None) -> None:
        """The first STATE or record says where this input starts."""
        if not self._has_begun:
            self._has_begun = True
            if self._journal is not None:
                self._journal.begin(leading)

    # Delivery

    def _connected(self) -> Client:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _send(self) -> None:
        events = self._batcher.take()
        try:
            self._delivery.submit(self._ticket, events)
        except BaseException:
            self.tally.undelivered += len(events)
            raise

    def _on_settled(self, settlement: Settlement[Event]) -> None:
        tally = self.tally
        for stream, count in Counter(map(_stream_of, settlement.delivered)).items():
            tally.stream(stream).events_delivered += count
        tally.calls += settlement.calls
        tally.retries += settlement.retries
        tally.in_doubt += settlement.in_doubt
        tally.undelivered += settlement.undelivered
        for event, outcome in settlement.refused:
            self._reject(event.stream, event.record, "refused", outcome.detail, outcome.status)

    def _idle(self) -> None:
        self._now = time.monotonic()
        self._write_state()
        if self.signum is not None:
            raise Interrupted(self.signum)

    def _on_delivered(self, events: t.Sequence[Event]) -> None:
        if self._journal is not None:
            self._journal.note([(event.position, event.record) for event in events])

    def _write_state(self, *, final: bool = False) -> None:
        newest = self._delivery.take_state()
        if newest is not None:
            self._checkpoint = newest
        if self._checkpoint is None or not (final or self._now - self._state_written_at >= STATE_INTERVAL_SECONDS):
            return
        checkpoint, self._checkpoint = self._checkpoint, None
        self._rejects.sync()
        if self._journal is not None:
            self._journal.announce(checkpoint.state, checkpoint.position)
        _print(checkpoint.state)
        # After a signal Meltano listens no more, so the next run may start from the state before this one.
        if self._journal is not None and self.signum is None:
            self._journal.confirm()
        self._state_written_at = self._now
        self.tally.states_written += 1

    def _report(self, failures: list[str]) -> list[str]:
        facts = self._facts
        summary = self.tally.report(
            rejects=self._rejects.location,
            events_outside_default_window=facts.outside_window,
            time_conflicts=facts.time_conflicts,
            numbers_made_text=facts.digits,
            type_changes=dict(facts.type_changes.most_common(100)),
        )
        self._warn()
        self._logger.info("Report: %s", msgspec.json.encode(summary).decode())
        if self._settings.report_path:
            report.write(summary, self._settings.report_path)
        if not summary["equation_closes"]:
            failures = [*failures, "the report's equation does not close: records are unaccounted for"]
        return failures

    def _warn(self) -> None:
        facts = self._facts
        if facts.outside_window:
            self._logger.warning(
                "%d events are older than 30 days or more than 1 hour ahead. CoolaData marks such events invalid until "
                "the project's window is widened (Project settings); ask for it before a backfill.",
                facts.outside_window,
            )
        for change in list(facts.type_changes)[:20]:
            self._logger.warning("Property type changes, which makes events invalid in CoolaData: %s", change)
        if self.tally.total("events_rejected"):
            self._logger.warning(
                "%d records were refused and are kept in %s: %s",
                self.tally.total("events_rejected"),
                self._rejects.location,
                ", ".join(f"{reason} {count}" for reason, count in self.tally.reject_reasons.most_common()),
            )


def _journal(settings: Settings, run_id: str) -> Journal | None:
    if not settings.journal_path:
        return None
    return Journal(Path(settings.journal_path), f"{settings.endpoint_url}\0{settings.app_key}", run_id)


def _print(state: bytes) -> None:
    try:
        sys.stdout.write(f"{state.decode()}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at exit
        msg = "standard output was closed, so the state of what is delivered cannot be handed on"
        raise TargetError(msg) from None
