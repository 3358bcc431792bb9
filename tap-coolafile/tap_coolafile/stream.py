"""The one Singer stream: in go files, out go SCHEMA, RECORD and STATE messages.

Records leave as bytes, around the SDK's per-record machinery, unless the user configured something that only this
machinery does (stream maps, flattening, deselected properties, versions, a limit on records); then each record is
handed to the SDK as a dictionary. Both ways share the rules, the schema, the bookmarks, the rejects and the report.
"""

from __future__ import annotations

import typing as t

from singer_sdk.helpers._batch import BaseBatchFileEncoding
from singer_sdk.helpers._catalog import get_selected_schema
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib import Schema
from singer_sdk.singerlib.encoding.simple import StateMessage
from singer_sdk.singerlib.json import deserialize_json
from singer_sdk.streams import Stream
from typing_extensions import override

from tap_coolafile.account import Account
from tap_coolafile.batches import BatchFiles, batch_settings
from tap_coolafile.exceptions import TapError
from tap_coolafile.mapping import Mapped, mistake
from tap_coolafile.metadata import with_metadata
from tap_coolafile.places import VERSION, dump, load
from tap_coolafile.rows import Judge
from tap_coolafile.run import Emission, Run
from tap_coolafile.sampling import rules, sample
from tap_coolafile.schema import StreamSchema
from tap_coolafile.selection import Selection

if t.TYPE_CHECKING:
    from singer_sdk.helpers import types
    from singer_sdk.helpers._batch import BatchConfig
    from singer_sdk.singerlib import Catalog

    from tap_coolafile.report import Report
    from tap_coolafile.tap import TapCoolaFile


class EventStream(Stream):
    """The events of all files, in the order of `uris` and of their listings."""

    def __init__(self, tap: TapCoolaFile) -> None:
        """Prepare the stream; nothing is read yet."""
        self.settings = tap.settings
        super().__init__(tap, name=self.settings.stream_name)
        self._cooltap = tap
        self._properties = StreamSchema(
            property_types=self.settings.property_types, metadata_columns=self.settings.add_metadata_columns
        )
        self._sampled = False
        self._schema_awaited = False
        self._account: Account | None = None
        self._batches: BatchFiles | None = None
        self._mistake: TapError | None = None
        self._place = ""
        # What was read is not read again, unless a catalog says FULL_TABLE.
        self.forced_replication_method = "INCREMENTAL"

    @property
    def report(self) -> Report | None:
        """The report of the last run in this process."""
        return self._account.report if self._account is not None else None

    # The schema

    @property
    @override
    def schema(self) -> dict[str, t.Any]:
        """The properties known so far: sampled from the newest files, unless a catalog or a run came first."""
        if not self._sampled:
            self._sampled = True
            sample(self.settings, self._cooltap.patterns, self._properties.learn, self._cooltap.stop.check)
            self._properties.unannounced = False
        return self._properties.to_dict()

    def await_rows(self) -> None:
        """Do without sampling: the first SCHEMA is written when the first rows have told what it must hold."""
        if not self._sampled:
            self._sampled = self._schema_awaited = True

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        super().apply_catalog(catalog)
        if (entry := catalog.get_stream(self.name)) is not None:
            self._sampled = True
            entry.schema = Schema.from_dict(self._properties.retyped(entry.schema.to_dict()))
            self._properties.adopt(entry.schema.to_dict())
            self._input_schema = None  # the schema that widens while reading is the one in effect

    def announce_schema(self) -> None:
        """Write a SCHEMA if properties or types were learned since the last one; see `run.Hooks`."""
        self._counted.settle()
        if not (self._properties.unannounced or self._schema_awaited):
            return
        self._properties.unannounced = self._schema_awaited = False
        selected = get_selected_schema(self.name, self.schema, self.mask)
        try:
            self._tap.mapper.register_raw_stream_schema(self.name, selected, self.primary_keys)
        except Exception as error:  # noqa: BLE001 - as in the SDK, which has an exception for every mistake
            raise mistake(error, Mapped(self.config, self.name, selected)) from None
        self._stream_maps = None
        self._write_schema_message()

    @override
    def _write_schema_message(self) -> None:
        if not self._schema_awaited:
            super()._write_schema_message()

    # The run

    @override
    def _sync_records(
        self, context: types.Context | None = None, *, write_messages: bool = True
    ) -> t.Generator[dict[str, t.Any], t.Any, t.Any]:
        try:
            if write_messages and self._is_plain():
                self._sync_bytes()
            else:
                yield from super()._sync_records(context, write_messages=write_messages)
        except (TapError, BrokenPipeError) as failure:
            if not self._cooltap.explains_failures:
                raise
            self._cooltap.failure = failure

    def _is_plain(self) -> bool:
        """Tell whether nothing is configured that the SDK's own way of writing records is needed for."""
        return (
            not self.config.get("stream_maps")
            and self._tap.mapper.default_mapper_type
            is SameRecordTransform  # it takes `__else__` out of the configuration
            and not self.config.get("flattening_enabled")
            and not self._deselected()
            and self.ABORT_AT_RECORD_COUNT is None
            and self._stream_version is None
        )

    def _deselected(self) -> bool:
        return not all(selected for breadcrumb, selected in self.mask.items() if breadcrumb)

    @override
    def get_batch_config(self, config: t.Mapping[str, t.Any]) -> BatchConfig | None:
        """Return None, so that the SDK leaves batch files to `_sync_bytes`, which has the rows' own bytes."""
        return None

    def _sync_bytes(self) -> None:
        try:
            with self.get_record_counter() as counter, self.get_sync_timer():
                for emission in self._emissions():
                    records = [record for record in emission.records if record is not None]
                    if self._batches is not None:
                        self._batches.add(records)
                    else:
                        self._cooltap.writer.write_records(self.name, records)
                    self._counted.report.rows_sent += len(records)
                    counter.increment(len(records))
            self._write_state_message()
        finally:
            if self._batches is not None:
                self._batches.discard()

    def _batch_files(self) -> BatchFiles | None:
        """Prepare batch files, if they are asked for and rows can go into them as they are."""
        if self.settings.batch_config is None:
            return None
        if not self._is_plain():
            self.logger.warning("batch_config is set aside, as stream maps, flattening and deselection need RECORDs")
            return None
        settings = batch_settings(self.settings.batch_config)
        return BatchFiles(settings, run_id=self._counted.report.run_id, stream=self.name)

    def _write_batches(self) -> None:
        """Name the batch files written since the last STATE, before the next one goes past them."""
        if self._batches is not None and (manifest := self._batches.take()):
            encoding = BaseBatchFileEncoding(format="jsonl", compression=self._batches.compression)
            self._write_batch_message(encoding=encoding, manifest=manifest)

    @override
    def get_records(self, context: types.Context | None) -> t.Iterable[types.Record]:
        """Read everything new, as dictionaries whose numbers keep their digits (`Decimal`)."""
        emissions = self._emissions()
        for emission in emissions:
            before = self._counted.report.rows_mapped
            for line, text in enumerate(emission.records, emission.line):
                if text is None:
                    continue
                self._place = f"{emission.item.name} line {line}"
                record = deserialize_json(text.decode())
                for name in self._counted.withheld & record.keys():
                    del record[name]
                    self._counted.report.values_withheld += 1
                yield record
                if self._mistake is not None:
                    self._counted.report.rows_read += self._counted.report.rows_mapped - before
                    emissions.throw(self._mistake)

    def _emissions(self) -> t.Generator[Emission, None, None]:
        """Read everything new; the account of it is closed at the end, however it ends."""
        known = frozenset(self._properties.names) if self._deselected() else None
        self._account = account = Account(self.settings, self._properties, known=known, logger=self.logger)
        self._batches = self._batch_files()
        judge = Judge(rules(self.settings), account.learn)
        selection = Selection(
            self.settings,
            report=account.report,
            logger=self.logger,
            shard=self._cooltap.shard,
            check=self._cooltap.stop.check,
        )
        run = Run(
            self.settings,
            judge=judge,
            selection=selection,
            rejects=account.rejects,
            report=account.report,
            hooks=self,
            logger=self.logger,
        )
        places = load(self.stream_state, str(self._cooltap.shard or ""))
        anew = self.replication_method == "FULL_TABLE"
        if anew:
            names = {pattern.name for pattern in self._cooltap.patterns}
            places = {name: place for name, place in places.items() if name not in names}
        with account.closing(judge):
            for emission in run.emissions(self._cooltap.patterns, places, anew=anew):
                if self.settings.add_metadata_columns:
                    emission.records = with_metadata(emission.records, emission.item, emission.line)
                yield emission

    @property
    def _counted(self) -> Account:
        if self._account is None:  # pragma: no cover - every reader of it runs inside _emissions
            msg = "no run"
            raise RuntimeError(msg)
        return self._account

    def unlearn(self) -> None:
        """Take back what rows that are not emitted taught; see `run.Hooks`."""
        self._counted.unlearn()

    def save(self, places: dict[str, t.Any]) -> None:
        """Put the bookmarks into the state and write it; see `run.Hooks`."""
        self.stream_state["version"] = VERSION
        self.stream_state["shard"] = str(self._cooltap.shard or "")  # said also if there is none, as states are merged
        self.stream_state["places"] = dump(places)
        self._write_state_message()

    def check_stopping(self) -> None:
        """Raise once a signal came; see `run.Hooks`."""
        self._cooltap.stop.check()

    # What the SDK does per record or for its own kind of state

    @override
    def _write_state_message(self) -> None:
        if self._account is not None:
            self._account.rejects.secure()
        self._write_batches()
        self.state_manager.is_flushed = True
        self._tap.write_message(StateMessage(value=self.tap_state))

    @override
    def _write_record_message(self, record: types.Record) -> None:
        try:
            messages = list(self._generate_record_messages(record))
        except Exception as error:  # noqa: BLE001 - an expression of the user's may raise anything
            mapped = Mapped(self.config, self.name, self.schema)
            self._mistake = mistake(error, mapped, dict(record), self._place)  # get_records raises it, within the run
            return
        for message in messages:
            self._tap.write_message(message)
        if messages:
            self._counted.report.rows_sent += 1
        else:
            self._counted.report.rows_filtered += 1

    @override
    def _process_record(self, *args: t.Any, **kwargs: t.Any) -> None:
        """Nothing: there are no child streams, and a filter is asked once."""

    @override
    def _write_starting_replication_value(self, context: types.Context | None) -> None:
        """Nothing: the SDK would put a null for a replication key that this stream does not have."""

    @override
    def _increment_stream_state(self, latest_record: types.Record, *, context: types.Context | None = None) -> None:
        """Nothing: bookmarks move by files and offsets, not by values of records."""
