from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.entries import Span, spans
from target_cooladata.known import Known

Records = list[tuple[int, int]]  # position and hash


def spans_of(runs: list[Records]) -> list[Span]:
    return [span for run in runs for span in spans(run)]


_records = st.dictionaries(st.integers(1, 30), st.integers(0, 3), min_size=1).map(lambda found: sorted(found.items()))


@given(st.lists(_records, max_size=6))
def test_exactly_what_was_noted_is_known_however_spans_meet_or_overlap(runs: list[Records]) -> None:
    noted = {record for run in runs for record in run}
    first = Known(spans_of(runs))
    for known in (first, Known(first.spans())):
        assert {(place, value) for place in range(32) for value in range(4) if known.has(place, value)} == noted
        assert {place for place in range(32) if place in known} == {place for place, _ in noted} == set(known_at(known))
        assert len(known) == len({place for place, _ in noted})


def known_at(known: Known) -> list[int]:
    return [place for span in known.spans() for place in range(span.first, span.stop)]


def test_spans_that_follow_each_other_become_one() -> None:
    runs = [[(number, 7)] for number in (3, 1, 2, 5)]
    assert [(span.first, span.stop) for span in Known(spans_of(runs)).spans()] == [(1, 4), (5, 6)]
