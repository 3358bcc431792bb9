"""A network storage at work ahead of its reader: in goes a `Source`, out comes one that lists and downloads in threads.

The order of what comes out is the source's. A listing runs at most 1,000 files ahead. Files that will be read are
downloaded at the same time, `prefetch_files` of them, each into a share of 32 MiB, so that memory stays the same for
any number and size of files; a download whose share is full waits for its reader. What a download ran into is raised
where the file's turn comes. Every call to the storage is made in a thread that a signal need not wait for.
"""

from __future__ import annotations

import collections
import contextlib
import typing as t

from tap_coolafile.conveyor import Conveyor, aside
from tap_coolafile.sources.base import FileItem, Handle, Source

TOTAL_BYTES = 32 << 20
_CHUNK = 1 << 18
_LISTED_AHEAD = 1000

Check = t.Callable[[], None]
Wanted = t.Callable[[FileItem], int | None]


class Ahead:
    """The source that `connect` returns, `files` downloads at a time; `check` raises once a signal came."""

    def __init__(self, connect: t.Callable[[], Source], files: int, check: Check) -> None:
        self._check = check
        self._downloads_at_once = files
        self._share = TOTAL_BYTES // files - _CHUNK
        self._downloads: dict[str, _Download] = {}
        self._source = aside(connect, check)

    def files(self, after: str) -> t.Iterator[FileItem]:
        """List ahead, download nothing; see `Source.files`."""
        return self.files_ahead(after, lambda _: None)

    def files_ahead(self, after: str, wanted: Wanted) -> t.Generator[FileItem, None, None]:
        """List, while what is `wanted` downloads: it tells from which byte a file will be read, None for not at all."""
        listing = Conveyor(lambda: _listed(self._source, after), self._check, limit=_LISTED_AHEAD)
        upcoming: collections.deque[FileItem] = collections.deque()
        try:
            while True:
                self._begin(listing, upcoming, wanted)
                if not upcoming:
                    return
                item = upcoming.popleft()
                yield item
                self._end(item.path)
        finally:
            listing.close()
            for path in list(self._downloads):
                self._end(path)

    def open(self, item: FileItem, offset: int) -> Handle:
        """Return the download that was begun, or open the file now; see `Source.open`."""
        download = self._downloads.get(item.path)
        if download is not None and download.claim(offset):
            return download
        return _OnDemand(aside(lambda: self._source.open(item, offset), self._check), self._check)

    def now_ms(self) -> int:
        """Return the source's clock."""
        return self._source.now_ms()

    def _begin(self, listing: Conveyor[FileItem], upcoming: collections.deque[FileItem], wanted: Wanted) -> None:
        """Look at what is listed next, as long as there is room for another download."""
        while len(self._downloads) < self._downloads_at_once and len(upcoming) < _LISTED_AHEAD:
            item = listing.take(wait=not upcoming)
            if item is None:
                return
            upcoming.append(item)
            if (offset := wanted(item)) is not None:
                self._downloads[item.path] = _Download(self._source, item, offset, self._share, self._check)

    def _end(self, path: str) -> None:
        if (download := self._downloads.pop(path, None)) is not None:
            download.close()


class _Download:
    """A file on its way, from `offset` on."""

    def __init__(self, source: Source, item: FileItem, offset: int, share: int, check: Check) -> None:
        self._offset: int | None = offset
        self._rest = b""

        def portions() -> t.Generator[bytes, None, None]:
            with contextlib.closing(source.open(item, offset)) as handle:
                while data := handle.read(_CHUNK):
                    yield data

        self._portions = Conveyor(portions, check, limit=share, weigh=len)

    def claim(self, offset: int) -> bool:
        """Tell whether this is the file from `offset` on, and nobody reads it yet."""
        if self._offset != offset:
            return False
        self._offset = None
        return True

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, as soon as there are any."""
        if not self._rest:
            found, length = [self._portions.take() or b""], 0
            while found[-1] and (length := length + len(found[-1])) < size:
                found.append(self._portions.take(wait=False) or b"")
            self._rest = b"".join(found)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        self._portions.close()


class _OnDemand:
    """An open file of which little is read."""

    def __init__(self, handle: Handle, check: Check) -> None:
        self._handle = handle
        self._check = check

    def read(self, size: int, /) -> bytes:
        return aside(lambda: self._handle.read(size), self._check)

    def close(self) -> None:
        aside(self._handle.close, self._check)


def _listed(source: Source, after: str) -> t.Generator[FileItem, None, None]:
    yield from source.files(after)
