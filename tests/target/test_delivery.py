"""Delivery with integers for events: it must not know what it carries."""

from __future__ import annotations

import threading
import time
import typing as t
from functools import partial

import pytest

from target_cooladata.client import Kind, Outcome
from target_cooladata.delivery import Delivery
from target_cooladata.exceptions import DeliveryError
from target_cooladata.ledger import Checkpoint
from target_cooladata.refusals import MAX_REFUSALS_IN_A_ROW
from target_cooladata.sending import Policy, Settlement

Send = t.Callable[[t.Sequence[int]], Outcome]

DELIVERED = Outcome(Kind.DELIVERED, "delivered", 200)
REFUSED = Outcome(Kind.SPLIT, "refused", 400)
BUSY = Outcome(Kind.RETRY, "busy", 503, retry_after=0)
LOST = Outcome(Kind.IN_DOUBT, "lost")
UNREADABLE = Outcome(Kind.UNREADABLE, "no JSON", 200)


class Run:
    """A delivery with what it settled."""

    def __init__(
        self,
        send: Send,
        *,
        concurrency: int = 4,
        retry_seconds: float = 60,
        unreadable: str = "retry",
        idle: t.Callable[[], None] = lambda: None,
    ) -> None:
        self.settled: list[Settlement[int]] = []
        policy = Policy(
            max_concurrency=concurrency, max_requests_per_second=None, max_retry_seconds=retry_seconds,
            unreadable_200=unreadable,
        )  # fmt: skip
        self.acknowledged: list[int] = []
        self.delivery: Delivery[int] = Delivery(
            lambda items: partial(send, items),
            policy,
            on_delivered=self.acknowledged.extend,
            on_settled=self.settled.append,
            idle=idle,
        )

    def send(self, batch: t.Sequence[int]) -> None:
        """Hand over one batch, alone."""
        self.delivery.submit(self.delivery.issue(), batch)
        self.delivery.settle()

    def load(self, *batches: t.Sequence[int]) -> None:
        for batch in batches:
            self.delivery.submit(self.delivery.issue(), batch)
        self.delivery.drain()

    @property
    def delivered(self) -> list[int]:
        return sorted(item for settlement in self.settled for item in settlement.delivered)

    @property
    def refused(self) -> list[int]:
        return sorted(item for settlement in self.settled for item, _ in settlement.refused)


def answering(*outcomes: Outcome) -> Send:
    """Answer with these outcomes, then deliver."""
    left = iter(outcomes)
    return lambda _: next(left, DELIVERED)


def noting(sent: list[int]) -> Send:
    """Deliver, and note what."""

    def send(items: t.Sequence[int]) -> Outcome:
        sent.extend(items)
        return DELIVERED

    return send


def test_everything_is_delivered_once() -> None:
    sent: list[int] = []
    run = Run(noting(sent))
    run.load(*[range(start, start + 10) for start in range(0, 500, 10)])
    assert sorted(sent) == run.delivered == list(range(500))


def test_a_call_that_failed_is_sent_again_as_it_was() -> None:
    run = Run(answering(DELIVERED, BUSY))
    run.load([1], [2, 3])
    assert run.delivered == [1, 2, 3]
    assert [settlement.retries for settlement in run.settled] == [0, 1]


def test_a_call_whose_answer_was_never_seen_is_counted() -> None:
    run = Run(answering(DELIVERED, LOST))
    run.load([1], [2, 3])
    assert run.delivered == [1, 2, 3]
    assert [settlement.in_doubt for settlement in run.settled] == [0, 2]


def test_poisonous_events_are_found_and_the_others_delivered() -> None:
    poison = {3, 77, 78, 150, 151, 222, 299}
    calls: list[int] = []

    def send(items: t.Sequence[int]) -> Outcome:
        calls.append(len(items))
        return REFUSED if poison.intersection(items) else DELIVERED

    run = Run(send)
    run.load(range(300))
    assert run.refused == sorted(poison)
    assert sorted(run.acknowledged) == run.delivered
    assert run.delivered == [number for number in range(300) if number not in poison]
    assert len(calls) <= len(poison) * 18


def test_an_event_refused_alone_once_gets_a_second_chance() -> None:
    run = Run(answering(DELIVERED, REFUSED))
    run.load([1], [2])
    assert run.delivered == [1, 2]


def test_refusals_in_a_row_with_nothing_delivered_between_stop_the_run() -> None:
    run = Run(lambda _: REFUSED)
    with pytest.raises(DeliveryError, match=f"{MAX_REFUSALS_IN_A_ROW} events in a row"):
        run.load(range(300))
    assert run.refused == []
    assert run.settled[0].undelivered == 300


def test_a_row_of_refusals_that_stops_the_run_settles_none_of_its_batches() -> None:
    run = Run(lambda items: REFUSED if items[0] else DELIVERED)
    run.load([0])
    delivery = run.delivery
    delivery.add_state(Checkpoint(b"before the row", 1))
    for number in range(1, MAX_REFUSALS_IN_A_ROW):
        delivery.submit(delivery.issue(), [number])
        delivery.add_state(Checkpoint(b"within the row", number + 1))
    with pytest.raises(DeliveryError, match="events in a row"):
        run.load([MAX_REFUSALS_IN_A_ROW])
    delivery.abort(5)
    assert delivery.take_state() == Checkpoint(b"before the row", 1)
    assert run.refused == []
    assert sum(settlement.undelivered for settlement in run.settled) == MAX_REFUSALS_IN_A_ROW


def test_refusals_count_once_something_is_delivered_after_them() -> None:
    run = Run(lambda items: REFUSED if items[0] == 1 else DELIVERED, concurrency=1)
    delivery = run.delivery

    def load(number: int) -> None:
        delivery.submit(delivery.issue(), [number])
        delivery.add_state(Checkpoint(b"behind %d" % number, number))
        while delivery.in_flight > 0:
            delivery.settle()

    load(1)
    assert delivery.take_state() is None
    assert run.refused == []
    load(2)
    assert run.refused == [1]
    assert delivery.take_state() == Checkpoint(b"behind 2", 2)


def test_refusals_count_at_the_end_of_a_run_that_ends_well() -> None:
    run = Run(lambda _: REFUSED)
    run.load([1])
    run.delivery.add_state(Checkpoint(b"behind 1", 1))
    assert run.refused == [1]
    assert run.delivery.take_state() == Checkpoint(b"behind 1", 1)


def test_refusals_that_nothing_followed_do_not_count_when_the_run_is_stopped() -> None:
    run = Run(lambda _: REFUSED)
    run.delivery.submit(run.delivery.issue(), [1])
    run.delivery.add_state(Checkpoint(b"behind 1", 1))
    while run.delivery.in_flight:
        run.delivery.settle()
    run.delivery.abort(5)
    assert (run.refused, run.settled[0].undelivered) == ([], 1)
    assert run.delivery.take_state() is None


def test_as_many_refusals_with_deliveries_between_do_not() -> None:
    run = Run(lambda items: REFUSED if any(number % 2 for number in items) else DELIVERED)
    run.load(range(100))
    assert len(run.refused) == len(run.delivered) == 50


def test_a_fatal_outcome_stops_the_run_with_its_words() -> None:
    run = Run(lambda _: Outcome(Kind.FATAL, "check `app_key`", 403))
    with pytest.raises(DeliveryError, match="check `app_key`"):
        run.load([1])


def test_one_try_is_one_try() -> None:
    calls: list[int] = []

    def send(items: t.Sequence[int]) -> Outcome:
        calls.append(len(items))
        return BUSY

    with pytest.raises(DeliveryError, match="given up after 1 tries"):
        Run(send, retry_seconds=0).load([1])
    assert calls == [1]


def test_the_first_call_goes_alone_until_an_answer_is_understood() -> None:
    under_way, most = 0, [0]
    lock, answered = threading.Lock(), threading.Event()

    def send(_: t.Sequence[int]) -> Outcome:
        nonlocal under_way
        with lock:
            under_way += 1
            if not answered.is_set():
                most[0] = max(most[0], under_way)
        first = not answered.is_set()
        answered.set()
        with lock:
            under_way -= 1
        return BUSY if first else DELIVERED

    run = Run(send, concurrency=8)
    run.load(*[[number] for number in range(20)])
    assert most == [1]
    assert run.delivered == list(range(20))


def test_an_unreadable_first_answer_stops_the_run_and_names_the_setting() -> None:
    with pytest.raises(DeliveryError, match="unreadable_200"):
        Run(answering(UNREADABLE)).load([1])


def test_a_later_unreadable_answer_is_tried_again_and_in_doubt() -> None:
    run = Run(answering(DELIVERED, UNREADABLE))
    run.load([1], [2, 3])
    assert run.delivered == [1, 2, 3]
    assert [settlement.in_doubt for settlement in run.settled] == [0, 2]


def test_unreadable_answers_can_be_taken_for_delivered_or_for_the_end() -> None:
    run = Run(lambda _: UNREADABLE, unreadable="accept")
    run.load([1], [2])
    assert run.delivered == [1, 2]
    with pytest.raises(DeliveryError):
        Run(answering(DELIVERED, UNREADABLE), unreadable="fail").load([1], [2])


def test_calls_run_at_once_up_to_the_limit_and_never_beyond() -> None:
    under_way, most = 0, 0
    lock = threading.Lock()

    def send(_: t.Sequence[int]) -> Outcome:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.005)  # the round trip of a server
        with lock:
            under_way -= 1
        return DELIVERED

    run = Run(send, concurrency=4)
    for start in range(0, 10_000, 10):
        run.load(*[[number] for number in range(start, start + 10)])
        if most == 4:
            break
    assert most == 4


def _with_room(send: Send, batches: int) -> Run:
    """Give a run that takes so many batches before it waits; it has delivered zeros meanwhile."""

    def timed(items: t.Sequence[int]) -> Outcome:
        if items[0] == 0:
            time.sleep(0.005)  # the round trip of a server, for the limit to grow
            return DELIVERED
        return send(items)

    run = Run(timed)
    for _ in range(1_000):
        run.load([0], [0], [0], [0])
        if run.delivery.places > batches:
            return run
    pytest.fail("the limit did not grow")


def test_state_comes_only_after_all_before_it_whatever_the_order_of_answers() -> None:
    release = threading.Event()

    def send(items: t.Sequence[int]) -> Outcome:
        if items[0] == 1:
            release.wait(30)
        return DELIVERED

    run = _with_room(send, 2)
    delivery = run.delivery
    before = len(run.settled)
    run.send([1])
    run.send([2])
    delivery.add_state(Checkpoint(b"behind 1 and 2", 2))
    while len(run.settled) < before + 1:
        delivery.settle()
    assert delivery.take_state() is None
    release.set()
    delivery.drain()
    assert delivery.take_state() == Checkpoint(b"behind 1 and 2", 2)


def test_batches_of_a_near_server_are_sent_by_one_thread_in_order_and_waited_for() -> None:
    sent: list[tuple[int, int]] = []

    def send(items: t.Sequence[int]) -> Outcome:
        sent.append((items[0], threading.get_ident()))
        return DELIVERED

    run = _with_room(send, 3)
    for _ in range(100):  # but for a moment in which this machine has no time for it
        sent.clear()
        for number in (1, 2, 3):
            run.delivery.submit(run.delivery.issue(), [number])
        run.delivery.linger()
        if run.delivery.in_flight == 0 and len({thread for _, thread in sent}) == 1:
            break
        run.delivery.drain()
    assert run.delivery.in_flight == 0
    assert [number for number, _ in sent] == [1, 2, 3]
    assert len({thread for _, thread in sent}) == 1


def test_once_a_call_takes_long_no_batch_waits_for_another() -> None:
    release = threading.Event()
    others = {number: threading.Event() for number in (2, 3)}

    def send(items: t.Sequence[int]) -> Outcome:
        if items[0] == 1:
            assert release.wait(30)
        else:
            others[items[0]].set()
        return DELIVERED

    run = _with_room(send, 3)
    for number in (1, 2):
        run.delivery.submit(run.delivery.issue(), [number])
    run.delivery.linger()
    assert others[2].wait(30)
    assert run.delivery.in_flight >= 1
    run.delivery.submit(run.delivery.issue(), [3])
    assert others[3].wait(30)
    release.set()
    run.delivery.drain()
    assert run.delivered[-3:] == [1, 2, 3]


def test_what_was_taken_and_not_yet_handed_over_is_not_sent_when_a_run_is_stopped() -> None:
    sent: list[int] = []
    run = Run(noting(sent))
    run.delivery.submit(run.delivery.issue(), [1, 2])
    assert run.delivery.abort(30) == ["the run was stopped"]
    assert (sent, run.delivery.in_flight, run.settled[0].undelivered, run.settled[0].in_doubt) == ([], 0, 2, 0)


def test_a_run_that_is_stopped_does_not_wait_for_a_call_that_hangs() -> None:
    begun, release = threading.Event(), threading.Event()

    def send(_: t.Sequence[int]) -> Outcome:
        begun.set()
        release.wait(30)
        return DELIVERED

    run = Run(send)
    run.send([1, 2])
    begun.wait(30)
    run.delivery.abort(0.2)
    assert run.delivery.in_flight == 2
    release.set()


def test_no_call_follows_the_end_of_a_run() -> None:
    calls: list[int] = []
    first = threading.Event()

    def send(items: t.Sequence[int]) -> Outcome:
        calls.append(items[0])
        first.set()
        return Outcome(Kind.RETRY, "busy", 429, retry_after=60)

    run = Run(send, retry_seconds=900)
    run.send([1])
    first.wait(30)
    run.delivery.abort(5)
    assert run.delivery.in_flight == 0
    assert len(calls) == 1


def test_a_wait_that_cannot_help_any_more_is_not_waited() -> None:
    before = time.monotonic()
    with pytest.raises(DeliveryError, match="given up after 1 tries"):
        Run(lambda _: Outcome(Kind.RETRY, "busy", 429, retry_after=60), retry_seconds=2).load([1])
    assert time.monotonic() - before < 2


def test_an_absurd_wait_that_is_asked_for_is_cut_to_the_cap() -> None:
    """Whole, it would be longer than the run has, and the run would give up at once."""
    idles = iter(range(5))

    def idle() -> None:
        if next(idles, None) is None:
            raise InterruptedError

    run = Run(
        lambda _: Outcome(Kind.RETRY, "busy", 429, retry_after=1e9),
        retry_seconds=360,
        idle=idle,
    )
    with pytest.raises(InterruptedError):
        run.load([1])
    assert run.settled == []
    run.delivery.abort(1)


def test_a_fault_of_our_own_while_sending_ends_the_run_instead_of_hanging_it() -> None:
    def send(_: t.Sequence[int]) -> Outcome:
        raise ZeroDivisionError

    with pytest.raises(DeliveryError, match="ZeroDivisionError"):
        Run(send).load([1])
