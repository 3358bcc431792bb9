from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.entries import ENTRY, Found, call_entry, digest, fingerprint, read, spans

S0, S1 = b'{"n": 0}', b'{"n": 1}'


def records(*positions: int) -> list[tuple[int, int]]:
    return [(position, fingerprint("s", b"r%d" % position)) for position in positions]


def test_a_state_is_the_same_however_it_is_spelled() -> None:
    assert digest(b'{"a": 1, "b": {"c": [1.5, 2]}}') == digest(b'{"b":{"c":[1.5,2]},"a":1}')
    assert digest(b'{"a": 1}') != digest(b'{"a": 2}')


@given(st.sets(st.integers(1, 60), max_size=40), st.integers(0, 60), st.integers(0, 2000))
def test_a_file_cut_off_anywhere_tells_only_what_is_true(noted: set[int], position: int, cut: int) -> None:
    data = ENTRY.pack(b"S", 0, 16) + digest(S0)
    for span in spans(records(*sorted(noted))):
        data += ENTRY.pack(b"A", span.first, len(span.hashes)) + span.hashes
    data += ENTRY.pack(b"S", position, 16) + digest(S1)
    whole = read(data, digest(S1))
    assert whole is not None
    assert sorted(p for span in whole.acknowledged for p in range(span.first, span.stop)) == sorted(
        number - position for number in noted if number > position
    )
    part = read(data[:cut], digest(S0)) or Found()
    assert {p for span in part.acknowledged for p in range(span.first, span.stop)} <= noted


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), max_size=20), st.integers(0, 60), st.integers(0, 400))
def test_calls_without_an_answer_are_told_by_their_place_behind_a_state(
    begun: list[tuple[int, int]], position: int, cut: int
) -> None:
    calls = [(first, first + more) for first, more in begun]
    data = ENTRY.pack(b"S", 0, 16) + digest(S0) + b"".join(call_entry(b"B", call) for call in calls)
    whole = read(data + ENTRY.pack(b"S", position, 16) + digest(S1), digest(S1))
    assert whole is not None
    assert {p for first, last in whole.unanswered for p in range(first, last + 1)} == {
        p - position for first, last in calls for p in range(first, last + 1) if p > position
    }
    part = read(data[:cut], digest(S0)) or Found()
    assert set(part.unanswered) <= set(calls)


def test_a_file_of_an_older_release_and_tags_of_a_later_one_are_read() -> None:
    (span,) = spans(records(1, 2))
    old = ENTRY.pack(b"S", 0, 16) + digest(S0) + ENTRY.pack(b"A", span.first, len(span.hashes)) + span.hashes
    for data in (old, old + ENTRY.pack(b"Z", 7, 3) + b"abc"):
        assert read(data, digest(S0)) == Found([span])


def test_an_entry_whose_bytes_are_no_hashes_is_ignored() -> None:
    (span,) = spans(records(1, 2))
    good = ENTRY.pack(b"S", 0, 16) + digest(S0) + ENTRY.pack(b"A", span.first, len(span.hashes)) + span.hashes
    assert read(good + ENTRY.pack(b"A", 3, 7) + b"garbage", digest(S0)) == Found([span])


def test_a_call_that_was_acknowledged_whole_is_not_told_as_unanswered() -> None:
    (span,) = spans(records(1, 2))
    data = ENTRY.pack(b"S", 0, 16) + digest(S0) + call_entry(b"B", (1, 2)) * 2 + call_entry(b"B", (3, 4))
    data += ENTRY.pack(b"A", span.first, len(span.hashes)) + span.hashes
    found = read(data, digest(S0))
    assert found is not None
    assert list(found.unanswered) == [(3, 4)]
