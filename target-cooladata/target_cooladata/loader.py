"""One run: messages become events, events leave, every record is counted where it ends.

In: the messages that the reader hands over. Out: events and states in their order, for `dispatch` to deliver, and the
report. It ends in one of two ways: `finish`, at the end of the input, and `abandon`, after anything that stops the run.
"""

from __future__ import annotations

import typing as t
from decimal import Decimal
from functools import partial
from itertools import count, repeat

import msgspec
from singer_sdk.exceptions import MissingKeyPropertiesError, RecordsWithoutSchemaException

from target_cooladata import batch_files, report, summary
from target_cooladata.batches import Event
from target_cooladata.dispatch import Dispatch
from target_cooladata.entries import digest
from target_cooladata.events import EventMaker, Facts
from target_cooladata.exceptions import InputError, Rejected, TargetError
from target_cooladata.journal import journal_of
from target_cooladata.settings import StreamSettings
from target_cooladata.stamps import Stamper

if t.TYPE_CHECKING:
    import logging

    from singer_sdk.mapper import PluginMapper

    from target_cooladata.client import Client
    from target_cooladata.reader import Message, Taker
    from target_cooladata.settings import Settings

_INPUT_FAILURES = (InputError, RecordsWithoutSchemaException, MissingKeyPropertiesError)

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
        self._disconnect = disconnect
        self._mapper = mapper
        self._logger = logger
        self.signum: int | None = None
        self.tally = report.Tally()
        self._facts = Facts()
        self._journal = journal_of(settings, self.tally.run_id)
        self._dispatch = Dispatch(settings, self.tally, self._journal, connect=connect, signum=lambda: self.signum)
        has_stamps = settings.run_id_property or settings.event_id_property
        self._stamper = Stamper(settings, self.tally.run_id) if has_stamps else None
        self._position = 0
        self._lanes: dict[str, _Lane] = {}
        self._has_begun = False
        self._leading: bytes | None = None
        self._last_state: bytes | None = None
        self._knows_any = False

    # What the reader calls

    def start(self) -> None:
        """Be ready for the first message."""
        self._dispatch.start()

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
            path = batch_files.disposable(uri, message.stream, self._settings.batch_root)
            if path is not None:
                self._dispatch.add_spent(path, self._position)

    def on_unreadable_record(self, stream: str, line: bytes, detail: str) -> None:
        """Take a RECORD line that is not JSON to the letter."""
        self._known_lane(stream).tally.records_read += 1
        self._dispatch.reject(stream, line, "not_json", f"the message is not JSON: {detail}")

    def on_state(self, message: Message) -> None:
        """Take a STATE; it goes out once everything before it is settled."""
        state = bytes(message.value)
        self._begin(state)
        self._last_state = digest(state)
        self._dispatch.add_state(state, self._position)

    def tick(self) -> None:
        """Do what is due: take in outcomes, send an old batch, write a state; leave if a signal came."""
        self._dispatch.tick()

    # The two ends

    def finish(self) -> list[str]:
        """Deliver what is left and report.

        Returns:
            Why the run failed nevertheless, one sentence each.
        """
        reached = self._dispatch.finish()
        if self._journal is not None:
            # A tap that says states as it goes, but none at its end, has died.
            died = self._leading not in (None, self._last_state) and reached < self._position
            self._journal.close(finished=not died)
        self._disconnect()
        return self.tally.over_limit(self._settings.max_reject_percent) + self.tally.barren() + self._report()

    def abandon(self, cause: BaseException) -> None:
        """Stop in order: no further try, a moment for the calls under way, the last true state, the report.

        Args:
            cause: why; whoever raised it says so.
        """
        if self._dispatch.has_ended:
            return
        for failure in self._dispatch.abandon(cause, is_inputs_fault=isinstance(cause, _INPUT_FAILURES)):
            self._logger.error("%s", failure)
        if self._journal is not None:
            self._journal.close(finished=False)
        self._disconnect()
        self._report()

    # Records

    def _known_lane(self, stream: str) -> _Lane:
        lane = self._lanes.get(stream)
        if lane is None or not lane.is_known:
            msg = f"a RECORD or BATCH of stream {stream!r} came before its SCHEMA; check the tap"
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
                made = _encode(mapped) if mapped is not None else None
            except Exception as error:  # noqa: BLE001 - an expression of the user's may raise anything
                alias.tally.records_read += 1
                self._dispatch.reject(alias.stream, record, "map_failed", f"`stream_maps`: {error}")
                continue
            if made is None:
                alias.tally.records_read += 1
                alias.tally.records_filtered += 1
            else:
                self._load(alias, made, time_extracted)

    def _load(self, lane: _Lane, record: bytes, time_extracted: str | None) -> None:
        if not self._has_begun:
            self._begin(None)
        position = self._position + 1
        try:
            body = lane.maker.make(record, time_extracted, position)
        except Rejected as verdict:
            self._position = position
            lane.tally.records_read += 1
            self._dispatch.reject(lane.stream, record, verdict.reason, verdict.detail)
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
            try:
                fresh = [event for event in events if not journal.knows(event.position, event.stream, event.record)]
            except TargetError:
                self.tally.undelivered += len(events)
                raise
            lane.tally.events_already_delivered += len(events) - len(fresh)
            events = fresh
        self._dispatch.extend(events)

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
                        "An earlier run had %d records acknowledged behind the state where this one starts; those that "
                        "come again are not sent. To load them again, delete %s",
                        self._journal.known,
                        self._settings.journal_path,
                    )
            if self._stamper is not None and leading is not None:
                self._stamper.leading = digest(leading)

    def _report(self) -> list[str]:
        return summary.close(self.tally, self._facts, self._settings, self._logger)
