"""One run: messages become events, events batches, batches outcomes; every record is counted where it ends.

In: the messages that the reader hands over. Out: calls to the API, STATE on standard output once everything before it
is delivered or kept, rejects, and the report. It ends in one of two ways: `finish`, at the end of the input, and
`abandon`, after anything that stops the run; both leave state where it is true.
"""

from __future__ import annotations

import time
import typing as t
from collections import Counter
from decimal import Decimal
from functools import partial
from itertools import count, repeat
from operator import attrgetter
from pathlib import Path

import msgspec
from singer_sdk.exceptions import MissingKeyPropertiesError, RecordsWithoutSchemaException

from target_cooladata import batch_files, report, summary
from target_cooladata.batches import BODIES, Batcher, Event
from target_cooladata.client import Kind
from target_cooladata.delivery import Delivery
from target_cooladata.entries import digest, fingerprint
from target_cooladata.events import EventMaker, Facts
from target_cooladata.exceptions import InputError, Interrupted, Rejected, RejectLimitError, TargetError
from target_cooladata.journal import Journal
from target_cooladata.ledger import Checkpoint
from target_cooladata.rejects import RejectsWriter
from target_cooladata.sending import Policy, Settlement
from target_cooladata.settings import StreamSettings
from target_cooladata.stamps import Stamper
from target_cooladata.states import StateWriter

if t.TYPE_CHECKING:
    import logging

    from singer_sdk.mapper import PluginMapper

    from target_cooladata.client import Client, Outcome
    from target_cooladata.reader import Message, Taker
    from target_cooladata.settings import Settings

_INPUT_FAILURES = (InputError, RecordsWithoutSchemaException, MissingKeyPropertiesError)
_NOTHING_STORED = frozenset({Kind.RETRY, Kind.SPLIT, Kind.FATAL})  # the answers that say so
ABANDON_SECONDS = 7.0  # for calls under way when a run is stopped

_stream_of = attrgetter("stream")
_decode = msgspec.json.Decoder(dict[str, t.Any], float_hook=Decimal).decode  # as the SDK does; keeps every digit
_encode = msgspec.json.Encoder(decimal_format="number").encode


class _Lane:
    """One stream on its way: what makes its events, where they are counted, and what takes its records."""

    __slots__ = ("is_known", "maker", "stream", "take", "tally")

    take: t.Callable[[bytes, str | None], None]

    def __init__(self, stream: str, maker: EventMaker, tally: report.StreamTally) -> None:
        self.stream = stream
        self.maker = maker
        self.tally = tally
        self.is_known = False


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
        self._rejects = RejectsWriter(settings.rejects_path, self.tally.run_id, lambda: self.signum is not None)
        self._journal = _journal(settings, self.tally.run_id)
        self._states = StateWriter(self._rejects, self._journal, lambda: self.signum is not None)
        has_stamps = settings.run_id_property or settings.event_id_property
        self._stamper = Stamper(settings, self.tally.run_id) if has_stamps else None
        self._position = 0
        self._lanes: dict[str, _Lane] = {}
        self._body = BODIES[settings.payload_encoding]
        self._client: Client | None = None
        policy = Policy(
            max_concurrency=settings.max_concurrency,
            max_requests_per_second=settings.max_requests_per_second,
            max_retry_seconds=settings.max_retry_seconds,
            unreadable_200=settings.unreadable_200,
        )
        self._delivery: Delivery[Event] = Delivery(
            self._post,
            policy,
            on_delivered=self._on_delivered,
            on_settled=self._on_settled,
            idle=self._idle,
        )
        self._batcher = Batcher(
            max_events=settings.batch_size_rows,
            max_bytes=settings.max_batch_bytes,
            max_age=settings.max_batch_age_seconds,
            issue=(lambda: 0) if settings.dry_run else self._delivery.issue,
            send=self._send,
        )
        self._now = time.monotonic()
        self._has_begun = False
        self._leading: bytes | None = None
        self._last_state: bytes | None = None
        self._knows_any = False
        self._ended = False
        self.signum: int | None = None

    # What the reader calls

    def start(self) -> None:
        """Be ready for the first message."""
        if not self._settings.dry_run:
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
        self._lane(message.stream).is_known = True
        if self._mapper is None:
            self._lane(message.stream).maker.set_key_properties(message.key_properties or ())
            return
        try:
            self._mapper.register_raw_stream_schema(message.stream, schema, message.key_properties)
        except Exception as error:  # noqa: BLE001 - as in the SDK, which has an exception for every mistake
            msg = f"stream_maps: the mapping of stream {message.stream!r} does not fit its schema: {error}"
            raise TargetError(msg) from None
        for stream_map in self._mapper.stream_maps[message.stream]:
            keys = stream_map.transformed_key_properties or ()
            self._lane(stream_map.stream_alias).maker.set_key_properties(keys)

    def on_record(self, message: Message) -> None:
        """Take a RECORD."""
        self._known_lane(message.stream).take(bytes(message.record), message.time_extracted)

    def taker(self, stream: str) -> Taker | None:
        """Give what takes records of a stream at a glance, if anything may."""
        if self._mapper is not None or self._stamper is not None or stream == report.MELTANO_TEST_STREAM:
            return None
        return partial(self._load_known, self._lane(stream))

    def on_batch(self, message: Message) -> None:
        """Take a BATCH: its rows are records like any other."""
        take, take_known = self._known_lane(message.stream).take, self.taker(message.stream)
        for uri in message.manifest or ():
            for rows in batch_files.rows(uri, message.encoding or {}, self._settings.batch_root):
                index = 0
                while index < len(rows):
                    if take_known is not None and self._has_begun:
                        index += take_known(rows, index)
                    if index < len(rows):
                        take(rows[index], message.time_extracted)
                        index += 1
                self.tick()

    def on_unreadable_record(self, stream: str, line: bytes, detail: str) -> None:
        """Take a RECORD line that is not JSON to the letter."""
        self.tally.stream(stream).records_read += 1
        self._reject(stream, line, "not_json", f"the message is not JSON: {detail}")

    def on_state(self, message: Message) -> None:
        """Take a STATE; it goes out once everything before it is settled."""
        state = bytes(message.value)
        self._begin(state)
        self._last_state = digest(state)
        if not self._settings.dry_run:
            self._delivery.add_state(Checkpoint(state, self._position))

    def tick(self) -> None:
        """Do what is due: take in outcomes, send an old batch, write a state; leave if a signal came."""
        self._delivery.settle()
        self._idle()
        if self._batcher.is_due(self._now):
            self._batcher.flush()

    # The two ends

    def finish(self) -> list[str]:
        """Deliver what is left and report.

        Returns:
            Why the run failed nevertheless, one sentence each.
        """
        self._batcher.flush()
        self._delivery.drain()
        self._write_state(final=True)
        self._rejects.close()
        self._ended = True
        if self._journal is not None:
            # A tap that says states as it goes, but none at its end, has died.
            died = self._leading not in (None, self._last_state) and self._states.position < self._position
            self._journal.close(finished=not died)
        self._disconnect()
        return self.tally.over_limit(self._settings.max_reject_percent) + self.tally.barren() + self._report()

    def abandon(self, cause: BaseException) -> None:
        """Stop in order: no further try, a moment for the calls under way, the last true state, the report.

        Args:
            cause: why; whoever raised it says so.
        """
        if self._ended:
            return
        said = {str(cause)}
        if isinstance(cause, _INPUT_FAILURES):  # the API may have what came before
            try:
                self._batcher.flush()
                self._delivery.drain()
            except (TargetError, Interrupted) as error:
                said.add(str(error))
                self._logger.error("%s", error)  # noqa: TRY400 - a sentence for the user, not a traceback
        self._ended = True
        self.tally.undelivered += len(self._batcher)
        said.update(self._delivery.abort(ABANDON_SECONDS))
        self.tally.undelivered += self._delivery.in_flight
        self.tally.in_doubt += self._delivery.in_flight  # sent, and no answer seen
        for last_step in (partial(self._write_state, final=True), self._rejects.close):
            try:
                last_step()
            except TargetError as error:
                if str(error) not in said:
                    self._logger.error("%s", error)  # noqa: TRY400 - a sentence for the user, not a traceback
                    said.add(str(error))
        if self._journal is not None:
            self._journal.close(finished=False)
        self._disconnect()
        self._report()

    # Records

    def _known_lane(self, stream: str) -> _Lane:
        lane = self._lanes.get(stream)
        if lane is None or not lane.is_known:
            msg = f"a RECORD of stream {stream!r} came before its SCHEMA; check the tap"
            raise RecordsWithoutSchemaException(msg)
        return lane

    def _lane(self, stream: str) -> _Lane:
        lane = self._lanes.get(stream)
        if lane is None:
            mapping = self._settings.streams.get(stream, StreamSettings())
            maker = EventMaker(stream, mapping, self._settings, self._facts, self._stamper)
            lane = self._lanes[stream] = _Lane(stream, maker, self.tally.stream(stream))
            if stream == report.MELTANO_TEST_STREAM:
                lane.take = partial(self._pass_over, lane)
            elif self._mapper is not None:
                lane.take = partial(self._map, lane)
            else:
                lane.take = partial(self._load, lane)
        return lane

    def _pass_over(self, lane: _Lane, record: bytes, time_extracted: str | None) -> None:  # noqa: ARG002 - one of several
        lane.tally.records_read += 1
        lane.tally.records_filtered += 1

    def _map(self, lane: _Lane, record: bytes, time_extracted: str | None) -> None:
        """The SDK's own path: stream maps and flattening work on dictionaries."""
        try:
            found = _decode(record)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.on_unreadable_record(lane.stream, record, str(error))
            return
        assert self._mapper is not None  # noqa: S101 - told apart by the caller
        for stream_map in self._mapper.stream_maps[lane.stream]:
            alias = self._lane(stream_map.stream_alias)
            try:
                mapped = stream_map.transform(dict(found))
            except Exception as error:  # noqa: BLE001 - an expression of the user's may raise anything
                alias.tally.records_read += 1
                self._reject(alias.stream, record, "map_failed", f"`stream_maps`: {error}")
                continue
            if mapped is None:
                alias.tally.records_read += 1
                alias.tally.records_filtered += 1
            else:
                self._load(alias, _encode(mapped), time_extracted)

    def _load(self, lane: _Lane, record: bytes, time_extracted: str | None) -> None:
        if not self._has_begun:
            self._begin(None)
        position = self._position + 1
        try:
            body = lane.maker.make(record, time_extracted, position)
        except Rejected as verdict:
            self._position = position
            lane.tally.records_read += 1
            self._reject(lane.stream, record, verdict.reason, verdict.detail)
            return
        self._accept(lane, (record,), (body,))

    def _load_known(self, lane: _Lane, records: t.Sequence[bytes | None], begin: int) -> int:
        """Take records at a glance; what was around them has not been looked at."""
        bodies = lane.maker.at_a_glance(records, begin)
        if bodies:
            self._accept(lane, t.cast("list[bytes]", records[begin : begin + len(bodies)]), bodies)
        return len(bodies)

    def _accept(self, lane: _Lane, records: t.Sequence[bytes], bodies: t.Sequence[bytes]) -> None:
        events = list(map(Event, bodies, repeat(lane.stream), records, count(self._position + 1)))
        self._position += len(events)
        lane.tally.records_read += len(events)
        if self._knows_any and (journal := self._journal) is not None:
            fresh = [event for event in events if not journal.knows(event.position, event.stream, event.record)]
            lane.tally.events_already_delivered += len(events) - len(fresh)
            events = fresh
        self._batcher.extend(events)

    def _reject(self, stream: str, record: bytes, reason: str, detail: str, status: int | None = None) -> None:
        try:
            self._rejects.write(reason=reason, detail=detail, stream=stream, record=record, status=status)
        except TargetError:
            self.tally.undelivered += 1
            raise
        self.tally.reject(stream, reason)
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
            self._leading = digest(leading) if leading is not None else None
            if self._journal is not None:
                self._journal.begin(leading)
                self._knows_any = bool(self._journal.known)
                if self._knows_any:
                    self._logger.info(
                        "A run that died had %d records acknowledged behind the state where this one starts; they "
                        "are not sent again. To load them again, delete %s",
                        self._journal.known,
                        self._settings.journal_path,
                    )
            if self._stamper is not None and leading is not None:
                self._stamper.leading = digest(leading)

    # Delivery

    def _connected(self) -> Client:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _post(self, events: t.Sequence[Event]) -> Outcome:
        """Make one call; the journal knows of it from before it leaves until it is answered."""
        body = self._body(events)
        if self._journal is None:
            return self._connected().post(body)
        call = events[0].position, events[-1].position
        self._journal.begin_call(*call)
        outcome = self._connected().post(body)
        if outcome.kind in _NOTHING_STORED:
            self._journal.end_call(*call)
        return outcome

    def _send(self, ticket: int, events: list[Event]) -> None:
        if self._settings.dry_run:
            self.tally.count_dry(events)
            return
        try:
            self._delivery.submit(ticket, events)
        except BaseException:
            self.tally.undelivered += len(events)
            raise

    def _on_settled(self, settlement: Settlement[Event]) -> None:
        tally = self.tally
        for stream, delivered in Counter(map(_stream_of, settlement.delivered)).items():
            tally.stream(stream).events_delivered += delivered
        tally.calls += settlement.calls
        tally.retries += settlement.retries
        tally.in_doubt += settlement.in_doubt
        if settlement.calls and self._journal is not None:
            tally.in_doubt += self._journal.doubted(event.position for event in settlement.items)
        tally.undelivered += settlement.undelivered
        left = len(settlement.refused)
        for event, outcome in settlement.refused:
            left -= 1
            try:
                self._reject(event.stream, event.record, "refused", outcome.detail, outcome.status)
            except TargetError:
                tally.undelivered += left
                raise

    def _idle(self) -> None:
        self._now = time.monotonic()
        self._write_state()
        if self.signum is not None:
            raise Interrupted(self.signum)

    def _on_delivered(self, events: t.Sequence[Event]) -> None:
        if self._journal is not None:
            self._journal.note([(event.position, fingerprint(event.stream, event.record)) for event in events])

    def _write_state(self, *, final: bool = False) -> None:
        self._states.offer(self._delivery.take_state())
        self._states.write(self._now, final=final)

    def _report(self) -> list[str]:
        self.tally.rejects = self._rejects.location
        self.tally.states_written = self._states.written
        return summary.close(self.tally, self._facts, self._settings, self._logger)


def _journal(settings: Settings, run_id: str) -> Journal | None:
    if not settings.journal_path or settings.dry_run:
        return None
    identity = [
        settings.endpoint_url,
        settings.app_key,
        settings.streams,  # what was loaded by another mapping is to be loaded again
        settings.event_time_fallback,
        settings.time_zone,
        settings.nested_values,
        settings.property_names,
        settings.boolean_format,
        settings.add_record_metadata,
    ]
    # A sandbox that was deleted has nothing of what was acknowledged.
    adopts = settings.sandbox_path is None or Path(settings.sandbox_path).exists()
    return Journal(Path(settings.journal_path), _encode(identity).decode(), run_id, adopts=adopts)
