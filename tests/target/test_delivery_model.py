"""Delivery against a server that does anything: no state ahead of an event, and every event in one count."""

from __future__ import annotations

import random
import threading
import typing as t
from collections import Counter
from functools import partial
from itertools import accumulate

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from target_cooladata.client import Kind, Outcome
from target_cooladata.delivery import Delivery
from target_cooladata.exceptions import DeliveryError
from target_cooladata.ledger import Checkpoint
from target_cooladata.refusals import MAX_REFUSALS_IN_A_ROW
from target_cooladata.sending import Policy, Settlement

_PASSING = (Kind.RETRY, Kind.IN_DOUBT, Kind.UNREADABLE)


class Server:
    """Refuses what holds a poisonous event; else answers by chance, the same to the same calls.

    Attributes:
        stored: how often it has stored each event.
        poison: events that it refuses.
        fatal: an event after which no call can succeed.
    """

    def __init__(self, seed: int, poison: t.Iterable[int], fatal: int | None, trouble: float) -> None:
        self.stored: Counter[int] = Counter()
        self._seed = seed
        self.poison = frozenset(poison)
        self._trouble = trouble
        self.fatal = fatal
        self._tries: Counter[tuple[int, ...]] = Counter()
        self._lock = threading.Lock()

    def post(self, items: t.Sequence[int]) -> Outcome:
        with self._lock:
            self._tries[tuple(items)] += 1
            chance = random.Random(f"{self._seed} {items} {self._tries[tuple(items)]}")
            if self.fatal in items:
                return Outcome(Kind.FATAL, "no such key", 403)
            if chance.random() < self._trouble and self.stored:
                kind = chance.choice(_PASSING)
                if kind is not Kind.RETRY and chance.random() < 0.5 and not self.poison.intersection(items):
                    self.stored.update(items)  # and the answer is lost
                return Outcome(kind, "trouble", 503 if kind is Kind.RETRY else None)
            if self.poison.intersection(items):
                return Outcome(Kind.SPLIT, "refused", 400)
            self.stored.update(items)
            return Outcome(Kind.DELIVERED, "delivered", 200)


class Model:
    """A delivery, and what is true of it at every moment."""

    def __init__(self, server: Server, concurrency: int) -> None:
        self.server = server
        self.settled: list[Settlement[int]] = []
        self.acknowledged: Counter[int] = Counter()
        self.reached = 0
        self._lock = threading.Lock()
        policy = Policy(
            max_concurrency=concurrency, max_requests_per_second=None, max_retry_seconds=60, unreadable_200="retry"
        )
        self.delivery: Delivery[int] = Delivery(
            lambda items: partial(server.post, items),
            policy,
            on_delivered=self._acknowledge,
            on_settled=self.settled.append,
            idle=self.take_state,
        )

    def _acknowledge(self, items: t.Sequence[int]) -> None:
        with self._lock:
            self.acknowledged.update(items)

    def take_state(self) -> None:
        state = self.delivery.take_state()
        if state is not None:
            assert state.position >= self.reached
            self.reached = state.position
            done = self.refused | set(self.delivered)
            assert done.issuperset(range(1, self.reached + 1))

    @property
    def delivered(self) -> list[int]:
        return [item for settlement in self.settled for item in settlement.delivered]

    @property
    def refused(self) -> set[int]:
        return {item for settlement in self.settled for item, _ in settlement.refused}

    def load(self, batches: t.Iterable[tuple[int, bool]]) -> None:
        """Load batches of so many events each, with a state behind some of them."""
        last = 0
        for size, is_followed in batches:
            first, last = last + 1, last + size
            self.delivery.submit(self.delivery.issue(), range(first, last + 1))
            if is_followed:
                self.delivery.add_state(Checkpoint(b"{}", last))
            self.delivery.settle()
            self.take_state()
        self.delivery.drain()
        self.take_state()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("target_cooladata.sending.BACKOFF_SECONDS", 0.0)


_batches = st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=25)
_poison = st.sets(st.integers(1, 60), max_size=15) | st.builds(range, st.integers(1, 30), st.integers(31, 90))
_fatal = st.none() | st.integers(1, 40)
_trouble = st.sampled_from([0.0, 0.2, 0.5])  # of the calls


_servers = st.builds(Server, seed=st.integers(), poison=_poison, fatal=_fatal, trouble=_trouble)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_servers, _batches, st.integers(1, 4))
def test_no_state_is_ahead_and_every_event_is_in_one_count(
    server: Server, batches: list[tuple[int, bool]], concurrency: int
) -> None:
    model = Model(server, concurrency)
    total = sum(size for size, _ in batches)
    bad = set(server.poison.intersection(range(1, total + 1)))
    try:
        model.load(batches)
    except DeliveryError as failure:
        model.delivery.abort(30)
        model.take_state()
        if "in a row" in str(failure):
            assert len(model.refused) <= len(bad) - MAX_REFUSALS_IN_A_ROW
        else:
            assert server.fatal in range(1, total + 1)
        assert model.refused <= bad
    else:
        assert server.fatal not in range(1, total + 1)
        assert (model.refused, len(model.delivered)) == (bad, total - len(bad))
        ends = accumulate(size for size, _ in batches)
        assert model.reached == max(
            [0, *(end for end, (_, is_followed) in zip(ends, batches, strict=True) if is_followed)]
        )
    assert model.delivery.in_flight == 0
    handed_over = [item for settlement in model.settled for item in settlement.items]
    undelivered = sum(settlement.undelivered for settlement in model.settled)
    assert len(handed_over) == len(set(handed_over))
    assert len(handed_over) == len(model.delivered) + len(model.refused) + undelivered
    assert Counter(model.delivered) == model.acknowledged
    assert set(model.acknowledged) <= set(server.stored)
    repeats = sum(server.stored.values()) - len(server.stored)
    assert repeats <= sum(settlement.in_doubt for settlement in model.settled)
