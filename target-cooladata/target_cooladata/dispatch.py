"""Events on their way out: batches, calls, what became of each, and the STATE that this allows.

In: events and states in the order of the input, and records that were refused. Out: calls to the API, STATE on standard
output once everything before it is delivered or kept, rejects, and counts in the tally. It ends in one of two ways:
`finish`, with everything delivered or kept, and `abandon`, after anything that stops the run; both leave state where it
is true.
"""

from __future__ import annotations

import time
import typing as t
from collections import Counter
from functools import partial
from zlib import crc32

from target_cooladata.batches import BODIES, Batcher, Event
from target_cooladata.client import Kind
from target_cooladata.delivery import Delivery
from target_cooladata.entries import seed
from target_cooladata.exceptions import Interrupted, RejectLimitError, TargetError
from target_cooladata.ledger import Checkpoint
from target_cooladata.rejects import RejectsWriter
from target_cooladata.sending import Policy, Settlement
from target_cooladata.states import StateWriter

if t.TYPE_CHECKING:
    from pathlib import Path

    from target_cooladata.client import Client, Outcome
    from target_cooladata.journal import Journal
    from target_cooladata.report import Tally
    from target_cooladata.settings import Settings

ABANDON_SECONDS = 7.0  # for calls under way when a run is stopped
_NOTHING_STORED = frozenset({Kind.RETRY, Kind.SPLIT, Kind.FATAL})  # the answers that say so


class Dispatch:
    """Takes the events of one run.

    Args:
        settings: the settings.
        tally: where to count.
        journal: told of every call and acknowledgement, if there is one.
        connect: gives the client; called once.
        signum: the signal that asked for the end of the run, if one has.
    """

    def __init__(
        self,
        settings: Settings,
        tally: Tally,
        journal: Journal | None,
        *,
        connect: t.Callable[[], Client],
        signum: t.Callable[[], int | None],
    ) -> None:
        self._settings = settings
        self._tally = tally
        self._journal = journal
        self._connect = connect
        self._signum = signum
        self._client: Client | None = None
        self._body = BODIES[settings.payload_encoding]
        self._rejects = RejectsWriter(settings.rejects_path, tally.run_id, self._is_hurried)
        self._states = StateWriter(self._rejects, journal, self._is_hurried)
        self._delivery: Delivery[Event] = Delivery(
            self._prepare,
            Policy(
                max_concurrency=settings.max_concurrency,
                max_requests_per_second=settings.max_requests_per_second,
                max_retry_seconds=settings.max_retry_seconds,
                unreadable_200=settings.unreadable_200,
            ),
            on_delivered=self._on_delivered,
            on_settled=self._on_settled,
            idle=self._idle,
        )
        self._batcher = Batcher(
            max_events=settings.batch_size_rows,
            max_bytes=settings.max_batch_bytes,
            max_age=settings.max_batch_age_seconds,
            issue=(lambda: 0) if settings.dry_run else self._delivery.issue,
            send=self._send,
        )
        self.extend = self._batcher.extend  # the hot path
        self._now = time.monotonic()
        self.has_ended = False

    def start(self) -> None:
        """Be ready for the first event."""
        if not self._settings.dry_run:
            self._connected()

    def add_state(self, state: bytes, position: int) -> None:
        """Take a STATE that stands behind all events so far, and behind so many records."""
        if not self._settings.dry_run:
            self._delivery.add_state(Checkpoint(state, position))

    def add_spent(self, path: Path, position: int) -> None:
        """Take a file that is not needed any more once a STATE behind so many records has gone out."""
        self._states.add_spent(path, position)

    def reject(self, stream: str, record: bytes, reason: str, detail: str, status: int | None = None) -> None:
        """Keep a record that was refused.

        Raises:
            RejectsError: it cannot be kept.
            RejectLimitError: the settings say to stop there.
        """
        try:
            self._rejects.write(reason=reason, detail=detail, stream=stream, record=record, status=status)
        except TargetError:
            self._tally.undelivered += 1
            raise
        self._tally.reject(stream, reason)
        if self._settings.on_reject == "fail" and not self.has_ended:
            msg = (
                f"a record of stream {stream!r} was refused ({reason}) and is kept in {self._rejects.location}; the "
                "run stops there because `on_reject` is `fail`"
            )
            raise RejectLimitError(msg)

    def tick(self) -> None:
        """Do what is due: send what is full or old, take in outcomes, write a state; leave if a signal came."""
        if self._batcher.is_due(time.monotonic()):
            self._batcher.flush()
        self._delivery.linger()
        self._idle()

    def finish(self) -> int:
        """Deliver what is left, and write the last state.

        Returns:
            How many records stand before that state.
        """
        self._deliver_rest()
        self._write_state(final=True)
        self._rejects.close()
        self._end()
        return self._states.position

    def abandon(self, cause: BaseException, *, is_inputs_fault: bool) -> list[str]:
        """Stop in order: no further try, a moment for the calls under way, the last true state.

        Args:
            cause: why; whoever raised it says so.
            is_inputs_fault: deliver what came before it.

        Returns:
            What else went wrong, one sentence each.
        """
        failures: list[str] = []
        if is_inputs_fault:
            _attempt(self._deliver_rest, failures)
        self._end()
        self._tally.undelivered += len(self._batcher)
        known = {str(cause), *failures, *self._delivery.abort(ABANDON_SECONDS)}
        self._tally.undelivered += self._delivery.in_flight
        self._tally.in_doubt += self._delivery.in_flight  # sent, and no answer seen
        last: list[str] = []
        _attempt(partial(self._write_state, final=True), last)
        _attempt(self._rejects.close, last)
        self._end()
        return failures + [failure for failure in dict.fromkeys(last) if failure not in known]

    def _deliver_rest(self) -> None:
        self._batcher.flush()
        self._delivery.drain()

    def _end(self) -> None:
        self.has_ended = True
        self._tally.rejects = self._rejects.location
        self._tally.states_written = self._states.written

    def _is_hurried(self) -> bool:
        return self._signum() is not None

    def _connected(self) -> Client:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _prepare(self, events: t.Sequence[Event]) -> t.Callable[[], Outcome]:
        return partial(self._post, self._body(events), (events[0].position, events[-1].position))

    def _post(self, body: bytes, positions: tuple[int, int]) -> Outcome:
        """Make one call; the journal knows of it from before it leaves until it is answered."""
        if self._journal is None:
            return self._connected().post(body)
        self._journal.begin_call(*positions)
        outcome = self._connected().post(body)
        if outcome.kind in _NOTHING_STORED:
            self._journal.end_call(*positions)
        return outcome

    def _send(self, ticket: int, events: list[Event]) -> None:
        if self._settings.dry_run:
            self._tally.count_dry(events)
            return
        try:
            self._delivery.submit(ticket, events)
        except BaseException:
            self._tally.undelivered += len(events)
            raise

    def _on_settled(self, settlement: Settlement[Event]) -> None:
        tally = self._tally
        for stream, delivered in _by_stream(settlement.delivered):
            tally.stream(stream).events_delivered += delivered
        tally.calls += settlement.calls
        tally.retries += settlement.retries
        tally.in_doubt += settlement.in_doubt
        if settlement.calls and self._journal is not None:
            tally.in_doubt += self._journal.doubted(event.position for event in settlement.items)
        tally.undelivered += settlement.undelivered
        left = len(settlement.refused)
        for event, outcome in settlement.refused:
            left -= 1
            try:
                self.reject(event.stream, event.record, "refused", outcome.detail, outcome.status)
            except TargetError:
                tally.undelivered += left
                raise

    def _idle(self) -> None:
        self._now = time.monotonic()
        self._write_state()
        signum = self._signum()
        if signum is not None:
            raise Interrupted(signum)

    def _on_delivered(self, events: t.Sequence[Event]) -> None:
        if self._journal is not None:
            self._journal.note([(event.position, crc32(event.record, seed(event.stream))) for event in events])

    def _write_state(self, *, final: bool = False) -> None:
        self._states.offer(self._delivery.take_state())
        self._states.write(self._now, final=final)


def _by_stream(events: t.Sequence[Event]) -> t.Iterable[tuple[str, int]]:
    streams = {event.stream for event in events}
    if len(streams) == 1:  # nearly always, and counting takes thrice as long
        return [(streams.pop(), len(events))]
    return Counter(event.stream for event in events).items()


def _attempt(step: t.Callable[[], None], failures: list[str]) -> None:
    """Do one of the last steps; what fails in it does not keep the others from being done."""
    try:
        step()
    except TargetError as error:
        failures.append(str(error))
    except Interrupted:
        pass  # the run is about to end anyway
