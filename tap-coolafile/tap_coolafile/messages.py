"""Singer messages on standard output: in go records as bytes and the SDK's message objects, out go lines in that order.

One buffer carries both, so that a STATE can never overtake the records before it; it is handed to standard output in
chunks, and flushed after every message that is not a RECORD.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import sys
import time
import typing as t

import msgspec
from singer_sdk.singerlib.encoding.base import GenericSingerWriter
from singer_sdk.singerlib.encoding.simple import Message, RecordMessage, StateMessage
from singer_sdk.singerlib.json import serialize_json

_CHUNK = 1 << 18
_PIPE_BYTES = 1 << 20  # what Linux allows everyone; with the usual 64 KiB, the tap waits for each read of the other end
_SAME_MOMENT_SECONDS = 1.0


class MessageWriter(GenericSingerWriter[bytes, Message]):
    """Writes to whatever `sys.stdout` is at the moment of the call, as tests replace it."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer: list[bytes] = []
        self._size = 0
        self._state = b""
        self._moment, self._told_at = b"", float("-inf")
        self._is_wide = False

    def serialize_message(self, message: Message) -> bytes:
        """Serialize one of the SDK's messages as a line of JSON."""
        return serialize_json(message.to_dict()).encode() + b"\n"

    def write_message(self, message: Message) -> None:
        """Write one of the SDK's messages; all but RECORD at once, and a STATE only if it says something new."""
        line = self.serialize_message(message)
        if isinstance(message, StateMessage):
            if line == self._state:
                self.flush()
                return
            self._state = line
        self._append(line)
        if not isinstance(message, RecordMessage) or self._size >= _CHUNK:
            self.flush()

    def write_records(self, stream: str, records: t.Sequence[bytes]) -> None:
        """Write `records`, each the text of a JSON object on one line, as RECORD messages of `stream`."""
        if not records:
            return
        head = b'{"type":"RECORD","stream":' + msgspec.json.encode(stream) + b',"record":'
        tail = b',"time_extracted":"' + self._now() + b'"}\n'
        self._append(head + (tail + head).join(records) + tail)
        if self._size >= _CHUNK:
            self.flush()

    def _now(self) -> bytes:
        """Give the same moment for a second: readers are quicker with lines that differ in the record alone."""
        now = time.monotonic()
        if now - self._told_at >= _SAME_MOMENT_SECONDS:
            self._told_at = now
            self._moment = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z").encode()
        return self._moment

    def flush(self) -> None:
        """Hand everything to standard output.

        Raises:
            BrokenPipeError: the reader of standard output is gone.
        """
        if self._buffer:
            data, self._buffer, self._size = b"".join(self._buffer), [], 0
            sys.stdout.flush()
            self._widen()
            left = memoryview(data)
            # Unbuffered (PYTHONUNBUFFERED, as in many containers), a write that a signal interrupts is a partial one.
            while left:
                left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()

    def _widen(self) -> None:
        """Let a pipe hold more, so that both its ends can be at work."""
        if not self._is_wide:
            self._is_wide = True
            with contextlib.suppress(OSError, AttributeError):  # no pipe, no room left for this user's, or no Linux
                if fcntl.fcntl(sys.stdout.fileno(), fcntl.F_GETPIPE_SZ) < _PIPE_BYTES:
                    fcntl.fcntl(sys.stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def _append(self, data: bytes) -> None:
        self._buffer.append(data)
        self._size += len(data)
