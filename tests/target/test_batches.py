from __future__ import annotations

import json
from urllib.parse import parse_qs, quote, unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.batches import SAFE, Batcher, Event, data_body, percent_encode, raw_body


def event(body: str) -> Event:
    return Event(body.encode(), "events", b"{}", 1)


def batcher(**limits: int) -> Batcher:
    return Batcher(**{"max_events": 300, "max_bytes": 1_000_000, "max_age": 5, **limits})


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


def test_a_batch_is_full_at_its_count() -> None:
    batch = batcher(max_events=2)
    assert not batch.add(event("{}"), now=0)
    assert batch.add(event("{}"), now=0)


def test_a_batch_is_full_at_its_bytes_and_never_beyond() -> None:
    batch = batcher(max_bytes=50)
    big = event('{"a":"%s"}' % ("x" * 20))
    batch.add(big, now=0)
    assert not batch.fits(big)
    assert len(raw_body([big])) <= len(percent_encode(b"x" * 50)) * 3


def test_an_event_larger_than_a_batch_travels_alone() -> None:
    batch = batcher(max_bytes=50)
    assert batch.fits(event('{"a":"%s"}' % ("x" * 100)))
    assert batch.add(event('{"a":"%s"}' % ("x" * 100)), now=0)


def test_a_batch_is_due_when_its_first_event_is_old() -> None:
    batch = batcher(max_age=5)
    assert not batch.is_due(100)
    batch.add(event("{}"), now=100)
    batch.add(event("{}"), now=104)
    assert not batch.is_due(104.9)
    assert batch.is_due(105)


def test_taking_a_batch_keeps_the_order_and_starts_anew() -> None:
    batch = batcher()
    events = [event(f'{{"n":{number}}}') for number in range(5)]
    for one in events:
        batch.add(one, now=0)
    assert batch.take() == events
    assert len(batch) == 0
