from __future__ import annotations

import itertools
import json
import time
import typing as t
from urllib.parse import parse_qs, quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.batches import SAFE, Batcher, Event, data_body, percent_encode, raw_body


def event(body: str) -> Event:
    return Event(body.encode(), "events", b"{}", 1)


class Sent(Batcher):
    """A batcher that remembers what it sent."""

    def __init__(self, **limits: int) -> None:
        self.batches: list[tuple[int, list[Event]]] = []
        tickets = itertools.count()
        super().__init__(
            **{"max_events": 300, "max_bytes": 1_000_000, "max_age": 5, **limits},
            issue=lambda: next(tickets),
            send=lambda ticket, events: self.batches.append((ticket, events)),
        )


@given(st.binary())
def test_percent_encoding_is_that_of_the_standard_library(data: bytes) -> None:
    assert percent_encode(data).decode() == quote(data, safe=SAFE)


@given(st.text())
def test_percent_encoding_is_undone_by_any_decoder(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    assert unquote_to_bytes(percent_encode(data)) == data
    assert b"+" not in percent_encode(data)


def test_a_raw_body_is_the_encoded_json_without_a_name() -> None:
    body = raw_body([event('{"a":"x y+z"}'), event('{"b":"é"}')])
    assert b"=" not in body
    assert json.loads(unquote_to_bytes(body)) == {"events": [{"a": "x y+z"}, {"b": "é"}]}


def test_a_data_body_is_a_form_with_one_field() -> None:
    fields = parse_qs(data_body([event('{"a":"x y+z&=%"}')]).decode(), strict_parsing=True)
    assert json.loads(fields["data"][0]) == {"events": [{"a": "x y+z&=%"}]}
    assert list(fields) == ["data"]


def test_a_batch_leaves_when_it_is_full() -> None:
    batcher = Sent(max_events=2)
    events = [event(f'{{"n":{number}}}') for number in range(5)]
    for one in events:
        batcher.extend([one])
    assert batcher.batches == [(0, events[:2]), (1, events[2:4])]
    assert len(batcher) == 1
    batcher.flush()
    batcher.flush()
    assert batcher.batches[2:] == [(2, events[4:])]


@given(st.lists(st.integers(0, 60), max_size=60), st.integers(1, 60), st.integers(1, 9))
def test_no_batch_has_more_bytes_or_events_than_allowed_however_they_come(
    lengths: list[int], at_once: int, max_events: int
) -> None:
    batcher = Sent(max_bytes=100, max_events=max_events)
    events = [event(f'{{"n":"{"x" * length}"}}') for length in lengths]
    for begin in range(0, len(events), at_once):
        batcher.extend(events[begin : begin + at_once])
    batcher.flush()
    batches = [batch for _, batch in batcher.batches]
    assert [one for batch in batches for one in batch] == events
    assert [ticket for ticket, _ in batcher.batches] == list(range(len(batches)))
    for batch, following in itertools.zip_longest(batches, batches[1:]):
        assert size(batch) <= 100
        assert len(batch) <= max_events
        assert not following or len(batch) == max_events or size([*batch, following[0]]) >= 100


def size(batch: t.Sequence[Event]) -> int:
    return len(unquote_to_bytes(raw_body(batch)))


def test_an_event_larger_than_a_batch_travels_alone() -> None:
    batcher = Sent(max_bytes=50)
    small, large = event("{}"), event(f'{{"a":"{"x" * 100}"}}')
    batcher.extend([small, large, small])
    batcher.flush()
    assert [batch for _, batch in batcher.batches] == [[small], [large], [small]]


def test_a_batch_is_due_when_its_first_event_is_old() -> None:
    batcher = Sent(max_age=5)
    now = time.monotonic()
    assert not batcher.is_due(now + 100)
    batcher.extend([event("{}")])
    assert not batcher.is_due(now + 4)
    assert batcher.is_due(time.monotonic() + 5)


def test_an_event_is_in_a_batch_also_when_sending_the_one_before_it_fails() -> None:
    def fail(ticket: int, events: list[Event]) -> None:
        raise InterruptedError(ticket, events)

    batcher = Batcher(max_events=2, max_bytes=25, max_age=5, issue=lambda: 0, send=fail)
    batcher.extend([event('{"n":1}')])
    with pytest.raises(InterruptedError):
        batcher.extend([event('{"n":2}'), event('{"n":3}'), event('{"n":4}')])
    assert len(batcher) == 3


def test_a_batch_holds_little_of_what_is_not_sent() -> None:
    batcher = Sent(max_bytes=1_000)
    batcher.extend([Event(b"{}", "events", b"x" * 3_000, position) for position in range(10)])
    batcher.flush()
    assert [len(batch) for _, batch in batcher.batches] == [1] * 10
    batcher.extend([Event(b"{}", "events", b"x" * 300, position) for position in range(30)])
    batcher.flush()
    assert [len(batch) for _, batch in batcher.batches[10:]] == [13, 13, 4]
