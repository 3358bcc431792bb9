"""Files behind SFTP, through paramiko: folders walked in path order, files read from an offset up to their listed size.

A connection that drops is made anew, and reading goes on at its byte if the file is still the same. A file may grow
meanwhile; one that was written over is a bad file, which its stamp tells, or, if it grew too, its bytes.
"""

from __future__ import annotations

import posixpath
import stat
import time
import typing as t

from tap_coolafile.exceptions import BadFileError, MissingFileError, StorageError
from tap_coolafile.sources.base import FileItem
from tap_coolafile.sources.sftp_client import ATTEMPTS, BROKEN, Connections, Line, quiet

if t.TYPE_CHECKING:
    import paramiko

    from tap_coolafile.configuration import Settings
    from tap_coolafile.sources.base import Handle
    from tap_coolafile.uris import Pattern

_EDGE = 4096
_REQUEST_BYTES = 32_768  # what servers answer at most in one piece

_CHANGED = "{} changed while it was read; the next run reads it as a changed file"

_Entries = dict[str, "paramiko.SFTPAttributes"]


class SftpSource:
    """Files below a folder of one server, or one file."""

    def __init__(self, pattern: Pattern, settings: Settings) -> None:
        self._pattern = pattern
        self.connections = Connections(pattern, settings)
        self._line = Line(self.connections)

    def files(self, after: str) -> t.Iterator[FileItem]:
        """List matching regular files in order; see `Source.files`."""
        if self._pattern.kind == "file":
            yield from self._one(after)
            return
        root = self._pattern.literal.rpartition("/")[0] + "/"
        yield from self._walk(root, after, ())

    def open(self, item: FileItem, offset: int) -> Handle:
        """Start reading at `offset`; see `Source.open`."""
        return _Download(self, item, offset)

    def now_ms(self) -> int:
        """Return this machine's clock, as the protocol tells none."""
        return time.time_ns() // 1_000_000

    def described(self, path: str, found: paramiko.SFTPAttributes) -> FileItem:
        """Describe a file by what the server says of it."""
        size, mtime = found.st_size or 0, found.st_mtime or 0
        name = f"sftp://{self._pattern.place}{path}"
        return FileItem(name, path, size, mtime * 1000, f"{size:x}-{mtime:x}")

    def refused(self, path: str, error: Exception) -> StorageError:
        """Say that the server does not let a file or folder be read."""
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return StorageError(f"sftp://{self._pattern.place}{path} cannot be read: {why}; check uris and its permissions")

    def _one(self, after: str) -> t.Iterator[FileItem]:
        path = self._pattern.path
        try:
            item = self.described(path, self._line.ask(lambda sftp: sftp.stat(path)))
        except FileNotFoundError:
            msg = f"{self._pattern.name} does not exist; uris names it literally, so it must"
            raise MissingFileError(msg) from None
        except BROKEN as error:
            raise self.refused(path, error) from None
        if item.path > after:
            yield item

    def _walk(self, folder: str, after: str, above: tuple[str, ...]) -> t.Iterator[FileItem]:
        """Yield files in order of their paths; a folder sorts as its name with a slash, as keys do."""
        try:
            real, entries = self._line.ask(lambda sftp: _listed(sftp, folder, above))
        except FileNotFoundError:
            return
        except UnicodeDecodeError:
            msg = f"sftp://{self._pattern.place}{folder} holds a name that is not UTF-8, which cannot be read over SFTP"
            raise StorageError(msg) from None
        except BROKEN as error:
            raise self.refused(folder, error) from None
        for path in sorted(entries):
            if not path.endswith("/"):
                if path > after and self._pattern.matches(path):
                    yield self.described(path, entries[path])
            elif self._pattern.may_match_below(path) and (path > after or after.startswith(path)):
                yield from self._walk(path, after, (*above, real))


class _Download:
    """A file being read; a connection that drops is made anew, for the same file, at the byte it came to."""

    def __init__(self, source: SftpSource, item: FileItem, offset: int) -> None:
        self._source = source
        self._item = item
        self._begin = self._offset = offset
        self._first = self._last = b""
        self._line = Line(source.connections)
        self._opened: tuple[paramiko.SFTPClient, paramiko.SFTPFile] | None = None
        try:
            self._ask(self._handle)
        except BadFileError:
            self._line.close()
            raise

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes, of those the file had when it was listed.

        Raises:
            BadFileError: the file changed, or its connection broke again and again.
        """
        end = min(self._offset + size, self._item.size)
        pieces = [(at, min(_REQUEST_BYTES, end - at)) for at in range(self._offset, end, _REQUEST_BYTES)]
        if not pieces:
            self._ask(self._check)
            return b""
        data: bytes = self._ask(lambda sftp: b"".join(self._handle(sftp).readv(pieces)))
        if not data:
            msg = f"{self._item.name} became shorter while it was read; the next run reads it as a changed file"
            raise BadFileError(msg)
        self._offset += len(data)
        if len(self._first) < _EDGE:
            self._first = (self._first + data)[:_EDGE]
        self._last = (self._last + data[-_EDGE:])[-_EDGE:]
        return data

    def close(self) -> None:
        """Close the file; the connection serves the next one."""
        if self._opened is not None:
            self._opened[1].close()
        self._line.close()

    def _ask(self, call: t.Callable[[paramiko.SFTPClient], t.Any]) -> t.Any:
        try:
            return self._line.ask(call)
        except FileNotFoundError:
            msg = f"{self._item.name} vanished after it was listed"
            raise BadFileError(msg) from None
        except PermissionError as error:
            raise self._source.refused(self._item.path, error) from None
        except BROKEN:
            msg = f"{self._item.name} broke off {ATTEMPTS} times at byte {self._offset}"
            raise BadFileError(msg) from None

    def _check(self, sftp: paramiko.SFTPClient) -> None:
        """Compare the file with what was listed or, where it grew since, with the first and last bytes read of it."""
        file = self._handle(sftp)
        found = self._source.described(self._item.path, file.stat())  # of what is open: by its name it may be gone
        is_same = found.etag == self._item.etag
        if found.size > self._item.size:
            edges = [(self._begin, len(self._first)), (self._offset - len(self._last), len(self._last))]
            is_same = b"".join(file.readv([edge for edge in edges if edge[1]])) == self._first + self._last
        if not is_same:
            raise BadFileError(_CHANGED.format(self._item.name))

    def _handle(self, sftp: paramiko.SFTPClient) -> paramiko.SFTPFile:
        """Return the file, open on this connection, if it is still the one that was listed."""
        if self._opened is None or self._opened[0] is not sftp:
            found = self._source.described(self._item.path, sftp.stat(self._item.path))
            if found.etag != self._item.etag:
                raise BadFileError(_CHANGED.format(self._item.name))
            self._opened = sftp, quiet(sftp.open(self._item.path, "rb", 0))
        return self._opened[1]


def _listed(sftp: paramiko.SFTPClient, folder: str, above: tuple[str, ...]) -> tuple[str, _Entries]:
    """Return a folder's real path, and what is in it; nothing if it is one of those `above`, as it would never end."""
    real = sftp.normalize(folder)
    return real, {} if real in above else dict(_entries(sftp, folder))


def _entries(sftp: paramiko.SFTPClient, folder: str) -> t.Iterator[tuple[str, paramiko.SFTPAttributes]]:
    for found in sftp.listdir_attr(folder):
        path = posixpath.join(folder, found.filename)
        attributes = found
        if stat.S_ISLNK(found.st_mode or 0):
            try:
                attributes = sftp.stat(path)
            except FileNotFoundError:
                continue
        if stat.S_ISDIR(attributes.st_mode or 0):
            yield path + "/", attributes
        elif stat.S_ISREG(attributes.st_mode or 0):
            yield path, attributes
