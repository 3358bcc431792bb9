"""Local files: a folder is walked in path order; a file is read up to the size it had when it was listed.

It may grow meanwhile. One that was written over is a bad file, which its stamp tells, or, if it grew too, its bytes.
"""

from __future__ import annotations

import os
import time
import typing as t
from pathlib import Path

from tap_coolafile.exceptions import BadFileError, MissingFileError, StorageError
from tap_coolafile.paths import encoded, path_of, text_of
from tap_coolafile.sources.base import FileItem

if t.TYPE_CHECKING:
    import io

    from tap_coolafile.sources.base import Handle
    from tap_coolafile.uris import Pattern

_EDGE = 4096


class LocalSource:
    """Files below a folder, or one file."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern

    def files(self, after: str) -> t.Iterator[FileItem]:
        """List matching regular files in order; see `Source.files`."""
        if self._pattern.kind == "file":
            yield from self._one(after)
            return
        root = self._pattern.literal.rpartition("/")[0] + "/"
        if not Path(path_of(root)).is_dir():
            return
        for path in self._walk(root, after, (os.path.realpath(path_of(root)),)):
            if path > after and self._pattern.matches(path) and (item := self._item(path)) is not None:
                yield item

    def open(self, item: FileItem, offset: int) -> Handle:
        """Open a file at `offset`; see `Source.open`."""
        try:
            handle = Path(path_of(item.path)).open("rb", buffering=0)  # noqa: SIM115 - the reader closes it
        except FileNotFoundError:
            msg = f"{item.name} vanished after it was listed"
            raise BadFileError(msg) from None
        except OSError as error:
            msg = f"{item.name} cannot be read: {error.strerror}; check its permissions"
            raise StorageError(msg) from None
        return _Bounded(handle, offset, item)

    def now_ms(self) -> int:
        """Return this machine's clock, which also stamps local files."""
        return time.time_ns() // 1_000_000

    def _one(self, after: str) -> t.Iterator[FileItem]:
        item = self._item(self._pattern.path)
        if item is None:
            msg = f"{self._pattern.name} does not exist; uris names it literally, so it must"
            raise MissingFileError(msg)
        if item.path > after:
            yield item

    def _item(self, path: str) -> FileItem | None:
        try:
            found = Path(path_of(path)).stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            msg = f"file://{encoded(path)} cannot be read: {error.strerror}; check its permissions"
            raise StorageError(msg) from None
        name, mtime_ms = f"file://{encoded(path)}", found.st_mtime_ns // 1_000_000
        return FileItem(name, path, found.st_size, mtime_ms, _etag(found))

    def _walk(self, folder: str, after: str, above: tuple[str, ...]) -> t.Iterator[str]:
        """Yield the paths of regular files in order; a folder sorts as its name with a slash, as keys do."""
        try:
            with os.scandir(path_of(folder)) as entries:
                names = sorted(
                    text_of(entry.name) + ("/" if entry.is_dir() else "") for entry in entries if _wanted(entry)
                )
        except OSError as error:
            msg = f"file://{encoded(folder)} cannot be listed: {error.strerror}; check its permissions"
            raise StorageError(msg) from None
        for name in names:
            path = folder + name
            if not name.endswith("/"):
                yield path
            elif self._pattern.may_match_below(path) and (path > after or after.startswith(path)):
                real = os.path.realpath(path_of(path))
                if real not in above:  # a symbolic link to a folder above would never end
                    yield from self._walk(path, after, (*above, real))


def _etag(found: os.stat_result) -> str:
    return f"{found.st_size:x}-{found.st_mtime_ns:x}"


def _wanted(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() or entry.is_file()
    except OSError:
        return False


class _Bounded:
    """Reads up to the listed size, so that what is appended meanwhile belongs to the next run, whole."""

    def __init__(self, handle: io.FileIO, offset: int, item: FileItem) -> None:
        self._handle = handle
        self._item = item
        self._offset = offset
        self._left = item.size - offset
        self._first = self._last = b""
        handle.seek(offset)

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            BadFileError: the file became shorter than it was when listed, or was written over.
        """
        if self._left <= 0:
            self._check()
            return b""
        data = self._handle.read(min(size, self._left)) or b""
        if not data:
            msg = f"{self._item.name} became shorter while it was read; the next run reads it as a changed file"
            raise BadFileError(msg)
        self._left -= len(data)
        if len(self._first) < _EDGE:
            self._first = (self._first + data)[:_EDGE]
        self._last = (self._last + data[-_EDGE:])[-_EDGE:]
        return data

    def _check(self) -> None:
        """Compare the file with what was listed or, where it grew since, with the first and last bytes read of it."""
        number = self._handle.fileno()
        found, size = os.fstat(number), self._item.size
        is_same = _etag(found) == self._item.etag
        if found.st_size > size:
            first = os.pread(number, len(self._first), self._offset)
            last = os.pread(number, len(self._last), size - len(self._last))
            is_same = first == self._first and last == self._last
        if not is_same:
            msg = f"{self._item.name} changed while it was read; the next run reads it as a changed file"
            raise BadFileError(msg)

    def close(self) -> None:
        """Close the descriptor."""
        self._handle.close()
