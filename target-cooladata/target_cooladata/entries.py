"""The entries of a journal's file.

In: the bytes of a file, cut off anywhere, and a leading STATE. Out: what it tells of the records behind that STATE, by
their positions behind it; nothing if it does not know the STATE.

A file is a sequence of entries: a tag, a position, a length, and that many bytes. `S`: a STATE behind that position, by
its digest. `A`: acknowledged records from a position on, four bytes of CRC-32 each. `B`: a call is about to be sent,
with the records from a position on, so many (four bytes). `E`: such a call was answered, and nothing is stored. An
entry cut off by the end of a process is ignored, and so is one that is not known.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import typing as t
import zlib
from array import array
from collections import Counter
from itertools import pairwise

import msgspec

from target_cooladata.exceptions import InputError

ENTRY = struct.Struct("<cQI")
COUNT = struct.Struct("<I")
CALL = struct.Struct("<cQII")  # an entry whose bytes are a count

HASH_BYTES = 4

Call = tuple[int, int]  # the positions of its first and its last record; those between are in it, or were refused


class Span(msgspec.Struct, frozen=True):
    """Hashes of records at positions that follow each other."""

    first: int
    hashes: bytes

    @property
    def stop(self) -> int:
        """The position behind the last one."""
        return self.first + len(self.hashes) // HASH_BYTES


class Found(msgspec.Struct):
    """What a file tells.

    Attributes:
        acknowledged: the records that need not be sent again.
        unanswered: calls that were begun and whose answer was never seen.
    """

    acknowledged: list[Span] = []
    unanswered: Counter[Call] = msgspec.field(default_factory=Counter)


def fingerprint(stream: str, record: bytes) -> int:
    """A hash of a record, which tells nothing of it."""
    return zlib.crc32(record, seed(stream))


@functools.lru_cache(1024)
def seed(stream: str) -> int:
    """Give what a CRC-32 of one of the stream's records begins with."""
    return zlib.crc32(stream.encode())


def digest(state: bytes) -> bytes:
    """Sixteen bytes that are equal for equal STATE, however it is spelled.

    Raises:
        InputError: it holds what JSON readers cannot read.
    """
    try:
        canonical = msgspec.json.encode(msgspec.json.decode(state), order="deterministic")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"a STATE of the input cannot be read ({type(error).__name__})"
        raise InputError(msg) from None
    return hashlib.blake2b(canonical, digest_size=16).digest()


def spans(records: t.Sequence[tuple[int, int]]) -> t.Iterator[Span]:
    """Group records whose positions follow each other."""
    if records and records[-1][0] - records[0][0] == len(records) - 1:  # nearly always
        yield Span(records[0][0], array("I", [known for _, known in records]).tobytes())
        return
    starts = [0, *(index for index, (a, b) in enumerate(pairwise(records), start=1) if b[0] != a[0] + 1)]
    for start, stop in pairwise([*starts, len(records)]):
        hashes = array("I", (known for _, known in records[start:stop]))
        if hashes:
            yield Span(records[start][0], hashes.tobytes())


def call_entry(tag: bytes, call: Call) -> bytes:
    """Write a `B` or an `E`."""
    first, last = call
    return CALL.pack(tag, first, COUNT.size, last + 1 - first)


def behind(span: Span, position: int) -> Span | None:
    """The part of a span behind the first so many records; positions count from 1."""
    if span.stop - 1 <= position:
        return None
    skipped = max(0, position + 1 - span.first)
    return Span(span.first + skipped, span.hashes[skipped * HASH_BYTES :])


def merged(calls: t.Iterable[Call]) -> list[Call]:
    """The same positions, in order and without overlaps."""
    found: list[Call] = []
    for first, last in sorted(calls):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def read(data: bytes, leading: bytes) -> Found | None:
    """Read what stands behind a STATE, counted from it; None if the file does not know it."""
    base: int | None = None
    told = Found()
    for tag, position, body in _entries(data):
        if tag == b"A" and len(body) % HASH_BYTES == 0:
            span = Span(position, body)
            told.acknowledged.append(span)
            told.unanswered.pop((span.first, span.stop - 1), None)  # the whole call, nearly always
        elif tag in (b"B", b"E") and len(body) == COUNT.size:
            call = position, position + COUNT.unpack(body)[0] - 1
            told.unanswered[call] += 1 if tag == b"B" else -1
        elif tag == b"S" and body == leading:
            base = position
    if base is None:
        return None
    rests = [rest for span in told.acknowledged if (rest := behind(span, base))]
    calls = Counter[Call]()
    for (first, last), count in told.unanswered.items():
        if count > 0 and last > base:
            calls[max(first - base, 1), last - base] += count
    return Found([Span(rest.first - base, rest.hashes) for rest in rests], calls)


def _entries(data: bytes) -> t.Iterator[tuple[bytes, int, bytes]]:
    at = 0
    while at + ENTRY.size <= len(data):
        tag, position, length = ENTRY.unpack_from(data, at)
        body = data[at + ENTRY.size : at + ENTRY.size + length]
        at += ENTRY.size + length
        if len(body) < length:
            break
        yield tag, position, body
