from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.ledger import Checkpoint, Ledger


def state(name: str) -> Checkpoint:
    return Checkpoint(name.encode(), 0)


def test_a_state_waits_for_everything_before_it() -> None:
    ledger = Ledger()
    first, second = ledger.issue(), ledger.issue()
    ledger.add_state(state("after both"))
    ledger.settle(second)
    assert ledger.take_state() is None
    ledger.settle(first)
    assert ledger.take_state() == state("after both")


def test_a_state_does_not_wait_for_what_comes_after_it() -> None:
    ledger = Ledger()
    ledger.settle(ledger.issue())
    ledger.add_state(state("early"))
    ledger.issue()
    assert ledger.take_state() == state("early")


def test_a_state_is_given_once() -> None:
    ledger = Ledger()
    ledger.add_state(state("leading"))
    assert ledger.take_state() == state("leading")
    assert ledger.take_state() is None


def test_of_several_states_with_nothing_between_the_last_counts() -> None:
    ledger = Ledger()
    ledger.add_state(state("1"))
    ledger.add_state(state("2"))
    assert ledger.take_state() == state("2")


@given(st.lists(st.booleans(), max_size=30), st.randoms(use_true_random=False))
def test_no_state_is_ever_ahead_and_the_last_one_always_comes(steps: list[bool], random: st.DataObject) -> None:
    """True is a batch, False a state; settlements come in any order."""
    ledger = Ledger()
    tickets: list[int] = []
    behind: dict[str, int] = {}
    for number, is_batch in enumerate(steps):
        if is_batch:
            tickets.append(ledger.issue())
        else:
            behind[str(number)] = len(tickets)
            ledger.add_state(state(str(number)))
    order = tickets.copy()
    random.shuffle(order)  # type: ignore[attr-defined]  # a random.Random, which hypothesis types as data
    settled: set[int] = set()
    taken = []
    for ticket in [None, *order]:
        if ticket is not None:
            ledger.settle(ticket)
            settled.add(ticket)
        found = ledger.take_state()
        if found is not None:
            assert settled.issuperset(tickets[: behind[found.state.decode()]])
            taken.append(found.state.decode())
    assert taken[-1:] == list(behind)[-1:]
