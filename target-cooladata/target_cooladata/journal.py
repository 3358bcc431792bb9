"""What has been acknowledged since the last STATE that went out, so that a run that died does not send it again.

In: the input's leading STATE, and the position and a hash of each record whose event was acknowledged. Out, after a
`kill -9` and when the same input comes again from the same STATE: which of its records need not be sent. A record is
known by its position behind that STATE and its content together, never by its content alone. Behind any other STATE
nothing is known; but the one before the last is as good as the last, because whoever keeps the states may have died
before it kept the last one. The file holds no event content; it is appended to before anything else happens with an
acknowledgement, rewritten when a STATE has gone out, and removed when a run ends well.

A file is a sequence of entries: a tag, a position, a length, and that many bytes. `S`: a STATE behind that position, by
its digest. `A`: acknowledged records from a position on, four bytes of CRC-32 each. An entry cut off by the end of a
process is ignored.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
import threading
import time
import typing as t
import zlib
from array import array
from itertools import pairwise

import msgspec

from target_cooladata.exceptions import InputError, JournalError

if t.TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 64 << 20  # 16 million acknowledgements with no STATE among them; further ones are not noted
KEPT_STATES = 2
MAX_AGE_SECONDS = 30 * 86_400
ENTRY = struct.Struct("<cQI")


class Span(msgspec.Struct, frozen=True):
    """Hashes of records at positions that follow each other."""

    first: int
    hashes: bytes

    @property
    def stop(self) -> int:
        """The position behind the last one."""
        return self.first + len(self.hashes) // 4


class Journal:
    """The journal of one run.

    Args:
        folder: where journals are kept.
        identity: where the events go and what they are made like; another one has other journals.
        run_id: the run's.
        adopts: take over what runs that died have left behind.
    """

    def __init__(self, folder: Path, identity: str, run_id: str, *, adopts: bool = True) -> None:
        self._adopts = adopts
        self._folder = folder
        self._prefix = f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}-"
        self._path = folder / f"{self._prefix}{run_id}.journal"
        self._lock = threading.Lock()
        self._file: t.IO[bytes] | None = None
        self._bytes = 0
        self._spans: list[Span] = []
        self._known: dict[int, int] = {}
        self._marks: list[tuple[bytes, int]] = []

    @property
    def is_full(self) -> bool:
        """Whether acknowledgements are not noted any more."""
        return self._bytes >= MAX_BYTES

    def begin(self, leading: bytes | None) -> None:
        """Start at the input's leading STATE, and take over what a run that died has left behind for it.

        Raises:
            JournalError: the folder cannot be written.
        """
        with _explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._marks = [(digest(leading) if leading is not None else bytes(16), 0)]
            taken_over = self._adopt(self._marks[0][0]) if leading is not None and self._adopts else []
            self._rewrite()
            for path in taken_over:  # only now, or a kill in between would forget everything
                path.unlink(missing_ok=True)

    def knows(self, position: int, stream: str, record: bytes) -> bool:
        """Whether the record at a position was acknowledged in the run that died."""
        return self._known.get(position) == fingerprint(stream, record)

    @property
    def known(self) -> int:
        """How many records are known."""
        return len(self._known)

    def note(self, records: t.Sequence[tuple[int, int]]) -> None:
        """Note acknowledged records, in the order of their positions; called by the thread that has the answer.

        Args:
            records: the position and the fingerprint of each.

        Raises:
            JournalError: it cannot be written.
        """
        noted = list(spans(records))
        with self._lock:
            if self.is_full or self._file is None:
                return
            self._spans += noted
            with _explained(self._folder):
                for span in noted:
                    self._append(b"A", span.first, span.hashes)

    def announce(self, state: bytes, position: int) -> None:
        """Say which STATE is about to go out, and how many records stand before it.

        A tap that cannot resume says the same STATE again and again: it is then where it was first said.

        Raises:
            JournalError: it cannot be written.
        """
        mark = digest(state), position
        with self._lock, _explained(self._folder):
            if mark[0] != self._marks[-1][0]:
                self._marks.append(mark)
                self._append(b"S", position, mark[0])

    def confirm(self) -> None:
        """The announced STATE has gone out: only the last two, and what stands behind them, need be known any more.

        Raises:
            JournalError: it cannot be written.
        """
        with self._lock, _explained(self._folder):
            if len(self._marks) > KEPT_STATES:
                self._marks = self._marks[-KEPT_STATES:]
                start = self._marks[0][1]
                self._spans = [rest for span in self._spans if (rest := _behind(span, start))]
                self._rewrite()

    def close(self, *, finished: bool) -> None:
        """Leave the journal for the next run, or remove it after a run that ended well."""
        with self._lock:
            if self._file is not None:
                if finished:
                    self._path.unlink(missing_ok=True)
                self._file.close()
                self._file = None

    def _append(self, tag: bytes, position: int, data: bytes) -> None:
        assert self._file is not None  # noqa: S101 - opened by begin
        self._file.write(ENTRY.pack(tag, position, len(data)) + data)
        self._bytes += ENTRY.size + len(data)

    def _rewrite(self) -> None:
        """Begin the file anew; in one step, so that at every moment there is a whole one."""
        partial = self._path.with_suffix(".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        file = os.fdopen(descriptor, "wb", buffering=0)  # survives the process, not the machine
        fcntl.flock(file, fcntl.LOCK_EX)
        before, self._file, self._bytes = self._file, file, 0
        for base, position in self._marks:
            self._append(b"S", position, base)
        for span in self._spans:
            self._append(b"A", span.first, span.hashes)
        partial.replace(self._path)
        if before is not None:
            before.close()

    def _adopt(self, leading: bytes) -> list[Path]:
        taken_over = []
        for path in sorted(self._folder.glob(f"{self._prefix}*.journal")):
            with contextlib.suppress(BlockingIOError, FileNotFoundError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its run has ended, however
                if os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                    continue  # a run under way has just rewritten it
                found = read(file.read(), leading)
                if found is not None:
                    self._take(found)
                if found is not None or time.time() - path.stat().st_mtime > MAX_AGE_SECONDS:
                    taken_over.append(path)
        return taken_over

    def _take(self, spans: list[Span]) -> None:
        self._spans += spans
        for span in spans:
            self._known.update(enumerate(array("I", span.hashes), start=span.first))


def fingerprint(stream: str, record: bytes) -> int:
    """A hash of a record, which tells nothing of it."""
    return zlib.crc32(record, zlib.crc32(stream.encode()))


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
    starts = [0, *(index for index, (a, b) in enumerate(pairwise(records), start=1) if b[0] != a[0] + 1)]
    for start, stop in pairwise([*starts, len(records)]):
        hashes = array("I", (known for _, known in records[start:stop]))
        if hashes:
            yield Span(records[start][0], hashes.tobytes())


def _behind(span: Span, position: int) -> Span | None:
    """The part of a span behind the first so many records; positions count from 1."""
    if span.stop - 1 <= position:
        return None
    skipped = max(0, position + 1 - span.first)
    return Span(span.first + skipped, span.hashes[skipped * 4 :])


def read(data: bytes, leading: bytes) -> list[Span] | None:
    """The acknowledged records behind a STATE, counted from it; None if the journal does not know it."""
    base: int | None = None
    found: list[Span] = []
    at = 0
    while at + ENTRY.size <= len(data):
        tag, position, length = ENTRY.unpack_from(data, at)
        body = data[at + ENTRY.size : at + ENTRY.size + length]
        at += ENTRY.size + length
        if len(body) < length:
            break
        if tag == b"A":
            found.append(Span(position, body))
        elif body == leading:
            base = position
    if base is None:
        return None
    rests = [rest for span in found if (rest := _behind(span, base))]
    return [Span(rest.first - base, rest.hashes) for rest in rests]


@contextlib.contextmanager
def _explained(folder: Path) -> t.Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = (
            f"the journal cannot be written below {folder} ({error.strerror}), so a run that dies would send again "
            "what was acknowledged; check `journal_path`, or set it to an empty text to do without"
        )
        raise JournalError(msg) from None
