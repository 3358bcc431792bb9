"""Discovery: in go listings, out come the properties and types of the first rows of the newest files.

Reads at most `sample_rows` rows and 4 MiB, from at most 20 files, each from its beginning. Object storages are asked
for that range alone; elsewhere the connection is closed once enough was read. Invalid rows are passed over: they are
for a run to report.
"""

from __future__ import annotations

import heapq
import itertools
import typing as t

import msgspec

from tap_coolafile import reading
from tap_coolafile.exceptions import BadFileError
from tap_coolafile.rows import Judge, Rules
from tap_coolafile.sources import open_source
from tap_coolafile.unwrapping import longest_line, unwrapped
from tap_coolafile.uris import allowed

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings
    from tap_coolafile.sources.base import FileItem, Source
    from tap_coolafile.uris import Pattern

MAX_FILES = 20
MAX_BYTES = 4 << 20
_PORTION = 1 << 17


def sample(
    settings: Settings,
    patterns: t.Sequence[Pattern],
    announce: t.Callable[[str, str], object],
    check: t.Callable[[], None],
) -> None:
    """Announce what the newest files hold, as `rows.Judge` does.

    Raises:
        StorageError: a storage cannot be listed or read.
        StoppedError: whatever `check` raises once a signal came.
    """
    newest: list[tuple[int, int, FileItem, Source]] = []
    order = itertools.count()
    for pattern in patterns:
        source = open_source(pattern, settings, check)
        for item in source.files(""):
            check()
            if item.archived or not allowed(item.path, compressed=settings.allow_compressed):
                continue
            heapq.heappush(newest, (item.mtime_ms, -next(order), item, source))
            if len(newest) > MAX_FILES:
                heapq.heappop(newest)
    judge = Judge(rules(settings), announce)
    rows, size = settings.sample_rows, MAX_BYTES
    for _, _, item, source in sorted(newest, reverse=True):
        if rows <= 0 or size <= 0:
            return
        read_rows, read_bytes = _sample_file(judge, settings, (source, item), rows, size)
        rows, size = rows - read_rows, size - read_bytes


def rules(settings: Settings) -> Rules:
    """The settings that bear on a row."""
    return Rules(
        time_zone=settings.time_zone,
        empty_as_null=settings.empty_as_null,
        max_row_bytes=settings.max_row_bytes,
        property_types=settings.property_types,
        add_metadata_columns=settings.add_metadata_columns,
    )


class _Portions:
    """Hands a file over in small portions, up to a number of bytes."""

    def __init__(self, handle: t.Any, size: int) -> None:
        self._handle = handle
        self.left = size

    def read(self, size: int, /) -> bytes:
        if not self.left:
            return b""  # zlib takes a limit of 0 for none
        data: bytes = self._handle.read(min(size, self.left, _PORTION))
        self.left -= len(data)
        return data

    def close(self) -> None:
        self._handle.close()


def _sample_file(
    judge: Judge, settings: Settings, file: tuple[Source, FileItem], rows: int, size: int
) -> tuple[int, int]:
    source, item = file
    unwrap = unwrapped if settings.unwrap_rejects else bytes
    longest = longest_line(settings.max_row_bytes) if settings.unwrap_rejects else settings.max_row_bytes
    item = msgspec.structs.replace(item, wanted=size + _PORTION)  # gzip may be longer than what it unfolds to
    try:
        handle = _Portions(reading.opened(source, item, 0, _go_on)[0], size)
    except BadFileError:
        return 0, 0
    judged = 0
    try:
        for block in reading.blocks(handle, offset=0, line=0, max_row_bytes=longest, head=reading.Head()):
            if not block.ended and handle.left == 0:
                break  # the last line was cut by the limit on bytes
            judge.judge([unwrap(line) for line in block.lines[: rows - judged]])
            judged += len(block.lines)
            if judged >= rows:
                break
    except BadFileError:
        pass
    finally:
        handle.close()
    return judged, size - handle.left


def _go_on() -> None:
    """Let a file that is opened at its beginning be opened."""
