"""The bookkeeping of one run: report, rejects, and what became of properties; closed at the end however it ends."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import secrets
import typing as t

from tap_coolafile.exceptions import BadFileError, StoppedError, TapError
from tap_coolafile.rejects import RejectsFile
from tap_coolafile.report import Report, as_words
from tap_coolafile.sources import writer

if t.TYPE_CHECKING:
    import logging

    from tap_coolafile.configuration import Settings
    from tap_coolafile.rows import Judge
    from tap_coolafile.schema import StreamSchema


class Account:
    """Counts and keeps what one run leaves behind besides records.

    `known` holds the properties a catalog knows, if it deselects any: every other property is then `withheld`.
    """

    def __init__(
        self, settings: Settings, schema: StreamSchema, *, known: frozenset[str] | None, logger: logging.Logger
    ) -> None:
        run_id = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        self.report = Report(run_id=run_id, stream=settings.stream_name)
        self.rejects = RejectsFile(
            settings.rejects_path,
            run_id=run_id,
            stream=settings.stream_name,
            writer=lambda uri: writer(uri, settings),
        )
        self.withheld: set[str] = set()
        self._learned: list[tuple[str, str]] = []
        self._settings = settings
        self._schema = schema
        self._known = known
        self._logger = logger

    def learn(self, name: str, kind: str) -> None:
        """Take note of a property and kind that a row shows; it counts once that row is about to be emitted."""
        self._learned.append((name, kind))

    def settle(self) -> None:
        """Let what was learned count."""
        learned, self._learned = self._learned, []
        for name, kind in learned:
            self._settle(name, kind)

    def unlearn(self) -> None:
        """Take back what was learned since `settle`."""
        self._learned = []

    def _settle(self, name: str, kind: str) -> None:
        """Widen the schema for a property and kind, or withhold the property."""
        if self._known is not None and name not in self._known:
            if name not in self.withheld:
                self.withheld.add(name)
                self._logger.warning(
                    "Property %r is withheld: the catalog deselects some properties and does not know this one", name
                )
            return
        if (change := self._schema.learn(name, kind)) is not None:
            self._logger.warning("%s", change)

    @contextlib.contextmanager
    def closing(self, judge: Judge) -> t.Iterator[None]:
        """Close rejects and report when the block ends, unless its consumer just stopped asking.

        Raises:
            BadFileError: files stay pending, so the run did not load everything.
            UnbalancedError: the report's equation does not close.
        """
        try:
            yield
        except StoppedError:
            self._close(judge, "stopped")
            raise
        except TapError:
            self._close(judge, "failed")
            raise
        bad = self.report.files_bad
        self._close(judge, "bad files" if bad else "complete")
        if bad:
            msg = f"{bad} bad file(s) stay pending, first {self.report.bad_files[0]}; the next run tries them again"
            raise BadFileError(msg)

    def _close(self, judge: Judge, outcome: str) -> None:
        self.rejects.close()
        report, notices = self.report, judge.notices
        report.outcome = outcome
        report.integers_as_text = notices.integers_as_text
        report.times_disagreeing = notices.times_disagreeing
        report.metadata_replaced = notices.metadata_replaced
        report.type_changes = dict(self._schema.changes)
        report.properties_withheld = sorted(self.withheld)
        report.rejects = self.rejects.location
        if notices.times_disagreeing:
            self._logger.warning(
                "%d rows hold two spellings of the time that disagree; event_time_ts goes before "
                "event_timestamp_epoch, and that before event_timestamp",
                notices.times_disagreeing,
            )
        self._tell_what_was_forgotten()
        if report.rows_rejected:
            where = f"kept in {report.rejects}" if report.rejects else "only counted, as on_invalid_row is skip"
            reasons = as_words(report.rejected_by_reason)
            self._logger.warning("Rejected rows: %s; %s; first %s", reasons, where, report.first_rejected)
        self._logger.info("Report: %s", report.to_json())
        report.write(self._settings.report_path)
        report.close()

    def _tell_what_was_forgotten(self) -> None:
        """Warn where state had no room for all it should remember; see `room.py`."""
        report = self.report
        if report.files_missing:
            self._logger.warning(
                "%d pending files are missing from the listing, first %s: their positions are kept for lookback_hours",
                report.files_missing,
                report.missing_files[0],
            )
        if report.positions_forgotten:
            self._logger.warning(
                "%d pending files were missing for longer than lookback_hours, or state has no room for them: those "
                "that come back are read from their beginning",
                report.positions_forgotten,
            )
        if report.files_archived_forgotten:
            self._logger.warning(
                "State has no room for %d archived files: restored much later, they may count as done; then read them "
                "by URIs of their own, with a state of their own",
                report.files_archived_forgotten,
            )
        if report.identities_forgotten_early:
            self._logger.warning(
                "State has no room for %d files of the last lookback_hours: from now on files stamped before %s count "
                "as done",
                report.identities_forgotten_early,
                ", ".join(f"{stamp} of {name}" for name, stamp in itertools.islice(report.done_before.items(), 3)),
            )
        if report.identities_forgotten_of_former_uris:
            self._logger.warning(
                "State has no room for %d files of URIs that uris names no longer: where such a URI is named again, "
                "any file as old as those counts as done",
                report.identities_forgotten_of_former_uris,
            )
        if report.former_uris_forgotten:
            self._logger.warning(
                "State has no room for %d URIs that uris names no longer, first %s: where such a URI is named again, "
                "all of its files are read again",
                report.former_uris_forgotten,
                report.first_uris_forgotten[0],
            )
