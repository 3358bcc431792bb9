"""One batch to its settlement: tries, waits, halves.

In: a batch of anything, and a function that sends some of it and gives an `Outcome`. Out: a `Settlement` that says of
every item whether it is delivered, refused or neither. It gives up, with words, once an outcome says that no call can
succeed, retries are used up, or one event after the other is refused. It runs in the sending threads.
"""

from __future__ import annotations

import threading
import typing as t

import msgspec
import tenacity

from target_cooladata.client import Kind, Outcome
from target_cooladata.concurrency import Gate
from target_cooladata.exceptions import TargetError
from target_cooladata.refusals import MAX_REFUSALS_IN_A_ROW, Row

BACKOFF_SECONDS = 0.5  # the first wait is drawn from 0 to this, each further one from twice as much ...
MAX_BACKOFF_SECONDS = 30.0  # ... up to this; full jitter, so that several loaders do not come back at once
MAX_RETRY_AFTER_SECONDS = 300.0  # a hostile or absurd Retry-After must not park a run

_PASSING = frozenset({Kind.RETRY, Kind.IN_DOUBT})

T = t.TypeVar("T")
Call = t.Callable[[], Outcome]
"""Makes one call, any number of times the same."""


class Settlement(msgspec.Struct, t.Generic[T]):
    """What became of one batch.

    Attributes:
        ticket: the batch's place in the ledger.
        items: the batch.
        delivered: those that are delivered.
        refused: those that the API refuses even alone, each with its last answer.
        row: the row of refusals that the last of them stand in, and how many stood before it; None if none is refused.
        calls: how many calls it took.
        retries: how many of those repeated one that had failed.
        in_doubt: items in calls whose answer was never seen, which may be stored twice.
        failure: why the rest is not delivered, if there is a rest.
    """

    ticket: int
    items: t.Sequence[T]
    delivered: list[T] = []
    refused: list[tuple[T, Outcome]] = []
    row: tuple[int, int] | None = None
    calls: int = 0
    retries: int = 0
    in_doubt: int = 0
    failure: str | None = None

    @property
    def undelivered(self) -> int:
        """Items neither delivered nor refused."""
        return len(self.items) - len(self.delivered) - len(self.refused)


class Policy(msgspec.Struct, frozen=True):
    """How hard to try.

    Attributes:
        max_concurrency: calls under way at once.
        max_requests_per_second: calls started in a second; None for no bound.
        max_retry_seconds: from a call's first try to its last; 0 is one try.
        unreadable_200: retry, accept or fail.
    """

    max_concurrency: int
    max_requests_per_second: int | None
    max_retry_seconds: float
    unreadable_200: str


class _GiveUp(Exception):  # noqa: N818 - carries a verdict out of the recursion
    """The rest of a batch cannot be delivered."""


class Sender(t.Generic[T]):
    """Delivers one batch: tries, waits, halves. Used by all workers."""

    def __init__(
        self,
        prepare: t.Callable[[t.Sequence[T]], Call],
        policy: Policy,
        on_delivered: t.Callable[[t.Sequence[T]], None],
    ) -> None:
        self._prepare = prepare
        self._on_delivered = on_delivered
        self._policy = policy
        self.stopping = threading.Event()
        self.gate = Gate(policy.max_concurrency, policy.max_requests_per_second, self.stopping)
        self._understood = False
        self._failure: str | None = None
        self.row = Row()
        self._lock = threading.Lock()
        self._backoff = tenacity.wait_random_exponential(BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)
        self._retrying = tenacity.Retrying(  # keeps nothing of one call for another
            retry=tenacity.retry_if_result(lambda outcome: outcome.kind in _PASSING),
            stop=tenacity.stop_before_delay(policy.max_retry_seconds) | tenacity.stop_when_event_set(self.stopping),
            wait=self._wait,
            sleep=tenacity.sleep_using_event(self.stopping),
            before_sleep=_count_retry,
            retry_error_callback=lambda state: _give_up(state, policy.max_retry_seconds),
        )

    def deliver(self, settlement: Settlement[T]) -> None:
        """Deliver what can be delivered, and note the rest in the settlement."""
        try:
            self._deliver(settlement.items, settlement)
        except (_GiveUp, TargetError) as verdict:
            settlement.failure = self._stop(str(verdict))
        except Exception as error:  # noqa: BLE001 - a worker that died in silence would hang the run
            settlement.failure = self._stop(f"an internal fault while sending ({type(error).__name__})")

    def is_open(self, settlement: Settlement[T]) -> bool:
        """Whether some of its refusals stand in a row that nothing has ended yet."""
        return settlement.row is not None and self.row.is_open(settlement.row[0])

    def withdraw(self, settlement: Settlement[T]) -> None:
        """The run ends before that row did: the refusals in it do not count, and their events are not delivered."""
        if settlement.row is not None and self.is_open(settlement):
            del settlement.refused[settlement.row[1] :]
            settlement.failure = settlement.failure or "the run was stopped"

    def _stop(self, failure: str) -> str:
        """No call is to follow one that says that none can succeed; all batches fail for the first one's reason."""
        with self._lock:
            if not self.stopping.is_set():
                self._failure = failure
                self.stopping.set()
            return self._failure or failure

    def _deliver(self, items: t.Sequence[T], settlement: Settlement[T]) -> None:
        outcome = self._try(items, settlement)
        if outcome.kind is Kind.SPLIT and len(items) == 1:
            outcome = self._try(items, settlement)  # once more, alone: the refusal may have been a passing one
        if outcome.kind is Kind.DELIVERED:
            settlement.delivered.extend(items)
            self._on_delivered(items)
            self.row.end()
        elif outcome.kind is not Kind.SPLIT:
            raise _GiveUp(outcome.detail)
        elif len(items) == 1:
            self._refuse(items[0], outcome, settlement)
        else:
            middle = len(items) // 2
            self._deliver(items[:middle], settlement)
            self._deliver(items[middle:], settlement)

    def _refuse(self, item: T, outcome: Outcome, settlement: Settlement[T]) -> None:
        row = self.row.refuse()
        if settlement.row is None or settlement.row[0] != row:
            settlement.row = row, len(settlement.refused)
        settlement.refused.append((item, outcome))
        if self.row.is_too_long:
            msg = (
                f"{MAX_REFUSALS_IN_A_ROW} events in a row were refused alone and none was delivered between them, so "
                f"it is not the events: {outcome.detail}; check `payload_encoding` and `api_version`"
            )
            raise _GiveUp(msg)

    def _try(self, items: t.Sequence[T], settlement: Settlement[T]) -> Outcome:
        """Send until the outcome is final: delivered, to be split, or fatal."""
        call = self._prepare(items)  # before there is a place for it, so that places are not held for that
        return self._retrying(self._call, call, settlement, len(items))

    def _call(self, call: Call, settlement: Settlement[T], size: int) -> Outcome:
        started = self.gate.enter()
        if self.stopping.is_set():
            self.gate.leave(started, pressed=True)
            msg = "the run was stopped"
            raise _GiveUp(msg)
        settlement.calls += 1
        outcome = call()
        if outcome.kind is Kind.UNREADABLE:
            outcome = self._judge_unreadable(outcome)
        elif outcome.kind is Kind.DELIVERED or outcome.status == 200:  # noqa: PLR2004 - HTTP's OK
            self._understand()
        self.gate.leave(started, pressed=outcome.kind in _PASSING)
        if outcome.kind is Kind.IN_DOUBT:
            settlement.in_doubt += size
        return outcome

    def _judge_unreadable(self, outcome: Outcome) -> Outcome:
        if self._policy.unreadable_200 == "accept":
            self._understand()
            return Outcome(Kind.DELIVERED, outcome.detail, outcome.status)
        if self._policy.unreadable_200 == "fail" or not self._understood:
            detail = (
                f"{outcome.detail}, so it cannot be told whether events are stored; check `endpoint_url`, and set "
                "`unreadable_200` to `accept` only if this answer is known to mean success"
            )
            return Outcome(Kind.FATAL, detail, outcome.status)
        return Outcome(Kind.IN_DOUBT, outcome.detail, outcome.status)

    def _understand(self) -> None:
        """One answer has been understood: the first call goes alone until then."""
        if not self._understood:
            self._understood = True
            self.gate.open()

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Full jitter, and at least as long as the server asked for."""
        asked = state.outcome.result().retry_after if state.outcome else None
        return max(self._backoff(state), min(asked or 0.0, MAX_RETRY_AFTER_SECONDS))


def _count_retry(state: tenacity.RetryCallState) -> None:
    settlement: Settlement[t.Any] = state.args[1]
    settlement.retries += 1


def _give_up(state: tenacity.RetryCallState, max_retry_seconds: float) -> Outcome:
    outcome: Outcome = state.outcome.result() if state.outcome else Outcome(Kind.FATAL, "not tried")
    seconds = round(state.seconds_since_start or 0)
    detail = (
        f"{outcome.detail}; given up after {state.attempt_number} tries in {seconds} s "
        f"(`max_retry_seconds` is {max_retry_seconds:g})"
    )
    return Outcome(Kind.FATAL, detail, outcome.status)
