"""Gzip as a stream: in goes an open file of compressed bytes, out come the bytes within, members one after another.

Memory is one portion, whatever the file holds or unfolds to. Refuses, with `BrokenFileError`, what is not gzip or ends
or breaks in the middle, but only once every byte before the break was handed over: Python's own gzip reader loses them.
"""

from __future__ import annotations

import contextlib
import typing as t
import zlib

from tap_coolafile.exceptions import BrokenFileError

if t.TYPE_CHECKING:
    from tap_coolafile.sources.base import Handle

_PORTION = 1 << 18
_GZIP = 31  # zlib's window bits for "gzip header and trailer, checksum verified"


class Gunzip:
    """Reads what is compressed in `handle`; `name` is the file's, for messages."""

    def __init__(self, handle: Handle, name: str) -> None:
        self._handle = handle
        self._name = name
        self._inflate = zlib.decompressobj(_GZIP)
        self._rest = b""
        self._within_member = False
        self._sound = 0
        self._broken = ""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, empty at the end.

        Raises:
            BrokenFileError: the rest of the file cannot be unfolded.
        """
        while not self._broken:
            data = self._unfolded(size)
            self._sound += len(data)
            if data:
                return data
            if not self._rest and not self._broken and not self._fetched():
                return b""
        msg = f"{self._name} {self._broken}; the {self._sound} bytes unfolded before that are read"
        raise BrokenFileError(msg)

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def _unfolded(self, size: int) -> bytes:
        before, given = self._inflate.copy(), self._rest
        try:
            data = self._inflate.decompress(given, size)
        except zlib.error:
            salvaged = _salvaged(before, given)
            self._broken = "is damaged" if self._sound or salvaged else "is not gzip, or damaged at its beginning"
            return salvaged
        self._rest = self._inflate.unconsumed_tail
        if self._inflate.eof:
            self._rest = self._inflate.unused_data.lstrip(b"\0")  # archives are padded with zeros
            self._inflate = zlib.decompressobj(_GZIP)
            self._within_member = bool(self._rest)
        return data

    def _fetched(self) -> bool:
        """Read on in the file; False at its proper end."""
        while True:
            self._rest = self._handle.read(_PORTION)
            at_end = not self._rest
            if not self._within_member:
                self._rest = self._rest.lstrip(b"\0")
            if self._rest:
                self._within_member = True
                return True
            if at_end:
                break
        if self._within_member:
            self._broken = "ends in the middle of its gzip stream"
        return self._within_member


def _salvaged(inflate: zlib._Decompress, given: bytes) -> bytes:
    """Unfold the bytes before the one at which `given` is damaged."""
    return b"".join(_until_damaged(inflate, given))


def _until_damaged(inflate: zlib._Decompress, given: bytes) -> t.Iterator[bytes]:
    with contextlib.suppress(zlib.error):
        for at in range(len(given)):
            yield inflate.decompress(given[at : at + 1])
