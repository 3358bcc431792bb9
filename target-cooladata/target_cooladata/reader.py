"""Bytes on stdin to Singer messages, the record left raw.

In: a file of Singer messages, one a line. Out: calls on a `Handler`, in the order of the lines, and `tick` whenever a
read is done or the input has been silent for a moment, so that whoever waits for time is served also while nothing
comes. Refused, with the number of the line and never its content: a line that is not JSON, not an object, or not a
Singer message.

Most lines are RECORDs of one stream that differ in nothing but the record, so what stands around the record is kept
from one line to the next: a line that begins and ends alike is not decoded where the handler knows, at a glance, that
what stands between is one whole record.
"""

from __future__ import annotations

import json
import sys
import typing as t
from collections import Counter

import msgspec
from singer_sdk.singerlib.encoding import GenericSingerReader
from typing_extensions import override

from target_cooladata.chunks import READ_BYTES, chunks_of_lines
from target_cooladata.exceptions import InputError

_REQUIRED = {
    "RECORD": "a RECORD needs `stream` and `record`",
    "SCHEMA": "a SCHEMA needs `stream` and `schema`",
    "STATE": "a STATE needs `value`",
    "BATCH": "a BATCH needs `stream`, `encoding` and `manifest`",
}


class Message(msgspec.Struct):
    """A Singer message, what is inside its parts not yet read."""

    type: str
    stream: str = ""
    record: msgspec.Raw = msgspec.Raw()
    schema: msgspec.Raw = msgspec.Raw()
    key_properties: list[str] | None = None
    value: msgspec.Raw = msgspec.Raw()
    time_extracted: str | None = None
    encoding: dict[str, t.Any] | None = None
    manifest: list[str] | None = None


_decode = msgspec.json.Decoder(Message).decode


Taker = t.Callable[[t.Sequence[bytes | None], int], int]
"""Takes records from an index on, up to the first that is None or not known at a glance to be one JSON object and an
event; returns how many it took."""


class Handler(t.Protocol):
    """Whoever takes the messages; raises to end the run."""

    def start(self) -> None:
        """Be ready for the first message."""

    def abandon(self, cause: BaseException) -> None:
        """Stop in order, after anything was raised."""

    def on_schema(self, message: Message) -> None:
        """Take a SCHEMA."""

    def on_record(self, message: Message) -> None:
        """Take a RECORD."""

    def taker(self, stream: str) -> Taker | None:
        """Give what takes records of a stream at a glance, if anything may."""

    def on_state(self, message: Message) -> None:
        """Take a STATE."""

    def on_batch(self, message: Message) -> None:
        """Take a BATCH."""

    def on_unreadable_record(self, stream: str, line: bytes, detail: str) -> None:
        """Take a RECORD line that other parsers pass but JSON forbids (NaN, lone surrogates)."""

    def tick(self) -> None:
        """Do what is due by now."""


class _Frame(msgspec.Struct, frozen=True):
    """What stands around the records of a stream, and who takes what stands between."""

    head: bytes
    tail: bytes
    take: Taker

    @classmethod
    def around(cls, record: bytes, line: bytes, take: Taker) -> _Frame | None:
        """Learn from the line of a RECORD."""
        start = line.find(record)
        head, tail = line[:start], line[start + len(record) :]
        # The same bytes may also stand elsewhere in the line: it is the frame if another record fits in.
        return cls(head, tail, take) if bytes(_decode(head + b"0" + tail).record) == b"0" else None

    def split(self, text: bytes) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Find the lines with this frame.

        Returns:
            The lines before the first of them; what stands between head and tail, from there to the last of them, where
            other lines between two of them are in one piece with these; and the lines after it.
        """
        start = 0 if text.startswith(self.head) else text.find(b"\n" + self.head) + 1
        stop = len(text) if text.endswith(self.tail) else text.rfind(self.tail + b"\n") + len(self.tail)
        if stop - start < len(self.head) + len(self.tail) or (not start and not text.startswith(self.head)):
            return text.split(b"\n"), [], []
        pieces = text[start + len(self.head) : stop - len(self.tail)].split(self.tail + b"\n" + self.head)
        before, after = text[: max(start - 1, 0)], text[stop + 1 :]
        return before.split(b"\n") if start else [], pieces, after.split(b"\n") if stop < len(text) else []


class MessageReader(GenericSingerReader[bytes]):
    """Reads messages in large chunks and hands them to a handler, around the SDK's per-line callbacks.

    Args:
        handler: who takes the messages.
        read_bytes: how much is read at once.
    """

    def __init__(self, handler: Handler, read_bytes: int = READ_BYTES) -> None:
        super().__init__()
        self._handler = handler
        self._read_bytes = read_bytes
        self._line_number = 0
        self._counter: Counter[str] = Counter()
        self._frame: _Frame | None = None
        self._latest: tuple[bytes, Message] | None = None

    @property
    @override
    def default_input(self) -> t.IO[bytes]:
        if sys.stdin is None:
            msg = "there is no standard input to read messages from"
            raise InputError(msg)
        return sys.stdin.buffer

    @override
    def deserialize_json(self, line: bytes) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", msgspec.json.decode(line))

    @override
    def process_lines(
        self,
        file_input: t.IO[t.Any] | None,
        callbacks: t.Mapping[str, t.Callable[[dict[str, t.Any]], None]],
    ) -> Counter[str]:
        """Read to the end of the input.

        Args:
            file_input: text or bytes; standard input if None.
            callbacks: the SDK's own path, which this one goes around.

        Returns:
            How many messages of each type there were.

        Raises:
            InputError: at the first line that is no Singer message.
        """
        handler = self._handler
        try:
            handler.start()
            for text in chunks_of_lines(file_input or self.default_input, self._read_bytes):
                if text is not None:
                    self._take(text)
                handler.tick()
        except BaseException as cause:
            handler.abandon(cause)
            raise
        return self._counter

    def _take(self, text: bytes) -> None:
        """Hand over some lines: at a glance where that will do, else one by one."""
        frame = self._frame
        if frame is None:
            self._read(text.split(b"\n"))
        else:
            before, pieces, after = frame.split(text)
            self._read(before)
            self._take_pieces(frame, pieces)
            self._read(after)
        if self._latest is not None:
            line, message = self._latest
            take = self._handler.taker(message.stream)
            self._frame = _Frame.around(bytes(message.record), line, take) if take is not None else None
            self._latest = None

    def _take_pieces(self, frame: _Frame, pieces: list[bytes]) -> None:
        # JSON may hold a line feed between two tokens, but a record stands on one line.
        is_clean = b"\n" not in b"".join(pieces)
        records = pieces if is_clean else [None if b"\n" in piece else piece for piece in pieces]
        index = 0
        while index < len(pieces):
            taken = frame.take(records, index)
            self._counter["RECORD"] += taken
            self._line_number += taken
            index += taken
            if index < len(pieces):
                self._read((frame.head + pieces[index] + frame.tail).split(b"\n"))
                index += 1

    def _read(self, lines: t.Iterable[bytes]) -> None:
        for line in lines:
            self._line_number += 1
            try:
                message = _decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self._refuse(line, error)
                continue
            if message.type == "RECORD" and message.stream and message.record:
                self._counter["RECORD"] += 1
                self._handler.on_record(message)
                self._latest = line, message
            else:
                self._dispatch(message)

    def _dispatch(self, message: Message) -> None:
        kind = message.type
        self._counter[kind] += 1
        if kind == "STATE" and message.value:
            self._handler.on_state(message)
        elif kind == "SCHEMA" and message.stream and message.schema:
            self._handler.on_schema(message)
        elif kind == "BATCH" and message.stream and message.encoding and message.manifest is not None:
            self._handler.on_batch(message)
        elif kind != "ACTIVATE_VERSION":  # which has no meaning where nothing can be deleted
            self._fail(_REQUIRED.get(kind, "its type is none of SCHEMA, RECORD, STATE, BATCH, ACTIVATE_VERSION"))

    def _refuse(self, line: bytes, error: Exception) -> None:
        """Python's own parser takes NaN and lone surrogates, and so do many taps: then it is the record that is bad."""
        if not line.strip():
            return
        try:
            message = json.loads(line.decode())
        except RecursionError:
            self._fail("it is nested too deeply")
        except ValueError:
            what = (
                "it is not JSON" if line.isascii() and b"\0" not in line else "it is not JSON in UTF-8, without a BOM"
            )
            self._fail(what)
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            self._fail("it is not an object with a `type`")
        is_record = message["type"] == "RECORD" and isinstance(message.get("stream"), str)
        if not is_record or isinstance(error, msgspec.ValidationError):  # which is not about what is in the record
            self._fail(f"a part of the {message['type'][:20]} is missing or has the wrong type")
        self._counter["RECORD"] += 1
        self._handler.on_unreadable_record(message["stream"], line, str(error))

    def _fail(self, what: str) -> t.NoReturn:
        msg = (
            f"line {self._line_number} of the input is no Singer message: {what}; "
            "what stands before it is loaded, and the next run starts from the last state"
        )
        raise InputError(msg)
