"""Which STATE may go out: the contiguous prefix of what is settled.

In: tickets in the order of the input (one a batch), their settlement in any order, and the states that stood between
them. Out: the newest state before which everything is settled. It never gives a state twice, nor one ahead of an
unsettled ticket.
"""

from __future__ import annotations

from collections import deque

import msgspec


class Checkpoint(msgspec.Struct, frozen=True):
    """A STATE of the input.

    Attributes:
        state: its value, as JSON.
        position: how many records stand before it.
    """

    state: bytes
    position: int


class Ledger:
    """Orders acknowledgements that come in any order."""

    def __init__(self) -> None:
        self._next_ticket = 0
        self._first_unsettled = 0
        self._settled: set[int] = set()
        self._states: deque[tuple[int, Checkpoint]] = deque()

    def issue(self) -> int:
        """Give the next ticket; a state that comes after it waits for it."""
        ticket = self._next_ticket
        self._next_ticket += 1
        return ticket

    def settle(self, ticket: int) -> None:
        """Note that everything under a ticket is delivered, or refused and kept."""
        self._settled.add(ticket)
        while self._first_unsettled in self._settled:
            self._settled.remove(self._first_unsettled)
            self._first_unsettled += 1

    def add_state(self, state: Checkpoint) -> None:
        """Note a state that stands behind every ticket issued so far."""
        if self._states and self._states[-1][0] == self._next_ticket:
            self._states.pop()  # nothing lies between the two
        self._states.append((self._next_ticket, state))

    def take_state(self) -> Checkpoint | None:
        """Take the newest state that is allowed, if there is one not taken before."""
        state = None
        while self._states and self._states[0][0] <= self._first_unsettled:
            state = self._states.popleft()[1]
        return state
