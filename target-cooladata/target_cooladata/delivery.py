"""Batches to outcomes: concurrency, retries, splitting, and which STATE may go out.

In: batches of anything, a function that sends some of it and gives an `Outcome`, and the states that stand between the
batches. Out: for each batch one `Settlement`, handed over in the caller's thread; and, by `take_state`, the newest
state before which everything is settled. It knows nothing of JSON, HTTP or Singer. It refuses to go on, with a
`DeliveryError`, once an outcome says that no call can succeed, retries are used up, or one event after the other is
refused.
"""

from __future__ import annotations

import collections
import queue
import threading
import time
import typing as t
from functools import partial

from target_cooladata.exceptions import DeliveryError, TargetError
from target_cooladata.ledger import Checkpoint, Ledger
from target_cooladata.sending import Call, Policy, Sender, Settlement

NEAR_SECONDS = 0.002  # a call that takes no longer is cheaper to wait for than to read on meanwhile
MAX_NEAR_CALLS = 4  # that are sent one after the other
MIN_FAR_CALLS, MAX_FAR_CALLS = 4, 128  # after a vain wait there is none for so many calls, each time for twice as many
POLL_SECONDS = 0.1  # how long a signal or a due state may wait while delivery is waited for
T = t.TypeVar("T")


class Delivery(t.Generic[T]):
    """Sends batches from several threads; everything else happens in the caller's thread.

    Args:
        prepare: gives what makes one call with some items; used by several threads.
        policy: how hard to try.
        on_delivered: takes what was acknowledged, in the sending thread, before anything else happens with it.
        on_settled: takes each settlement, before the ledger moves.
        idle: called at least every `POLL_SECONDS` while waiting; may raise to leave.
    """

    def __init__(
        self,
        prepare: t.Callable[[t.Sequence[T]], Call],
        policy: Policy,
        *,
        on_delivered: t.Callable[[t.Sequence[T]], None],
        on_settled: t.Callable[[Settlement[T]], None],
        idle: t.Callable[[], None],
    ) -> None:
        self._on_settled = on_settled
        self._idle = idle
        self._ledger = Ledger()
        self._sender = Sender(prepare, policy, on_delivered)
        self._waiting: queue.SimpleQueue[collections.deque[Settlement[T]]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Settlement[T]] = queue.SimpleQueue()
        self._rested = threading.Event()  # a thread has done all that it was given
        self._gathered: list[Settlement[T]] = []
        self._group: collections.deque[Settlement[T]] = collections.deque()  # what of the last one has not begun
        self._in_flight: dict[int, int] = {}
        # What has come back stays here while its refusals may not be the events' fault; never more than a row has.
        self._held: list[Settlement[T]] = []
        self._workers = 0
        self._far_calls = MIN_FAR_CALLS
        self._is_far_for = 0  # calls after which to see whether the server is near

    @property
    def in_flight(self) -> int:
        """Items taken whose settlement has not come back."""
        return sum(self._in_flight.values())

    def issue(self) -> int:
        """Reserve the next place in the order, for a batch that is being filled."""
        return self._ledger.issue()

    def add_state(self, state: Checkpoint) -> None:
        """Note a state that stands behind every place reserved so far."""
        self._ledger.add_state(state)

    def take_state(self) -> Checkpoint | None:
        """Take the newest state before which everything is settled, once."""
        return self._ledger.take_state()

    def submit(self, ticket: int, items: t.Sequence[T]) -> None:
        """Take a batch; waits while as many calls as allowed are under way.

        Raises:
            DeliveryError: nothing more can be delivered.
        """
        if len(self._gathered) >= MAX_NEAR_CALLS or len(self._in_flight) >= self.places:
            self.linger()
        while len(self._in_flight) >= self.places:
            self._settle_one(POLL_SECONDS)
            self._idle()
        if self._workers <= len(self._in_flight):
            self._workers += 1
            # Daemons: a call that hangs must not hold up the end of an interrupted run.
            threading.Thread(target=self._work, name=f"delivery-{self._workers}", daemon=True).start()
        self._in_flight[ticket] = len(items)
        self._gathered.append(Settlement(ticket=ticket, items=items))
        if self._is_far_for:
            self._is_far_for -= 1
            self._hand_over()

    def linger(self) -> None:
        """Send what was taken, and wait for it a moment if answers come at once.

        Two threads at work share one interpreter; so while the server is near, one thread sends some calls, one after
        the other, and meanwhile this one rests. Once that takes longer, each call goes by itself.

        Raises:
            DeliveryError: nothing more can be delivered.
        """
        if not self._is_far_for and self._in_flight:
            if self._gathered:
                self._group, self._gathered = collections.deque(self._gathered), []
                self._waiting.put(self._group)
            deadline = time.monotonic() + NEAR_SECONDS * min(len(self._in_flight), MAX_NEAR_CALLS)
            while self._in_flight and self._rested.wait(max(deadline - time.monotonic(), 0)):
                self._rested.clear()
                self._take_in()
            if not self._in_flight:
                self._far_calls = MIN_FAR_CALLS
                return
            self._is_far_for = self._far_calls
            self._far_calls = min(2 * self._far_calls, MAX_FAR_CALLS)
        self.settle()

    def _hand_over(self) -> None:
        """Give each batch that is not yet being sent to a thread of its own: none is to wait for another."""
        batches = [*iter(partial(_next, self._group), None), *self._gathered]
        self._gathered = []
        for settlement in batches:
            self._waiting.put(collections.deque([settlement]))

    @property
    def places(self) -> int:
        """How many batches are taken before `submit` waits; while it is one, they go in order.

        Some more than may be sent, so that a place that gets free is filled at once; the gate keeps to the limit.
        """
        limit = self._sender.gate.limit
        return limit + limit // 4 + 1 if limit > 1 else 1

    def settle(self) -> None:
        """Hand over what was taken, and take in what has come back, without waiting.

        Raises:
            DeliveryError: nothing more can be delivered.
        """
        self._hand_over()
        self._take_in()

    def _take_in(self) -> None:
        while not self._done.empty():
            self._settle_one(0)
        self._release()

    def drain(self) -> None:
        """Wait until everything handed over is settled, and take the last refusals for what they are.

        Raises:
            DeliveryError: nothing more can be delivered.
        """
        self._hand_over()
        while self._in_flight:
            self._settle_one(POLL_SECONDS)
            self._idle()
        self._release(ends_well=True)

    def abort(self, seconds: float) -> list[str]:
        """Try nothing again, and give the calls under way some time to end.

        Returns:
            The failures of the batches that came back.
        """
        self._sender.stopping.set()
        self._hand_over()
        deadline = time.monotonic() + seconds
        failures = []
        while self._in_flight and time.monotonic() < deadline:
            try:
                self._settle_one(POLL_SECONDS)
            except TargetError as error:
                failures.append(str(error))
        while self._held:
            try:
                self._close(self._held.pop(0), ends_well=False)
            except TargetError as error:
                failures.append(str(error))
        return failures

    def _settle_one(self, timeout: float) -> None:
        """Take in one batch, if one comes back in so many seconds."""
        try:
            settlement = self._done.get(timeout=timeout) if timeout else self._done.get_nowait()
        except queue.Empty:
            return
        del self._in_flight[settlement.ticket]
        self._held.append(settlement)
        self._release()

    def _release(self, *, ends_well: bool = False) -> None:
        """Close what is not held back by a row of refusals; all of it once everything has come back."""
        for settlement in list(self._held):
            if ends_well or settlement.failure is not None or not self._sender.is_open(settlement):
                self._held.remove(settlement)  # before anything may raise
                self._close(settlement, ends_well=settlement.failure is None)

    def _close(self, settlement: Settlement[T], *, ends_well: bool) -> None:
        if not ends_well:
            self._sender.withdraw(settlement)
        self._on_settled(settlement)
        if settlement.failure is not None:
            raise DeliveryError(settlement.failure)
        self._ledger.settle(settlement.ticket)

    def _work(self) -> None:
        while True:
            group = self._waiting.get()
            while settlement := _next(group):
                self._sender.deliver(settlement)
                self._done.put(settlement)
            self._rested.set()


def _next(group: collections.deque[Settlement[T]]) -> Settlement[T] | None:
    """Take the next batch of a group, which another thread may take from as well."""
    try:
        return group.popleft()
    except IndexError:
        return None
