"""The seam to storages: a `Source` lists files in key order and opens one at a byte offset; it knows no events."""

from __future__ import annotations

import typing as t

import msgspec


class FileItem(msgspec.Struct, frozen=True):
    """One file as its storage lists it.

    `name` is its URI without user info and signatures, for people. `path` is its key or path, by which listings are
    ordered. `size` is in bytes, -1 where the storage does not say; `mtime_ms` is the storage's stamp in milliseconds.
    `etag` changes whenever the content does; empty where the storage gives none. `wanted` is how many of its first
    bytes will be read at most, -1 for all of them: object storages are asked for no more.
    """

    name: str
    path: str
    size: int
    mtime_ms: int
    etag: str
    archived: bool = False
    wanted: int = -1

    @property
    def compressed(self) -> bool:
        """Whether its name says that it is gzip."""
        return self.path.lower().endswith(".gz")

    def range_from(self, offset: int) -> str | None:
        """Return the Range header that asks for it from `offset` on; None if that is all of it."""
        if self.wanted >= 0:
            return f"bytes={offset}-{min(self.wanted, self.size) - 1}"
        return f"bytes={offset}-" if offset else None

    def ends_at(self, offset: int) -> bool:
        """Tell whether nothing is to be read from `offset` on."""
        return offset >= self.size >= 0 or offset >= self.wanted >= 0


class Handle(t.Protocol):
    """An open file."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, empty at the end of the file."""

    def close(self) -> None:
        """Let go of connection or descriptor."""


class Source(t.Protocol):
    """One entry of `uris`, on its storage."""

    def files(self, after: str) -> t.Iterator[FileItem]:
        """List the files whose path comes after `after`, in order of their path (by code points).

        Raises:
            StorageError: the storage cannot be reached, or denies listing.
            MissingFileError: the entry names one file and it does not exist.
        """

    def open(self, item: FileItem, offset: int) -> Handle:
        """Open `item`, as it was when listed, at byte `offset`.

        Raises:
            StorageError: the storage cannot be reached, or denies reading.
            BadFileError: the file changed, vanished or is archived.
        """

    def now_ms(self) -> int:
        """Return the storage's clock in milliseconds; its own machine's where it tells none."""
