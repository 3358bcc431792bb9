"""From an open file to lines: in go bytes in any portions, out come blocks of whole lines with their place in the file.

Memory stays bounded whatever the file holds: of a line longer than the limit only the beginning is kept. A UTF-8 byte
order mark at the very start is passed over. Also here: the identity of the bytes read, by which a file that has only
grown is told from one that was rewritten.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import typing as t

import msgspec

from tap_coolafile.compression import Gunzip
from tap_coolafile.exceptions import BadFileError

if t.TYPE_CHECKING:
    from tap_coolafile.sources.base import FileItem, Handle, Source

BLOCK_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
_EDGE = 4096


class Block(msgspec.Struct):
    """Whole lines, without their line feeds, and where they stand.

    `text` is, or holds, all of them. `offset` is the byte at which the first begins, `line` how many lines precede it.
    `cut` gives the true length in bytes of each line that was cut, by its index. `ended` tells whether the last line
    had a line feed.
    """

    lines: list[bytes]
    text: bytes
    offset: int
    line: int
    cut: dict[int, int] = {}
    ended: bool = True

    def end_of(self, count: int) -> int:
        """Return the byte offset after the first `count` lines."""
        size = sum(map(len, self.lines[:count])) + count
        size += sum(true - len(self.lines[index]) for index, true in self.cut.items() if index < count)
        return self.offset + size - (0 if self.ended or count < len(self.lines) else 1)


class Head:
    """Identity of the bytes of a file up to some offset: a short hash of their number, first and last 4 KiB."""

    def __init__(self, first: bytes = b"", last: bytes = b"", size: int = 0) -> None:
        """Start at the beginning of a file, or go on after `size` bytes of which the edges are given."""
        self._first = first
        self._window = last
        self._end = size

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        if len(self._first) < _EDGE:
            self._first = (self._first + data)[:_EDGE]
        self._window = self._window[-_EDGE:] + data
        self._end += len(data)

    @property
    def ends_a_line(self) -> bool:
        """Whether the last byte fed is a line feed."""
        return self._window.endswith(b"\n")

    def at(self, offset: int) -> str:
        """Identify the bytes before `offset`, which lies in the bytes fed last."""
        end = len(self._window) - (self._end - offset)
        return digest(self._first[:offset], self._window[max(end - _EDGE, 0) : end], offset)


def digest(first: bytes, last: bytes, size: int) -> str:
    """Identify `size` bytes by their first and last 4 KiB."""
    found = hashlib.sha256(b"%d:%b:%b" % (size, first, last)).digest()
    return base64.urlsafe_b64encode(found)[:6].decode()


def opened(source: Source, item: FileItem, offset: int, check: t.Callable[[], None]) -> tuple[Handle, Head]:
    """Open `item` at `offset`, a byte of its content; return the identity of what precedes it too.

    A compressed file is unfolded from its beginning up to there; `check` is called meanwhile, and may raise.

    Raises:
        BadFileError: the file changed, vanished, is broken or does not reach as far.
    """
    if not item.compressed:
        head = Head(*edges(source, item, offset), offset) if offset else Head()
        return source.open(item, offset), head
    head, left = Head(), offset
    handle = Gunzip(source.open(item, 0), item.name)
    try:
        while left and (data := handle.read(min(left, BLOCK_BYTES))):
            check()
            head.feed(data)
            left -= len(data)
    except BaseException:
        handle.close()
        raise
    if left:
        handle.close()
        msg = f"{item.name} is shorter than the byte {offset} of its content it was read up to"
        raise BadFileError(msg)
    return handle, head


def blocks(handle: Handle, *, offset: int, line: int, max_row_bytes: int, head: Head) -> t.Iterator[Block]:
    """Read `handle`, which stands at byte `offset` after `line` lines, to its end.

    A line longer than `max_row_bytes`, not counting a carriage return at its end, keeps its beginning, which is longer
    than that even then; its true length stands in `Block.cut`.
    """
    keep = max_row_bytes + 2
    rest, lost = b"", 0
    portions = _portions(handle, head)
    if offset == 0 and (start := _beginning(portions)):
        bare = start.removeprefix(_BOM)
        offset = len(start) - len(bare)
        portions = itertools.chain((bare,), portions)
    for data in portions:
        begin, feed, tail = data.rpartition(b"\n")
        if not feed:
            rest += tail
            if len(rest) > keep:
                lost += len(rest) - keep
                rest = rest[:keep]
            continue
        block = _block(rest + begin, lost, offset, line, keep=keep)
        yield block
        offset, line = block.end_of(len(block.lines)), line + len(block.lines)
        rest, lost = tail, 0
    if rest:
        cut = {0: len(rest) + lost} if lost or len(rest) > keep else {}
        yield Block([rest[:keep]], rest, offset, line, cut, ended=False)


def _portions(handle: Handle, head: Head) -> t.Iterator[bytes]:
    while data := handle.read(BLOCK_BYTES):
        head.feed(data)
        yield data


def _beginning(portions: t.Iterator[bytes]) -> bytes:
    """Take enough of the file to see whether it begins with a byte order mark."""
    start = b""
    while len(start) < len(_BOM) and (data := next(portions, b"")):
        start += data
    return start


def edges(source: Source, item: FileItem, size: int) -> tuple[bytes, bytes]:
    """Read the first and last 4 KiB of the first `size` bytes of a file."""
    return _range(source, item, 0, min(size, _EDGE)), _range(source, item, max(size - _EDGE, 0), min(size, _EDGE))


def _range(source: Source, item: FileItem, offset: int, size: int) -> bytes:
    handle = source.open(item, offset)
    try:
        found = b""
        while len(found) < size and (data := handle.read(size - len(found))):
            found += data
        return found
    finally:
        handle.close()


def _block(text: bytes, lost: int, offset: int, before: int, *, keep: int) -> Block:
    """Make a block of `text`; of its first line `lost` bytes were dropped already."""
    lines = text.split(b"\n")
    cut: dict[int, int] = {}
    if lost:
        # `rest` was full when it began to lose bytes, so everything up to the first line feed is lost too.
        cut[0] = len(lines[0]) + lost
        lines[0] = lines[0][:keep]
    if max(map(len, lines)) > keep:
        for index, line in enumerate(lines):
            if len(line) > keep:
                cut.setdefault(index, len(line))
                lines[index] = line[:keep]
    return Block(lines, text, offset, before, cut)
