"""One run over the sources: in go `uris` and their bookmarks, out come emissions of records, in order.

Each emission is handed out before the bookmark moves past it: whoever consumes `Run.emissions` writes it before asking
for the next, so state is never ahead of what was written. A bad file (too many invalid rows, or changed so that it
cannot be read on) emits nothing further and stays pending.
"""

from __future__ import annotations

import contextlib
import itertools
import time
import typing as t

import msgspec

from tap_coolafile import reading
from tap_coolafile.exceptions import (
    ArchivedFileError,
    BadFileError,
    BadRowError,
    BrokenFileError,
    MissingFileError,
    TapError,
)
from tap_coolafile.pieces import Piece, require_good
from tap_coolafile.room import Room
from tap_coolafile.rows import REASONS, in_words
from tap_coolafile.sources import open_source
from tap_coolafile.unwrapping import longest_line, unwrapped
from tap_coolafile.uris import NAME_RULE

if t.TYPE_CHECKING:
    import logging

    from tap_coolafile.bookmarks import Bookmark
    from tap_coolafile.configuration import Settings
    from tap_coolafile.places import Place, Position
    from tap_coolafile.rejects import RejectsFile
    from tap_coolafile.report import Report
    from tap_coolafile.rows import Judge
    from tap_coolafile.selection import Selection, Task
    from tap_coolafile.sources.base import FileItem, Source
    from tap_coolafile.uris import Pattern

JUDGED_FIRST = 1000
_HELD_BYTES = 8 << 20
_STATE_SECONDS = 1.0


class Emission(msgspec.Struct):
    """Records to write: `records[i]` is from line `line + i` (from 1) of `item`; None for a blank line or a reject."""

    records: list[bytes | None]
    item: FileItem
    line: int


class Hooks(t.Protocol):
    """What a run asks of the stream that carries it."""

    def announce_schema(self) -> None:
        """Write a SCHEMA if properties or types were learned since the last one."""

    def unlearn(self) -> None:
        """Take back what was learned since the last call of `announce_schema`."""

    def save(self, places: dict[str, t.Any]) -> None:
        """Put the bookmarks into the state and write it; every emission so far has been written."""

    def check_stopping(self) -> None:
        """Raise StoppedError once a signal came."""


class Run:
    """The reading of all `uris`, once."""

    def __init__(  # noqa: PLR0913 - the parts of a run, each by name
        self,
        settings: Settings,
        *,
        judge: Judge,
        selection: Selection,
        rejects: RejectsFile,
        report: Report,
        hooks: Hooks,
        logger: logging.Logger,
    ) -> None:
        self._settings = settings
        self._judge = judge
        self._selection = selection
        self._rejects = rejects
        self._report = report
        self._hooks = hooks
        self._logger = logger
        self._room = Room((), {}, lookback_ms=0)
        self._unsaved_rows = 0
        self._saved_at = time.monotonic()

    def emissions(
        self, patterns: t.Sequence[Pattern], places: dict[str, Place], *, anew: bool = False
    ) -> t.Iterator[Emission]:
        """Read everything new; `anew`, also what was read by other URIs.

        Raises:
            TapError: as in exceptions.py; the state has then been saved up to the last emission.
        """
        self._room = Room(
            [pattern.name for pattern in patterns],
            places,
            lookback_ms=self._settings.lookback_hours * 3_600_000,
            anew=anew,
        )
        first = all(mark.first_pass for mark in self._room.marks.values())
        try:
            for index, pattern in enumerate(patterns):
                yield from self._pass(pattern, patterns[:index])
        except TapError:
            self._save()
            raise
        self._save()
        if first and not self._selection.matched:
            names, refused = ", ".join(self._room.marks), self._report.files_refused_by_name
            also = f"; {refused} files were passed over, as {NAME_RULE}" if refused else ""
            msg = f"nothing matches {names}{also}; check uris"
            raise MissingFileError(msg)

    def _pass(self, pattern: Pattern, earlier: t.Sequence[Pattern]) -> t.Iterator[Emission]:
        """Read what is new of one entry of `uris`."""
        mark = self._room.marks[pattern.name]
        source = open_source(pattern, self._settings, self._hooks.check_stopping)
        with contextlib.closing(self._selection.tasks(source, mark, pattern, earlier)) as tasks:
            for task in tasks:
                self._hooks.check_stopping()
                try:
                    if task.trouble is not None:
                        raise task.trouble
                    yield from self._file(source, mark, task)
                except ArchivedFileError:
                    self._selection.put_off(mark, task.item)
                except BadFileError as bad:
                    self._note_bad(mark, task, bad)
                if self._unsaved_rows >= self._settings.state_interval_rows or self._saved_long_ago():
                    self._save()
        mark.begin(source.now_ms())
        mark.end()

    def _note_bad(self, mark: Bookmark, task: Task, bad: BadFileError) -> None:
        position = mark.file if mark.file is not None and mark.file.path == task.item.path else task.start
        mark.fail(task.item, position)
        self._room.check_pending()
        self._report.files_bad += 1
        if len(self._report.bad_files) < 100:  # noqa: PLR2004 - a report stays readable
            self._report.bad_files.append(task.item.name)
        if self._settings.on_bad_file == "stop":
            raise bad
        self._logger.warning("%s; it stays pending, the others go on", bad)

    def _file(self, source: Source, mark: Bookmark, task: Task) -> t.Iterator[Emission]:
        """Read one file from its start position; hold its first rows until they are judged."""
        item, start = task.item, task.start
        handle, head = reading.opened(source, item, start.offset, self._hooks.check_stopping)
        self._report.files_read += 1
        after, held, kept, holding = start, list[Piece](), 0, start.rows < JUDGED_FIRST
        broken: BrokenFileError | None = None
        try:
            longest = self._settings.max_row_bytes
            if self._settings.unwrap_rejects:
                longest = longest_line(longest)
            lines = reading.blocks(handle, offset=start.offset, line=start.line, max_row_bytes=longest, head=head)
            try:
                for piece in self._pieces(lines, start, head):
                    after = piece.after
                    held.append(piece)
                    kept += piece.kept_bytes
                    if holding and after.rows < JUDGED_FIRST and kept < _HELD_BYTES:
                        continue
                    self._verdict(item, after, held, ended=False)
                    holding = False
                    while held:
                        yield from self._emitted(mark, item, held.pop(0))
            except BrokenFileError as error:
                broken = error
            self._verdict(item, after, held, ended=broken is None)
            while held:
                yield from self._emitted(mark, item, held.pop(0))
        except BadFileError:
            self._hold_back(held)
            raise
        finally:
            handle.close()
        if broken is not None:
            raise broken
        mark.finish(item, after)

    def _pieces(self, lines: t.Iterator[reading.Block], start: Position, head: reading.Head) -> t.Iterator[Piece]:
        """Judge block after block, in pieces no longer than the rows between two states."""
        after = start
        for block in lines:
            for begin in range(0, len(block.lines), self._settings.state_interval_rows):
                self._hooks.check_stopping()
                part = block.lines[begin : begin + self._settings.state_interval_rows]
                text: bytes | None = block.text
                if self._settings.unwrap_rejects:
                    part, text = [unwrapped(line) for line in part], None
                judged = self._judge.judge(part, text)
                offset = block.end_of(begin + len(part))
                size = offset - after.offset
                after = msgspec.structs.replace(
                    after,
                    offset=offset,
                    head=head.at(offset),
                    line=block.line + begin + len(part),
                    rows=after.rows + len(part) - judged.blank,
                    invalid=after.invalid + len(judged.rejects),
                )
                yield Piece(block, begin, part, judged, size, after)

    def _verdict(self, item: FileItem, after: Position, held: list[Piece], *, ended: bool) -> None:
        """Stop a bad file before more of it is emitted.

        Raises:
            BadFileError: too many rows are invalid.
        """
        if not self._stops_at_one_of(held):
            require_good(item.name, after, held, self._settings.max_invalid_percent, ended=ended)

    def _hold_back(self, held: list[Piece]) -> None:
        """Let go of rows of a bad file, and of what they taught: the schema is made of rows that are emitted."""
        self._report.rows_held_back += sum(len(piece.judged.records) for piece in held)
        self._hooks.unlearn()
        self._judge.forget()

    def _stops_at_one_of(self, held: list[Piece]) -> bool:
        return self._settings.on_invalid_row == "fail" and any(piece.judged.rejects for piece in held)

    def _emitted(self, mark: Bookmark, item: FileItem, piece: Piece) -> t.Iterator[Emission]:
        """Hand out one piece; once it was written, account for it and move the bookmark past it."""
        self._keep_rejects(item, piece)
        self._hooks.announce_schema()
        yield Emission(piece.judged.records, item, piece.block.line + piece.begin + 1)
        self._report.rows_read += len(piece.judged.records)
        self._report.rows_blank += piece.judged.blank
        for reject in piece.judged.rejects:
            if not self._report.rows_rejected:
                line = piece.block.line + piece.begin + reject.index + 1
                self._report.first_rejected = f"{item.name} line {line}: {in_words(reject)}"
            self._report.count_reject(reject.reason)
        self._report.bytes_read += piece.size
        mark.at(piece.after)
        self._unsaved_rows += len(piece.judged.records)
        if self._unsaved_rows >= self._settings.state_interval_rows:
            self._save()

    def _keep_rejects(self, item: FileItem, piece: Piece) -> None:
        """Write the rejects of a piece down, as `on_invalid_row` says."""
        if not piece.judged.rejects or self._settings.on_invalid_row == "skip":
            return
        cut = piece.block.cut
        sizes = (cut.get(index, len(line)) + 1 for index, line in enumerate(piece.lines, piece.begin))
        offsets = list(itertools.accumulate(sizes, initial=piece.block.end_of(piece.begin)))
        for reject in piece.judged.rejects:
            index = piece.begin + reject.index
            line, offset = piece.block.line + index + 1, offsets[reject.index]
            detail = reject.detail
            if index in cut:
                detail = f"{cut[index]} bytes, of which `row` holds the first; max_row_bytes allows fewer"
            if self._settings.on_invalid_row == "fail":
                msg = f"{item.name} line {line} (byte {offset}): {REASONS[reject.reason]}; on_invalid_row is fail"
                raise BadRowError(msg)
            row = piece.held[reject.index].rstrip(b"\r")
            self._rejects.add(reason=reject.reason, detail=detail, source=item.name, line=line, offset=offset, row=row)

    def _saved_long_ago(self) -> bool:
        return time.monotonic() - self._saved_at > _STATE_SECONDS

    def _save(self) -> None:
        """Make rejects durable, then write the state."""
        self._rejects.secure()
        self._hooks.save(self._room.to_builtins())
        self._room.account(self._report)
        self._unsaved_rows = 0
        self._saved_at = time.monotonic()
