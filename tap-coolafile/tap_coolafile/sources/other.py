"""One file behind any other scheme that smart_open opens; such storages are not listed here.

Size and stamp are unknown before reading, so the file is named by its URI alone: it is read once, and again only with
a new name.
"""

from __future__ import annotations

import time
import typing as t

import smart_open

from tap_coolafile.exceptions import SettingError, StorageError
from tap_coolafile.sources.base import FileItem

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings
    from tap_coolafile.sources.base import Handle
    from tap_coolafile.uris import Pattern


class OtherSource:
    """The one file of the entry, opened by smart_open with `transport_params`."""

    def __init__(self, pattern: Pattern, settings: Settings) -> None:
        self._pattern = pattern
        self._params = settings.transport_params
        if "*" in pattern.uri:
            msg = f"uris: {pattern.scheme} is read one file at a time; it takes no glob"
            raise SettingError(msg)

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
            handle.seek(offset)
        except Exception as error:  # noqa: BLE001 - each client library raises its own kinds
            # Only the kind: the words of client libraries may quote the URI with its password.
            msg = f"{item.name} cannot be opened ({type(error).__name__}); check uris and transport_params"
            raise StorageError(msg) from None
        return handle

    def now_ms(self) -> int:
        """Return this machine's clock; a file without a stamp takes it."""
        return time.time_ns() // 1_000_000
