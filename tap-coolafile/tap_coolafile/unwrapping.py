"""Rejects read in again: in goes a line of a rejects file, out comes the row it keeps, as it now stands.

Takes the lines of this tap (`row`, or `row_base64` where the row was not UTF-8) and of target-cooladata (`record`). A
line of another kind is a row itself, so a file may be repaired by putting rows in the place of their rejects.
"""

from __future__ import annotations

import base64
import binascii

import msgspec


class _Reject(msgspec.Struct):
    reason: str
    row: str | None = None
    row_base64: str | None = None
    record: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Reject).decode

_LONGER = 6
"""A row grows at most sixfold by being kept as a JSON text: `\\u0000` for one byte."""

_AROUND_BYTES = 100_000
"""Room for what a reject holds besides its row."""


def longest_line(max_row_bytes: int) -> int:
    """Return how long a line of a rejects file may be, in bytes, for its row to be no longer than `max_row_bytes`."""
    return max_row_bytes * _LONGER + _AROUND_BYTES


def unwrapped(line: bytes) -> bytes:
    """Return the row that a reject keeps, on one line; or the line itself if it is no reject."""
    try:
        reject = _decode(line)
        if reject.row is not None:
            row = reject.row.encode()
        elif reject.row_base64 is not None:
            row = base64.b64decode(reject.row_base64, validate=True)
        elif bytes(reject.record).startswith(b"{"):
            row = bytes(reject.record)
        else:
            return line
    except (msgspec.MsgspecError, UnicodeError, binascii.Error, RecursionError):
        return line
    # Between two tokens a line feed, which repairing may bring in, is as good as a space; in a text it is no JSON.
    return row.replace(b"\n", b" ")
