from __future__ import annotations

import functools
import io
import os
import threading
import typing as t

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from target_cooladata.chunks import chunks_of_lines
from target_cooladata.exceptions import InputError
from target_cooladata.reader import Message, MessageReader, Taker
from tests.singer import record, schema, state

_flat = msgspec.json.Decoder(dict[str, str | int]).decode


class Heard:
    """A handler that remembers what it was given, and knows flat objects of texts and integers at a glance."""

    def __init__(self, *, glances: bool = True) -> None:
        self.glances = glances
        self.taken = 0
        self.messages: list[t.Any] = []
        self.ticks = 0
        self.abandoned = False

    def start(self) -> None: ...

    def abandon(self, cause: BaseException) -> None:
        assert isinstance(cause, InputError)
        self.abandoned = True

    def on_schema(self, message: Message) -> None:
        self.messages.append(("schema", message.stream, message.key_properties))

    def on_record(self, message: Message) -> None:
        self.messages.append(("record", message.stream, bytes(message.record)))

    def taker(self, stream: str) -> Taker | None:
        return functools.partial(self._take, stream) if self.glances else None

    def _take(self, stream: str, records: t.Sequence[bytes | None], begin: int) -> int:
        for index in range(begin, len(records)):
            found = records[index]
            try:
                _flat(found or b"")
            except msgspec.MsgspecError:
                return index - begin
            self.messages.append(("record", stream, found))
            self.taken += 1
        return len(records) - begin

    def on_state(self, message: Message) -> None:
        self.messages.append(("state", bytes(message.value)))

    def on_batch(self, message: Message) -> None:
        self.messages.append(("batch", message.stream, message.manifest))

    def on_unreadable_record(self, stream: str, line: bytes, detail: str) -> None:
        assert line
        assert detail
        self.messages.append(("unreadable", stream))

    def tick(self) -> None:
        self.ticks += 1


def read(*lines: str | bytes) -> Heard:
    heard = Heard()
    data = b"".join(line.encode() if isinstance(line, str) else line for line in lines)
    MessageReader(heard).process_lines(io.BytesIO(data), {})
    return heard


def test_messages_are_handed_over_in_order_and_records_stay_raw() -> None:
    raw = b'{"type": "RECORD", "stream": "s", "record": {"n": 1E5, "m": -0.0, "s": "\\u00e9"}}\n'
    heard = read(schema("s", ["n"]), raw, state(a=1.5))
    assert heard.messages == [
        ("schema", "s", ["n"]),
        ("record", "s", b'{"n": 1E5, "m": -0.0, "s": "\\u00e9"}'),
        ("state", b'{"a": 1.5}'),
    ]


def test_messages_without_meaning_here_and_blank_lines_are_passed_over() -> None:
    assert read('{"type": "ACTIVATE_VERSION", "stream": "s", "version": 1}\n', "\n", "  \r\n").messages == []


# What may stand around and between, well formed or not, so that pieces of one line look like the frame of another.
_HEADS = (
    '{"type":"RECORD","stream":"s","record":',
    '{"type": "RECORD", "stream": "s", "record": ',
    '{"record":',
    '{"type":"RECORD","stream":"other","record":',
    '{"type":"STATE","value":',
    '{"type":"RECORD","stream":"s","x":{"a":1},"record":',
    '{"x":{"record":{"a":1}},"type":"RECORD","stream":"s","record":',
    '{"x":{"record":{"a":2,"b":"x"}},"type":"RECORD","stream":"s","record":',
    '{"type":"RECORD","stream":"s","record":{"a":0},"record":',
)
_RECORDS = (
    '{"a":1}',
    '{"a":2,"b":"x"}',
    '{"a":"}"}',
    '{"a":"\\""}',
    '{"a":{"a":1}}',
    '{"a":1},"x":{"a":1}',
    '{"a":1},"record":{"a":2}',
    '{"a":1',
    '{"a":NaN}',
    '{"a":1,\n"b":2}',
    "0",
    "{}",
    '{"a":1},"time_extracted":"t"},{"a":1}',
)
_TAILS = (
    "}",
    ',"time_extracted":"t"}',
    ',"time_extracted": "t"} ',
    ',"record":{"a":1}}',
    ',"type":"RECORD","stream":"s"}',
    ',"stream":"third"}',
    ',"version":1}',
    ',"x":{"a":1}}',
    "",
    "}}",
    ',"time_extracted":1}',
)
# Few of them in one input, or hardly a line would begin and end like the one before.
_few = st.tuples(*(st.lists(st.sampled_from(some), min_size=1, max_size=2) for some in (_HEADS, _TAILS)))
_inputs = _few.flatmap(
    lambda few: st.lists(
        st.tuples(st.sampled_from(few[0]), st.sampled_from(_RECORDS), st.sampled_from(few[1])).map("".join), max_size=12
    )
)


@settings(max_examples=400)
@example([f'{head}{{"a":1}}}}' for head in _HEADS[6:8]], 1)  # the record stands twice in the first line
@given(_inputs, st.integers(1, 300))
def test_what_is_taken_at_a_glance_is_what_decoding_every_line_gives(lines: list[str], read_bytes: int) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()

    def ending(heard: Heard) -> str | None:
        try:
            MessageReader(heard, read_bytes).process_lines(io.BytesIO(data), {})
        except InputError as refusal:
            return str(refusal)
        return None

    quick, slow = Heard(), Heard(glances=False)
    assert ending(quick) == ending(slow)
    assert [_stripped(one) for one in quick.messages] == [_stripped(one) for one in slow.messages]


def _stripped(message: tuple[t.Any, ...]) -> tuple[t.Any, ...]:
    return tuple(part.strip() if isinstance(part, bytes) else part for part in message)


def test_lines_that_differ_in_the_record_alone_are_taken_at_a_glance() -> None:
    lines = [record("s", time_extracted="t", a=number) for number in range(1_000)]
    heard = Heard()
    MessageReader(heard, 1_000).process_lines(
        io.BytesIO("".join([*lines[:500], state(n=1), *lines[500:]]).encode()), {}
    )
    assert heard.taken > 950
    assert heard.messages[499:502] == [
        ("record", "s", b'{"a": 499}'),
        ("state", b'{"n": 1}'),
        ("record", "s", b'{"a": 500}'),
    ]


def test_line_ends_of_windows_and_a_last_line_without_one_are_fine() -> None:
    assert len(read(record(a=1).replace("\n", "\r\n"), record(a=2).strip()).messages) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hello\n", "not JSON"),
        (b"\xff\xfe\n", "not JSON in UTF-8"),
        ("\ufeff" + record("s"), "not JSON in UTF-8, without a BOM"),
        (record("s").encode("utf-16-le"), "not JSON in UTF-8"),
        ('{"type": "RECORD", "stream": "s", "record": {}, "time_extracted": 1}\n', "a part of the RECORD"),
        ("[1]\n", "not an object with a `type`"),
        ('{"type": "RECORD"}\n', "a RECORD needs `stream` and `record`"),
        ('{"type": "STATE"}\n', "a STATE needs `value`"),
        ('{"type": "SCHEMA", "stream": "s"}\n', "a SCHEMA needs `stream` and `schema`"),
        ('{"type": "SCHEMA", "stream": 3, "schema": {}}\n', "a part of the SCHEMA"),
        ('{"type": "GREETING"}\n', "its type is none of"),
        ('{"type": "BATCH", "stream": "s", "manifest": []}\n', "a BATCH needs"),
        ("[" * 100_000 + "\n", "nested too deeply"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_line_that_is_no_message_is_refused_by_number_and_never_quoted(line: str | bytes, words: str) -> None:
    with pytest.raises(InputError, match="line 3 ") as refusal:
        read(schema("s"), record("s"), line)
    assert words in str(refusal.value)
    assert "hello" not in str(refusal.value)
    assert "GREETING" not in str(refusal.value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"\\ud800"'])
def test_a_record_with_what_json_forbids_is_the_record_that_is_bad(value: str) -> None:
    heard = read(f'{{"type": "RECORD", "stream": "s", "record": {{"a": {value}}}}}\n', record("s", a=1))
    assert heard.messages == [("unreadable", "s"), ("record", "s", b'{"a": 1}')]


def test_after_a_refusal_the_handler_may_end_in_order() -> None:
    heard = Heard()
    with pytest.raises(InputError):
        MessageReader(heard).process_lines(io.BytesIO(b"hello\n"), {})
    assert heard.abandoned


def test_time_passes_also_while_the_input_is_silent() -> None:
    source, sink = os.pipe()
    heard = Heard()
    ticked = threading.Event()
    heard.tick = lambda: ticked.set() if heard.messages else None  # type: ignore[method-assign]  # listens, changes nothing

    def talk() -> None:
        with os.fdopen(sink, "wb", buffering=0) as pipe:
            pipe.write(record(a=1).encode())
            ticked.wait(30)
            ticked.clear()
            ticked.wait(30)  # a second time, with nothing written between

    speaker = threading.Thread(target=talk)
    speaker.start()
    with os.fdopen(source, "rb") as pipe:
        MessageReader(heard).process_lines(pipe, {})
    speaker.join()
    assert len(heard.messages) == 1


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=20), st.data())
def test_however_the_bytes_arrive_the_lines_are_the_same(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    source, sink = os.pipe()

    def talk() -> None:
        with os.fdopen(sink, "wb", buffering=0) as pipe:
            for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
                pipe.write(whole[start:stop])

    speaker = threading.Thread(target=talk)
    speaker.start()
    with os.fdopen(source, "rb") as pipe:
        read_lines = [line for chunk in chunks_of_lines(pipe) if chunk is not None for line in chunk.split(b"\n")]
    speaker.join()
    assert read_lines == lines
