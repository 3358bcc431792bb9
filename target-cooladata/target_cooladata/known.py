"""Records that an earlier run had acknowledged, by position and hash.

In: spans, in any order; some may overlap, where a record had changed between two runs. Out: whether a record is one of
them. There may be millions, so they take four bytes each, in as few spans as can be.
"""

from __future__ import annotations

import typing as t
from array import array
from bisect import bisect_right

from target_cooladata.entries import HASH_BYTES, Span


class Known:
    """Knows records.

    Args:
        spans: those to know.
    """

    def __init__(self, spans: t.Iterable[Span] = ()) -> None:
        self._firsts: list[int] = []
        self._hashes: list[array[int]] = []
        self._others: set[tuple[int, int]] = set()  # where there is more than one for a position
        stop = 0
        for span in sorted(spans, key=lambda span: span.first):
            if span.first > stop or not self._firsts:
                self._firsts.append(span.first)
                self._hashes.append(array("I"))
                stop = span.first
            fresh = stop - span.first  # from which of its records on
            self._others.update(enumerate(array("I", span.hashes[: fresh * HASH_BYTES]), start=span.first))
            self._hashes[-1].frombytes(span.hashes[fresh * HASH_BYTES :])
            stop = max(stop, span.stop)

    def __len__(self) -> int:
        return sum(map(len, self._hashes))

    def __contains__(self, position: int) -> bool:
        return self._find(position) is not None

    def has(self, position: int, known: int) -> bool:
        """Whether a record at a position is one of them, by its hash."""
        return self._find(position) == known or (position, known) in self._others

    def spans(self) -> t.Iterator[Span]:
        """Give all of them again."""
        for first, hashes in zip(self._firsts, self._hashes, strict=True):
            yield Span(first, hashes.tobytes())
        for position, known in self._others:
            yield Span(position, array("I", [known]).tobytes())

    def _find(self, position: int) -> int | None:
        place = bisect_right(self._firsts, position) - 1
        if place < 0 or position - self._firsts[place] >= len(self._hashes[place]):
            return None
        return self._hashes[place][position - self._firsts[place]]
