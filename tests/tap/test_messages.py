"""Messages leave in the order they were written, each on one line."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import typing as t

from singer_sdk.singerlib.encoding.simple import RecordMessage, StateMessage

from tap_coolafile.messages import MessageWriter


def written(*steps: t.Callable[[MessageWriter], None], flush: bool = True) -> list[dict[str, t.Any]]:
    raw = io.BytesIO()
    output = io.TextIOWrapper(raw)
    with contextlib.redirect_stdout(output):
        writer = MessageWriter()
        for step in steps:
            step(writer)
        if flush:
            writer.flush()
    return [json.loads(line) for line in raw.getvalue().splitlines()]


def records(*texts: bytes) -> t.Callable[[MessageWriter], None]:
    return lambda writer: writer.write_records('my "stream"', texts)


def state(value: dict[str, t.Any]) -> t.Callable[[MessageWriter], None]:
    return lambda writer: writer.write_message(StateMessage(value=value))


def test_records_are_wrapped_as_they_are() -> None:
    found = written(records(b'{"a": 1E5}', b'{"b":"\xc3\xa9"}'))
    assert [(message["type"], message["stream"], message["record"]) for message in found] == [
        ("RECORD", 'my "stream"', {"a": 1e5}),
        ("RECORD", 'my "stream"', {"b": "é"}),
    ]
    assert all(message["time_extracted"].endswith("Z") for message in found)


def test_the_moment_of_extraction_is_true_to_the_second_and_the_same_within_it() -> None:
    began, count = dt.datetime.now(dt.UTC), 1_000
    found = written(*[records(b"{}")] * count)
    moments = [dt.datetime.fromisoformat(message["time_extracted"]) for message in found]
    ended = dt.datetime.now(dt.UTC)
    assert began <= moments[0] <= moments[-1] <= ended
    assert len(set(moments)) <= (ended - began).total_seconds() + 1
    assert len(moments) == count


def test_a_state_never_overtakes_a_record_and_leaves_at_once() -> None:
    one = RecordMessage(stream="s", record={"n": 2})
    found = written(records(b'{"n":1}'), lambda writer: writer.write_message(one), state({"s": 1}), flush=False)
    assert [message["type"] for message in found] == ["RECORD", "RECORD", "STATE"]


def test_a_state_that_says_nothing_new_is_not_repeated() -> None:
    found = written(state({"s": 1}), state({"s": 1}), state({"s": 2}), state({"s": 1}))
    assert [message["value"]["s"] for message in found] == [1, 2, 1]


def test_no_records_write_nothing() -> None:
    assert written(records()) == []
