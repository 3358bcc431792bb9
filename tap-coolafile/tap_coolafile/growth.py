"""Whether a changed file has only grown: in go a file and where its reading ended, out comes where to read on."""

from __future__ import annotations

import contextlib
import typing as t

import msgspec

from tap_coolafile import reading
from tap_coolafile.exceptions import ArchivedFileError, BadFileError

if t.TYPE_CHECKING:
    from tap_coolafile.places import Position
    from tap_coolafile.sources.base import FileItem, Handle, Source


def grown(source: Source, item: FileItem, known: Position, check: t.Callable[[], None]) -> Position | None:
    """Compare what was read before with the same bytes now; return where what follows begins, on a line of its own.

    None if the file changed in another way. A line feed that the last line read did not have yet is passed over.
    """
    if not item.compressed:
        if 0 <= item.size < known.offset:
            return None
        first, last = reading.edges(source, item, known.offset)
        if reading.digest(first, last, known.offset) != known.head:
            return None
        if last.endswith(b"\n"):  # what follows may be on its way: it is not opened here
            return msgspec.structs.replace(known, etag=item.etag)
    try:
        handle, head = reading.opened(source, item, known.offset, check)
        with contextlib.closing(handle):
            return _after_line_feed(handle, head, item, known)
    except BadFileError as bad:
        if item.compressed and not isinstance(bad, ArchivedFileError):
            return None
        raise


def _after_line_feed(handle: Handle, head: reading.Head, item: FileItem, known: Position) -> Position | None:
    if head.at(known.offset) != known.head:
        return None
    feed = b""
    while not head.ends_a_line:
        more = handle.read(1)
        feed += more
        if not feed:  # nothing follows: the bytes are the same, only the stamp is another
            break
        if not more or feed not in {b"\n", b"\r", b"\r\n"}:
            return None
        head.feed(more)
    offset = known.offset + len(feed)
    return msgspec.structs.replace(known, etag=item.etag, offset=offset, head=head.at(offset))
