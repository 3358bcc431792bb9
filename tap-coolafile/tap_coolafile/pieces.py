"""Pieces of a file: in go lines that were judged, out comes whether they make their file a bad one, and why."""

from __future__ import annotations

import typing as t

import msgspec

from tap_coolafile.exceptions import BadFileError
from tap_coolafile.rows import Judged, overview

if t.TYPE_CHECKING:
    from tap_coolafile.places import Position
    from tap_coolafile.reading import Block

MANY_INVALID = 100


class Piece(msgspec.Struct):
    """Some lines of a block, the rows they hold, judged, their size in bytes, and the position after them."""

    block: Block
    begin: int
    held: list[bytes]
    judged: Judged
    size: int
    after: Position

    @property
    def lines(self) -> list[bytes]:
        """The lines as they stand in the file, save those that were cut."""
        return self.block.lines[self.begin : self.begin + len(self.judged.records)]

    @property
    def kept_bytes(self) -> int:
        """The memory it takes, about: less than its size if rows were cut."""
        return min(self.size, len(self.block.text))


def require_good(name: str, after: Position, pieces: t.Sequence[Piece], limit: int, *, ended: bool) -> None:
    """Tell a bad file.

    Args:
        name: the file's.
        after: the position after `pieces`, with the counts of all of the file so far.
        pieces: what was judged last.
        limit: the percentage of invalid rows that `max_invalid_percent` allows.
        ended: whether the file ends there.

    Raises:
        BadFileError: too many rows are invalid.
    """
    none_valid = ended and after.rows and after.invalid == after.rows
    too_many = after.invalid >= MANY_INVALID and after.invalid * 100 > limit * after.rows
    if not (none_valid or too_many):
        return
    told = overview((piece.block.line + piece.begin, piece.judged.rejects) for piece in pieces)
    if none_valid:
        msg = f"{name} is a bad file: none of its {after.rows} rows is valid{told}"
        raise BadFileError(msg)
    msg = (
        f"{name} is a bad file: {after.invalid} of its first {after.rows} rows are invalid{told}; "
        f"max_invalid_percent allows {limit} percent from {MANY_INVALID} invalid rows on"
    )
    raise BadFileError(msg)
