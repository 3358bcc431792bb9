"""What has been acknowledged since the last STATE that went out, so that a run that died does not send it again.

In: the input's leading STATE, the calls that begin, and the position and a hash of each record whose event was
acknowledged. Out, after a `kill -9` and when the same input comes again from the same STATE: which of its records need
not be sent, and which were in a call whose answer was never seen. A record is known by its position behind that STATE
and its content together, never by its content alone. Behind any other STATE nothing is known; but the last few are as
good as the last, because whoever keeps the states may have stopped before it kept that. The file, a
sequence of `entries`, holds no event content; it is appended to before a call and before anything else happens with an
acknowledgement, rewritten when a STATE has gone out, and removed when a run ends well.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import typing as t
from bisect import bisect_right
from collections import Counter
from pathlib import Path

import msgspec

from target_cooladata.entries import ENTRY, Call, Span, behind, call_entry, digest, fingerprint, merged, spans
from target_cooladata.exceptions import JournalError
from target_cooladata.left_behind import Left, find

if t.TYPE_CHECKING:
    from target_cooladata.settings import Settings

MAX_BYTES = 64 << 20  # 16 million acknowledgements with no STATE among them; further ones are not noted
# Meltano drops every STATE that it has not kept when a signal comes: the one at the end, the one before that, which may
# have come out just then, and what a slow state backend is behind with, at one a second.
KEPT_STATES = 5


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
        self._left: list[Left] = []
        self._unanswered: Counter[Call] = Counter()
        self._doubts: list[Call] = []  # in order, without overlaps
        self._marks: list[tuple[bytes, int]] = []

    @property
    def is_full(self) -> bool:
        """Whether acknowledgements are not noted any more."""
        return self._bytes >= MAX_BYTES

    def begin(self, leading: bytes | None) -> None:
        """Start at the input's leading STATE, and see what runs that died have left behind for it.

        Raises:
            JournalError: the folder cannot be written.
        """
        with _explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._marks = [(digest(leading) if leading is not None else bytes(16), 0)]
            if leading is not None and self._adopts:
                self._left = find(self._folder, self._prefix, self._marks[0][0])
            self._doubts = merged(call for left in self._left for call in left.unanswered)
            self._rewrite()
            self._sweep()
        for left in self._left:
            if not left.known:  # there is nothing to tell whose it is by
                self._take_over(left)

    def knows(self, position: int, stream: str, record: bytes) -> bool:
        """Whether the record at a position was acknowledged in a run that died.

        Raises:
            JournalError: what that run has left behind cannot be taken over.
        """
        hashed = fingerprint(stream, record)
        for left in self._left:
            if left.known.has(position, hashed):
                self._take_over(left)
                return True
        return False

    @property
    def known(self) -> int:
        """How many records are known."""
        return sum(len(left.known) for left in self._left)

    def doubted(self, positions: t.Iterable[int]) -> int:
        """Count those of which the run that died had sent the record and never seen an answer."""
        if not self._doubts:
            return 0
        found = 0
        for position in positions:
            nearest = bisect_right(self._doubts, position, key=lambda call: call[0]) - 1
            is_doubted = nearest >= 0 and position <= self._doubts[nearest][1]
            found += is_doubted and not any(position in left.known for left in self._left)
        return found

    def begin_call(self, first: int, last: int) -> None:
        """Note that a call is about to be sent; called by the thread that sends it.

        Args:
            first: the position of its first record.
            last: the position of its last one.

        Raises:
            JournalError: it cannot be written.
        """
        with self._lock:
            if not self.is_full and self._file is not None:
                self._unanswered[first, last] += 1
                with _explained(self._folder):
                    self._write(call_entry(b"B", (first, last)))

    def end_call(self, first: int, last: int) -> None:
        """Note that a call was answered and nothing of it is stored, so that there is no doubt of it.

        Raises:
            JournalError: it cannot be written.
        """
        with self._lock:
            if self._unanswered[first, last] > 0 and self._file is not None:
                self._unanswered[first, last] -= 1
                with _explained(self._folder):
                    self._write(call_entry(b"E", (first, last)))

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
            self._unanswered.pop((records[0][0], records[-1][0]), None)
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
        """The announced STATE has gone out: only the last few, and what stands behind them, need be known any more.

        Raises:
            JournalError: it cannot be written.
        """
        with self._lock, _explained(self._folder):
            if len(self._marks) > KEPT_STATES:
                self._marks = self._marks[-KEPT_STATES:]
                start = self._marks[0][1]
                self._spans = [rest for span in self._spans if (rest := behind(span, start))]
                self._unanswered = Counter(
                    {call: left for call, left in self._unanswered.items() if left > 0 and call[1] > start}
                )
                self._rewrite()

    def close(self, *, finished: bool) -> None:
        """Leave the journal for the next run, or remove it after a run that ended well."""
        with self._lock:
            if self._file is not None:
                if finished:
                    self._path.unlink(missing_ok=True)
                self._file.close()
                self._file = None

    def _take_over(self, left: Left) -> None:
        """Know from now on, and for the next run, what the run that died had known."""
        if not left.is_ours:
            left.is_ours = True
            with self._lock, _explained(self._folder):
                self._spans += left.known.spans()
                self._unanswered += left.unanswered
                self._rewrite()
                left.path.unlink(missing_ok=True)  # only now, or a kill in between would forget everything

    def _append(self, tag: bytes, position: int, data: bytes) -> None:
        self._write(ENTRY.pack(tag, position, len(data)) + data)

    def _write(self, entry: bytes) -> None:
        assert self._file is not None  # noqa: S101 - opened by begin
        try:
            _write_whole(self._file, entry)
        except OSError:
            with contextlib.suppress(OSError):  # or what calls under way still add would not be found behind it
                self._file.truncate(self._bytes)
                self._file.seek(self._bytes)
            raise
        self._bytes += len(entry)

    def _rewrite(self) -> None:
        """Begin the file anew; in one step, so that at every moment there is a whole one."""
        entries = [ENTRY.pack(b"S", position, len(base)) + base for base, position in self._marks]
        entries += [ENTRY.pack(b"A", span.first, len(span.hashes)) + span.hashes for span in self._spans]
        entries += [call_entry(b"B", call) for call in self._unanswered.elements()]
        data = b"".join(entries)
        partial = self._path.with_suffix(".partial")
        file = _created(partial)
        try:
            _write_whole(file, data)
            partial.replace(self._path)
        except OSError:
            file.close()
            partial.unlink(missing_ok=True)
            raise
        if self._file is not None:
            self._file.close()
        self._file, self._bytes = file, len(data)

    def _sweep(self) -> None:
        """Remove what runs left that were killed while they began their file anew."""
        for path in self._folder.glob(f"{self._prefix}*.partial"):
            with contextlib.suppress(BlockingIOError, FileNotFoundError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def journal_of(settings: Settings, run_id: str) -> Journal | None:
    """Give the journal of a run, if it is to have one."""
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
    return Journal(Path(settings.journal_path), msgspec.json.encode(identity).decode(), run_id, adopts=adopts)


def _created(path: Path) -> t.IO[bytes]:
    """Create a file that no other run takes for one left behind."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        file = os.fdopen(descriptor, "wb", buffering=0)  # survives the process, not the machine
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return file
        file.close()  # another run has removed it before it was locked


def _write_whole(file: t.IO[bytes], data: bytes) -> None:
    """Write all of it: a disk that is getting full takes a part, and refuses the rest only when asked again."""
    while data:
        data = data[file.write(data) :]


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
