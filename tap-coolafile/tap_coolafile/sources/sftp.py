"""Files behind SFTP, through paramiko: folders walked in path order, files read from an offset up to their listed size.

The server's host key must stand in a known_hosts file: who else answers is refused, and gets neither password nor rows.
A connection that drops is made anew, and reading goes on at its byte if the file is still the same.
"""

from __future__ import annotations

import posixpath
import stat
import threading
import time
import typing as t
import urllib.parse
from pathlib import Path

from tap_coolafile.exceptions import BadFileError, MissingFileError, SettingError, StorageError
from tap_coolafile.sources.base import FileItem

try:
    import paramiko
except ImportError:
    missing = "sftp needs paramiko; install tap-coolafile[sftp]"
    raise SettingError(missing) from None

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings
    from tap_coolafile.sources.base import Handle
    from tap_coolafile.uris import Pattern

_ATTEMPTS = 5
_PAUSE_S = 0.2
_REQUEST_BYTES = 32_768  # what servers answer at most in one piece
_BROKEN = (paramiko.SSHException, OSError, EOFError)


class SftpSource:
    """Files below a folder of one server, or one file."""

    def __init__(self, pattern: Pattern, settings: Settings) -> None:
        self._pattern = pattern
        self._settings = settings
        self._signing_in = threading.Lock()
        self._idle: list[paramiko.SFTPClient] = []
        self._sftp = self.borrow()

    def borrow(self) -> paramiko.SFTPClient:
        """Hand out a connection for one thread alone: paramiko mixes up answers that several threads wait for."""
        with self._signing_in:  # one at a time, as servers drop those who sign in by the dozen
            return self._idle.pop() if self._idle else self._connected()

    def give_back(self, sftp: paramiko.SFTPClient) -> None:
        """Take back a connection in working order."""
        with self._signing_in:
            self._idle.append(sftp)

    def _connected(self) -> paramiko.SFTPClient:
        """Sign in to the server.

        Raises:
            StorageError: it cannot be reached, is not the one known, or refuses the user.
        """
        parts = urllib.parse.urlsplit(self._pattern.uri)
        given, place = self._settings, self._pattern.place
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            client.load_host_keys(str(Path(given.sftp_known_hosts_path).expanduser()))
            client.connect(
                parts.hostname or "",
                parts.port or 22,
                username=urllib.parse.unquote(parts.username) if parts.username else None,
                password=given.sftp_password or (urllib.parse.unquote(parts.password) if parts.password else None),
                key_filename=given.sftp_private_key_path,
                passphrase=given.sftp_private_key_passphrase,
                timeout=given.request_timeout_seconds,
                allow_agent=not given.sftp_private_key_path,
                look_for_keys=not given.sftp_private_key_path,
            )
            sftp = client.open_sftp()
        except Exception as error:  # noqa: BLE001 - paramiko raises many kinds, of which each closes the connection
            client.close()
            msg = f"{place}: {_why(error, given)}"
            raise StorageError(msg) from None
        t.cast("paramiko.Channel", sftp.get_channel()).settimeout(given.request_timeout_seconds)
        return sftp

    def files(self, after: str) -> t.Iterator[FileItem]:
        """List matching regular files in order; see `Source.files`."""
        if self._pattern.kind == "file":
            item = self.item(self._sftp, self._pattern.path)
            if item is None:
                msg = f"{self._pattern.name} does not exist; uris names it literally, so it must"
                raise MissingFileError(msg)
            if item.path > after:
                yield item
            return
        root = self._pattern.literal.rpartition("/")[0] + "/"
        yield from self._walk(root, after, ())

    def open(self, item: FileItem, offset: int) -> Handle:
        """Open a file at `offset`; see `Source.open`."""
        return _Download(self, item, offset)

    def now_ms(self) -> int:
        """Return this machine's clock, as the protocol tells none."""
        return time.time_ns() // 1_000_000

    def item(self, sftp: paramiko.SFTPClient, path: str) -> FileItem | None:
        """Describe a file as it is now; None if it does not exist.

        Raises:
            StorageError: the server does not tell.
        """
        try:
            return self._described(path, sftp.stat(path))
        except FileNotFoundError:
            return None
        except _BROKEN as error:
            raise self._refused(path, error) from None

    def _described(self, path: str, found: paramiko.SFTPAttributes) -> FileItem:
        size, mtime = found.st_size or 0, found.st_mtime or 0
        name = f"sftp://{self._pattern.place}{path}"
        return FileItem(name, path, size, mtime * 1000, f"{size:x}-{mtime:x}")

    def _walk(self, folder: str, after: str, above: tuple[str, ...]) -> t.Iterator[FileItem]:
        """Yield files in order of their paths; a folder sorts as its name with a slash, as keys do."""
        try:
            real = self._sftp.normalize(folder)
            entries = {} if real in above else dict(self._entries(folder))
        except FileNotFoundError:
            return
        except _BROKEN as error:
            raise self._refused(folder, error) from None
        for path in sorted(entries):
            if not path.endswith("/"):
                if path > after and self._pattern.matches(path):
                    yield self._described(path, entries[path])
            elif self._pattern.may_match_below(path) and (path > after or after.startswith(path)):
                yield from self._walk(path, after, (*above, real))

    def _entries(self, folder: str) -> t.Iterator[tuple[str, paramiko.SFTPAttributes]]:
        for found in self._sftp.listdir_attr(folder):
            path = posixpath.join(folder, found.filename)
            attributes = found
            if stat.S_ISLNK(found.st_mode or 0):
                try:
                    attributes = self._sftp.stat(path)
                except FileNotFoundError:
                    continue
            if stat.S_ISDIR(attributes.st_mode or 0):
                yield path + "/", attributes
            elif stat.S_ISREG(attributes.st_mode or 0):
                yield path, attributes

    def _refused(self, path: str, error: Exception) -> StorageError:
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return StorageError(f"sftp://{self._pattern.place}{path} cannot be read: {why}; check uris and its permissions")


class _Download:
    """A file being read; a connection that drops is made anew, for the same file, at the byte it came to."""

    def __init__(self, source: SftpSource, item: FileItem, offset: int) -> None:
        self._source = source
        self._item = item
        self._offset = offset
        self._sftp = source.borrow()
        try:
            self._handle = self._opened()
        except BadFileError:
            source.give_back(self._sftp)
            raise

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes, of those the file had when it was listed.

        Raises:
            BadFileError: the file changed, or its connection broke again and again.
        """
        end = min(self._offset + size, self._item.size)
        pieces = [(at, min(_REQUEST_BYTES, end - at)) for at in range(self._offset, end, _REQUEST_BYTES)]
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                data = b"".join(self._handle.readv(pieces)) if pieces else b""
            except _BROKEN:
                time.sleep(min(_PAUSE_S * 2**attempt, 5))
                self._sftp = self._source.borrow()
                self._handle = self._opened()
            else:
                if pieces and not data:
                    msg = f"{self._item.name} became shorter while it was read; the next run reads it as a changed file"
                    raise BadFileError(msg)
                self._offset += len(data)
                return data
        msg = f"{self._item.name} broke off {_ATTEMPTS} times at byte {self._offset}"
        raise BadFileError(msg)

    def close(self) -> None:
        """Close the file; the connection serves the next one."""
        self._handle.close()
        self._source.give_back(self._sftp)

    def _opened(self) -> paramiko.SFTPFile:
        found = self._source.item(self._sftp, self._item.path)
        if found is None:
            msg = f"{self._item.name} vanished after it was listed"
            raise BadFileError(msg)
        if found.etag != self._item.etag:
            msg = f"{self._item.name} changed while it was read; the next run reads it as a changed file"
            raise BadFileError(msg)
        try:
            return self._sftp.open(self._item.path, "rb", 0)
        except OSError as error:
            msg = f"{self._item.name} cannot be read: {error.strerror}; check its permissions"
            raise StorageError(msg) from None


def _why(error: Exception, settings: Settings) -> str:
    known = settings.sftp_known_hosts_path
    if isinstance(error, paramiko.BadHostKeyException):
        return f"the server shows another host key than {known} has for it, so it may be an impostor; nothing was sent"
    if isinstance(error, paramiko.AuthenticationException):
        return "the server refuses the user; check the user in uris, sftp_password and sftp_private_key_path"
    if isinstance(error, FileNotFoundError) and str(error.filename) == str(Path(known).expanduser()):
        return f"{known} does not exist, so the server cannot be told from an impostor; check sftp_known_hosts_path"
    if isinstance(error, paramiko.SSHException) and "not found in known_hosts" in str(error):
        return f"the server's host key is not in {known}; add it with ssh-keyscan, or check sftp_known_hosts_path"
    return f"signing in failed ({type(error).__name__}); check uris and the sftp_* settings"
