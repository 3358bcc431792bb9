"""Refusals in a row: as long as nothing is delivered between them, it may not be the events that are wrong.

In: single events refused and calls delivered, by all sending threads. Out: whether a row is too long to go on, and
whether a refusal still stands in a row that nothing has ended, so that it may yet turn out not to be the event's fault.
"""

from __future__ import annotations

import threading

MAX_REFUSALS_IN_A_ROW = 20  # then it is not the events that are wrong


class Row:
    """The row that is open; there is always one, usually of no refusals."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._refusals = 0

    @property
    def is_too_long(self) -> bool:
        """Whether to stop."""
        return self._refusals >= MAX_REFUSALS_IN_A_ROW

    def refuse(self) -> int:
        """Add a refusal.

        Returns:
            The number of the row that it stands in.
        """
        with self._lock:
            self._refusals += 1
            return self._number

    def end(self) -> None:
        """Something was delivered. A row that is too long stays: a call under way does not clear those in it."""
        if self._refusals:
            with self._lock:
                if not self.is_too_long:
                    self._number += 1
                    self._refusals = 0

    def is_open(self, number: int) -> bool:
        """Whether nothing has been delivered since the refusals of a row."""
        return number == self._number
