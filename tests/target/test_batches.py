from __future__ import annotations

import itertools
import json
import time
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
        batcher.add(one)
    assert batcher.batches == [(0, events[:2]), (1, events[2:4])]
    assert len(batcher) == 1
    batcher.flush()
    batcher.flush()
    assert batcher.batches[2:] == [(2, events[4:])]


def test_no_batch_has_more_bytes_than_allowed() -> None:
    batcher = Sent(max_bytes=100)
    events = [event(f'{{"n":"{"x" * number}"}}') for number in range(40)]
    for one in events:
        batcher.add(one)
    batcher.flush()
    assert [one for _, batch in batcher.batches for one in batch] == events
    assert [ticket for ticket, _ in batcher.batches] == list(range(len(batcher.batches)))
    assert all(len(unquote_to_bytes(raw_body(batch))) <= 100 for _, batch in batcher.batches)


def test_an_event_larger_than_a_batch_travels_alone() -> None:
    batcher = Sent(max_bytes=50)
    small, large = event("{}"), event(f'{{"a":"{"x" * 100}"}}')
    for one in (small, large, small):
        batcher.add(one)
    batcher.flush()
    assert [batch for _, batch in batcher.batches] == [[small], [large], [small]]


def test_a_batch_is_due_when_its_first_event_is_old() -> None:
    batcher = Sent(max_age=5)
    now = time.monotonic()
    assert not batcher.is_due(now + 100)
    batcher.add(event("{}"))
    assert not batcher.is_due(now + 4)
    assert batcher.is_due(time.monotonic() + 5)


def test_an_event_is_in_a_batch_also_when_sending_the_one_before_it_fails() -> None:
    def fail(ticket: int, events: list[Event]) -> None:
        raise InterruptedError(ticket, events)

    batcher = Batcher(max_events=300, max_bytes=25, max_age=5, issue=lambda: 0, send=fail)
    batcher.add(event('{"n":1}'))
    with pytest.raises(InterruptedError):
        batcher.add(event('{"n":2}'))
    assert len(batcher) == 1
