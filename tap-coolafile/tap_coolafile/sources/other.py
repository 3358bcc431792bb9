"""One file behind any other scheme that smart_open opens; such storages are not listed here.

Size and stamp are unknown before reading, so the file is named by its URI alone: it is read once, and again only with
a new name. For the same reason a read that breaks off is not taken up within the run, but by the next one.
"""

from __future__ import annotations

import ftplib
import ssl
import time
import typing as t

import smart_open
import smart_open.transport

from tap_coolafile.exceptions import BadFileError, SettingError, StorageError
from tap_coolafile.sources.base import FileItem

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings
    from tap_coolafile.sources.base import Handle
    from tap_coolafile.uris import Pattern

_SKIPPED_BYTES = 1 << 20


class OtherSource:
    """The one file of the entry, opened by smart_open with `transport_params`."""

    def __init__(self, pattern: Pattern, settings: Settings) -> None:
        self._pattern = pattern
        self._params = settings.transport_params
        try:
            smart_open.transport.get_transport(pattern.scheme)
        except NotImplementedError:
            msg = f"uris: neither the tap nor smart_open reads {pattern.scheme}://; check the scheme"
            raise SettingError(msg) from None

    def files(self, after: str) -> t.Iterator[FileItem]:
        """Yield the file; see `Source.files`."""
        if self._pattern.path > after:
            yield FileItem(self._pattern.name, self._pattern.path, -1, self.now_ms(), "unversioned")

    def open(self, item: FileItem, offset: int) -> Handle:
        """Open the file and go to `offset`; see `Source.open`."""
        try:
            handle: t.BinaryIO = smart_open.open(
                self._pattern.uri, "rb", transport_params=self._params, compression="disable"
            )
        except Exception as error:  # noqa: BLE001 - each client library raises its own kinds
            # Only the kind: the words of client libraries may quote the URI with its password.
            msg = f"{item.name} cannot be opened ({type(error).__name__}); check uris and transport_params"
            raise StorageError(msg) from None
        return _Download(handle, item, offset)

    def now_ms(self) -> int:
        """Return this machine's clock; a file without a stamp takes it."""
        return time.time_ns() // 1_000_000


def writer(params: dict[str, t.Any]) -> t.Callable[[str, bytes], None]:
    """Return what writes an object by smart_open, which is told `params`; see `sources.writer`."""

    def write(uri: str, data: bytes) -> None:
        with smart_open.open(uri, "wb", transport_params=params, compression="disable") as handle:
            handle.write(data)

    return write


class _Download:
    """A file being read. Few of these storages can begin at a byte, so what precedes `offset` is read and dropped."""

    def __init__(self, handle: t.BinaryIO, item: FileItem, offset: int) -> None:
        self._handle = handle
        self._item = item
        self._offset = 0
        self._ended = False
        while left := offset - self._offset:
            if not self.read(min(left, _SKIPPED_BYTES)):
                self.close()
                msg = f"{item.name} is shorter than the byte {offset} it was read up to"
                raise BadFileError(msg)

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            BadFileError: the connection broke, or the server says that the file did not come whole.
        """
        if self._ended:
            return b""
        try:
            data = self._handle.read(size)
            if not data:
                self._check_whole()
        except Exception as error:  # noqa: BLE001 - as above
            why = type(error).__name__
            msg = f"{self._item.name} broke off at byte {self._offset} ({why}); the next run goes on there"
            raise BadFileError(msg) from None
        self._offset += len(data)
        self._ended = not data
        return data

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def _check_whole(self) -> None:
        """Ask an FTP server whether it sent all: a transfer that was cut off ends as a whole one does."""
        ftp = getattr(self._handle, "conn", None)
        if isinstance(ftp, ftplib.FTP):
            sock = getattr(self._handle, "socket", None)
            if isinstance(sock, ssl.SSLSocket):
                sock.unwrap()
            ftp.voidresp()
